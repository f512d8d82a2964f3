//! Client authentication at the token endpoint (RFC 6749 §2.3, OIDC Core §9).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::params::decode;
use super::{AuthMethod, Client, ErrorCode, OAuthError, Params};
use crate::ambient::Secret;

/// The unverified credentials of a request.
#[derive(Debug)]
pub struct ClientCredentials {
    /// The claimed client ID.
    pub client_id: String,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    Basic(Secret),
    Post(Secret),
    Nothing,
}

/// An authenticated client. Only [`authenticate`] creates one.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticatedClient<'a>(&'a Client);

impl<'a> AuthenticatedClient<'a> {
    /// The client.
    pub const fn get(&self) -> &'a Client {
        self.0
    }
}

/// Reads the credentials of the request: at most one method (RFC 6749 §2.3).
pub fn credentials(authorization: Option<&str>, params: &Params) -> Result<ClientCredentials, OAuthError> {
    let body_id = params.get("client_id")?;
    let body_secret = params.get("client_secret")?;
    if params.get("client_assertion")?.is_some() || params.get("client_assertion_type")?.is_some() {
        return Err(OAuthError::new(ErrorCode::InvalidClient, "client assertions are not supported"));
    }
    if let Some(header) = authorization {
        let (id, secret) = basic(header)?;
        if body_secret.is_some() {
            return Err(OAuthError::invalid_request("more than one method of client authentication was used"));
        }
        if body_id.is_some_and(|other| other != id) {
            return Err(OAuthError::invalid_request("client_id is not the one of the Authorization header"));
        }
        return Ok(ClientCredentials { client_id: id, proof: Proof::Basic(secret) });
    }
    let client_id = body_id
        .ok_or_else(|| OAuthError::new(ErrorCode::InvalidClient, "client authentication is missing"))?
        .to_owned();
    let proof = body_secret.map_or(Proof::Nothing, |secret| Proof::Post(Secret::new(secret)));
    Ok(ClientCredentials { client_id, proof })
}

/// RFC 6749 §2.3.1: both halves are form-urlencoded before they are joined.
fn basic(header: &str) -> Result<(String, Secret), OAuthError> {
    let malformed =
        || OAuthError::new(ErrorCode::InvalidClient, "the Authorization header is not valid Basic authentication");
    let (scheme, credentials) = header.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded = STANDARD.decode(credentials.trim()).map_err(|_| malformed())?;
    let colon = decoded.iter().position(|&byte| byte == b':').ok_or_else(malformed)?;
    let id = decode(&decoded[..colon]).ok_or_else(malformed)?;
    let secret = decode(&decoded[colon + 1..]).ok_or_else(malformed)?;
    if id.is_empty() { Err(malformed()) } else { Ok((id, Secret::new(secret))) }
}

/// Authenticates the request. `client` is the one registered under the credentials ID, if any; an unknown client and a
/// wrong secret get the same answer.
pub fn authenticate<'a>(
    client: Option<&'a Client>,
    credentials: &ClientCredentials,
) -> Result<AuthenticatedClient<'a>, OAuthError> {
    let failed = || OAuthError::new(ErrorCode::InvalidClient, "client authentication failed");
    let client = client.ok_or_else(failed)?;
    let allowed = match (&credentials.proof, client.auth_method) {
        (Proof::Basic(_), AuthMethod::Any | AuthMethod::Basic)
        | (Proof::Post(_), AuthMethod::Any | AuthMethod::Post) => true,
        (Proof::Nothing, AuthMethod::None) => return Ok(AuthenticatedClient(client)),
        _ => false,
    };
    let (Proof::Basic(given) | Proof::Post(given)) = &credentials.proof else { return Err(failed()) };
    let right = client.secret.as_ref().is_some_and(|secret| secret.matches(given.expose()));
    if allowed && right { Ok(AuthenticatedClient(client)) } else { Err(failed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "p+q r%:é-0123456789-0123456789-0123";

    fn client(auth_method: AuthMethod) -> Client {
        Client { auth_method, ..Client::confidential("the shop", Secret::new(SECRET)) }
    }

    fn header(id: &str, secret: &str) -> String {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
    }

    fn try_with(method: AuthMethod, authorization: Option<&str>, params: &Params) -> Result<(), ErrorCode> {
        let client = client(method);
        let credentials = credentials(authorization, params).map_err(|error| error.code)?;
        let known = (credentials.client_id == client.id).then_some(&client);
        authenticate(known, &credentials).map(|_| ()).map_err(|error| error.code)
    }

    fn body(secret: &str) -> Params {
        Params::from([("client_id", "the shop"), ("client_secret", secret)])
    }

    #[test]
    fn a_secret_works_in_the_header_or_in_the_body_as_registered() {
        let good = header("the shop", SECRET);
        for (method, basic, post) in [
            (AuthMethod::Any, true, true),
            (AuthMethod::Basic, true, false),
            (AuthMethod::Post, false, true),
            (AuthMethod::None, false, false),
        ] {
            assert_eq!(try_with(method, Some(&good), &Params::default()).is_ok(), basic, "{method:?}");
            assert_eq!(try_with(method, None, &body(SECRET)).is_ok(), post, "{method:?}");
        }
    }

    #[test]
    fn only_a_public_client_needs_no_secret() {
        let id_alone = Params::from([("client_id", "the shop")]);
        assert_eq!(try_with(AuthMethod::None, None, &id_alone), Ok(()));
        assert_eq!(try_with(AuthMethod::Any, None, &id_alone), Err(ErrorCode::InvalidClient));
    }

    #[test]
    fn a_wrong_secret_and_an_unknown_client_get_the_same_answer() {
        let wrong =
            authenticate(Some(&client(AuthMethod::Any)), &credentials(None, &body("wrong")).unwrap()).unwrap_err();
        let unknown = authenticate(None, &credentials(None, &body(SECRET)).unwrap()).unwrap_err();
        assert_eq!(wrong, unknown);
    }

    #[test]
    fn two_methods_at_once_are_an_invalid_request() {
        let good = header("the shop", SECRET);
        assert_eq!(try_with(AuthMethod::Any, Some(&good), &body(SECRET)), Err(ErrorCode::InvalidRequest));
        let other = Params::from([("client_id", "another")]);
        assert_eq!(try_with(AuthMethod::Any, Some(&good), &other), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn a_bad_basic_header_is_an_invalid_client() {
        for bad in ["Basic", "Basic !!!", "Basic YQ==", "Bearer x", "Basic OnNlY3JldA==", "Basic YTolRkY="] {
            assert_eq!(
                try_with(AuthMethod::Any, Some(bad), &Params::default()),
                Err(ErrorCode::InvalidClient),
                "{bad}"
            );
        }
    }
}
