//! `secret:` references, in every key that accepts a secret.

use std::cell::RefCell;

use super::*;
use crate::ambient::Secret;

/// A source of one secret, which records its calls.
struct OneSecret {
    name: &'static str,
    text: String,
    asked: RefCell<Vec<String>>,
}

impl OneSecret {
    fn new(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, text: text.into(), asked: RefCell::default() }
    }
}

impl SecretSource for OneSecret {
    fn secret(&self, name: &str) -> Result<Secret, SecretSourceError> {
        self.asked.borrow_mut().push(name.to_owned());
        let known = (name == self.name).then(|| Secret::new(self.text.as_str()));
        known.ok_or_else(|| SecretSourceError::Failed("it is not there".to_owned()))
    }
}

fn admin_key(reference: &str) -> String {
    format!("admin.keys = [{{ name = 'ops', key = '{reference}' }}]\n{SMALL}")
}

fn read(text: &str, secret_source: &OneSecret) -> Result<Config, ConfigError> {
    Config::parse_with(text, Path::new("anteroom.toml"), &Environment::default(), secret_source)
}

#[test]
fn a_secret_is_read_as_a_whole_or_as_a_member() {
    const ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:line/ops-AbCdEf";
    let json = format!(r#"{{"port":6379,"key":"{SECRET}"}}"#);
    let cases = [
        ("secret:line/ops", OneSecret::new("line/ops", SECRET)),
        ("secret:line/ops", OneSecret::new("line/ops", format!("{SECRET}\n"))),
        (&format!("secret:{ARN}"), OneSecret::new(ARN, SECRET)),
        (&format!("secret:{ARN}#key"), OneSecret::new(ARN, json.as_str())),
    ];
    for (reference, secret_source) in cases {
        let config = read(&admin_key(reference), &secret_source).unwrap();
        assert!(config.admin.keys[0].key.matches(SECRET.as_bytes()), "{reference}");
    }
}

#[test]
fn every_secret_key_accepts_a_reference_to_the_secret_source() {
    let text = format!(
        "admin.sigv4 = [{{ access_key_id = 'AKIDEXAMPLE', secret_access_key = 'secret:all#sigv4' }}]\n\
         [store]\nengine = 'distributed'\nredis_url = 'secret:all#redis'\nmaster_secret = 'secret:all#master'\n{SMALL}\n\
         [[client]]\nclient_id = 'shop'\nevent = 'Sample'\nclient_secret = 'secret:all#client'\n\
         redirect_uris = ['https://shop.example/callback']\n\
         [[webhook]]\nname = 'shop'\nurl = 'https://shop.example/hook'\nsecret = 'secret:all#hook'\n"
    );
    let all = serde_json::json!({
        "sigv4": SECRET, "redis": "redis://:hidden@redis", "master": MASTER, "client": SECRET,
        "hook": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    });
    let config = read(&text, &OneSecret::new("all", all.to_string())).unwrap();
    let StoreConfig::Distributed(store) = &config.store else { panic!("the distributed engine was asked for") };
    assert_eq!(store.redis_urls[0].expose(), "redis://:hidden@redis");
    assert!(store.master_secret.is_some());
}

#[test]
fn a_missing_secret_is_named_without_its_content() {
    let json = r#"{"key":{"text":"hidden"},"short":"hidden"}"#;
    let cases = [
        ("secret:other", "the secret other cannot be had: it is not there"),
        ("secret:line#kye", "the secret line has no member kye"),
        ("secret:line#key", "the member key of the secret line is no text"),
        ("secret:line#short", "the secret has 6 bytes; at least 32 are needed"),
    ];
    for (reference, complaint) in cases {
        let found = complaints(read(&admin_key(reference), &OneSecret::new("line", json)));
        assert_eq!(found, [format!("admin.keys[0].key: {complaint}")]);
    }
    let found = complaints(read(&admin_key("secret:line#key"), &OneSecret::new("line", "hidden")));
    assert_eq!(found, ["admin.keys[0].key: the secret line is no JSON object, so it has no members"]);
    let found = complaints(Config::parse(&admin_key("secret:line"), Path::new("a.toml"), &Environment::default()));
    assert_eq!(found, ["admin.keys[0].key: the secret line cannot be had: no secret store is configured"]);
}

#[test]
fn only_secrets_are_read_from_the_secret_source() {
    let secret_source = OneSecret::new("line", SECRET);
    let found = complaints(read(&format!("data_dir = 'secret:line'\nlisten = 'secret:line'\n{SMALL}"), &secret_source));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(secret_source.asked.into_inner(), Vec::<String>::new());
}

#[test]
fn addresses_are_read_without_secrets_and_every_other_problem_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("anteroom.toml");
    let text = format!("{}\n[store]\nengine = 'distributed'\nredis_url = 'secret:redis'", admin_key("secret:line"));
    std::fs::write(&file, &text).unwrap();
    let endpoints = Endpoints::load(&file, &Environment::default()).unwrap();
    assert_eq!(endpoints.listen, DEFAULT_LISTEN);
    std::fs::write(&file, format!("listne = 5\n{text}")).unwrap();
    let error = Endpoints::load(&file, &Environment::default()).unwrap_err();
    let found: Vec<String> = error.diagnostics().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["listne: there is no such key; is listen meant?"]);
}
