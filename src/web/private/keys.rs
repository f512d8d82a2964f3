//! The signing keys as operators see and change them: `GET /private/keys`, `POST /private/rotate_keys`.
//!
//! What a rotation does and when it is refused is the key ring's rule; here it only gets an address. The command
//! `anteroom keys` speaks to these paths while the service runs.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::access::operator;
use crate::keys::{KeyChannel, KeyDuty, KeyError, KeyUse, Rotation};
use crate::lobby::{KeyServiceError, LobbyError};
use crate::web::App;
use crate::web::extract::{Body, json};
use crate::web::respond::{Audience, Problem};

/// Where the keys are listed.
pub const KEYS: &str = "/private/keys";

/// Where they are rotated.
pub const ROTATE_KEYS: &str = "/private/rotate_keys";

/// The body of `rotate_keys`.
#[derive(Serialize, Deserialize, Debug)]
pub struct RotateKeys {
    /// `patient`, `at_once` or `compromised`.
    pub how: Rotation,
    /// Whose keys: those of OpenID Connect (`login`), that of the REST channel (`rest`), or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<KeyChannel>,
}

impl RotateKeys {
    /// The uses of the keys that are meant.
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
    /// RS256 first, and of each algorithm the key that signs, the next one, the retired ones.
    pub keys: Vec<KeyDuty>,
}

/// `GET /private/keys`.
pub async fn list(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    operator(&app, &request, &body)?;
    Ok(answer(app.lobby.keys().duties(app.lobby.now())))
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
        Err(error) => Err(Problem::Internal(fault(error), Audience::Rest)),
    }
}

fn answer(keys: Vec<KeyDuty>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(KeyList { keys })
}

fn fault(error: KeyServiceError) -> LobbyError {
    match error {
        KeyServiceError::Store(error) => LobbyError::Store(error),
        KeyServiceError::Key(error) => error.into(),
        KeyServiceError::Unseal(_) => LobbyError::Internal("the key ring in the store cannot be opened"),
        KeyServiceError::Seal(_) => LobbyError::Internal("the key ring cannot be sealed"),
        KeyServiceError::Contended => LobbyError::Internal("somebody else changes the key ring"),
        KeyServiceError::ThreadDied => LobbyError::Internal("the thread that generates keys died"),
        KeyServiceError::Threads(_) => LobbyError::Internal("no thread that signs can be started"),
    }
}
