//! `[[client]]`: a relying party and the event its visitors wait for.

use url::Url;

use super::reader::{Read, Section, Unique};
use super::value::Value;
use crate::ambient::Secret;
use crate::oauth::{
    AuthMethod, ClaimTemplates, Client, ClientKind, Pkce, QueueClaims, RedirectUri, RedirectUriError, SigningAlg,
};
use crate::policy;
use crate::room::EventId;

/// A configured relying party.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its protocol settings.
    pub client: Client,
    /// The event whose queue its visitors join.
    pub event: EventId,
}

pub(super) fn read(section: &mut Section<'_>, events: &Unique, ids: &mut Unique) -> Read<ClientConfig> {
    let id = section.required("client_id", |value| {
        let id = value.parsed(client_id)?;
        ids.claim(value, &id).map(|()| id)
    });
    let event = section.required("event", |value| event(value, events));
    let auth_method = section.or("token_endpoint_auth_method", AuthMethod::Any, auth_method);
    let secret = secret(section, &auth_method);
    let kinds = [("web", ClientKind::Web), ("native", ClientKind::Native)];
    let kind = section.or("application_type", ClientKind::Web, |value| value.choice(&kinds));
    // If the kind is invalid, it is reported once; redirect URIs are then held to the common rules.
    let assumed = kind.unwrap_or_default();
    let redirect_uris = uris(section, "redirect_uris", assumed);
    if matches!(&redirect_uris, Ok(uris) if uris.is_empty()) {
        section.refuse("redirect_uris", "at least one is needed");
    }
    let post_logout_redirect_uris = uris(section, "post_logout_redirect_uris", assumed);
    let client_name = section.optional("client_name", Value::title);
    let initiate_login_uri = section.optional("initiate_login_uri", |value| value.parsed(page));
    let client_uri = section.optional("client_uri", |value| value.parsed(page));
    let login_timeout =
        section.or("login_timeout", policy::DEFAULT_LOGIN_TIMEOUT, |value| value.seconds(policy::FLOW_LIFETIME));
    let id_token_alg = section.or("id_token_signed_response_alg", SigningAlg::Rs256, algorithm);
    let access_token_alg = section.or("access_token_signing_alg", SigningAlg::Es256, algorithm);
    let pkce = section.or("require_pkce", Pkce::Optional, |value| {
        value.flag().map(|required| if required { Pkce::Required } else { Pkce::Optional })
    });
    let on_request = [("always", QueueClaims::Always), ("requested", QueueClaims::Requested)];
    let queue_claims = section.or("queue_claims", QueueClaims::Always, |value| value.choice(&on_request));
    let acr_values = section.list("acr_values", |value| value.parsed(acr_value));
    let claims = section.or("claims", ClaimTemplates::default(), claims);
    let client = Client {
        id: id?,
        name: client_name?,
        secret: secret?,
        auth_method: auth_method?,
        pkce: pkce?,
        kind: kind?,
        redirect_uris: redirect_uris?,
        post_logout_redirect_uris: post_logout_redirect_uris?,
        initiate_login_uri: initiate_login_uri?,
        client_uri: client_uri?,
        login_timeout: login_timeout?,
        id_token_alg: id_token_alg?,
        access_token_alg: access_token_alg?,
        acr_values: acr_values?,
        claims: claims?,
        queue_claims: queue_claims?,
    };
    Ok(ClientConfig { client, event: event? })
}

/// RFC 6749 appendix A.1: printable ASCII.
fn client_id(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let longest = policy::MAX_CLIENT_ID_LENGTH;
    let good = printable && !text.is_empty() && text.len() <= longest;
    if good { Ok(text.to_owned()) } else { Err(format!("it must be 1 to {longest} printable ASCII characters")) }
}

fn event(value: &Value<'_>, events: &Unique) -> Read<EventId> {
    let event = value.parsed(str::parse::<EventId>)?;
    if events.contains(event.as_str()) {
        return Ok(event);
    }
    let known: Vec<&str> = events.names().collect();
    Err(value.refuse(format!("there is no event {:?}; there is: {}", event.as_str(), known.join(", "))))
}

fn auth_method(value: &Value<'_>) -> Read<AuthMethod> {
    if value.text()? == "private_key_jwt" {
        return Err(value.refuse("\"private_key_jwt\" is not in this version"));
    }
    value.choice(&[
        ("any", AuthMethod::Any),
        ("client_secret_basic", AuthMethod::Basic),
        ("client_secret_post", AuthMethod::Post),
        ("none", AuthMethod::None),
    ])
}

/// A confidential client has a secret, a public one has none; a public one with a secret is a mistake.
fn secret(section: &mut Section<'_>, auth_method: &Read<AuthMethod>) -> Read<Option<Secret>> {
    let public = matches!(auth_method, Ok(AuthMethod::None));
    let secret = section.optional("client_secret", |value| {
        let superfluous = "a public client (token_endpoint_auth_method = \"none\") has no secret";
        if public { Err(value.refuse(superfluous)) } else { value.secret() }
    })?;
    if secret.is_none() && !public && auth_method.is_ok() {
        let message = "it is missing; a public client says token_endpoint_auth_method = \"none\"";
        return Err(section.refuse("client_secret", message));
    }
    Ok(secret)
}

fn uris(section: &mut Section<'_>, key: &'static str, kind: ClientKind) -> Read<Vec<RedirectUri>> {
    let mut seen = Unique::default();
    section.list(key, |value| {
        let uri = value.parsed(|text| RedirectUri::register(text, kind))?;
        seen.claim(value, uri.as_str()).map(|()| uri)
    })
}

/// A page of the site that browsers are sent to: held to the rules of a site's redirect URI.
fn page(text: &str) -> Result<Url, RedirectUriError> {
    RedirectUri::register(text, ClientKind::Web)?;
    Url::parse(text).map_err(|_| RedirectUriError::NotAbsolute)
}

fn algorithm(value: &Value<'_>) -> Read<SigningAlg> {
    value.choice(&SigningAlg::ALL.map(|algorithm| (algorithm.as_str(), algorithm)))
}

/// A request lists its values separated by spaces (OIDC Core §3.1.2.1).
fn acr_value(text: &str) -> Result<String, &'static str> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.to_owned()) } else { Err("it must be printable ASCII without spaces") }
}

fn claims(value: &Value<'_>) -> Read<ClaimTemplates> {
    let templates: Vec<Read<_>> = value
        .entries()?
        .into_iter()
        .map(|(name, template)| {
            let value = template.json()?;
            let alone = ClaimTemplates::new([(name.to_owned(), value.clone())]);
            alone.map_err(|error| template.refuse(error.to_string())).map(|_| (name.to_owned(), value))
        })
        .collect();
    let templates = templates.into_iter().collect::<Read<Vec<_>>>()?;
    ClaimTemplates::new(templates).map_err(|error| value.refuse(error.to_string()))
}
