//! A first start without files, and a second one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::ambient::SeededEntropy;

#[test]
fn a_demonstration_works_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("deep/data");
    let files = demonstrate(&data, &SeededEntropy::new(1)).unwrap();
    let config = Config::load(&files.config, &Environment::default(), &NoSecretSource).unwrap();
    assert_eq!(config.endpoints.public_url.as_str(), "http://127.0.0.1:8080");
    assert_eq!(config.data_dir, data.join("."));
    let Inlet::Periodic(Periodic { increment_by: 6, rhythm: Rhythm::Smooth, .. }) = config.events[0].inlet else {
        panic!("{:?}", config.events[0].inlet)
    };
    let client = &config.clients[0].client;
    assert_eq!(client.name.as_deref(), Some("Sample shop"));
    assert_eq!(client.claims.names().collect::<Vec<_>>(), ["email", "nickname", "preferred_username"]);
    assert_eq!(config.demo, Some(SampleShop { listen: "127.0.0.1:8090".parse().unwrap(), client_id: "Sample".into() }));
    let key = fs::read_to_string(&files.admin_key).unwrap();
    assert_eq!(key.trim_end().len(), 43, "32 bytes in base64url");
    assert!(config.admin.keys[0].key.matches(key.trim_end().as_bytes()));
    assert!(!client.secret.as_ref().unwrap().matches(key.trim_end().as_bytes()));
    for entry in fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 3, "no temporary file stays");
}

#[test]
fn a_second_start_uses_the_files_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let files = demonstrate(directory.path(), &SeededEntropy::new(1)).unwrap();
    let read = || [&files.config, &files.admin_key, &files.client_secret].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&files.config, "# mine now\n").unwrap();
    let before = read();
    assert_eq!(demonstrate(directory.path(), &SeededEntropy::new(2)).unwrap(), files);
    assert_eq!(read(), before);
    fs::remove_file(&files.admin_key).unwrap();
    demonstrate(directory.path(), &SeededEntropy::new(3)).unwrap();
    assert_eq!(read()[2], before[2]);
    assert_ne!(read()[1], before[1], "missing files are created");
}

#[test]
fn processes_that_start_together_agree_on_the_secrets() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..16 {
            let path = directory.path();
            scope.spawn(move || {
                let files = demonstrate(path, &SeededEntropy::new(seed)).unwrap();
                Config::load(&files.config, &Environment::default(), &NoSecretSource).unwrap();
            });
        }
    });
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn a_path_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = demonstrate(&file.join("data"), &SeededEntropy::new(1)).unwrap_err().to_string();
    assert!(error.starts_with("the demonstration needs to write ") && error.contains("file/data: "), "{error}");
}

#[test]
fn variables_move_the_demonstration() {
    let directory = tempfile::tempdir().unwrap();
    let files = demonstrate(directory.path(), &SeededEntropy::new(1)).unwrap();
    let config =
        Config::load(&files.config, &environment(&[("ANTEROOM_LISTEN", "127.0.0.1:9000")]), &NoSecretSource).unwrap();
    assert_eq!(config.endpoints.public_url.as_str(), "http://127.0.0.1:9000");
}

#[test]
fn the_shop_and_its_client_move_together_to_a_port_that_the_system_chose() {
    let directory = tempfile::tempdir().unwrap();
    let files = demonstrate(directory.path(), &SeededEntropy::new(1)).unwrap();
    let variables = environment(&[
        ("ANTEROOM_DEMO__SHOP_LISTEN", "127.0.0.1:0"),
        ("ANTEROOM_CLIENT__0__REDIRECT_URIS", r#"["http://127.0.0.1:0/callback", "https://shop.example/callback"]"#),
        ("ANTEROOM_CLIENT__0__POST_LOGOUT_REDIRECT_URIS", r#"["http://127.0.0.1:0/"]"#),
        ("ANTEROOM_CLIENT__0__INITIATE_LOGIN_URI", "http://127.0.0.1:0/login"),
    ]);
    let mut config = Config::load(&files.config, &variables, &NoSecretSource).unwrap();
    config.place_shop(4711);
    assert_eq!(config.demo.as_ref().unwrap().url(), "http://127.0.0.1:4711");
    let client = &config.clients[0].client;
    let redirects: Vec<_> = client.redirect_uris.iter().map(|uri| uri.as_str()).collect();
    assert_eq!(redirects, ["http://127.0.0.1:4711/callback", "https://shop.example/callback"]);
    assert_eq!(client.post_logout_redirect_uris[0].as_str(), "http://127.0.0.1:4711/");
    assert_eq!(client.login_start().unwrap().as_str(), "http://127.0.0.1:4711/login");
    config.place_shop(4712);
    assert_eq!(config.demo.unwrap().url(), "http://127.0.0.1:4711", "a place that is known stays");
}
