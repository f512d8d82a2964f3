//! nginx with `auth_request` before a page.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use reqwest::StatusCode;

use crate::support::process::Process;
use crate::support::program::Anteroom;
use crate::support::visitor::{Page, Visitor};
use crate::support::{eventually, free_port, program};

/// A whole nginx in one directory, guarding as docs/integrators.md has it. The site's own part of the login is played
/// by a redirect and by the test.
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
    server {
        listen 127.0.0.1:{port};
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
    }
}
"#;

const PAGE: &str = "<p>The shop</p>";

/// nginx on `port`, in a directory that its own user may look into.
async fn nginx(program: &Path, port: u16, issuer: &str, callback: &str) -> Process {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(root.join("pages")).unwrap();
    fs::write(root.join("pages/index.html"), PAGE).unwrap();
    let callback: String = url::form_urlencoded::byte_serialize(callback.as_bytes()).collect();
    let config = CONFIG
        .replace("{directory}", root.to_str().unwrap())
        .replace("{port}", &port.to_string())
        .replace("{issuer}", issuer)
        .replace("{callback}", &callback);
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
    let _nginx = nginx(&program, port, &anteroom.issuer, &callback).await;
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
