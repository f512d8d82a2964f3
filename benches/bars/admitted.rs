//! P5: whole logins of admitted visitors, compared with OpenSSL's signatures on the same cores. Each login is a code,
//! its tokens and the user info, on the visitor's own connection; each answer is checked.

use std::cell::Cell;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::try_join_all;
use url::form_urlencoded;

use super::http::{Connection, get, post};
use super::process::{CLIENT_SECRET, REDIRECT, Server, prepare};
use super::report::grouped;
use super::{Bar, Options, Outcome, ensure, median};

/// The bar.
pub const BARS: [&str; 1] = ["P5"];

/// The number of visitors that log in concurrently: enough that no core waits for a disk.
const VISITORS: usize = 128;

/// A kind of relying party.
struct Kind {
    /// The `client_id` and the algorithm of its ID tokens.
    alg: &'static str,
    /// OpenSSL's name for the algorithm.
    openssl: &'static str,
    job: &'static str,
    reach: &'static str,
    least: f64,
}

const KINDS: [Kind; 2] = [
    Kind { alg: "RS256", openssl: "rsa2048", job: "whole login, RS256", reach: "≥ 0.80", least: 0.80 },
    Kind { alg: "ES256", openssl: "ecdsap256", job: "whole login, ES256", reach: "≥ 0.05", least: 0.05 },
];

/// Measures.
pub async fn measure(options: &Options) -> Outcome<Vec<Bar>> {
    let directory = tempfile::tempdir()?;
    prepare(directory.path())?;
    let server = Server::anteroom(directory.path())?;
    let mut bars = Vec::new();
    for kind in &KINDS {
        let mut visitors = admit(&server, kind).await?;
        log_in_for(&mut visitors, Duration::from_secs(1)).await?;
        let (mut signs, mut logins) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            signs.push(signatures(kind.openssl, options.seconds)?);
            logins.push(log_in_for(&mut visitors, Duration::from_secs(options.seconds)).await?);
        }
        eprintln!("P5 {}: signatures {signs:.0?}, logins {logins:.0?}", kind.alg);
        let (signs, logins) = (median(&signs), median(&logins));
        let ratio = logins / signs;
        bars.push(Bar {
            id: "P5",
            job: kind.job,
            figure: format!("{ratio:.3}"),
            reach: kind.reach,
            reached: ratio >= kind.least,
            made_of: format!("{} logins ÷ {} signatures a second", grouped(logins), grouped(signs)),
        });
    }
    server.stop()?;
    Ok(bars)
}

/// Signatures per second on all cores.
fn signatures(algorithm: &str, seconds: u64) -> Outcome<f64> {
    let cores = std::thread::available_parallelism()?.to_string();
    let output = Command::new("openssl")
        .args(["speed", "-seconds", &seconds.to_string(), "-multi", &cores, algorithm])
        .output()
        .map_err(|error| format!("openssl cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The last line ends with signatures and verifications per second.
    let rate = text.trim().lines().last().and_then(|line| line.split_whitespace().rev().nth(1));
    rate.and_then(|rate| rate.parse().ok()).ok_or_else(|| format!("openssl said: {text}").into())
}

/// An admitted visitor, in a browser with an open connection.
struct Visitor {
    connection: Connection,
    target: String,
    /// Its cookies, each `name=value`.
    cookies: Vec<String>,
    authorize: String,
    /// The headers of the relying party.
    basic: String,
    alg: &'static str,
    /// The expected subject, as in the relying party's JSON.
    sub: String,
}

/// Joins visitors, admits all of them, and logs each in for the first time.
async fn admit(server: &Server, kind: &Kind) -> Outcome<Vec<Visitor>> {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", kind.alg), ("redirect_uri", REDIRECT), ("response_type", "code")])
        .extend_pairs([("scope", "openid"), ("state", "st4te"), ("nonce", "n0nce")])
        .finish();
    let target = format!("/authorize?{query}");
    let credentials = STANDARD.encode(format!("{}:{CLIENT_SECRET}", kind.alg));
    let form = "Content-Type: application/x-www-form-urlencoded";
    let mut visitors = Vec::new();
    for number in 0..VISITORS as u128 {
        let mut connection = Connection::open(&server.address).await?;
        // The browser has a cookie, so the cookie check is passed.
        let browser = URL_SAFE_NO_PAD.encode(number.to_be_bytes());
        let answer = connection.ask(&get(&target, &format!("Cookie: anteroom-browser={browser}\r\n"))).await?;
        ensure(answer.status == 200, || format!("a new visitor is not asked to wait: {answer:?}"))?;
        let set: Vec<_> = answer.headers("set-cookie").map(str::to_owned).collect();
        let basic = format!("Authorization: Basic {credentials}\r\n{form}\r\n");
        let (target, authorize, sub) = (target.clone(), String::new(), String::new());
        let mut visitor = Visitor { connection, target, cookies: Vec::new(), authorize, basic, alg: kind.alg, sub };
        visitor.keep(&set);
        visitors.push(visitor);
    }
    let more = format!(r#"{{"event_id":"Sample","increment_by":{VISITORS}}}"#);
    server.post("/private/increment_serving_counter", &more).await?;
    for visitor in &mut visitors {
        visitor.log_in().await?;
    }
    Ok(visitors)
}

/// Logs all visitors in repeatedly; returns logins per second.
async fn log_in_for(visitors: &mut [Visitor], time: Duration) -> Outcome<f64> {
    let (started, count) = (Instant::now(), Cell::new(0_u32));
    try_join_all(visitors.iter_mut().map(async |visitor| {
        while started.elapsed() < time {
            visitor.log_in().await?;
            count.set(count.get() + 1);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    }))
    .await?;
    Ok(f64::from(count.get()) / started.elapsed().as_secs_f64())
}

impl Visitor {
    /// Keeps the cookies of an answer, as a browser does.
    fn keep(&mut self, set: &[String]) {
        for cookie in set {
            let cookie = cookie.split(';').next().unwrap_or_default();
            let name = cookie.split('=').next().unwrap_or_default();
            self.cookies.retain(|kept| !kept.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
            self.cookies.push(cookie.to_owned());
        }
        self.authorize = get(&self.target, &format!("Cookie: {}\r\n", self.cookies.join("; ")));
    }

    async fn log_in(&mut self) -> Outcome<()> {
        let answer = self.connection.ask(&self.authorize).await?;
        // Only the first login replaces the place cookie by the session cookie.
        let set: Vec<_> = answer.headers("set-cookie").map(str::to_owned).collect();
        let location = answer.headers("location").next().unwrap_or_default();
        let query = location.strip_prefix(REDIRECT).and_then(|rest| rest.strip_prefix('?')).unwrap_or_default();
        let field = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let good = answer.status == 303 && field("state") == Some("st4te") && field("iss").is_some();
        let code = field("code").filter(|_| good).ok_or_else(|| format!("no code: {answer:?}"))?;

        let redirect: String = form_urlencoded::byte_serialize(REDIRECT.as_bytes()).collect();
        let redeem = format!("grant_type=authorization_code&code={code}&redirect_uri={redirect}");
        if !set.is_empty() {
            self.keep(&set);
        }
        let answer = self.connection.ask(&post("/token", &self.basic, &redeem)).await?;
        let tokens = (text(answer.body, "id_token"), text(answer.body, "access_token"));
        let (200, (Some(id), Some(access))) = (answer.status, tokens) else {
            return Err(format!("no tokens: {answer:?}").into());
        };
        let (alg, claims) = (part(id, 0)?, part(id, 1)?);
        let sub = text(&claims, "sub").unwrap_or_default();
        let good = text(&alg, "alg") == Some(self.alg) && text(&claims, "nonce") == Some("n0nce") && !sub.is_empty();
        ensure(good && (self.sub.is_empty() || self.sub == sub), || format!("an ID token says {claims}"))?;
        sub.clone_into(&mut self.sub);

        let bearer = get("/userInfo", &format!("Authorization: Bearer {access}\r\n"));
        let answer = self.connection.ask(&bearer).await?;
        let same = answer.status == 200 && text(answer.body, "sub") == Some(&self.sub);
        ensure(same, || format!("/userInfo: {answer:?}"))
    }
}

/// A text member of flat JSON, without escapes.
fn text<'a>(json: &'a str, member: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{member}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// A part of a compact JWS.
fn part(token: &str, index: usize) -> Outcome<String> {
    let encoded = token.split('.').nth(index).ok_or("an ID token is cut")?;
    Ok(String::from_utf8(URL_SAFE_NO_PAD.decode(encoded)?)?)
}
