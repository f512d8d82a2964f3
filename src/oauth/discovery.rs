//! The provider's metadata (OIDC Discovery §3, RFC 8414 §2), listing only what is supported.

use serde::Serialize;

use super::{Client, QueueClaims, Scope, SigningAlg};

/// The paths of the protocol's endpoints, below the issuer.
pub mod paths {
    /// OIDC Discovery §4.
    pub const DISCOVERY: &str = "/.well-known/openid-configuration";
    /// RFC 8414 §3.
    pub const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
    /// RFC 7517 §5.
    pub const JWKS: &str = "/.well-known/jwks.json";
    /// OIDC Core §3.1.2.
    pub const AUTHORIZE: &str = "/authorize";
    /// Where a waiting visitor's browser returns; not for clients.
    pub const RESUME: &str = "/authorize/resume";
    /// OIDC Core §3.1.3.
    pub const TOKEN: &str = "/token";
    /// OIDC Core §5.3.
    pub const USER_INFO: &str = "/userInfo";
}

/// The document.
#[derive(Serialize, Debug)]
pub struct Discovery {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<&'static str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 2],
    grant_types_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    acr_values_supported: Vec<String>,
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<SigningAlg>,
    token_endpoint_auth_methods_supported: [&'static str; 3],
    display_values_supported: [&'static str; 1],
    claim_types_supported: [&'static str; 1],
    claims_supported: Vec<String>,
    claims_parameter_supported: bool,
    request_parameter_supported: bool,
    request_uri_parameter_supported: bool,
    require_request_uri_registration: bool,
    code_challenge_methods_supported: [&'static str; 1],
    prompt_values_supported: [&'static str; 2],
    authorization_response_iss_parameter_supported: bool,
}

const CLAIMS: [&str; 14] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "at_hash",
    "sid",
    "amr",
    "queue_position",
    "token_use",
    "event_id",
    "acr",
];

impl Discovery {
    /// The metadata of the provider `issuer` with these clients.
    pub fn new<'a>(issuer: &str, clients: impl Iterator<Item = &'a Client> + Clone) -> Self {
        let at = |path: &str| format!("{issuer}{path}");
        let acr_values = sorted(clients.clone().flat_map(|client| client.acr_values.iter().map(String::as_str)));
        // A relying party that reads of EdDSA may look for its keys, which are published on demand.
        let edwards = clients.clone().any(|client| client.id_token_alg == SigningAlg::EdDsa);
        let algorithms = SigningAlg::ALL.into_iter().filter(|alg| edwards || *alg != SigningAlg::EdDsa).collect();
        let own = CLAIMS.into_iter().filter(|&claim| claim != "acr" || !acr_values.is_empty());
        let configured = sorted(clients.clone().flat_map(|client| client.claims.names()));
        Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: at(paths::AUTHORIZE),
            token_endpoint: at(paths::TOKEN),
            userinfo_endpoint: at(paths::USER_INFO),
            jwks_uri: at(paths::JWKS),
            scopes_supported: scopes(clients),
            response_types_supported: ["code"],
            response_modes_supported: ["query", "form_post"],
            grant_types_supported: ["authorization_code"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms,
            token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
            display_values_supported: ["page"],
            claim_types_supported: ["normal"],
            claims_supported: own.map(str::to_owned).chain(configured).collect(),
            acr_values_supported: acr_values,
            claims_parameter_supported: true,
            request_parameter_supported: false,
            request_uri_parameter_supported: false,
            require_request_uri_registration: false,
            code_challenge_methods_supported: ["S256"],
            prompt_values_supported: ["none", "login"],
            authorization_response_iss_parameter_supported: true,
        }
    }
}

/// Those that have an effect for some client.
fn scopes<'a>(clients: impl Iterator<Item = &'a Client> + Clone) -> Vec<&'static str> {
    let releases = |scope: Scope| clients.clone().any(|client| client.claims.any_released_by(scope));
    let on_request = clients.clone().any(|client| client.queue_claims == QueueClaims::Requested);
    let offered = [
        ("openid", true),
        ("profile", releases(Scope { profile: true, ..Scope::default() })),
        ("email", releases(Scope { email: true, ..Scope::default() })),
        ("queue", on_request),
    ];
    offered.into_iter().filter(|(_, offered)| *offered).map(|(name, _)| name).collect()
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}
