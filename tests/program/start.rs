//! `serve` with a configuration, and the ways in which it does not start: the exit code and the message.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::process::Launch;
use crate::support::{ADMIN_KEY, Api, CLIENT_SECRET, Deployment, http, object, text};

/// Asserts that `output` failed with `code` and contains each of `words`.
pub fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// The documentation's example, on addresses and paths that a test may use.
fn example(arguments: &[&str], data: &Path) -> Launch {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/anteroom.example.toml");
    Launch::command(data, arguments)
        .and(&["--config", file.to_str().unwrap()])
        .with("ANTEROOM_ADMIN_KEY", ADMIN_KEY)
        .with("ANTEROOM_SIGV4_SECRET", "sigv4-secret-0123456789-0123456789-01234")
        .with("SAMPLE_CLIENT_SECRET", CLIENT_SECRET)
        .with("ANTEROOM_DATA_DIR", data.to_str().unwrap())
        .with("ANTEROOM_LISTEN", "127.0.0.1:0")
        .with("ANTEROOM_PRIVATE_LISTEN", "127.0.0.1:0")
}

#[tokio::test]
async fn the_documentations_example_serves_and_variables_override_it() {
    let directory = TempDir::new().unwrap();
    let mut program = example(&["serve"], directory.path()).with("ANTEROOM_LOG__LEVEL", "warn").start();
    assert_eq!(program.issuer, "https://queue.example");
    let private = program.announced("Operators' address: ");
    let api = Api::of(&program);
    let discovery = object(api.get("/.well-known/openid-configuration").send().await.unwrap()).await;
    assert_eq!(text(&discovery, "issuer"), "https://queue.example");
    assert_eq!(api.health().await.0, 404, "operators are answered elsewhere");

    let check = example(&["healthcheck"], directory.path());
    let answered = check.clone().with("ANTEROOM_PRIVATE_LISTEN", &private).run();
    assert_eq!(answered.status.code(), Some(0), "{}", String::from_utf8_lossy(&answered.stderr));
    assert!(directory.path().join("anteroom.db").exists());
    assert_eq!(program.stop(), "", "at this level there is nothing to log");

    let away = check.with("ANTEROOM_PRIVATE_LISTEN", &private).run();
    assert_refused(&away, 1, &[&private, "does not answer"]);
    let checked = example(&["check-config"], directory.path()).run();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[tokio::test]
async fn ignored_kubernetes_variables_are_logged_at_debug_alone() {
    let directory = TempDir::new().unwrap();
    let port = "tcp://10.96.0.11:8080";
    let beside_services = |level: &str| {
        let launch = example(&["serve"], directory.path()).with("ANTEROOM_LOG__LEVEL", level);
        launch.with("ANTEROOM_SERVICE_HOST", "10.96.0.11").with("ANTEROOM_PORT_8080_TCP", port).start().stop()
    };
    let log = beside_services("debug");
    for variable in ["ANTEROOM_SERVICE_HOST", "ANTEROOM_PORT_8080_TCP"] {
        assert!(log.lines().any(|line| line.contains("DEBUG") && line.contains(variable)), "{variable}: {log}");
    }
    assert!(!beside_services("info").contains("ANTEROOM_SERVICE_HOST"));
}

#[test]
fn a_mistake_in_the_configuration_exits_with_2_and_names_the_key() {
    let deployment = Deployment::new();
    for (name, value, words) in [
        ("ANTEROOM_EVENT__0__VALIDITY", "60", &["event[0].validity", "ANTEROOM_EVENT__0__VALIDITY"][..]),
        ("ANTEROOM_LISTNE", "127.0.0.1:0", &["listne", "is listen meant?", "ANTEROOM_LISTNE"]),
        ("ANTEROOM_LOG__LEVEL", "loud", &["log.level"]),
        ("SECRET", "too-short", &["client[0].client_secret", "at least 32"]),
        ("ADMIN", "hush", &["admin.keys[0].key", "at least 32"]),
    ] {
        for command in ["serve", "check-config"] {
            let output = deployment.command(&[command]).with(name, value).run();
            assert_refused(&output, 2, words);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("too-short") && !said.contains("hush"), "no secret is repeated: {said}");
        }
    }
    assert!(!deployment.path("data").exists(), "nothing was begun");
}

#[test]
fn an_address_in_use_is_named() {
    let deployment = Deployment::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in ["ANTEROOM_LISTEN", "ANTEROOM_PRIVATE_LISTEN"] {
        let output = deployment.serve().with(name, &address).run();
        assert_refused(&output, 1, &["cannot listen on", &address, "in use"]);
    }
    let directory = TempDir::new().unwrap();
    let callback = format!(r#"["http://{address}/callback"]"#);
    let shop = Launch::serve(directory.path()).with("ANTEROOM_DEMO__SHOP_LISTEN", &address);
    let output = shop.with("ANTEROOM_CLIENT__0__REDIRECT_URIS", &callback).run();
    assert_refused(&output, 1, &["cannot listen on", &address, "in use"]);
    assert!(!directory.path().join("data/anteroom.db").exists(), "nothing was opened");
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused_and_the_first_goes_on() {
    let deployment = Deployment::new();
    let program = deployment.serve().start();
    let api = Api::of(&program);
    let ticket = api.ticket().await;
    let output = deployment.serve().run();
    let directory = deployment.path("data").display().to_string();
    // The directory is relative to the configuration file.
    let named = Path::new(&directory).file_name().unwrap().to_str().unwrap();
    assert_refused(&output, 1, &[named, &format!("in use by process {}", program.id())]);
    assert_eq!(api.position(&ticket).await, 1);
    assert_eq!(api.position(&api.ticket().await).await, 2);
    program.stop();
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let deployment = Deployment::new();
    let file = deployment.path("file");
    fs::write(&file, "").unwrap();
    for place in [file.as_path(), &file.join("below"), Path::new("/proc/anteroom")] {
        let shown = place.to_str().unwrap();
        let output = deployment.serve().with("ANTEROOM_DATA_DIR", shown).run();
        assert_refused(&output, 1, &[shown]);
        // Without a configuration the demonstration's files are created first.
        let output = Launch::serve(&deployment.path("")).with("ANTEROOM_DATA_DIR", shown).run();
        assert_refused(&output, 1, &[shown]);
    }
}

#[test]
fn data_that_were_sealed_with_another_master_secret_are_refused() {
    let deployment = Deployment::new();
    deployment.serve().start().stop();
    fs::write(deployment.path("data/master-secret"), "ab".repeat(32)).unwrap();
    let output = deployment.serve().run();
    assert_refused(&output, 1, &["the signing keys in the store cannot be decrypted", "another master secret"]);
}

#[tokio::test]
async fn it_serves_even_if_its_output_cannot_be_written() {
    let deployment = Deployment::new();
    let mut program = deployment.serve().after("exec 1>/dev/full").begin();
    let address = program.logged("serving address=");
    let address = address.split_whitespace().next().unwrap();
    let api = Api { http: http(), base: format!("http://{address}") };
    assert_eq!(api.position(&api.ticket().await).await, 1);
    program.stop();

    // Each request is logged from the thread that answers it, each failed batch from the writer's thread.
    let program = deployment.serve().with("ANTEROOM_LOG__LEVEL", "debug").after("exec 2>/dev/full").start();
    let api = Api::of(&program);
    assert_eq!(api.position(&api.ticket().await).await, 2);
    assert_eq!(api.health().await.0, 200);
    program.stop();
}
