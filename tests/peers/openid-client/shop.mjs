// A typical relying party with openid-client. It takes a client ID and a secret, prints its address, gets the issuer at
// /discover?issuer=…, and logs visitors in at /login or /login?mode=form_post.
import { webcrypto } from 'node:crypto';
import { createServer } from 'node:http';

// Debian 12's node 18 has everything that the library uses, except this name.
globalThis.crypto ??= webcrypto;
const client = await import('openid-client');

const [id, secret] = process.argv.slice(2);
const logins = new Map(); // by state: what must match when the visitor comes back
let provider; // what discovery found
let here;

async function discover(url) {
  const execute = [client.allowInsecureRequests]; // plain HTTP, on loopback alone
  const issuer = new URL(url.searchParams.get('issuer'));
  provider = await client.discovery(issuer, id, secret, undefined, { execute });
  return [200, provider.serverMetadata().issuer];
}

async function login(url) {
  const verifier = client.randomPKCECodeVerifier();
  const checks = { pkceCodeVerifier: verifier, expectedNonce: client.randomNonce(), expectedState: client.randomState() };
  logins.set(checks.expectedState, checks);
  const parameters = {
    redirect_uri: `${here}/callback`,
    scope: 'openid profile',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    nonce: checks.expectedNonce,
    state: checks.expectedState,
  };
  const mode = url.searchParams.get('mode');
  if (mode) parameters.response_mode = mode;
  return [303, client.buildAuthorizationUrl(provider, parameters).href];
}

async function callback(url, request) {
  let body = '';
  for await (const part of request) body += part;
  const posted = request.method === 'POST';
  const state = (posted ? new URLSearchParams(body) : url.searchParams).get('state');
  const checks = logins.get(state);
  logins.delete(state);
  const headers = { 'content-type': request.headers['content-type'] ?? '' };
  const answer = posted ? new Request(url, { method: 'POST', headers, body }) : url;
  const tokens = await client.authorizationCodeGrant(provider, answer, { ...checks, idTokenExpected: true });
  const claims = tokens.claims();
  const person = await client.fetchUserInfo(provider, tokens.access_token, claims.sub);
  return [200, JSON.stringify({ method: request.method, claims, person })];
}

async function answer(request) {
  const url = new URL(request.url, here);
  if (url.pathname === '/discover') return discover(url);
  if (url.pathname === '/login') return login(url);
  if (url.pathname === '/callback') return callback(url, request);
  if (url.pathname === '/favicon.ico') return [204, ''];
  return [404, 'There is nothing here.'];
}

const server = createServer(async (request, response) => {
  const trouble = (error) => [400, `${error.name}: ${error.message} (${error.code}) ${error.cause?.message ?? ''}`];
  const [status, text] = await answer(request).catch(trouble);
  response.writeHead(status, status === 303 ? { location: text } : { 'content-type': 'text/plain; charset=utf-8' });
  response.end(text);
});

server.listen(0, '127.0.0.1', () => {
  here = `http://127.0.0.1:${server.address().port}`;
  console.log(`listening at ${here}`);
});
