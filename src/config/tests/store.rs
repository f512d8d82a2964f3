//! `[store]`: the keys of the distributed engine.

use std::fs;

use super::*;

fn distributed(keys: &str) -> Result<DistributedConfig, ConfigError> {
    distributed_with(keys, &[])
}

fn distributed_with(keys: &str, variables: &[(&str, &str)]) -> Result<DistributedConfig, ConfigError> {
    let text = format!("[store]\nengine = 'distributed'\n{keys}\n{SMALL}");
    parse_with(&text, variables).map(|config| match config.store {
        StoreConfig::Distributed(store) => store,
        StoreConfig::Embedded => panic!("the distributed engine was asked for"),
    })
}

/// The URLs that `keys` resolve to.
fn urls(keys: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let store = distributed_with(keys, variables).unwrap();
    store.redis_urls.iter().map(|url| url.expose().to_owned()).collect()
}

#[test]
fn redis_is_the_only_required_key_of_the_distributed_engine() {
    let store = distributed("redis_url = 'redis://redis'").unwrap();
    assert_eq!((store.redis_urls.len(), store.table_prefix.as_str()), (1, "anteroom-"));
    assert!(store.dynamodb_endpoint.is_none());
    assert_eq!(
        complaints(parse(&format!("{SMALL}[store]\nengine = 'distributed'"))),
        ["store.redis_url: it is missing"]
    );
}

#[test]
fn redis_may_be_one_address_or_several() {
    let (one, other) = ("redis://10.0.0.1:7000", "rediss://user:p%2Cw@[fd00::1]:7001/0");
    assert_eq!(urls(&format!("redis_url = '{one}'"), &[]), [one]);
    assert_eq!(urls(&format!("redis_url = ['{other}']"), &[]), [other]);
    for both in [format!("['{one}', '{other}']"), format!("'{one},{other}'"), format!("['{one}, {other}']")] {
        assert_eq!(urls(&format!("redis_url = {both}"), &[]), [one, other], "{both}");
    }
    let variable = format!("{one},{other}");
    assert_eq!(urls("", &[("ANTEROOM_STORE__REDIS_URL", &variable)]), [one, other]);
}

#[test]
fn the_address_of_redis_may_be_a_reference_to_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("redis");
    fs::write(&file, "redis://:from-file@redis\n").unwrap();
    let keys = format!("redis_url = ['env:REDIS_URL', 'file:{}']", file.display());
    assert_eq!(
        urls(&keys, &[("REDIS_URL", "redis://a,redis://b")]),
        ["redis://a", "redis://b", "redis://:from-file@redis"]
    );
    let found = complaints(distributed("redis_url = 'env:REDIS_URL'").map(|_| unreachable!()));
    assert_eq!(found, ["store.redis_url: the variable REDIS_URL is not set"]);
}

#[test]
fn the_address_of_redis_is_shown_without_its_password() {
    let store = distributed("redis_url = 'rediss://user:pass-word@redis.example:6380/2'").unwrap();
    assert_eq!(store.redis_urls[0].to_string(), "rediss://redis.example:6380/2");
    let shown = format!("{store:?} {store:#?}");
    assert!(shown.contains("redis.example") && !shown.contains("pass-word") && !shown.contains("user"), "{shown}");
}

const NO_URL: &str =
    "it must be a URL such as redis://HOST:6379, or rediss:// for TLS; a comma in a password is written %2C";
const DATABASE: &str = "after the host there must be nothing, or the number of a database, such as /0";
const PREFIX: &str = "it must be at most 64 letters, digits, '_', '.' and '-'";
const BARE: &str = "it must have no user, password, query or fragment";

#[test]
fn invalid_values_of_the_distributed_engine_are_refused_and_not_repeated() {
    let long = format!("table_prefix = '{}'", "p".repeat(65));
    let cases = [
        ("redis_url = 'redis'", "redis_url", NO_URL),
        ("redis_url = ''", "redis_url", NO_URL),
        ("redis_url = 'redis:hidden'", "redis_url", NO_URL),
        ("redis_url = 'https://redis'", "redis_url", NO_URL),
        ("redis_url = 'unix:///run/redis.sock'", "redis_url", NO_URL),
        ("redis_url = 'redis:///0'", "redis_url", NO_URL),
        ("redis_url = 'redis://:hid,den@redis'", "redis_url", NO_URL),
        ("redis_url = ['redis://a', 'b']", "redis_url[1]", NO_URL),
        ("redis_url = 'redis://a,'", "redis_url", NO_URL),
        ("redis_url = []", "redis_url", "at least one is needed"),
        ("redis_url = 6379", "redis_url", "it must be text in quotes"),
        ("redis_url = 'rediss://redis#insecure'", "redis_url", "it must have no query and no fragment"),
        ("redis_url = 'redis://redis?protocol=3'", "redis_url", "it must have no query and no fragment"),
        ("redis_url = 'redis://:hidden@redis/zero'", "redis_url", DATABASE),
        ("dynamodb_endpoint = 'dynamodb:8000'", "dynamodb_endpoint", "it must be https or http"),
        ("dynamodb_endpoint = 'localhost'", "dynamodb_endpoint", "it must be an absolute URL"),
        ("dynamodb_endpoint = 'http://user:hidden@dynamodb'", "dynamodb_endpoint", BARE),
        ("dynamodb_endpoint = 'http://dynamodb/?a'", "dynamodb_endpoint", BARE),
        (long.as_str(), "table_prefix", PREFIX),
        ("table_prefix = 'shop/'", "table_prefix", PREFIX),
        ("master_secret = 'hiddenhi'", "master_secret", "a master secret has at least 32 bytes; this one has 6"),
        (
            "master_secret = '#hidden'",
            "master_secret",
            "a master secret is written in base64url or in hexadecimal digits",
        ),
        ("table = 'shop'", "table", "there is no such key"),
    ];
    for (keys, key, message) in cases {
        let redis = if keys.starts_with("redis_url") { "" } else { "redis_url = 'redis://redis'\n" };
        let found = complaints(distributed(&format!("{redis}{keys}")).map(|store| panic!("{keys}: {store:?}")));
        assert_eq!(found, [format!("store.{key}: {message}")], "{keys}");
        assert!(!found[0].contains("hidden"));
    }
    for prefix in ["", "a-b_c.D9", &"p".repeat(64)] {
        let keys = format!("redis_url = 'redis://redis'\ntable_prefix = '{prefix}'");
        assert_eq!(distributed(&keys).unwrap().table_prefix, prefix);
    }
}

#[test]
fn the_keys_of_the_distributed_engine_are_refused_without_it() {
    let message = "it belongs to the distributed engine, and engine is \"embedded\"";
    for (key, value) in
        [("redis_url", "redis://redis"), ("dynamodb_endpoint", "http://127.0.0.1:8000"), ("table_prefix", "shop-")]
    {
        let found = complaints(parse(&format!("store.{key} = '{value}'\n{SMALL}")));
        assert_eq!(found, [format!("store.{key}: {message}")]);
    }
}
