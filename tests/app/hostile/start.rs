//! A start that must fail: with a sentence that names the cause, and without leaving anything running.

use std::sync::Arc;

use anteroom::ambient::{FrozenClock, SeededEntropy};
use anteroom::server::{self, SystemDeps};

use crate::support::{CONFIG, NOW, TestApp, config, config_from};

fn system() -> SystemDeps {
    SystemDeps { clock: Arc::new(FrozenClock::at(NOW)), entropy: Arc::new(SeededEntropy::new(1)) }
}

#[actix_web::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["listen", "private_listen"] {
        let directory = tempfile::tempdir().unwrap();
        let usual = "listen = \"127.0.0.1:0\"\n";
        let written = if key == "listen" { String::new() } else { usual.to_owned() };
        let text = CONFIG.replace(usual, &format!("{written}{key} = \"{address}\"\n"));
        let error =
            server::start(config_from(directory.path(), &text), system()).await.err().expect("the port is taken");
        let said = error.to_string();
        assert!(said.starts_with(&format!("cannot listen on {address}: ")), "{key}: {said}");
        assert!(!directory.path().join("data").exists(), "nothing was made: {key}");
    }
}

#[actix_web::test]
async fn a_data_directory_belongs_to_one_process() {
    let app = TestApp::start().await;
    let error = server::start(config(app.directory.path(), ""), system()).await.err().expect("the directory is held");
    assert!(error.to_string().contains(app.directory.path().to_str().unwrap()), "{error}");
    // The first process is not affected.
    app.join("Sample").await;
    app.stop().await;
}

#[actix_web::test]
async fn a_master_secret_that_is_too_short_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("data")).unwrap();
    std::fs::write(directory.path().join("data/master-secret"), "c2hvcnQ").unwrap();
    let error = server::start(config(directory.path(), ""), system()).await.err().expect("the secret is short");
    let said = error.to_string();
    assert!(said.contains("32") && !said.contains("c2hvcnQ"), "{said}");
}

#[actix_web::test]
async fn a_missing_master_secret_is_reported_and_not_recreated_beside_sealed_data() {
    let directory = TestApp::start().await.stop().await;
    let secret = directory.path().join("data/master-secret");
    let kept = std::fs::read(&secret).unwrap();
    std::fs::remove_file(&secret).unwrap();
    let error = server::start(config(directory.path(), ""), system()).await.err().expect("the secret is missing");
    assert!(error.to_string().contains(&format!("{} is missing", secret.display())), "{error}");
    assert!(!secret.exists());
    std::fs::write(&secret, kept).unwrap();
    TestApp::in_directory(directory, "").await.stop().await;
}
