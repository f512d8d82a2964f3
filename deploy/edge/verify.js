// Verifies Anteroom's access tokens in front of a site, without a call to Anteroom for each request: as a Cloudflare
// Worker (the default export) or as an AWS Lambda@Edge function at viewer request (`handler`, Node 20 or newer). Needs
// only fetch and Web Crypto. A CloudFront Function has neither: use Lambda@Edge there.
//
// It cannot know that a session was closed before its end. Call `/verify` where that matters.

// Lambda@Edge has no environment variables: write your own here. A Worker's variables ISSUER, EVENT_ID, COOKIE and LINE
// take their place.
export const SETTINGS = {
  issuer: "https://queue.example", // public_url, byte for byte
  eventId: "sale",
  cookie: "anteroom_token", // where a browser keeps its token; a token of ours in the Authorization header comes first
  line: "https://shop.example/queue/login", // where your site begins a login; must not be behind this check
};

const ALGORITHMS = {
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
};
const LONGEST_TOKEN = 8192;
// The next key is published a day before it signs, so a set that is five minutes old has it.
const KEEP_SECONDS = 300;
// For an unknown key the set is fetched at most once a minute, because any client can invent a key ID.
const RETRY_SECONDS = 60;
// While there is no set.
const FIRST_RETRY_SECONDS = 5;
// Less than the five seconds after which Lambda@Edge ends a function that answers viewers.
const FETCH_MILLISECONDS = 2500;
const CLOCK_SKEW_SECONDS = 5;

const bytes = (part) => Uint8Array.from(atob(part.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
const json = (part) => JSON.parse(new TextDecoder().decode(bytes(part)));

// The issuer's keys: fetched on demand, cached, and still used while the issuer is away.
class KeySet {
  keys = new Map();
  tried = -Infinity;

  constructor(issuer, fetch, now) {
    this.address = `${issuer}/.well-known/jwks.json`;
    this.fetch = fetch;
    this.now = now;
  }

  async find(kid, alg) {
    const pause = this.keys.size === 0 ? FIRST_RETRY_SECONDS : this.keys.has(kid) ? KEEP_SECONDS : RETRY_SECONDS;
    if (this.now() - this.tried >= pause) {
      // One request fetches, the others use the cached set. Without a cached set each fetches, because a Worker's
      // requests cannot wait for each other.
      if (this.keys.size > 0) this.tried = this.now();
      await this.load().catch((error) => console.warn(`anteroom: the key set cannot be read: ${error}`));
      this.tried = this.now();
    }
    const known = this.keys.get(kid);
    return known?.alg === alg ? known.key : null;
  }

  async load() {
    const answer = await this.fetch(this.address, { signal: AbortSignal.timeout(FETCH_MILLISECONDS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const keys = new Map();
    for (const { kty, alg, kid, n, e, crv, x, y } of (await answer.json()).keys) {
      if (!Object.hasOwn(ALGORITHMS, alg)) continue;
      const key = await crypto.subtle.importKey("jwk", { kty, n, e, crv, x, y }, ALGORITHMS[alg], false, ["verify"]);
      keys.set(kid, { alg, key });
    }
    this.keys = keys;
  }
}

// A function from a token to its claims, or to null if it is not a valid access token of the event.
export function verifier({ issuer, eventId }, fetch = globalThis.fetch.bind(globalThis), now = () => Date.now() / 1000) {
  const set = new KeySet(issuer, fetch, now);
  return async (token) => {
    try {
      if (typeof token !== "string" || token.length > LONGEST_TOKEN) return null;
      const parts = token.split(".");
      if (parts.length !== 3 || !parts.every((part) => /^[\w-]+$/.test(part))) return null;
      const [header, claims] = [json(parts[0]), json(parts[1])];
      if (!Object.hasOwn(ALGORITHMS, header.alg) || !["at+jwt", "JWT"].includes(header.typ) || "crit" in header) return null;
      // The cheap checks come first.
      const ours = claims.iss === issuer && claims.aud === eventId && claims.token_use === "access";
      const starts = claims.nbf === undefined ? 0 : claims.nbf;
      const live = Number.isFinite(claims.exp) && now() < claims.exp;
      if (!ours || !live || !Number.isFinite(starts) || now() + CLOCK_SKEW_SECONDS < starts) return null;
      const key = await set.find(header.kid, header.alg);
      const signed = new TextEncoder().encode(`${parts[0]}.${parts[1]}`);
      const good = key && (await crypto.subtle.verify(ALGORITHMS[header.alg], key, bytes(parts[2]), signed));
      return good ? claims : null;
    } catch {
      return null; // not even the form of a token
    }
  };
}

// The tokens of a request with these headers (each a text or undefined), in order of precedence. A site has bearer
// tokens of its own: one that does not name the issuer is ignored in favour of the cookie.
export function tokensOf({ authorization, cookie }, { cookie: name, issuer }) {
  const bearer = /^bearer +(\S+) *$/i.exec(authorization ?? "")?.[1];
  const pairs = (cookie ?? "").split(";").map((pair) => pair.trim());
  const kept = pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
  const counting = bearer && issuerOf(bearer) === issuer ? [bearer] : [bearer, kept];
  return counting.filter((token) => token);
}

// The unverified issuer of a token, used for this purpose alone.
function issuerOf(token) {
  try {
    return json(token.split(".")[1]).iss;
  } catch {
    return undefined;
  }
}

// The claims of an admitted visitor, or null.
async function admitted(settings, headers) {
  for (const token of tokensOf(headers, settings)) {
    const claims = await verifierFor(settings)(token);
    if (claims) return claims;
  }
  return null;
}

// Where a browser without a token is redirected; null for a program, which gets 401.
export function lineFor({ issuer, line }, accept, asked) {
  if (!(accept ?? "").includes("text/html")) return null;
  const url = new URL(line);
  url.searchParams.append("iss", issuer);
  if (asked && new URL(asked).origin === url.origin) url.searchParams.append("target_link_uri", asked);
  return url.href;
}

// RFC 6750, section 3.
const CHALLENGE = 'Bearer realm="anteroom"';

// The identity headers for the site. All of them are always set, because visitors can send headers too.
const toldOf = (claims) => ({
  "X-Anteroom-Sub": claims.sub,
  "X-Anteroom-Event": claims.aud,
  "X-Anteroom-Position": String(claims.queue_position),
  "X-Anteroom-Expires": String(claims.exp),
});

const verifiers = new Map();
function verifierFor(settings) {
  const name = JSON.stringify([settings.issuer, settings.eventId]);
  if (!verifiers.has(name)) verifiers.set(name, verifier(settings));
  return verifiers.get(name);
}

// Cloudflare Workers.
export default {
  async fetch(request, env = {}) {
    const { ISSUER: issuer, EVENT_ID: eventId, COOKIE: cookie, LINE: line } = env;
    const given = Object.entries({ issuer, eventId, cookie, line }).filter(([, value]) => value !== undefined);
    const settings = { ...SETTINGS, ...Object.fromEntries(given) };
    const header = (name) => request.headers.get(name) ?? undefined;
    const claims = await admitted(settings, { authorization: header("authorization"), cookie: header("cookie") });
    const to = claims ? null : lineFor(settings, header("accept"), request.method === "GET" ? request.url : null);
    const never = { "Cache-Control": "no-store" };
    if (to) return new Response(null, { status: 302, headers: { Location: to, ...never } });
    if (!claims) return new Response(null, { status: 401, headers: { "WWW-Authenticate": CHALLENGE, ...never } });
    const onward = new Request(request);
    Object.entries(toldOf(claims)).forEach(([name, value]) => onward.headers.set(name, value));
    return fetch(onward);
  },
};

// Lambda@Edge, at viewer request.
export async function handler(event) {
  const request = event.Records[0].cf.request;
  const header = (name) => request.headers[name]?.map(({ value }) => value).join("; ");
  const claims = await admitted(SETTINGS, { authorization: header("authorization"), cookie: header("cookie") });
  if (claims) {
    for (const [key, value] of Object.entries(toldOf(claims))) request.headers[key.toLowerCase()] = [{ key, value }];
    return request;
  }
  const query = request.querystring ? `?${request.querystring}` : "";
  const asked = request.method === "GET" && `https://${header("host")}${request.uri}${query}`;
  const to = lineFor(SETTINGS, header("accept"), asked);
  const never = { "cache-control": [{ key: "Cache-Control", value: "no-store" }] };
  if (to) return { status: "302", headers: { location: [{ key: "Location", value: to }], ...never } };
  return { status: "401", headers: { "www-authenticate": [{ key: "WWW-Authenticate", value: CHALLENGE }], ...never } };
}
