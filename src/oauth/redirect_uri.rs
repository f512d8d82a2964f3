//! Redirect URIs: registration, matching, and the parameters of an answer (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1:
//! exact string match).

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::{Host, Url, form_urlencoded};

use super::ClientKind;

/// A registered redirect URI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedirectUri(String);

/// Why a redirect URI was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// It is not an absolute URI.
    #[error("it is not an absolute URI")]
    NotAbsolute,
    /// It has characters that no URI has (RFC 3986 §2), such as blanks, line ends, quotes and letters beyond ASCII;
    /// with the URI that browsers make of it, if that one could be registered.
    #[error("it has characters that no URI has: write them as percent escapes, host names as xn--{}", hint(.0.as_deref()))]
    Characters(Option<String>),
    /// It has no `://` before the host, or a host with characters that names do not have; with the correct form
    /// likewise.
    #[error("it must have :// and then a host name or an IP address{}", hint(.0.as_deref()))]
    Host(Option<String>),
    /// It is `http` to another machine, or has a scheme that browsers execute.
    #[error("it must be https, or http on a loopback address")]
    Insecure,
    /// RFC 6749 §3.1.2 forbids fragments.
    #[error("it must not have a fragment")]
    Fragment,
    /// `*` would match unreviewed URIs.
    #[error("it must not have a wildcard: redirect URIs match as exact strings")]
    Wildcard,
    /// It must not contain user names or passwords.
    #[error("it must not contain credentials")]
    Credentials,
    /// The client has not registered it.
    #[error("it is not registered for this client")]
    NotRegistered,
}

impl RedirectUri {
    /// Checks a URI for registration.
    pub fn register(text: &str, kind: ClientKind) -> Result<Self, RedirectUriError> {
        // The parser accepts characters that no URI and no `Location` header can contain.
        if !has_uri_characters(text) {
            return Err(RedirectUriError::Characters(correct_form(text, kind)));
        }
        let url = Url::parse(text).map_err(|_| RedirectUriError::NotAbsolute)?;
        if url.fragment().is_some() {
            return Err(RedirectUriError::Fragment);
        }
        if text.contains('*') {
            return Err(RedirectUriError::Wildcard);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RedirectUriError::Credentials);
        }
        if matches!(url.scheme(), "https" | "http") && !has_plain_host(text, &url) {
            return Err(RedirectUriError::Host(correct_form(text, kind)));
        }
        match url.scheme() {
            "https" => Ok(Self(text.to_owned())),
            "http" if is_loopback(&url) => Ok(Self(text.to_owned())),
            // RFC 8252 §7.1: a private-use scheme is a reversed domain name, so it has a dot.
            scheme if kind == ClientKind::Native && scheme.contains('.') => Ok(Self(text.to_owned())),
            _ => Err(RedirectUriError::Insecure),
        }
    }

    /// The URI as registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same with `port`, if this one names port 0, for which the system chooses a port.
    #[must_use]
    pub fn with_chosen_port(self, port: u16) -> Self {
        match Url::parse(&self.0) {
            Ok(url) if url.port() == Some(0) => Self(with_chosen_port(url, port).into()),
            _ => self,
        }
    }

    /// Whether `asked` is this URI: the same string, or, for a native client on a loopback address, the same except for
    /// the port (RFC 8252 §7.3).
    pub(super) fn allows(&self, asked: &str, kind: ClientKind) -> bool {
        asked == self.0 || (kind == ClientKind::Native && same_but_for_loopback_port(&self.0, asked))
    }
}

/// `url` with `port`, if it names port 0.
pub fn with_chosen_port(mut url: Url, port: u16) -> Url {
    // Fails only for URLs without a host, and those have no port 0 either.
    let _placed = url.port() != Some(0) || url.set_port(Some(port)).is_ok();
    url
}

/// Whether a URL names this machine, so that plain HTTP to it crosses no network.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Printable ASCII characters that are neither reserved nor unreserved (RFC 3986 §2.2 and §2.3).
const FORBIDDEN: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Whether all characters are those of URIs, and each `%` begins an escape (RFC 3986 §2.1).
fn has_uri_characters(text: &str) -> bool {
    let allowed = matches!(Cow::from(utf8_percent_encode(text, FORBIDDEN)), Cow::Borrowed(_));
    allowed && text.match_indices('%').all(|(at, _)| begins_escape(text, at))
}

fn begins_escape(text: &str, at: usize) -> bool {
    text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// The URI that browsers make of a text, if it could be registered. It repeats nothing that may be a password.
fn correct_form(text: &str, kind: ClientKind) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| url.username().is_empty() && url.password().is_none())?;
    let escaped = utf8_percent_encode(url.as_str(), FORBIDDEN).to_string();
    let percent = |(at, letter)| {
        if letter == '%' && !begins_escape(&escaped, at) { "%25".to_owned() } else { String::from(letter) }
    };
    let correct: String = escaped.char_indices().map(percent).collect();
    (correct != text && RedirectUri::register(&correct, kind).is_ok()).then_some(correct)
}

/// The correct form, for the end of an error text.
fn hint(correct: Option<&str>) -> String {
    correct.map_or_else(String::new, |correct| format!("; the correct form is {correct}"))
}

/// Whether a web URI has `://` followed by its host, and a host that every reader understands alike: browsers read
/// `https:shop.example/cb` as a path of the redirecting page, a host with escapes is ambiguous, and one with a quote
/// ends a Content-Security-Policy source.
fn has_plain_host(text: &str, url: &Url) -> bool {
    let Some(rest) = text.get(url.scheme().len()..).and_then(|rest| rest.strip_prefix("://")) else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let end = if authority.starts_with('[') { authority.find(']').map(|end| end + 1) } else { authority.find(':') };
    let written = authority.get(..end.unwrap_or(authority.len())).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let named = match url.host() {
        // A trailing dot is the DNS root.
        Some(Host::Domain(name)) => {
            name.bytes().all(plain) && !name.strip_suffix('.').unwrap_or(name).split('.').any(str::is_empty)
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    named && url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(written))
}

fn same_but_for_loopback_port(registered: &str, asked: &str) -> bool {
    let (Ok(mut registered), Ok(mut asked_url)) = (Url::parse(registered), Url::parse(asked)) else { return false };
    let literal = matches!(registered.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
    // The requested text must be in normal form; otherwise an equivalent spelling would pass.
    if !literal || registered.scheme() != "http" || !is_loopback(&registered) || asked_url.as_str() != asked {
        return false;
    }
    registered.set_port(None).is_ok() && asked_url.set_port(None).is_ok() && registered == asked_url
}

/// A redirect URI that is registered for the client of the current request. Only
/// [`Client::redirect`](super::Client::redirect) creates one, so an open redirect does not compile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidatedRedirect(String);

impl ValidatedRedirect {
    pub(super) fn proven(uri: &str) -> Self {
        Self(uri.to_owned())
    }

    /// The URI, byte for byte as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URI with `parameters` added to its query, which is preserved (RFC 6749 §4.1.2).
    pub fn with_query(&self, parameters: &[(&str, &str)]) -> String {
        let mut target = String::with_capacity(self.0.len() + 256);
        target.push_str(&self.0);
        if !self.0.ends_with(['?', '&']) {
            target.push(if self.0.contains('?') { '&' } else { '?' });
        }
        let added = form_urlencoded::Serializer::new(String::with_capacity(256)).extend_pairs(parameters).finish();
        target + &added
    }

    /// The Content-Security-Policy source that allows a form to be posted there: the origin for web URIs, the scheme
    /// for private-use ones and for IPv6 addresses, which its grammar does not support (Content Security Policy Level 3
    /// §2.3.1: a `host-char` is a letter, a digit or `-`).
    pub fn form_action_source(&self) -> String {
        match Url::parse(&self.0) {
            Ok(url) if matches!(url.host(), Some(Host::Ipv6(_))) => format!("{}:", url.scheme()),
            Ok(url) if url.origin().is_tuple() => url.origin().ascii_serialization(),
            Ok(url) => format!("{}:", url.scheme()),
            Err(_) => "'none'".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(text: &str) -> Result<RedirectUri, RedirectUriError> {
        RedirectUri::register(text, ClientKind::Web)
    }

    #[test]
    fn only_https_and_loopback_can_be_registered() {
        for good in
            ["https://shop.example/cb?x=1", "http://127.0.0.1:8090/cb", "http://localhost/cb", "http://[::1]:1/cb"]
        {
            assert!(register(good).is_ok(), "{good}");
        }
        let bad = [
            ("http://shop.example/cb", RedirectUriError::Insecure),
            ("javascript:alert(1)", RedirectUriError::Insecure),
            ("data:text/html,x", RedirectUriError::Insecure),
            ("com.example.app:/cb", RedirectUriError::Insecure),
            ("http://127.0.0.1.example/cb", RedirectUriError::Insecure),
            ("https://shop.example/cb#f", RedirectUriError::Fragment),
            ("https://*.example/cb", RedirectUriError::Wildcard),
            ("https://u:p@shop.example/cb", RedirectUriError::Credentials),
            ("/cb", RedirectUriError::NotAbsolute),
        ];
        for (uri, error) in bad {
            assert_eq!(register(uri), Err(error), "{uri}");
        }
        assert!(RedirectUri::register("com.example.app:/cb", ClientKind::Native).is_ok());
    }

    #[test]
    fn an_invalid_uri_is_refused_with_the_correct_form() {
        for (text, correct) in [
            ("https://shop.example/cb\n", Some("https://shop.example/cb")),
            ("https://shop.example/cb\r\n", Some("https://shop.example/cb")),
            (" https://shop.example/cb", Some("https://shop.example/cb")),
            ("https://shop.example/c b", Some("https://shop.example/c%20b")),
            ("https://shop.example/c\tb", Some("https://shop.example/cb")),
            ("https://shop.example/ü?ö", Some("https://shop.example/%C3%BC?%C3%B6")),
            ("https://exämple.example/cb", Some("https://xn--exmple-cua.example/cb")),
            ("https://shop.example\\cb", Some("https://shop.example/cb")),
            ("https://shop.example/cb?a\\b", Some("https://shop.example/cb?a%5Cb")),
            ("https://shop.example/\"cb\"", Some("https://shop.example/%22cb%22")),
            ("https://shop.example/<cb>", Some("https://shop.example/%3Ccb%3E")),
            ("https://shop.example/{a|b}^`", Some("https://shop.example/%7Ba%7Cb%7D%5E%60")),
            ("https://shop.example/100%", Some("https://shop.example/100%25")),
            ("https://shop.example/%zz", Some("https://shop.example/%25zz")),
            ("http://127.0.0.1/c b", Some("http://127.0.0.1/c%20b")),
            // Neither an unregistrable URI nor a password is repeated.
            ("http://shop.example/c b", None),
            ("https://user:hush hush@shop.example/cb", None),
            ("https://shop example/cb", None),
            ("https://*.example/c b", None),
            ("c b", None),
            ("javascript:alert(\"1\")", None),
        ] {
            let error = register(text).unwrap_err();
            assert_eq!(error, RedirectUriError::Characters(correct.map(str::to_owned)), "{text:?}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        for (text, correct) in [
            ("https:shop.example/cb", Some("https://shop.example/cb")),
            ("https:/shop.example/cb", Some("https://shop.example/cb")),
            ("http:127.0.0.1/cb", Some("http://127.0.0.1/cb")),
            ("https://shop'/cb", None),
            ("https://shop;example/cb", None),
            ("https:///shop.example/cb", Some("https://shop.example/cb")),
            ("https://sh%6fp.example/cb", Some("https://shop.example/cb")),
            ("http://127.1/cb", Some("http://127.0.0.1/cb")),
            ("http://[0:0::1]/cb", Some("http://[::1]/cb")),
            ("https://shop..example/cb", None),
            ("https://.shop.example/cb", None),
        ] {
            assert_eq!(register(text), Err(RedirectUriError::Host(correct.map(str::to_owned))), "{text}");
        }
        let error = register("https://exämple.example/cb").unwrap_err().to_string();
        assert!(error.ends_with("; the correct form is https://xn--exmple-cua.example/cb"), "{error}");
        for good in [
            "HTTPS://SHOP.example.:8443?a=b",
            "http://[::1]:8080/cb",
            "https://shop.example/%C3%BC?a[]=1&b=(x)!'",
            "https://[2001:db8::1]/~a;b,c$d@e:f",
        ] {
            assert!(register(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn the_match_is_exact() {
        let uri = register("https://shop.example/cb").unwrap();
        assert!(uri.allows("https://shop.example/cb", ClientKind::Web));
        for other in [
            "https://shop.example/cb/",
            "https://shop.example/cb?x",
            "https://SHOP.example/cb",
            "https://shop.example:443/cb",
            "https://shop.example/cb#x",
            "https://shop.example/%63b",
        ] {
            assert!(!uri.allows(other, ClientKind::Web), "{other}");
        }
    }

    #[test]
    fn any_loopback_port_matches_for_native_clients_alone() {
        let uri = RedirectUri::register("http://127.0.0.1/cb", ClientKind::Native).unwrap();
        assert!(uri.allows("http://127.0.0.1:49152/cb", ClientKind::Native));
        assert!(!uri.allows("http://127.0.0.1:49152/cb", ClientKind::Web));
        for other in [
            "http://127.0.0.1:1/other",
            "https://127.0.0.1:1/cb",
            "http://localhost:1/cb",
            "http://u@127.0.0.1:1/cb",
            "http://127.0.0.1:1/x/../cb",
        ] {
            assert!(!uri.allows(other, ClientKind::Native), "{other}");
        }
        let named = RedirectUri::register("http://localhost/cb", ClientKind::Native).unwrap();
        assert!(!named.allows("http://localhost:1/cb", ClientKind::Native), "RFC 8252 §8.3: names can be fooled");
    }

    #[test]
    fn port_0_gives_way_to_the_one_that_the_system_chose() {
        for (registered, placed) in [
            ("http://127.0.0.1:0/callback", "http://127.0.0.1:8090/callback"),
            ("http://127.0.0.1:1/callback", "http://127.0.0.1:1/callback"),
            ("https://SHOP.example/callback", "https://SHOP.example/callback"),
        ] {
            assert_eq!(register(registered).unwrap().with_chosen_port(8090).as_str(), placed);
        }
    }

    #[test]
    fn an_existing_query_is_kept_and_values_are_encoded() {
        let to = |uri: &str| ValidatedRedirect::proven(uri).with_query(&[("state", "a b&c=d"), ("iss", "http://i")]);
        assert_eq!(to("https://s/cb"), "https://s/cb?state=a+b%26c%3Dd&iss=http%3A%2F%2Fi");
        assert_eq!(to("https://s/cb?x=1"), "https://s/cb?x=1&state=a+b%26c%3Dd&iss=http%3A%2F%2Fi");
        assert_eq!(to("https://s/cb?"), "https://s/cb?state=a+b%26c%3Dd&iss=http%3A%2F%2Fi");
    }

    #[test]
    fn a_form_action_source_is_what_its_grammar_can_name() {
        let source = |uri| ValidatedRedirect::proven(uri).form_action_source();
        assert_eq!(source("https://shop.example/cb?x=1"), "https://shop.example");
        assert_eq!(source("http://127.0.0.1:8090/cb"), "http://127.0.0.1:8090");
        assert_eq!(source("http://[::1]:8090/cb"), "http:");
        assert_eq!(source("com.example.app:/cb"), "com.example.app:");
    }
}
