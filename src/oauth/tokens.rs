//! The claims of the ID token (OIDC Core §2), the access token (RFC 9068), and the user info (§5.3.2).

use serde::Serialize;
use serde_json::{Map, Value};

use super::claims::released_by;
use super::{Client, Grant, QueueClaims, Scope, Subject};
use crate::ambient::Timestamp;

/// The authentication method of every login (`amr`).
const AMR: [&str; 1] = ["queue"];

/// The payload of an ID token.
#[derive(Serialize, Debug)]
pub struct IdTokenClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: Timestamp,
    iat: Timestamp,
    auth_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    at_hash: &'a str,
    sid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    amr: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_use: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// The payload of an access token.
#[derive(Serialize, Debug)]
pub struct AccessTokenClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: Timestamp,
    iat: Timestamp,
    auth_time: Timestamp,
    jti: &'a str,
    client_id: &'a str,
    scope: &'a str,
    queue_position: u64,
    token_use: &'a str,
    event_id: &'a str,
    /// A private claim: what `/userInfo` returns in addition to the scope's claims.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    userinfo_claims: &'a [String],
}

/// The login that tokens are issued for.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// The subject.
    pub subject: &'a Subject,
    /// When it began.
    pub auth_time: Timestamp,
    /// When it ends: no token lives longer.
    pub expires_at: Timestamp,
    /// When the tokens are issued.
    pub now: Timestamp,
}

impl<'a> IdTokenClaims<'a> {
    /// The claims for the client of `grant`.
    pub fn new(session: &Session<'a>, client: &Client, grant: &'a Grant, at_hash: &'a str) -> Self {
        let asked = &grant.asked.id_token;
        let of_the_line = |name| has_queue_claim(client, grant.scope, asked, name);
        Self {
            iss: session.issuer,
            sub: &session.subject.sub,
            aud: &grant.client_id,
            exp: session.expires_at,
            iat: session.now,
            auth_time: session.auth_time,
            nonce: grant.asked.nonce.as_deref(),
            at_hash,
            // One ticket has one session, so both are named by the ticket.
            sid: &session.subject.sub,
            acr: grant.asked.acr.as_deref(),
            amr: AMR,
            queue_position: of_the_line("queue_position").then_some(session.subject.position),
            token_use: of_the_line("token_use").then_some("id"),
            event_id: of_the_line("event_id").then_some(&session.subject.event_id),
            more: client.claims.render(session.subject, |name| asked.iter().any(|asked| asked == name)),
        }
    }
}

impl<'a> AccessTokenClaims<'a> {
    /// The claims of the token with the ID `jti`. Its audience is the event, because gateways of the old system check
    /// it.
    pub fn new(session: &Session<'a>, grant: &'a Grant, jti: &'a str) -> Self {
        Self {
            iss: session.issuer,
            sub: &session.subject.sub,
            aud: &session.subject.event_id,
            exp: session.expires_at,
            iat: session.now,
            auth_time: session.auth_time,
            jti,
            client_id: &grant.client_id,
            scope: grant.scope.as_str(),
            queue_position: session.subject.position,
            token_use: "access",
            event_id: &session.subject.event_id,
            userinfo_claims: &grant.asked.user_info,
        }
    }
}

/// The answer of `/userInfo`: the subject, and the claims that the scope or the `claims` parameter (`asked`) releases.
pub fn user_info(subject: &Subject, client: &Client, scope: Scope, asked: &[String]) -> Map<String, Value> {
    let wanted = |name: &str| released_by(scope, name) || asked.iter().any(|asked| asked == name);
    let mut claims = client.claims.render(subject, wanted);
    claims.insert("sub".into(), subject.sub.clone().into());
    let of_the_line: [(&str, Value); 2] =
        [("queue_position", subject.position.into()), ("event_id", subject.event_id.clone().into())];
    for (name, value) in of_the_line {
        if has_queue_claim(client, scope, asked, name) {
            claims.insert(name.into(), value);
        }
    }
    claims
}

/// Whether `client` gets this claim about the queue.
fn has_queue_claim(client: &Client, scope: Scope, asked: &[String], name: &str) -> bool {
    client.queue_claims == QueueClaims::Always || scope.queue || asked.iter().any(|asked| asked == name)
}
