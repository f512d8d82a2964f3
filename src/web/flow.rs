//! A flow: one authorization request while its visitor waits, sealed and carried by the browser.
//!
//! It holds the request's own parameters, so that coming back runs the same checks as the first time, against the
//! clients as they are then. It is bound to one browser and good for [`policy::FLOW_LIFETIME`].

use serde::{Deserialize, Serialize};

use super::App;
use super::cookies::Browser;
use crate::ambient::Timestamp;
use crate::oauth::Params;
use crate::policy;
use crate::room::Opener;

/// What is sealed.
#[derive(Serialize, Deserialize)]
pub struct Flow {
    /// The authorization request.
    pub params: Params,
    /// When it came.
    pub began: Timestamp,
    /// How many were ahead then: where the progress bar begins.
    pub start_ahead: u64,
    browser: String,
}

/// What names a login request of this browser, on its first arrival and on every later one. A site gives each of its
/// requests a `state`, a `nonce` or a `code_challenge` of its own; one without is the request of its flow alone.
/// `None`: nothing tells it from another.
pub fn opener(params: &Params, sealed: Option<&str>, browser: Option<&Browser>) -> Option<Opener> {
    let value = |name| params.get(name).ok().flatten().unwrap_or_default();
    let own = ["state", "nonce", "code_challenge"].map(value);
    if own.iter().all(|value| value.is_empty()) {
        return sealed.map(|sealed| Opener::named(&[sealed]));
    }
    let [state, nonce, challenge] = own;
    Some(Opener::named(&[browser?.as_str(), value("client_id"), value("redirect_uri"), state, nonce, challenge]))
}

/// Why a flow is not resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowProblem {
    /// Not one of ours, or damaged.
    Broken,
    /// Too old.
    Expired,
    /// The browser sends no cookie.
    NoCookie,
    /// Another browser's.
    Foreign,
}

impl Flow {
    /// Begins a flow in this browser.
    pub fn begin(params: Params, began: Timestamp, start_ahead: u64, browser: &Browser) -> Self {
        Self { params, began, start_ahead, browser: browser.as_str().to_owned() }
    }

    /// The text that the browser carries; `None` if it cannot be sealed.
    pub fn seal(&self, app: &App) -> Option<String> {
        let plain = serde_json::to_vec(self).ok()?;
        app.flows.seal(&plain, app.lobby.entropy()).ok()
    }

    /// Opens what `browser` brought back.
    ///
    /// # Errors
    /// See [`FlowProblem`].
    pub fn open(app: &App, sealed: &str, browser: Option<&Browser>) -> Result<Self, FlowProblem> {
        let plain = app.flows.open(sealed).map_err(|_| FlowProblem::Broken)?;
        let flow: Self = serde_json::from_slice(&plain).map_err(|_| FlowProblem::Broken)?;
        if app.lobby.now().since(flow.began) > policy::FLOW_LIFETIME {
            return Err(FlowProblem::Expired);
        }
        match browser {
            None => Err(FlowProblem::NoCookie),
            Some(browser) if !browser.is(&flow.browser) => Err(FlowProblem::Foreign),
            Some(_) => Ok(flow),
        }
    }
}
