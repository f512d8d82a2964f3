//! The public URL of the installation.
//!
//! It is the issuer (OIDC Core §1.2), which relying parties compare as a string. It is kept byte for byte, so only an
//! unambiguous form is accepted.

use url::Url;

use crate::oauth::is_loopback;

/// `public_url`: an absolute https URL (http on a loopback address), optionally with a path under which everything is
/// mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicUrl {
    text: String,
    url: Url,
}

/// Whether visitors use TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Plain HTTP, on a loopback address only.
    Http,
    /// TLS, terminated here or by a proxy in front.
    Https,
}

/// Why a text cannot be the public URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublicUrlError {
    /// It is not a URL, or has another scheme than http and https.
    #[error("it must be an absolute URL, such as https://queue.example")]
    NotAbsolute,
    /// It has a user name or password.
    #[error("it must not contain credentials, because it is public")]
    Credentials,
    /// It has a query.
    #[error("it must not have a query (OpenID Connect Core 2)")]
    Query,
    /// It has a fragment.
    #[error("it must not have a fragment (OpenID Connect Core 2)")]
    Fragment,
    /// It ends with a slash, which would make it another issuer.
    #[error("it must not end with a slash: relying parties compare it byte for byte")]
    TrailingSlash,
    /// It is http on an address that other machines reach.
    #[error(
        "it must be https, because OpenID Connect demands it of an issuer and cookies and tokens would cross the \
         network in the clear; http is for loopback addresses"
    )]
    Insecure,
    /// It is not the normal form of the URL.
    #[error("relying parties compare it byte for byte, so write it in its normal form: {0}")]
    NotNormal(String),
    /// Its path has characters that need escapes.
    #[error("its path may have letters, digits, '-', '.', '_' and '~' between single slashes")]
    Path,
}

impl PublicUrl {
    /// Parses the configured text.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let url = Url::parse(text).map_err(|_| PublicUrlError::NotAbsolute)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(PublicUrlError::NotAbsolute);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(PublicUrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(PublicUrlError::Fragment);
        }
        if url.query().is_some() {
            return Err(PublicUrlError::Query);
        }
        if text.ends_with('/') {
            return Err(PublicUrlError::TrailingSlash);
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(PublicUrlError::Insecure);
        }
        let normal = if url.path() == "/" { url.as_str().trim_end_matches('/') } else { url.as_str() };
        if normal != text {
            return Err(PublicUrlError::NotNormal(normal.to_owned()));
        }
        if !plain_path(&url) {
            return Err(PublicUrlError::Path);
        }
        Ok(Self { text: text.to_owned(), url })
    }

    /// The issuer, byte for byte as configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path under which everything is mounted: empty, or `/` and one or more segments, without a slash at the end.
    pub fn path_prefix(&self) -> &str {
        match self.url.path() {
            "/" => "",
            path => path,
        }
    }

    /// Scheme, host and port, as browsers write them in `Origin`.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Whether visitors use TLS.
    pub fn scheme(&self) -> Scheme {
        if self.url.scheme() == "https" { Scheme::Https } else { Scheme::Http }
    }

    /// The same with `port`, if this one names port 0, for which the system chooses a port.
    #[must_use]
    pub fn with_chosen_port(self, port: u16) -> Self {
        let mut url = self.url.clone();
        if self.url.port() != Some(0) || url.set_port(Some(port)).is_err() {
            return self;
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        Self { text, url }
    }

    /// The address of `path`, which begins with a slash, in this installation.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// The parts of the address.
    pub const fn url(&self) -> &Url {
        &self.url
    }
}

/// Routers match decoded paths, so only a path without escapes always matches itself.
fn plain_path(url: &Url) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment = |segment: &str| !segment.is_empty() && segment.bytes().all(plain);
    url.path() == "/" || url.path().split('/').skip(1).all(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_is_kept_byte_for_byte() {
        let cases = [
            ("https://queue.example", "", "https://queue.example", Scheme::Https),
            ("https://queue.example:8443/in/line", "/in/line", "https://queue.example:8443", Scheme::Https),
            ("http://127.0.0.1:8080", "", "http://127.0.0.1:8080", Scheme::Http),
            ("http://localhost/a", "/a", "http://localhost", Scheme::Http),
        ];
        for (text, prefix, origin, scheme) in &cases {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!((url.as_str(), url.path_prefix(), url.scheme()), (*text, *prefix, *scheme));
            assert_eq!(url.origin(), *origin);
            assert_eq!(url.at("/token"), format!("{text}/token"));
        }
    }

    #[test]
    fn an_invalid_issuer_is_refused_with_the_reason() {
        let normal = |text: &str| PublicUrlError::NotNormal(text.into());
        let cases = [
            ("queue.example", PublicUrlError::NotAbsolute),
            ("", PublicUrlError::NotAbsolute),
            ("ftp://queue.example", PublicUrlError::NotAbsolute),
            ("https://u:p@queue.example", PublicUrlError::Credentials),
            ("https://queue.example?", PublicUrlError::Query),
            ("https://queue.example/#x", PublicUrlError::Fragment),
            ("https://queue.example/", PublicUrlError::TrailingSlash),
            ("https://queue.example/a/", PublicUrlError::TrailingSlash),
            ("http://queue.example", PublicUrlError::Insecure),
            ("http://127.0.0.1.example", PublicUrlError::Insecure),
            ("HTTPS://Queue.example:443", normal("https://queue.example")),
            ("https://queue.example/a/../b", normal("https://queue.example/b")),
            ("https://queue.example/a//b", PublicUrlError::Path),
            ("https://queue.example/%7Bx%7D", PublicUrlError::Path),
        ];
        for (text, error) in cases {
            assert_eq!(PublicUrl::parse(text), Err(error), "{text}");
        }
    }
}
