// Passes a token of a running Anteroom to deploy/edge/verify.js: ISSUER and TOKEN are in the environment. Prints the claims.

import { readFileSync } from "node:fs";

// Node 18 has it, but not yet under this name.
globalThis.crypto ??= (await import("node:crypto")).webcrypto;

const source = readFileSync(new URL("../../deploy/edge/verify.js", import.meta.url));
const { verifier } = await import(`data:text/javascript;base64,${source.toString("base64")}`);
const { ISSUER: issuer, TOKEN: token } = process.env;
console.log(JSON.stringify({
  good: await verifier({ issuer, eventId: "Sample" })(token),
  "of another event": await verifier({ issuer, eventId: "Other" })(token),
  changed: await verifier({ issuer, eventId: "Sample" })(token.replace(/\.[^.]{8}/, ".eyJhIjox")),
}));
