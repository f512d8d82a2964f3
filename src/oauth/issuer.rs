//! Valid issuers of a token (OIDC Core §2, `iss`): a URL with scheme and host, optionally with port and path, without
//! query and fragment.

use url::Url;

/// Whether a text is a valid issuer. It is compared byte for byte, so text that merely parses as a URL is refused;
/// unlike in Core it may be plain `http`, for private networks.
pub fn is_issuer(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte));
    let authority = rest.split('/').next().unwrap_or_default();
    matches!(scheme, "http" | "https")
        && plain
        && !authority.is_empty()
        && !authority.contains('@')
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_scheme_host_port_and_path_is_an_issuer() {
        for good in [
            "https://queue.example",
            "https://queue.example/",
            "http://10.0.0.1:8080/room/sale",
            "https://[::1]:8443",
            "https://a1b2.execute-api.eu-central-1.amazonaws.com/api",
        ] {
            assert!(is_issuer(good), "{good}");
        }
    }

    #[test]
    fn any_other_url_is_no_issuer() {
        for bad in [
            "",
            " ",
            "queue",
            "queue.example",
            "//queue.example",
            "/room",
            "urn:example:issuer",
            "javascript:alert(1)",
            "ftp://queue.example",
            "HTTPS://queue.example",
            "https:queue.example",
            "https:/queue.example",
            "https://",
            "https:///queue.example",
            "https://queue.example?",
            "https://queue.example/?a=b",
            "https://queue.example#",
            "https://queue.example/#a",
            "https://user@queue.example",
            "https://@queue.example",
            " https://queue.example",
            "https://queue.example\n",
            "https://queue example",
            "https:\\\\queue.example",
            "https://queue.example\\a",
            "https://queue.example:port",
            "https://q\u{fc}eue.example",
        ] {
            assert!(!is_issuer(bad), "{bad:?}");
        }
    }
}
