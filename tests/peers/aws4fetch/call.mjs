// An operator's script: admits one visitor, then reads the number of active sessions; signed by aws4fetch.

import { AwsClient } from "aws4fetch";

// Node 18 has it, but not yet under this name.
globalThis.crypto ??= (await import("node:crypto")).webcrypto;

const [base, accessKeyId, secretAccessKey] = process.argv.slice(2);
const client = new AwsClient({ accessKeyId, secretAccessKey, service: "execute-api", region: "eu-west-1", retries: 0 });
const step = JSON.stringify({ event_id: "Sample", increment_by: 1 });
for (const [path, init] of [
  ["/private/increment_serving_counter", { method: "POST", body: step }],
  ["/private/num_active_tokens?event_id=Sample", {}],
]) {
  const answer = await client.fetch(`${base}${path}`, init);
  console.log(answer.status, JSON.stringify(await answer.json()));
}
