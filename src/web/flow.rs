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
    /// When it first came.
    pub began: Timestamp,
    /// When this flow was sealed; `None`: when the request came, by a version of the program that did not note it.
    made: Option<Timestamp>,
    /// How many were ahead then: where the progress bar begins.
    pub start_ahead: u64,
    browser: String,
}

/// What names a login request of this browser, on its first arrival and on every later one. A site gives each of its
/// requests a `state`, a `nonce` or a `code_challenge` of its own; one without is the request of its flow alone.
/// `None`: nothing tells it from another.
pub fn opener(params: &Params, sealed: Option<&str>, browser: Option<&Browser>) -> Option<Opener> {
    let value = |name| params.get(name).ok().flatten().unwrap_or_default();
    let Some([state, nonce, challenge]) = of_its_own(params) else {
        return sealed.map(|sealed| Opener::named(&[sealed]));
    };
    Some(Opener::named(&[browser?.as_str(), value("client_id"), value("redirect_uri"), state, nonce, challenge]))
}

/// What a site gives a request so that no other is like it: `state`, `nonce`, `code_challenge`; `None`: nothing.
pub fn of_its_own(params: &Params) -> Option<[&str; 3]> {
    let own = ["state", "nonce", "code_challenge"].map(|name| params.get(name).ok().flatten().unwrap_or_default());
    own.iter().any(|value| !value.is_empty()).then_some(own)
}

/// Why a flow is not resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowProblem {
    /// Not one of ours, or damaged.
    Broken,
    /// The browser sends no cookie.
    NoCookie,
    /// Another browser's.
    Foreign,
}

impl Flow {
    /// Begins a flow at `now` in this browser, for a request that first came when it `began`.
    pub fn begin(params: Params, began: Timestamp, now: Timestamp, start_ahead: u64, browser: &Browser) -> Self {
        Self { params, began, made: Some(now), start_ahead, browser: browser.as_str().to_owned() }
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
        match browser {
            None => Err(FlowProblem::NoCookie),
            Some(browser) if !browser.is(&flow.browser) => Err(FlowProblem::Foreign),
            Some(_) => Ok(flow),
        }
    }

    /// Whether it is good no more: its request has to come anew.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.made.unwrap_or(self.began)) > policy::FLOW_LIFETIME
    }
}
