//! nginx with `auth_request` before a page, and nginx as a cache before the public API.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use reqwest::StatusCode;

use crate::support::process::Process;
use crate::support::program::{Anteroom, http};
use crate::support::visitor::{Page, Visitor};
use crate::support::{eventually, free_port, program};

/// A complete nginx in one directory.
const CONFIG: &str = r#"
daemon off;
pid "{directory}/pid";
error_log "{directory}/error.log" info;
events {}
http {
    access_log off;
    default_type text/html;
    client_body_temp_path "{directory}/body";
    proxy_temp_path "{directory}/proxy";
    fastcgi_temp_path "{directory}/fastcgi";
    uwsgi_temp_path "{directory}/uwsgi";
    scgi_temp_path "{directory}/scgi";
    {http}
    server {
        listen 127.0.0.1:{port};
        {server}
    }
}
"#;

/// The documentation page with the nginx configuration.
const INTEGRATORS: &str = include_str!("../../docs/integrators.md");

/// The configuration of that page, for a site and an issuer on this machine.
fn recipe(site: SocketAddr, issuer: &str) -> String {
    let recipe = INTEGRATORS.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
    let ours = [("http://127.0.0.1:3000", format!("http://{site}")), ("https://queue.example", issuer.to_owned())];
    let ours = ours.into_iter().chain([("event_id=sale", "event_id=Sample".to_owned())]);
    ours.fold(recipe.to_owned(), |recipe, (theirs, ours)| {
        assert!(recipe.contains(theirs), "the recipe has no {theirs}: {recipe}");
        recipe.replace(theirs, &ours)
    })
}

/// The page that tells how Anteroom is put behind nginx.
const OPERATORS: &str = include_str!("../../docs/operators.md");

/// The site behind it: its login redirects to `login`, and each page shows the identity headers that it received.
fn site(login: String) -> SocketAddr {
    let login = Data::new(login);
    let server = HttpServer::new(move || App::new().app_data(Data::clone(&login)).default_service(web::to(page)));
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    address
}

async fn page(request: HttpRequest, login: Data<String>) -> HttpResponse {
    if request.path() == "/queue/login" {
        return HttpResponse::Found().insert_header(("location", login.as_str())).finish();
    }
    let actual = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-anteroom-"));
    let actual: Vec<_> = actual.map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
    let visitor = request.headers().get("x-anteroom-sub").map_or("", |value| value.to_str().unwrap());
    HttpResponse::Ok().insert_header(("x-visitor", visitor)).insert_header(("x-identity", actual.join(" "))).body(PAGE)
}

/// A cache that follows the cache headers of the answers alone.
const CACHE: &str = r#"
location / {
    proxy_pass {issuer};
    proxy_cache answers;
    proxy_cache_background_update on;
    add_header X-Cache $upstream_cache_status always;
}
"#;

const PAGE: &str = "<p>The shop</p>";

/// nginx on `port`, in a directory that its own user can read.
async fn nginx(program: &Path, port: u16, (http, server): (&str, &str)) -> Process {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    let config = CONFIG
        .replace("{http}", http)
        .replace("{server}", server)
        .replace("{directory}", root.to_str().unwrap())
        .replace("{port}", &port.to_string());
    fs::write(root.join("nginx.conf"), config).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(root).arg("-c").arg(root.join("nginx.conf")).args(["-e", "stderr"]);
    let process = Process::start("nginx", &command, directory);
    eventually("nginx listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
    process
}

fn shows_the_shop(page: &Page) -> bool {
    page.status == StatusCode::OK && page.body == PAGE
}

/// A site behind that configuration.
struct Guarded {
    anteroom: Anteroom,
    address: String,
    callback: String,
    _nginx: Process,
}

impl Guarded {
    async fn start() -> Option<Self> {
        let program = program("nginx")?;
        let port = free_port();
        let address = format!("http://127.0.0.1:{port}");
        let callback = format!("{address}/queue/callback");
        let anteroom = Anteroom::for_client(&callback).await;
        let encoded: String = url::form_urlencoded::byte_serialize(callback.as_bytes()).collect();
        let query = format!("client_id=Sample&response_type=code&scope=openid&redirect_uri={encoded}");
        let site = site(format!("{}/authorize?{query}", anteroom.issuer));
        let nginx = nginx(&program, port, ("", &recipe(site, &anteroom.issuer))).await;
        Some(Self { anteroom, address, callback, _nginx: nginx })
    }

    /// An admitted visitor, and the token.
    async fn inside(&self) -> (Visitor, String) {
        let mut visitor = Visitor::stopping_before(&self.callback);
        let page = visitor.open(&self.address).await;
        self.anteroom.serve(1).await;
        let back = visitor.refresh(&page).await;
        let token = self.anteroom.redeem(&back.query()["code"], &self.callback).await;
        visitor.given("127.0.0.1", "anteroom_token", &token);
        (visitor, token)
    }
}

#[tokio::test]
async fn nginx_redirects_without_a_token_and_passes_a_valid_one_until_the_session_ends() {
    let Some(shop) = Guarded::start().await else { return };
    let mut stranger = Visitor::stopping_before(&shop.callback);
    assert_eq!(stranger.open(&shop.address).await.position(), Some(1));
    stranger.given("127.0.0.1", "anteroom_token", "a.bad.one");
    assert_eq!(stranger.open(&shop.address).await.position(), Some(1));
    shop.anteroom.serve(1).await;
    let (mut visitor, _) = shop.inside().await;
    let page = visitor.open(&shop.address).await;
    assert!(shows_the_shop(&page), "{page:?}");
    shop.anteroom.end_session(page.header("x-visitor")).await;
    assert_eq!(visitor.open(&shop.address).await.position(), Some(3), "in line again");
}

#[tokio::test]
async fn identity_headers_of_a_visitor_never_reach_the_site_behind_nginx() {
    let Some(shop) = Guarded::start().await else { return };
    let (mut visitor, token) = shop.inside().await;
    let sub = visitor.open(&shop.address).await.header("x-visitor").to_owned();
    let actual = async |path: &str, cookie: &str| {
        let names = ["Sub", "Event", "Position", "Expires", "sub", "Other"];
        let request = http().get(format!("{}{path}", shop.address)).header("cookie", cookie);
        let request =
            names.iter().fold(request, |request, name| request.header(format!("X-Anteroom-{name}"), "forged"));
        let answer = request.header("X_Anteroom_Sub", "forged").send().await.unwrap();
        let actual = answer.headers().get("x-identity").map(|actual| actual.to_str().unwrap().to_owned());
        (answer.status().as_u16(), actual)
    };
    let cookie = format!("anteroom_token={token}");
    for path in ["/", "/api/cart"] {
        let (status, actual) = actual(path, &cookie).await;
        let actual = actual.unwrap();
        let known: Vec<_> = actual.split(' ').filter(|one| !one.starts_with("x-anteroom-other=")).collect();
        assert_eq!(status, 200, "{path}");
        assert!(
            known.contains(&&*format!("x-anteroom-sub={sub}")) && known.contains(&"x-anteroom-position=1"),
            "{actual}"
        );
        assert!(known.len() == 4 && known.iter().all(|one| !one.contains("forged")), "{actual}");
    }
    assert_eq!(actual("/api/cart", "").await, (401, None), "a program gets 401");
    assert_eq!(actual("/queue/callback", &cookie).await, (200, Some("x-anteroom-other=forged".to_owned())));
}

#[tokio::test]
async fn a_cache_in_front_answers_calls_and_never_with_data_from_before_a_reset() {
    let Some(program) = program("nginx") else { return };
    let anteroom = Anteroom::for_client("https://shop.example/callback").await;
    let port = free_port();
    let zone = "proxy_cache_path \"{directory}/cache\" keys_zone=answers:1m;";
    let _nginx = nginx(&program, port, (zone, &CACHE.replace("{issuer}", &anteroom.issuer))).await;
    let ask = async |path: String| {
        let answer = http().get(format!("http://127.0.0.1:{port}/api/{path}")).send().await.unwrap();
        let cache = answer.headers()["x-cache"].to_str().unwrap().to_owned();
        let status = answer.status().as_u16();
        let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        (status, body, cache)
    };
    let ticket = anteroom.ticket().await;
    let queue_num = format!("queue_num?event_id=Sample&request_id={ticket}");
    let expiry = format!("queue_pos_expiry?event_id=Sample&request_id={ticket}");
    anteroom.serve(7).await;
    eventually("the cache answers by itself", async || {
        let (status, body, cache) = ask("serving_num?event_id=Sample".to_owned()).await;
        assert_eq!(status, 200);
        (body["serving_counter"] == 7 && cache == "HIT").then_some(())
    })
    .await;
    for _ in 0..3 {
        let (status, body, cache) = ask(queue_num.clone()).await;
        assert_eq!((status, body["queue_number"].as_u64(), cache.as_str()), (200, Some(1), "MISS"));
        assert_eq!(ask(expiry.clone()).await.0, 200);
    }
    anteroom.reset().await;
    assert_eq!(ask(queue_num).await.0, 202, "at once");
    assert_eq!(ask(expiry).await.0, 404, "at once");
    eventually("the counter is seen to be at the beginning", async || {
        (ask("serving_num?event_id=Sample".to_owned()).await.1["serving_counter"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_operators_guide_carries_a_long_state_and_streams_through_nginx() {
    let Some(program) = program("nginx") else { return };
    let callback = "https://shop.example/callback";
    let anteroom = Anteroom::for_client(callback).await;
    let port = free_port();
    let lines = OPERATORS.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
    let lines = lines.replace("http://127.0.0.1:8080", &anteroom.issuer);
    let _nginx = nginx(&program, port, ("", &lines)).await;
    let state = "s".repeat(5 * 1024);
    let query = [("client_id", "Sample"), ("response_type", "code"), ("scope", "openid"), ("redirect_uri", callback)];
    let request = http().get(format!("http://127.0.0.1:{port}/authorize")).query(&query).query(&[("state", &state)]);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER, "the cookie check");
    assert!(answer.headers()["location"].to_str().unwrap().contains(&state));
    let stream = http().get(format!("http://127.0.0.1:{port}/line/Sample/events")).send();
    let first = stream.await.unwrap().chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("retry:"), "{first:?}");
}
