//! The rules of OAuth 2.0 and OpenID Connect, one rule per file, each with its section.
//!
//! Pure: no I/O, no web types, no store, no knowledge of queues and tickets. Text and times come in, typed requests and
//! named errors go out. What a type proves need not be checked again: a [`ValidatedRedirect`] is registered, an
//! [`AuthenticatedClient`] is authenticated.

mod bearer;
mod claims;
mod client;
mod client_auth;
mod discovery;
mod error;
mod grant;
mod initiate;
mod issuer;
mod params;
mod pkce;
mod prompt;
mod redirect_uri;
mod request;
mod request_object;
mod scope;
mod signing_alg;
mod tokens;

pub use bearer::{BearerError, bearer_token};
pub use claims::{ClaimTemplates, ClaimsRequest, QUEUE_CLAIMS, Subject, TemplateError};
pub use client::{AuthMethod, Client, ClientKind, Pkce, QueueClaims};
pub use client_auth::{AuthenticatedClient, ClientCredentials, authenticate, credentials};
pub use discovery::{Discovery, paths};
pub use error::{ErrorCode, OAuthError};
pub use grant::{AskedClaims, CodeRequest, Grant, RedirectHash};
pub use initiate::{Forwarded, initiate_login};
pub use issuer::is_issuer;
pub use params::Params;
pub use pkce::Challenge;
pub use prompt::{Login, LoginDecision, Prompt, decide};
pub use redirect_uri::{RedirectUri, RedirectUriError, ValidatedRedirect, is_loopback, with_chosen_port};
pub use request::{AuthorizationRequest, KNOWN, Reply, ResponseMode, client_id, read_request};
pub use scope::Scope;
pub use signing_alg::SigningAlg;
pub use tokens::{AccessTokenClaims, IdTokenClaims, Session, user_info};
