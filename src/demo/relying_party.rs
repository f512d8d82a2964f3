//! OpenID Connect from the relying party's side: the file to copy from.
//!
//! Owns the whole protocol with the issuer: discovery, the authorization request with PKCE, `state` and `nonce`, the
//! exchange of the code, the verification of the ID token, userInfo and the logout request. It knows nothing of cookies
//! and pages, nor of a waiting room: how long a login takes is of no concern to a relying party.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreGenderClaim, CoreGrantType, CoreIdToken, CoreIdTokenClaims, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType, CoreTokenResponse,
};
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AdditionalProviderMetadata, AuthorizationCode, ClaimsVerificationError,
    ClientId, ClientSecret, CsrfToken, EndSessionUrl, EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl,
    LogoutRequest, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl,
    ProviderMetadata, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, TokenResponse, UserInfoClaims,
    UserInfoError,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::error::ShopError;
use super::{ISSUER_TIMEOUT, Shop};
use crate::ambient::Timestamp;

/// A client whose endpoints come from discovery.
type DiscoveredClient =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// The discovery document with further members that this shop reads.
type DiscoveryDocument = ProviderMetadata<
    BeyondDiscovery,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct BeyondDiscovery {
    /// RP-Initiated Logout 1.0 §2.1.
    end_session_endpoint: Option<EndSessionUrl>,
    /// RFC 9207 §3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for BeyondDiscovery {}

/// Anteroom's claims about a visitor besides the standard ones.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct QueueClaims {
    queue_position: Option<u64>,
}

impl AdditionalClaims for QueueClaims {}

/// The issuer as last discovered: endpoints and keys.
struct Provider {
    client: DiscoveredClient,
    beyond: BeyondDiscovery,
}

/// The secrets to keep between the authorization request and its answer. They must not be sent to the browser.
pub(super) struct LoginSecrets {
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

/// An authorization request.
pub(super) struct LoginRequest {
    /// Where to send the browser.
    pub(super) url: Url,
    /// The `state` parameter: random, it comes back with the answer.
    pub(super) state: String,
    /// To be stored under `state`.
    pub(super) secrets: LoginSecrets,
}

/// A visitor that the issuer authenticated.
pub(super) struct Visitor {
    /// The subject identifier: unique at the issuer and never reassigned.
    pub(super) subject: String,
    /// A display name.
    pub(super) name: String,
    /// Position in the queue, if the issuer reports it.
    pub(super) position: Option<u64>,
    /// When the ID token expires.
    pub(super) until: Timestamp,
    /// Kept as the hint for logging out.
    id_token: CoreIdToken,
}

/// The shop as a relying party.
pub(super) struct RelyingParty {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: ClientSecret,
    redirect_uri: RedirectUrl,
    post_logout_redirect_uri: PostLogoutRedirectUrl,
    http: reqwest::Client,
    /// Empty until the first successful discovery; the lock is never held across an await.
    provider: RwLock<Option<Arc<Provider>>>,
}

impl RelyingParty {
    /// Prepares the relying party; the issuer need not be reachable yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the issuer is not a URL or the secret is not UTF-8.
    pub(super) fn new(shop: Shop) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let redirect_uri = RedirectUrl::from_url(shop.redirect_uri());
        let post_logout_redirect_uri = PostLogoutRedirectUrl::from_url(shop.post_logout_redirect_uri());
        let secret = String::from_utf8(shop.client_secret.expose().to_vec());
        Ok(Self {
            issuer: IssuerUrl::new(shop.issuer).map_err(|_| invalid("the issuer is not a URL"))?,
            client_id: ClientId::new(shop.client_id),
            client_secret: ClientSecret::new(secret.map_err(|_| invalid("the client secret is not UTF-8"))?),
            redirect_uri,
            post_logout_redirect_uri,
            http: http_client()?,
            provider: RwLock::new(None),
        })
    }

    /// The issuer identifier.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Scheme, host and port of the issuer.
    pub(super) fn issuer_origin(&self) -> String {
        self.issuer.url().origin().ascii_serialization()
    }

    /// Builds an authorization request: code flow, PKCE with S256, fresh `state` and `nonce`.
    ///
    /// # Errors
    ///
    /// [`ShopError::IssuerAway`] when discovery fails; the next login tries again.
    pub(super) async fn request_login(&self) -> Result<LoginRequest, ShopError> {
        let provider = self.provider().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = provider
            .client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        Ok(LoginRequest { url, state: state.into_secret(), secrets: LoginSecrets { nonce, verifier } })
    }

    /// Checks the issuer of the authorization response (RFC 9207 §2.4): `iss` must be the expected issuer, and must be
    /// present if the issuer's metadata promise it.
    ///
    /// # Errors
    ///
    /// [`ShopError::ForeignIssuer`]; [`ShopError::IssuerAway`] when discovery fails.
    pub(super) async fn check_issuer(&self, iss: Option<&str>) -> Result<(), ShopError> {
        let as_expected = match iss {
            Some(iss) => iss == self.issuer.as_str(),
            None => !self.provider().await?.beyond.authorization_response_iss_parameter_supported,
        };
        if as_expected { Ok(()) } else { Err(ShopError::ForeignIssuer) }
    }

    /// Exchanges the code for tokens, verifies them, and calls userInfo.
    ///
    /// # Errors
    ///
    /// [`ShopError::Declined`] when the issuer refuses the code, [`ShopError::IssuerAway`] when it cannot be reached or
    /// understood, [`ShopError::Unverified`] when its answer fails verification.
    pub(super) async fn complete_login(&self, code: String, secrets: LoginSecrets) -> Result<Visitor, ShopError> {
        let provider = self.provider().await?;
        let request = provider.client.exchange_code(AuthorizationCode::new(code)).map_err(ShopError::away)?;
        let answer = request.set_pkce_verifier(secrets.verifier).request_async(&self.http).await;
        let tokens = answer.map_err(|error| match error {
            RequestTokenError::ServerResponse(refusal) => ShopError::Declined(refusal.error().to_string()),
            other => ShopError::away(other),
        })?;
        let id_token = tokens.id_token().ok_or_else(|| ShopError::Unverified("no ID token".to_owned()))?;

        // Keys rotate: a token signed by an unknown key causes one new discovery.
        let (provider, claims) = match verify(&provider, id_token, &secrets.nonce) {
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) => {
                let provider = self.discover().await?;
                let claims = verify(&provider, id_token, &secrets.nonce);
                (provider, claims)
            }
            claims => (provider, claims),
        };
        let claims = claims.map_err(ShopError::unverified)?;
        check_access_token(&provider, &tokens, id_token, claims)?;
        let profile = self.user_info(&provider, &tokens, claims).await?;
        Ok(visitor(id_token.clone(), claims, &profile))
    }

    /// Where to send the browser to end the issuer's session as well; `None` when the issuer has no such endpoint or
    /// has not been discovered.
    pub(super) fn logout_url(&self, visitor: &Visitor) -> Option<Url> {
        let endpoint = self.cached_provider()?.beyond.end_session_endpoint.clone()?;
        let request = LogoutRequest::from(endpoint)
            .set_id_token_hint(&visitor.id_token)
            .set_client_id(self.client_id.clone())
            .set_post_logout_redirect_uri(self.post_logout_redirect_uri.clone());
        Some(request.http_get_url())
    }

    /// Calls userInfo; its `sub` must be the ID token's (OpenID Connect Core 1.0 §5.3.4).
    async fn user_info(
        &self,
        provider: &Provider,
        tokens: &CoreTokenResponse,
        claims: &CoreIdTokenClaims,
    ) -> Result<UserInfoClaims<QueueClaims, CoreGenderClaim>, ShopError> {
        let subject = claims.subject().clone();
        let request =
            provider.client.user_info(tokens.access_token().clone(), Some(subject)).map_err(ShopError::away)?;
        request.request_async(&self.http).await.map_err(|error| match error {
            UserInfoError::ClaimsVerification(_) => ShopError::unverified(error),
            other => ShopError::away(other),
        })
    }

    fn cached_provider(&self) -> Option<Arc<Provider>> {
        self.provider.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn provider(&self) -> Result<Arc<Provider>, ShopError> {
        match self.cached_provider() {
            Some(provider) => Ok(provider),
            None => self.discover().await,
        }
    }

    /// Fetches and caches the discovery document and the keys; a failure keeps the cached ones.
    async fn discover(&self) -> Result<Arc<Provider>, ShopError> {
        let document =
            DiscoveryDocument::discover_async(self.issuer.clone(), &self.http).await.map_err(ShopError::away)?;
        let beyond = document.additional_metadata().clone();
        let client =
            CoreClient::from_provider_metadata(document, self.client_id.clone(), Some(self.client_secret.clone()))
                .set_redirect_uri(self.redirect_uri.clone());
        let provider = Arc::new(Provider { client, beyond });
        *self.provider.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&provider));
        Ok(provider)
    }
}

/// An HTTP client for requests to the issuer.
fn http_client() -> io::Result<reqwest::Client> {
    // reqwest is built here without a default TLS provider and requires one, even for plain HTTP. If the program has
    // installed one already, this call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        // An issuer that redirects such requests is misconfigured or malicious.
        .redirect(reqwest::redirect::Policy::none())
        // The demonstration's issuer is on this machine; a proxy cannot reach it.
        .no_proxy()
        .timeout(ISSUER_TIMEOUT)
        .build()
        .map_err(io::Error::other)
}

/// Verifies signature, `iss`, `aud`, `exp` and `nonce` (OpenID Connect Core 1.0 §3.1.3.7).
fn verify<'t>(
    provider: &Provider,
    id_token: &'t CoreIdToken,
    nonce: &Nonce,
) -> Result<&'t CoreIdTokenClaims, ClaimsVerificationError> {
    id_token.claims(&provider.client.id_token_verifier(), nonce)
}

/// Verifies that the access token belongs to the ID token (`at_hash`, OpenID Connect Core 1.0 §3.1.3.8; optional in the
/// code flow).
fn check_access_token(
    provider: &Provider,
    tokens: &CoreTokenResponse,
    id_token: &CoreIdToken,
    claims: &CoreIdTokenClaims,
) -> Result<(), ShopError> {
    let Some(expected) = claims.access_token_hash() else { return Ok(()) };
    let verifier = provider.client.id_token_verifier();
    let algorithm = id_token.signing_alg().map_err(ShopError::unverified)?;
    let key = id_token.signing_key(&verifier).map_err(ShopError::unverified)?;
    let actual = AccessTokenHash::from_token(tokens.access_token(), algorithm, key).map_err(ShopError::unverified)?;
    if actual == *expected { Ok(()) } else { Err(ShopError::Unverified("at_hash does not match".to_owned())) }
}

fn visitor(
    id_token: CoreIdToken,
    claims: &CoreIdTokenClaims,
    profile: &UserInfoClaims<QueueClaims, CoreGenderClaim>,
) -> Visitor {
    let position = profile.additional_claims().queue_position;
    let name = match (profile.preferred_username(), position) {
        (Some(name), _) => name.to_string(),
        (None, Some(position)) => format!("visitor-{position}"),
        (None, None) => "visitor".to_owned(),
    };
    let until = Timestamp::from_secs(u64::try_from(claims.expiration().timestamp()).unwrap_or(0));
    Visitor { subject: claims.subject().to_string(), name, position, until, id_token }
}
