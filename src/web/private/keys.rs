//! The signing keys for operators: `GET /private/keys`, `POST /private/rotate_keys`.
//!
//! The rules of rotation are the key ring's; this file only gives them a path. The command `anteroom keys` calls these
//! paths while the service runs.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::access::operator;
use crate::keys::{KeyChannel, KeyError, KeyUse, PublishedKey, Rotation};
use crate::lobby::{KeyServiceError, LobbyError};
use crate::web::App;
use crate::web::extract::{Body, json};
use crate::web::respond::{Audience, Problem};

/// The path of the list of keys.
pub const KEYS: &str = "/private/keys";

/// The path of the rotation.
pub const ROTATE_KEYS: &str = "/private/rotate_keys";

/// The body of `rotate_keys`.
#[derive(Serialize, Deserialize, Debug)]
pub struct RotateKeys {
    /// `patient`, `at_once` or `compromised`.
    pub how: Rotation,
    /// Which keys: those of OpenID Connect (`login`), that of the REST channel (`rest`), or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<KeyChannel>,
}

impl RotateKeys {
    /// The key uses to rotate.
    pub const fn uses(&self) -> &'static [KeyUse] {
        match self.channel {
            None => &KeyUse::ALL,
            Some(KeyChannel::Login) => &KeyUse::OIDC,
            Some(KeyChannel::Rest) => &[KeyUse::Rest],
        }
    }
}

/// The answer of both calls: every published key.
#[derive(Serialize, Deserialize, Debug)]
pub struct KeyList {
    /// RS256 first; for each algorithm the signing key, the next one, the retired ones.
    pub keys: Vec<PublishedKey>,
}

/// `GET /private/keys`.
pub async fn list(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    operator(&app, &request, &body)?;
    Ok(answer(app.lobby.keys().published(app.lobby.now())))
}

/// `POST /private/rotate_keys`: `{"how": "patient" | "at_once" | "compromised", "channel"?: "login" | "rest"}`.
pub async fn rotate(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let operator = operator(&app, &request, &body)?;
    let order: RotateKeys = json(body)?;
    match app.lobby.rotate_keys(order.uses(), order.how).await {
        Ok(keys) => {
            let RotateKeys { how, channel } = order;
            tracing::info!(operator = operator.name(), ?how, ?channel, "signing keys were rotated");
            Ok(answer(keys))
        }
        Err(KeyServiceError::Key(error @ (KeyError::TooSoon { .. } | KeyError::NoNext(_)))) => {
            Err(Problem::Conflict(error.to_string()))
        }
        Err(KeyServiceError::Contended) => Err(Problem::Conflict(KeyServiceError::Contended.to_string())),
        Err(error) => Err(Problem::Internal(lobby_error(error), Audience::Rest)),
    }
}

fn answer(keys: Vec<PublishedKey>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(KeyList { keys })
}

fn lobby_error(error: KeyServiceError) -> LobbyError {
    match error {
        KeyServiceError::Store(error) => LobbyError::Store(error),
        KeyServiceError::Key(error) => error.into(),
        KeyServiceError::Unseal(_) => LobbyError::Internal("the key ring in the store cannot be opened"),
        KeyServiceError::Seal(_) => LobbyError::Internal("the key ring cannot be sealed"),
        KeyServiceError::Contended => LobbyError::Internal("the key ring is changed concurrently"),
        KeyServiceError::ThreadDied => LobbyError::Internal("the thread that generates keys died"),
        KeyServiceError::Threads(_) => LobbyError::Internal("no thread that signs can be started"),
    }
}
