//! A visitor with a browser without scripts: it keeps cookies, follows redirects, and continues from a page on request:
//! by the page's refresh, or by its form.

use std::collections::BTreeMap;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use url::Url;

use super::program::http;

/// The limit of redirects in browsers.
const MOST_REDIRECTS: usize = 20;

/// A visitor's browser.
pub struct Visitor {
    http: reqwest::Client,
    /// By host, as browsers keep them: not by port.
    cookies: BTreeMap<(String, String), String>,
    /// A prefix that is not opened: the address of a relying party without a server.
    stop_before: Option<String>,
}

/// The page that a visitor has reached.
#[derive(Debug)]
pub struct Page {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Visitor {
    pub fn new() -> Self {
        Self { http: http(), cookies: BTreeMap::new(), stop_before: None }
    }

    /// A visitor who stops when a redirect leads to an address with this prefix.
    pub fn stopping_before(address: &str) -> Self {
        Self { stop_before: Some(address.to_owned()), ..Self::new() }
    }

    /// A visitor's browser with a cookie from another site of `host`.
    pub fn given(&mut self, host: &str, name: &str, value: &str) {
        self.cookies.insert((host.to_owned(), name.to_owned()), value.to_owned());
    }

    /// Opens an address and follows its redirects.
    pub async fn open(&mut self, address: &str) -> Page {
        let url: Url = address.parse().unwrap_or_else(|error| panic!("{address:?}: {error}"));
        let request = self.http.get(url.clone());
        self.follow(url, request).await
    }

    /// Follows the page's own refresh.
    pub async fn refresh(&mut self, page: &Page) -> Page {
        let target = page.refresh_target().unwrap_or_else(|| panic!("the page stays as it is: {page:?}"));
        self.open(page.url.join(&target).unwrap().as_str()).await
    }

    /// Presses the button of the page's form.
    pub async fn submit(&mut self, page: &Page) -> Page {
        let url = page.url.join(&page.form_action()).unwrap();
        let fields: Vec<_> = page.inputs();
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = "application/x-www-form-urlencoded";
        let request = self.http.post(url.clone()).header("content-type", form).body(body);
        self.follow(url, request).await
    }

    async fn follow(&mut self, mut url: Url, mut request: RequestBuilder) -> Page {
        for _ in 0..MOST_REDIRECTS {
            let answer = request.header("cookie", self.cookies_for(&url)).send().await.unwrap();
            self.keep_cookies(&url, &answer);
            let (status, headers) = (answer.status(), answer.headers().clone());
            let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
            let Some(location) = location.filter(|_| status.is_redirection()) else {
                return Page { url, status, headers, body: answer.text().await.unwrap() };
            };
            url = url.join(&location).unwrap();
            if self.stop_before.as_ref().is_some_and(|address| url.as_str().starts_with(address)) {
                return Page { url, status, headers, body: String::new() };
            }
            request = self.http.get(url.clone());
        }
        panic!("the redirects do not end: {url}")
    }

    fn cookies_for(&self, url: &Url) -> String {
        let host = url.host_str().unwrap();
        let ours = self.cookies.iter().filter(|((of, _), _)| of == host);
        ours.map(|((_, name), value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep_cookies(&mut self, url: &Url, answer: &reqwest::Response) {
        for cookie in answer.headers().get_all("set-cookie") {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let key = (url.host_str().unwrap().to_owned(), name.to_owned());
            let attributes = attributes.to_ascii_lowercase();
            if attributes.contains("max-age=0") || attributes.contains("01 jan 1970") {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
    }
}

impl Page {
    /// The position that a waiting page shows.
    pub fn position(&self) -> Option<u64> {
        self.after("data-position=\"").map(|text| text.parse().unwrap())
    }

    /// The target of the page's refresh.
    pub fn refresh_target(&self) -> Option<String> {
        let (_, target) = self.after("http-equiv=\"refresh\" content=\"")?.split_once("url=")?;
        Some(unescaped(target))
    }

    /// A header of the answer; empty when it has none of this name.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The parameters of the address.
    pub fn query(&self) -> BTreeMap<String, String> {
        self.url.query_pairs().into_owned().collect()
    }

    fn form_action(&self) -> String {
        unescaped(self.after("<form method=\"post\" action=\"").unwrap_or_else(|| panic!("no form: {self:?}")))
    }

    fn inputs(&self) -> Vec<(String, String)> {
        let fields = self.body.split("<input type=\"hidden\" name=\"").skip(1);
        let named = fields.map(|field| field.split_once("\" value=\"").unwrap());
        named.map(|(name, rest)| (unescaped(name), unescaped(rest.split('"').next().unwrap()))).collect()
    }

    /// The text between `mark` and the next quotation mark.
    fn after(&self, mark: &str) -> Option<&str> {
        self.body.split_once(mark)?.1.split('"').next()
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&#38;", "&").replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&")
}
