//! Whether a request reuses the existing login, needs a new one, or must fail (OIDC Core §3.1.2.1 `prompt`, `max_age`,
//! `id_token_hint`; §3.1.2.3).

use std::time::Duration;

use super::{AuthorizationRequest, ErrorCode, OAuthError, Params};
use crate::ambient::Timestamp;

/// The `prompt` parameter. `consent` and `select_account` are accepted without effect: a visitor has one place and
/// nothing to consent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Prompt {
    /// None: log in if necessary.
    #[default]
    Any,
    /// Never show a page.
    None,
    /// Always log in again.
    Login,
}

impl Prompt {
    /// The prompt of an authorization request.
    pub fn requested(params: &Params) -> Result<Self, OAuthError> {
        let values: Vec<&str> =
            params.get("prompt")?.unwrap_or_default().split(' ').filter(|v| !v.is_empty()).collect();
        if let Some(unknown) = values.iter().find(|v| !["none", "login", "consent", "select_account"].contains(v)) {
            return Err(OAuthError::invalid_request(format!("unknown prompt value {unknown}")));
        }
        match (values.contains(&"none"), values.len()) {
            (true, 1) => Ok(Self::None),
            (true, _) => Err(OAuthError::invalid_request("prompt=none excludes every other prompt value")),
            (false, _) if values.contains(&"login") => Ok(Self::Login),
            (false, _) => Ok(Self::Any),
        }
    }
}

/// The `max_age` of an authorization request.
pub(super) fn max_age(params: &Params) -> Result<Option<Duration>, OAuthError> {
    let Some(text) = params.get("max_age")? else { return Ok(None) };
    let seconds = text.parse().map_err(|_| OAuthError::invalid_request("max_age is not a number of seconds"))?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// The browser's existing login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// `sub`.
    pub subject: String,
    /// When it began.
    pub auth_time: Timestamp,
}

/// The decision on a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LoginDecision {
    /// Answer it from the existing login.
    Reuse,
    /// Log in: join the queue.
    LineUp,
    /// Answer with this error.
    Refuse(OAuthError),
}

/// Decides. `hint` is the subject of a verified `id_token_hint`; `not_before` is set when the visitor returns from a
/// wait that this request caused: a login made since then always suffices.
pub fn decide(
    request: &AuthorizationRequest,
    login: Option<&Login>,
    hint: Option<&str>,
    now: Timestamp,
    not_before: Option<Timestamp>,
) -> LoginDecision {
    let wanted = [hint, request.claims.subject()].into_iter().flatten();
    let is_wanted = |login: &Login| wanted.clone().all(|subject| subject == login.subject);
    let made_since = |login: &Login| not_before.is_some_and(|earliest| login.auth_time >= earliest);
    let recent = |login: &Login| request.max_age.is_none_or(|age| login.auth_time + age > now);
    let fresh_enough = |login: &Login| made_since(login) || (request.prompt != Prompt::Login && recent(login));
    let login_required = |why: &'static str| LoginDecision::Refuse(OAuthError::new(ErrorCode::LoginRequired, why));
    match login {
        Some(login) if is_wanted(login) && fresh_enough(login) => LoginDecision::Reuse,
        // A new login is a new place, so a new subject, which cannot be the requested one.
        _ if wanted.clone().next().is_some() => {
            login_required("the visitor asked for is not logged in, or not recently enough")
        }
        _ if request.prompt == Prompt::None => login_required("nobody is logged in, or not recently enough"),
        _ => LoginDecision::LineUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn login(age: u64) -> Login {
        Login { subject: "me".into(), auth_time: NOW - Duration::from_secs(age) }
    }

    fn request(prompt: Prompt, max_age: Option<u64>) -> AuthorizationRequest {
        AuthorizationRequest { prompt, max_age: max_age.map(Duration::from_secs), ..AuthorizationRequest::default() }
    }

    fn refused(decision: &LoginDecision) -> bool {
        matches!(decision, LoginDecision::Refuse(error) if error.code == ErrorCode::LoginRequired)
    }

    #[test]
    fn a_login_is_reused_and_without_one_the_visitor_joins_the_queue() {
        let any = request(Prompt::Any, None);
        assert_eq!(decide(&any, Some(&login(5)), None, NOW, None), LoginDecision::Reuse);
        assert_eq!(decide(&any, None, None, NOW, None), LoginDecision::LineUp);
    }

    #[test]
    fn prompt_none_never_joins_the_queue() {
        let none = request(Prompt::None, Some(60));
        assert_eq!(decide(&none, Some(&login(5)), None, NOW, None), LoginDecision::Reuse);
        assert!(refused(&decide(&none, Some(&login(61)), None, NOW, None)));
        assert!(refused(&decide(&none, None, None, NOW, None)));
    }

    #[test]
    fn prompt_login_joins_again_and_accepts_the_resulting_login() {
        let again = request(Prompt::Login, None);
        assert_eq!(decide(&again, Some(&login(0)), None, NOW, None), LoginDecision::LineUp);
        let asked = NOW - Duration::from_secs(30);
        assert_eq!(decide(&again, Some(&login(31)), None, NOW, Some(asked)), LoginDecision::LineUp);
        assert_eq!(decide(&again, Some(&login(5)), None, NOW, Some(asked)), LoginDecision::Reuse);
    }

    #[test]
    fn a_login_older_than_max_age_joins_again() {
        let recent = request(Prompt::Any, Some(60));
        assert_eq!(decide(&recent, Some(&login(59)), None, NOW, None), LoginDecision::Reuse);
        assert_eq!(decide(&recent, Some(&login(60)), None, NOW, None), LoginDecision::LineUp);
        let zero = request(Prompt::Any, Some(0));
        assert_eq!(decide(&zero, Some(&login(0)), None, NOW, None), LoginDecision::LineUp);
    }

    #[test]
    fn only_the_hinted_visitor_is_accepted() {
        let any = request(Prompt::Any, None);
        assert_eq!(decide(&any, Some(&login(5)), Some("me"), NOW, None), LoginDecision::Reuse);
        assert!(refused(&decide(&any, Some(&login(5)), Some("other"), NOW, None)));
        assert!(refused(&decide(&any, None, Some("other"), NOW, None)));
        let again = request(Prompt::Login, None);
        assert!(refused(&decide(&again, Some(&login(5)), Some("me"), NOW, None)), "a new login has a new subject");
        assert!(refused(&decide(&request(Prompt::Any, Some(5)), Some(&login(5)), Some("me"), NOW, None)));
    }

    #[test]
    fn prompt_none_excludes_the_others_and_unknown_values_are_refused() {
        let read = |prompt: &str| Prompt::requested(&Params::from([("prompt", prompt)]));
        assert_eq!(read("none"), Ok(Prompt::None));
        assert_eq!(read("login consent"), Ok(Prompt::Login));
        assert_eq!(read("select_account"), Ok(Prompt::Any));
        assert!(read("none login").is_err());
        assert!(read("never").is_err());
        assert!(max_age(&Params::from([("max_age", "-1")])).is_err());
    }
}
