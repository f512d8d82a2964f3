//! nginx with `auth_request` before a page, and nginx as a cache before the public API.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use reqwest::StatusCode;

use crate::support::process::Process;
use crate::support::program::{Anteroom, http};
use crate::support::visitor::{Page, Visitor};
use crate::support::{eventually, free_port, program};

/// A whole nginx in one directory.
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

/// Guarding as docs/integrators.md has it. The site's own part of the login is played by a redirect and by the test.
const GUARD: &str = r#"
root "{directory}/pages";
location / {
    auth_request /_anteroom;
    auth_request_set $anteroom_sub $upstream_http_x_anteroom_sub;
    add_header X-Visitor $anteroom_sub;
    error_page 401 = @line;
}
location = /_anteroom {
    internal;
    proxy_pass {issuer}/verify?event_id=Sample&redirect=never;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
}
location @line {
    return 302 /queue/login;
}
location = /queue/login {
    return 302 {issuer}/authorize?client_id=Sample&response_type=code&scope=openid&redirect_uri={callback};
}
"#;

/// A cache that believes what answers say of themselves, and nothing else.
const CACHE: &str = r#"
location / {
    proxy_pass {issuer};
    proxy_cache answers;
    proxy_cache_background_update on;
    add_header X-Cache $upstream_cache_status always;
}
"#;

const PAGE: &str = "<p>The shop</p>";

/// nginx on `port`, in a directory that its own user may look into.
async fn nginx(program: &Path, port: u16, (http, server): (&str, &str)) -> Process {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(root.join("pages")).unwrap();
    fs::write(root.join("pages/index.html"), PAGE).unwrap();
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

#[tokio::test]
async fn nginx_sends_into_the_line_who_has_no_token_and_lets_in_who_has_a_good_one_while_the_session_lasts() {
    let Some(program) = program("nginx") else { return };
    let site = format!("http://127.0.0.1:{}", free_port());
    let callback = format!("{site}/callback");
    let anteroom = Anteroom::for_client(&callback).await;
    let port = site.rsplit(':').next().unwrap().parse().unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(callback.as_bytes()).collect();
    let guard = GUARD.replace("{issuer}", &anteroom.issuer).replace("{callback}", &encoded);
    let _nginx = nginx(&program, port, ("", &guard)).await;
    let shop = format!("{site}/index.html");

    let mut visitor = Visitor::stopping_before(&callback);
    let page = visitor.open(&shop).await;
    assert_eq!(page.position(), Some(1), "{page:?}");
    visitor.given("127.0.0.1", "anteroom_token", "a.bad.one");
    assert_eq!(visitor.open(&shop).await.position(), Some(1));

    anteroom.serve(1).await;
    let back = visitor.refresh(&page).await;
    let token = anteroom.redeem(&back.query()["code"], &callback).await;
    visitor.given("127.0.0.1", "anteroom_token", &token);
    let page = visitor.open(&shop).await;
    assert!(shows_the_shop(&page), "{page:?}");

    anteroom.end_session(page.header("x-visitor")).await;
    assert_eq!(visitor.open(&shop).await.position(), Some(2), "in line again");
}

#[tokio::test]
async fn a_cache_in_front_takes_work_off_and_never_answers_for_a_line_that_was_reset() {
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
