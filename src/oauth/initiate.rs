//! A login that the site is asked to start (OIDC Core §4): where the browser is sent, and with which parameters.

use url::Url;

use crate::policy;

/// A request as a proxy reports it. It is untrusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forwarded<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host, optionally with a port.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
}

impl Forwarded<'_> {
    /// The address of the request, if it is below the origin of `start`: a login leads back only to the site that began
    /// it.
    pub fn below(&self, start: &Url) -> Option<Url> {
        let named = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]".contains(letter);
        let plain = self.target.starts_with('/') && self.target.bytes().all(|byte| byte.is_ascii_graphic());
        // A path that browsers read as the beginning of another host is refused.
        let ambiguous = self.target.starts_with("//") || self.target.contains('\\');
        if !plain || ambiguous || self.target.len() > policy::MAX_TARGET_LINK || !self.host.chars().all(named) {
            return None;
        }
        if !matches!(self.scheme, "http" | "https") {
            return None;
        }
        let mut url = Url::parse(&format!("{}://{}{}", self.scheme, self.host, self.target)).ok()?;
        url.set_fragment(None);
        (url.origin() == start.origin()).then_some(url)
    }
}

/// The address at which the site starts a login with the provider `issuer` that leads to `target`.
pub fn initiate_login(start: &Url, issuer: &str, target: Option<&Url>) -> Url {
    let mut url = start.clone();
    url.query_pairs_mut().append_pair("iss", issuer);
    if let Some(target) = target {
        url.query_pairs_mut().append_pair("target_link_uri", target.as_str());
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "https://shop.example/login?from=queue";

    fn below(scheme: &str, host: &str, target: &str) -> Option<String> {
        Forwarded { scheme, host, target }.below(&START.parse().unwrap()).map(Into::into)
    }

    #[test]
    fn a_target_of_the_sites_own_origin_is_kept() {
        assert_eq!(below("https", "shop.example", "/cart?x=1&y").as_deref(), Some("https://shop.example/cart?x=1&y"));
        assert_eq!(below("https", "shop.example:443", "/").as_deref(), Some("https://shop.example/"));
    }

    #[test]
    fn a_target_elsewhere_or_in_doubt_is_dropped() {
        let long = format!("/{}", "a".repeat(policy::MAX_TARGET_LINK));
        for (scheme, host, target) in [
            ("http", "shop.example", "/"),
            ("https", "evil.example", "/"),
            ("https", "shop.example:8443", "/"),
            ("https", "shop.example.evil.example", "/"),
            ("https", "shop.example@evil.example", "/"),
            ("https", "evil.example/shop.example", "/"),
            ("https", "shop.example, evil.example", "/"),
            ("https", "", "/"),
            ("javascript", "shop.example", "/"),
            ("https", "shop.example", "//evil.example/"),
            ("https", "shop.example", "/\\evil.example"),
            ("https", "shop.example", "@evil.example/"),
            ("https", "shop.example", ".evil.example/"),
            ("https", "shop.example", "/a b"),
            ("https", "shop.example", "/\r\nset-cookie:"),
            ("https", "shop.example", ""),
            ("https", "shop.example", &long),
        ] {
            assert_eq!(below(scheme, host, target), None, "{scheme} {host} {target}");
        }
    }

    #[test]
    fn the_start_keeps_its_query_and_gets_issuer_and_target() {
        let start: Url = START.parse().unwrap();
        assert_eq!(initiate_login(&start, "https://q", None).as_str(), format!("{START}&iss=https%3A%2F%2Fq"));
        let target = "https://shop.example/a?b=c&d".parse().unwrap();
        let whole = initiate_login(&start, "https://q", Some(&target));
        let expected = "&target_link_uri=https%3A%2F%2Fshop.example%2Fa%3Fb%3Dc%26d";
        assert_eq!(whole.as_str(), format!("{START}&iss=https%3A%2F%2Fq{expected}"));
    }
}
