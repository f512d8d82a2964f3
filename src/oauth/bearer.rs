//! The bearer token of a request (RFC 6750 §2): in the header or the form body, never both, never the query.

use super::{OAuthError, Params};

/// Why no token was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BearerError {
    /// None was sent: the answer has the scheme and no error (RFC 6750 §3.1).
    Missing,
    /// It was sent in an invalid way.
    Malformed(OAuthError),
}

/// The token of a request with this `Authorization` header and form body.
pub fn bearer_token<'a>(authorization: Option<&'a str>, body: &'a Params) -> Result<&'a str, BearerError> {
    let in_body = body.get("access_token").map_err(BearerError::Malformed)?;
    let in_header = authorization.and_then(|header| header.split_once(' '));
    let in_header =
        in_header.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    match (in_header, in_body) {
        (Some(_), Some(_)) => {
            Err(BearerError::Malformed(OAuthError::invalid_request("the access token was sent in more than one way")))
        }
        (Some(""), None) => Err(BearerError::Malformed(OAuthError::invalid_request("the access token is empty"))),
        (Some(token), None) | (None, Some(token)) => Ok(token),
        (None, None) => Err(BearerError::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_the_header_or_the_body_and_never_from_both() {
        let body = Params::from([("access_token", "b")]);
        let none = Params::default();
        assert_eq!(bearer_token(Some("Bearer h"), &none), Ok("h"));
        assert_eq!(bearer_token(Some("bearer h"), &none), Ok("h"));
        assert_eq!(bearer_token(None, &body), Ok("b"));
        assert!(matches!(bearer_token(Some("Bearer h"), &body), Err(BearerError::Malformed(_))));
        assert_eq!(bearer_token(Some("Basic h"), &none), Err(BearerError::Missing));
        assert_eq!(bearer_token(None, &none), Err(BearerError::Missing));
    }
}
