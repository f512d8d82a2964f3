//! A registered relying party: its permissions and its authentication (RFC 7591 §2 names).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ClaimTemplates, RedirectUri, RedirectUriError, SigningAlg, ValidatedRedirect};
use crate::ambient::Secret;
use crate::policy;

/// How a client authenticates at the token endpoint (`token_endpoint_auth_method`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum AuthMethod {
    /// By its secret, in the header or in the body.
    #[default]
    #[serde(rename = "any")]
    Any,
    /// By its secret in the `Authorization` header.
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// By its secret in the body.
    #[serde(rename = "client_secret_post")]
    Post,
    /// None: a public client, which must use PKCE.
    #[serde(rename = "none")]
    None,
}

/// The kind of client (`application_type`, OIDC Registration §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// A site: redirect URIs are https, or http on loopback.
    #[default]
    Web,
    /// An app: loopback redirect URIs match with any port, private-use schemes are allowed (RFC 8252 §7).
    Native,
}

/// Whether every login of a client needs a `code_challenge`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pkce {
    /// A confidential client may omit it.
    #[default]
    Optional,
    /// Every client must send it.
    Required,
}

/// When a client gets the claims about the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum QueueClaims {
    /// In every ID token and user info, as for clients of the old system.
    #[default]
    Always,
    /// By the scope `queue` or the `claims` parameter, so that a client gets no unrequested claim.
    Requested,
}

/// A relying party.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// The name of the site for visitors, if configured.
    pub name: Option<String>,
    /// Its secret; `None` for a public client.
    pub secret: Option<Secret>,
    /// Its authentication method.
    pub auth_method: AuthMethod,
    /// Whether it must use PKCE. A public client always must.
    pub pkce: Pkce,
    /// Its kind.
    pub kind: ClientKind,
    /// Registered redirect URIs.
    pub redirect_uris: Vec<RedirectUri>,
    /// Registered redirect URIs after logout.
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// The address at which the site starts a login (OIDC Core §4).
    pub initiate_login_uri: Option<url::Url>,
    /// The site's home page.
    pub client_uri: Option<url::Url>,
    /// The maximal age of a login request when it is answered; afterwards the site is asked to start a new one.
    pub login_timeout: Duration,
    /// `id_token_signed_response_alg`.
    pub id_token_alg: SigningAlg,
    /// `access_token_signing_alg`.
    pub access_token_alg: SigningAlg,
    /// `acr` values that may be echoed.
    pub acr_values: Vec<String>,
    /// Additional claims for software that needs a name or an address.
    pub claims: ClaimTemplates,
    /// When it gets the claims about the queue.
    pub queue_claims: QueueClaims,
}

impl Client {
    /// A confidential web client with the defaults of the configuration reference.
    pub fn confidential(id: impl Into<String>, secret: Secret) -> Self {
        Self {
            id: id.into(),
            name: None,
            secret: Some(secret),
            auth_method: AuthMethod::Any,
            pkce: Pkce::Optional,
            kind: ClientKind::Web,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            initiate_login_uri: None,
            client_uri: None,
            login_timeout: policy::DEFAULT_LOGIN_TIMEOUT,
            id_token_alg: SigningAlg::Rs256,
            access_token_alg: SigningAlg::Es256,
            acr_values: Vec::new(),
            claims: ClaimTemplates::default(),
            queue_claims: QueueClaims::Always,
        }
    }

    /// Whether the client has no secret, so that only PKCE binds a code to it (RFC 9700 §2.1.1).
    pub const fn is_public(&self) -> bool {
        matches!(self.auth_method, AuthMethod::None)
    }

    /// The requested redirect URI, if it is registered: the only way to a [`ValidatedRedirect`].
    pub fn redirect(&self, asked: &str) -> Result<ValidatedRedirect, RedirectUriError> {
        let registered = self.redirect_uris.iter().any(|uri| uri.allows(asked, self.kind));
        if registered { Ok(ValidatedRedirect::proven(asked)) } else { Err(RedirectUriError::NotRegistered) }
    }

    /// Where the site starts a login: `initiate_login_uri`, or else its home page.
    pub fn login_start(&self) -> Option<&url::Url> {
        self.initiate_login_uri.as_ref().or(self.client_uri.as_ref())
    }
}
