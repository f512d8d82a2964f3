// Tests deploy/edge/verify.js with keys of its own and a fake network. Run by `cargo test`
// (tests/peers/edge.rs) or by hand: node tests/edge/verify.test.mjs

import assert from "node:assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";

// Node 18 has it, but not yet under this name.
globalThis.crypto ??= (await import("node:crypto")).webcrypto;

// Loaded as a module, whatever the folder's package.json says.
const source = readFileSync(new URL("../../deploy/edge/verify.js", import.meta.url));
const edge = await import(`data:text/javascript;base64,${source.toString("base64")}`);
const { SETTINGS, lineFor, tokensOf, verifier } = edge;

const NOW = 1_800_000_000;
const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) };
const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const encoded = (value) => Buffer.from(value).toString("base64url");

async function make(alg, kid) {
  const kind = alg === "RS256" ? RSA : EC;
  const pair = await crypto.subtle.generateKey(kind, true, ["sign", "verify"]);
  const jwk = await crypto.subtle.exportKey("jwk", pair.publicKey);
  return { alg, kid, kind, pair, jwk: { ...jwk, alg, kid, use: "sig" } };
}

const [rsa, ec, next, stranger] = await Promise.all([make("RS256", "r"), make("ES256", "e"), make("ES256", "n"), make("ES256", "e")]);
const good = { iss: SETTINGS.issuer, aud: "sale", sub: "visitor", token_use: "access", queue_position: 7, exp: NOW + 60 };

async function sign(key, claims = {}, header = {}) {
  const head = { alg: key.alg, typ: "at+jwt", kid: key.kid, ...header };
  const message = `${encoded(JSON.stringify(head))}.${encoded(JSON.stringify({ ...good, ...claims }))}`;
  const signature = await crypto.subtle.sign(key.kind, key.pair.privateKey, Buffer.from(message));
  return `${message}.${encoded(signature)}`;
}

// An issuer that can be unavailable and counts its requests.
class Issuer {
  keys = [rsa.jwk, ec.jwk, { kty: "OKP", crv: "Ed25519", alg: "EdDSA", kid: "d", x: "AA" }];
  asked = [];
  now = NOW;
  away = false;
  verify = verifier(SETTINGS, async (address) => {
    this.asked.push(address);
    if (this.away) throw new Error("away");
    return { ok: true, json: async () => ({ keys: this.keys }) };
  }, () => this.now);
}

test("a valid token of either algorithm passes, and the key set is fetched once", async () => {
  const issuer = new Issuer();
  const tokens = [await sign(rsa, { nbf: NOW }, { typ: "JWT" }), await sign(ec), await sign(rsa)];
  for (const token of tokens) assert.strictEqual((await issuer.verify(token))?.queue_position, 7);
  assert.deepStrictEqual(issuer.asked, ["https://queue.example/.well-known/jwks.json"]);
});

test("every other token is refused", async () => {
  const issuer = new Issuer();
  const whole = await sign(ec);
  const [head, payload, signature] = whole.split(".");
  const longer = encoded(JSON.stringify({ ...good, exp: NOW + 9999 }));
  const none = encoded(JSON.stringify({ alg: "none", typ: "at+jwt", kid: "e" }));
  const bad = {
    issuer: await sign(ec, { iss: "https://evil.example" }),
    event: await sign(ec, { aud: "other" }),
    events: await sign(ec, { aud: ["sale", "other"] }),
    use: await sign(ec, { token_use: "refresh" }),
    identity: await sign(rsa, { token_use: "id" }, { typ: "JWT" }),
    expired: await sign(ec, { exp: NOW }),
    endless: await sign(ec, { exp: undefined }),
    early: await sign(ec, { nbf: NOW + 60 }),
    wordy: await sign(ec, { exp: "9999999999" }),
    stranger: await sign(stranger),
    nameless: await sign(ec, {}, { kid: undefined }),
    kind: await sign(ec, {}, { typ: "logout+jwt" }),
    critical: await sign(ec, {}, { crit: ["exp"] }),
    "another key's alg": await sign(rsa, {}, { alg: "ES256" }),
    "another alg's key": await sign(rsa, {}, { kid: "e" }),
    hmac: await sign(ec, {}, { alg: "HS256" }),
    prototype: await sign(ec, {}, { alg: "toString" }),
    changed: `${head}.${longer}.${signature}`,
    unsigned: `${none}.${payload}.`,
    cut: `${head}.${payload}`,
    garbage: "garbage",
    long: "A".repeat(20000),
    nothing: undefined,
  };
  for (const [name, token] of Object.entries(bad)) assert.strictEqual(await issuer.verify(token), null, name);
  assert.ok(await issuer.verify(whole));
});

test("a new key is fetched, and invented ones cause no further requests", async () => {
  const issuer = new Issuer();
  assert.ok(await issuer.verify(await sign(ec)));
  issuer.keys = [...issuer.keys, next.jwk];
  const token = await sign(next);
  assert.strictEqual(await issuer.verify(token), null);
  for (let time = 0; time < 50; time++) await issuer.verify(await sign(ec, {}, { kid: `invented ${time}` }));
  assert.strictEqual(issuer.asked.length, 1);
  issuer.now += 60 - 1;
  assert.strictEqual(await issuer.verify(await sign(next, { exp: issuer.now + 60 })), null);
  issuer.now += 1;
  assert.ok(await issuer.verify(await sign(next, { exp: issuer.now + 60 })));
  assert.strictEqual(issuer.asked.length, 2);
});

test("while the issuer is away the cached keys stay in use; without them no token passes", async () => {
  const issuer = new Issuer();
  issuer.away = true;
  assert.strictEqual(await issuer.verify(await sign(ec)), null);
  issuer.away = false;
  issuer.now += 5;
  assert.ok(await issuer.verify(await sign(ec, { exp: issuer.now + 60 })));
  issuer.away = true;
  for (let hour = 0; hour < 24; hour++) {
    issuer.now += 3600;
    assert.ok(await issuer.verify(await sign(ec, { exp: issuer.now + 60 })));
  }
});

test("the token is read from the header, else from the cookie; a foreign bearer token is ignored", async () => {
  const tokens = (headers) => tokensOf(headers, { cookie: "t", issuer: SETTINGS.issuer });
  const [ours, expired] = [await sign(ec), await sign(ec, { exp: NOW })];
  const foreign = await sign(ec, { iss: "https://id.shop.example" });
  for (const own of [ours, expired]) assert.deepStrictEqual(tokens({ authorization: `Bearer ${own}`, cookie: "t=b" }), [own]);
  for (const own of [foreign, "s1te-t0ken", "a.b.c", "a..c", `${encoded("null")}.${encoded("null")}.c`]) {
    assert.deepStrictEqual(tokens({ authorization: `Bearer ${own}`, cookie: "t=b" }), [own, "b"], own);
    assert.deepStrictEqual(tokens({ authorization: `Bearer ${own}` }), [own]);
  }
  assert.deepStrictEqual(tokens({ authorization: "Basic a", cookie: "x=1; t=b; y=2" }), ["b"]);
  assert.deepStrictEqual(tokens({ authorization: "Bearer", cookie: "name=M\u00fcller; t=b" }), ["b"]);
  assert.deepStrictEqual(tokens({ cookie: "tt=b; t=" }), []);
  assert.deepStrictEqual(tokens({}), []);
});

test("a browser is redirected to the site's own start, with the requested address if it is the site's", () => {
  const start = `${SETTINGS.line}?iss=https%3A%2F%2Fqueue.example`;
  assert.strictEqual(lineFor(SETTINGS, "text/html", "https://evil.example/"), start);
  assert.strictEqual(lineFor(SETTINGS, "text/html", "https://shop.example/a?b"), `${start}&target_link_uri=https%3A%2F%2Fshop.example%2Fa%3Fb`);
  assert.strictEqual(lineFor(SETTINGS, "application/json", "https://shop.example/"), null);
});

test("a worker and an edge function admit, redirect, and refuse", async (context) => {
  const exp = Math.floor(Date.now() / 1000) + 60;
  const token = await sign(rsa, { exp });
  const names = ["sub", "event", "position", "expires"].map((name) => `x-anteroom-${name}`);
  const forged = Object.fromEntries(names.map((name) => [name, "forged"]));
  const told = `visitor ${SETTINGS.eventId} 7 ${exp}`;
  context.mock.method(globalThis, "fetch", async (asked) => {
    if (typeof asked === "string") return Response.json({ keys: [rsa.jwk] });
    return new Response(names.map((name) => asked.headers.get(name)).join(" "));
  });
  const worker = async (headers) => edge.default.fetch(new Request("https://shop.example/a", { headers }), { COOKIE: "t" });
  assert.strictEqual(await (await worker({ cookie: `t=${token}`, ...forged })).text(), told);
  const sent = await worker({ accept: "text/html" });
  assert.deepStrictEqual([sent.status, new URL(sent.headers.get("location")).pathname], [302, "/queue/login"]);
  assert.strictEqual((await worker({ cookie: `anteroom_token=${token}` })).status, 401);
  assert.strictEqual(await (await worker({ authorization: "Bearer s1te-t0ken", cookie: `t=${token}` })).text(), told);

  const lambda = async (headers) => {
    const listed = Object.entries({ host: "shop.example", ...headers }).map(([key, value]) => [key, [{ key, value }]]);
    const request = { method: "GET", uri: "/a", querystring: "b", headers: Object.fromEntries(listed) };
    return edge.handler({ Records: [{ cf: { request } }] });
  };
  const { headers } = await lambda({ authorization: `Bearer ${token}`, ...forged });
  assert.strictEqual(names.map((name) => headers[name].map(({ value }) => value).join()).join(" "), told);
  assert.ok((await lambda({ authorization: "Bearer s1te-t0ken", cookie: `anteroom_token=${token}` })).headers["x-anteroom-sub"]);
  const moved = await lambda({ accept: "text/html" });
  assert.strictEqual(moved.status, "302");
  assert.match(moved.headers.location[0].value, /&target_link_uri=https%3A%2F%2Fshop.example%2Fa%3Fb$/);
  assert.strictEqual((await lambda({})).status, "401");
});
