//! A flow: an authorization request while its visitor waits, encrypted and carried by the browser.
//!
//! It contains the request's own parameters, so that a return runs the same checks as the first arrival, against the
//! clients configured then. It is bound to one browser and valid for [`policy::FLOW_LIFETIME`].

use serde::{Deserialize, Serialize};

use super::App;
use super::cookies::Browser;
use crate::ambient::Timestamp;
use crate::oauth::Params;
use crate::policy;
use crate::room::Opener;

/// The content of a flow.
#[derive(Serialize, Deserialize)]
pub struct Flow {
    /// The authorization request.
    pub params: Params,
    /// When the request first arrived.
    pub began: Timestamp,
    /// When this flow was encrypted; `None`: when the request arrived, in flows of an earlier version.
    made: Option<Timestamp>,
    /// The number of visitors ahead at that time: where the progress bar begins.
    pub start_ahead: u64,
    browser: String,
}

/// The name of a login request in this browser, the same on every arrival. Sites give each request its own `state`,
/// `nonce` or `code_challenge`; a request without them is named by its flow. `None`: it cannot be told apart from
/// others.
pub fn opener(params: &Params, sealed: Option<&str>, browser: Option<&Browser>) -> Option<Opener> {
    let value = |name| params.get(name).ok().flatten().unwrap_or_default();
    let Some([state, nonce, challenge]) = unique_parameters(params) else {
        return sealed.map(|sealed| Opener::named(&[sealed]));
    };
    Some(Opener::named(&[browser?.as_str(), value("client_id"), value("redirect_uri"), state, nonce, challenge]))
}

/// The parameters that make a request unique: `state`, `nonce`, `code_challenge`; `None`: it has none of them.
pub fn unique_parameters(params: &Params) -> Option<[&str; 3]> {
    let own = ["state", "nonce", "code_challenge"].map(|name| params.get(name).ok().flatten().unwrap_or_default());
    own.iter().any(|value| !value.is_empty()).then_some(own)
}

/// Why a flow is not resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowError {
    /// It is not a flow of this provider, or is damaged.
    Malformed,
    /// The browser sends no cookie.
    NoCookie,
    /// It belongs to another browser.
    Foreign,
}

impl Flow {
    /// Begins a flow at `now` in this browser, for a request that first arrived when it `began`.
    pub fn begin(params: Params, began: Timestamp, now: Timestamp, start_ahead: u64, browser: &Browser) -> Self {
        Self { params, began, made: Some(now), start_ahead, browser: browser.as_str().to_owned() }
    }

    /// The encrypted flow that the browser carries; `None` if encryption fails.
    pub fn seal(&self, app: &App) -> Option<String> {
        let plain = serde_json::to_vec(self).ok()?;
        app.flows.seal(&plain, app.lobby.entropy()).ok()
    }

    /// Decrypts the flow that `browser` returned.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn open(app: &App, sealed: &str, browser: Option<&Browser>) -> Result<Self, FlowError> {
        let plain = app.flows.open(sealed).map_err(|_| FlowError::Malformed)?;
        let flow: Self = serde_json::from_slice(&plain).map_err(|_| FlowError::Malformed)?;
        match browser {
            None => Err(FlowError::NoCookie),
            Some(browser) if !browser.is(&flow.browser) => Err(FlowError::Foreign),
            Some(_) => Ok(flow),
        }
    }

    /// Whether it has expired: the request must be sent again.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.made.unwrap_or(self.began)) > policy::FLOW_LIFETIME
    }
}
