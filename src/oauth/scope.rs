//! Scope (RFC 6749 §3.3, OIDC Core §5.4): `openid` is required; unknown values are ignored.

use super::{ErrorCode, OAuthError, Params};

/// The granted scopes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scope {
    /// Releases the claims of OIDC Core §5.4 `profile`.
    pub profile: bool,
    /// Releases `email` and `email_verified`.
    pub email: bool,
    /// Releases the claims about the queue, for clients that get them on request alone.
    pub queue: bool,
}

impl Scope {
    /// The scope of an authorization request.
    pub fn requested(params: &Params) -> Result<Self, OAuthError> {
        let asked = params.require("scope")?;
        if !asked.split(' ').any(|token| token == "openid") {
            return Err(OAuthError::new(ErrorCode::InvalidScope, "the scope must contain openid"));
        }
        Ok(Self::parse(asked))
    }

    /// Parses a `scope` member written by [`Scope::as_str`].
    pub fn parse(text: &str) -> Self {
        let has = |name: &str| text.split(' ').any(|token| token == name);
        Self { profile: has("profile"), email: has("email"), queue: has("queue") }
    }

    /// The `scope` member of a token answer and claim of an access token.
    pub const fn as_str(self) -> &'static str {
        match (self.profile, self.email, self.queue) {
            (false, false, false) => "openid",
            (true, false, false) => "openid profile",
            (false, true, false) => "openid email",
            (true, true, false) => "openid profile email",
            (false, false, true) => "openid queue",
            (true, false, true) => "openid profile queue",
            (false, true, true) => "openid email queue",
            (true, true, true) => "openid profile email queue",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openid_is_required_and_unknown_scopes_are_ignored() {
        let read = |scope: &str| Scope::requested(&Params::from([("scope", scope)]));
        assert_eq!(read("openid").map(Scope::as_str), Ok("openid"));
        assert_eq!(read("email phone openid custom").map(Scope::as_str), Ok("openid email"));
        assert_eq!(read("profile").unwrap_err().code, ErrorCode::InvalidScope);
        assert_eq!(read("openidx").unwrap_err().code, ErrorCode::InvalidScope);
        assert_eq!(read("").unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_scope_member_is_parsed_back() {
        for flags in 0..8 {
            let scope = Scope { profile: flags & 1 != 0, email: flags & 2 != 0, queue: flags & 4 != 0 };
            assert_eq!(Scope::parse(scope.as_str()), scope);
        }
    }
}
