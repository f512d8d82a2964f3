//! Whether a request is a browser's navigation: only a navigation gets a place in the queue or opens a session.
//!
//! Other requests to `/authorize` act without a person: prefetches, scripts, images, crawlers. They would take a place
//! that is never used, or open a session that no one sees.

use actix_web::http::header::{HeaderMap, USER_AGENT};

use super::crawlers;

/// Why a request is not answered with a place or a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NavigationError {
    /// The browser fetches the page before a person opens it.
    Speculative,
    /// A script, an image, a style sheet or the like: no page is shown.
    Subresource,
    /// A crawler that announces itself.
    Crawler,
}

impl NavigationError {
    /// The answer for a request that gets no page; crawlers get a page.
    pub const fn sentence(self) -> Option<&'static str> {
        match self {
            Self::Speculative => Some("This page is not given in advance: it would take a place in line"),
            Self::Subresource => Some("This page is only for a browser that shows it"),
            Self::Crawler => None,
        }
    }
}

/// The headers in which browsers announce speculative requests: the standard one (Nav Speculation §6.1.2), and those of
/// older browsers (Chromium and WebKit, Firefox, Safari's previews).
const PURPOSES: [&str; 4] = ["sec-purpose", "purpose", "x-moz", "x-purpose"];
const IN_ADVANCE: [&str; 3] = ["prefetch", "prerender", "preview"];

/// The destinations of navigations (Fetch, *request destination*).
const PAGES: [&str; 3] = ["document", "iframe", "frame"];

/// Checks by its headers whether the request is a navigation. A request without `Sec-Fetch-Dest` counts as one: Safari
/// before 16.4, web views and sites over plain HTTP send none (Fetch Metadata §2.1).
///
/// # Errors
/// The kind of request that it is instead.
pub fn check(headers: &HeaderMap) -> Result<(), NavigationError> {
    let agent = headers.get(USER_AGENT).map(|agent| agent.as_bytes()).unwrap_or_default();
    if crawlers::announces(&String::from_utf8_lossy(agent)) {
        return Err(NavigationError::Crawler);
    }
    if PURPOSES.iter().any(|name| words(headers, name).any(|word| is_one_of(word, &IN_ADVANCE))) {
        return Err(NavigationError::Speculative);
    }
    // A navigation that a service worker forwards loses its destination, in all browsers (w3c/ServiceWorker issue
    // 1803). Scripts cannot make such a request, because they may not choose the mode "navigate" (Fetch §5.4, step 19).
    let by_worker = |word: &[u8]| {
        word.eq_ignore_ascii_case(b"empty")
            && words(headers, "sec-fetch-mode").any(|mode| mode.eq_ignore_ascii_case(b"navigate"))
    };
    if words(headers, "sec-fetch-dest").all(|word| is_one_of(word, &PAGES) || by_worker(word)) {
        Ok(())
    } else {
        Err(NavigationError::Subresource)
    }
}

/// The words of a header's values, without separators and quotes: `prefetch;prerender` has two.
fn words<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).map(|value| value.as_bytes());
    values.flat_map(|value| value.split(|byte| b";,=\" \t".contains(byte))).filter(|word| !word.is_empty())
}

fn is_one_of(word: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn checked(headers: &[(&str, &str)]) -> Result<(), NavigationError> {
        let request = headers.iter().fold(TestRequest::default(), |request, header| request.append_header(*header));
        check(request.to_http_request().headers())
    }

    #[test]
    fn pages_and_requests_without_a_destination_are_navigations() {
        for headers in [
            &[][..],
            &[("sec-fetch-dest", "document")],
            &[("sec-fetch-dest", "iframe")],
            &[("sec-fetch-dest", "frame")],
            &[("Sec-Fetch-Dest", " Document ")],
            &[("sec-fetch-dest", "")],
            &[("sec-fetch-dest", "empty"), ("sec-fetch-mode", "navigate")],
            &[("sec-fetch-mode", "navigate"), ("purpose", "")],
            &[("purpose", "login")],
            &[("user-agent", "curl/8.5.0"), ("accept", "*/*")],
        ] {
            assert_eq!(checked(headers), Ok(()), "{headers:?}");
        }
    }

    #[test]
    fn subresources_are_no_navigations() {
        for destination in
            ["empty", "image", "script", "style", "object", "embed", "worker", "fencedframe", "webidentity", "x"]
        {
            assert_eq!(checked(&[("sec-fetch-dest", destination)]), Err(NavigationError::Subresource), "{destination}");
        }
        let twice = [("sec-fetch-dest", "document"), ("sec-fetch-dest", "image")];
        assert_eq!(checked(&twice), Err(NavigationError::Subresource));
        let by_script = [("sec-fetch-dest", "empty"), ("sec-fetch-mode", "cors")];
        assert_eq!(checked(&by_script), Err(NavigationError::Subresource));
        let image = [("sec-fetch-dest", "image"), ("sec-fetch-mode", "navigate")];
        assert_eq!(checked(&image), Err(NavigationError::Subresource));
    }

    #[test]
    fn a_prefetch_is_no_navigation() {
        for (name, value) in [
            ("sec-purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("sec-purpose", "prefetch; anonymous-client-ip"),
            ("Sec-Purpose", "PREFETCH"),
            ("sec-purpose", "prerender"),
            ("purpose", "prefetch"),
            ("purpose", "prerender"),
            ("x-moz", "prefetch"),
            ("x-purpose", "preview"),
            ("x-purpose", "something, prefetch"),
            ("sec-purpose", "\"prefetch\""),
            ("sec-purpose", "prefetch=?1"),
            ("sec-purpose", "prefetch prerender"),
            ("sec-purpose", "prefetch\tprerender"),
        ] {
            assert_eq!(
                checked(&[(name, value), ("sec-fetch-dest", "document")]),
                Err(NavigationError::Speculative),
                "{value}"
            );
        }
    }

    #[test]
    fn an_announced_crawler_is_no_navigation_whatever_its_other_headers() {
        let agent = ("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)");
        assert_eq!(checked(&[agent, ("sec-fetch-dest", "document")]), Err(NavigationError::Crawler));
    }
}
