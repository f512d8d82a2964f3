//! Warnings about valid configurations.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::ambient::Timestamp;

/// 2026-12-01T09:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_796_115_600);

fn warnings(text: &str) -> Vec<String> {
    let text = if text.contains("[[event]]") { text.to_owned() } else { format!("{text}\n{SMALL}") };
    let text = format!("public_url = 'https://queue.example'\n{text}");
    let mut warnings = parse_with(&text, &[("KEY", SECRET)]).unwrap().warnings(NOW);
    warnings.retain(|warning| !warning.starts_with("trusted_proxies names no proxy"));
    warnings
}

fn inlet(times: &str) -> String {
    let inlet = format!("inlet = {{ strategy = 'max_size', max_size = 1{times} }}");
    format!(
        "[[event]]\nid = 'a'\n{inlet}\n[[event]]\nid = 'b'\n{}",
        inlet.replace("max_size', max_size", "periodic', increment_by")
    )
}

#[test]
fn a_public_address_without_private_listen_is_warned_of() {
    for open in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:443"] {
        let found = warnings(&format!("listen = '{open}'"));
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("listen {open} without private_listen:")),
            "{found:?}"
        );
        assert!(warnings(&format!("listen = '{open}'\nprivate_listen = '127.0.0.1:8081'")).is_empty());
    }
    for inner in ["127.0.0.1:8080", "10.1.1.1:8080", "[fd00::1]:8080"] {
        assert!(warnings(&format!("listen = '{inner}'")).is_empty(), "{inner}");
    }
    for (private, warned) in [("0.0.0.0:8081", 1), ("[::]:8081", 1), ("203.0.113.1:8081", 1), ("10.1.1.1:8081", 0)] {
        let found = warnings(&format!("listen = '10.1.1.1:8080'\nprivate_listen = '{private}'"));
        assert_eq!(found.len(), warned, "{found:?}");
        assert!(found.iter().all(|warning| warning.starts_with(&format!("private_listen {private}: "))), "{found:?}");
    }
}

#[test]
fn trusting_every_address_is_warned_of() {
    for (wide, shown) in
        [("0.0.0.0/0", "0.0.0.0/0"), ("::/0", "::/0"), ("::ffff:0:0/96", "0.0.0.0/0"), ("128.0.0.0/1", "128.0.0.0/1")]
    {
        let found = warnings(&format!("trusted_proxies = ['10.0.0.0/8', '{wide}']"));
        assert!(found.len() == 1 && found[0].starts_with(&format!("trusted_proxies {shown} ")), "{found:?}");
    }
    assert!(warnings("trusted_proxies = ['10.0.0.0/8', 'fc00::/7', '104.16.0.0/13', '2400:cb00::/32']").is_empty());
}

#[test]
fn secrets_that_are_easy_to_guess_are_warned_of_and_never_repeated() {
    let (same, few) = ("a".repeat(32), "abcd".repeat(8));
    let client = |secret: &str| {
        format!(
            "{SMALL}[[client]]\nclient_id = 'shop'\nevent = 'Sample'\nclient_secret = '{secret}'\nredirect_uris = ['https://shop.example/cb']\n"
        )
    };
    let cases = [
        (
            format!("admin.keys = [{{ name = 'ops', key = '{same}' }}]"),
            "the key \"ops\" of admin.keys is one repeated character",
        ),
        (
            format!("admin.sigv4 = [{{ access_key_id = 'AK', secret_access_key = '{same}' }}]"),
            "the secret of \"AK\" in admin.sigv4 is one repeated character",
        ),
        (client(&same), "the secret of the client \"shop\" is one repeated character"),
        (client(&few), "the secret of the client \"shop\" has 4 different characters alone, and is easy to guess"),
        (
            format!("webhook = [{{ name = 'hook', url = 'https://h/', secret = 'whsec_{}' }}]", "A".repeat(32)),
            "the secret of the webhook \"hook\" is one repeated character",
        ),
        (
            format!("store = {{ engine = 'distributed', redis_url = 'redis://h', master_secret = '{MASTER}' }}"),
            "store.master_secret is one repeated character",
        ),
    ];
    for (text, warning) in cases {
        assert_eq!(warnings(&text), [warning], "{text}");
    }
    assert!(warnings(&client(SECRET)).is_empty());
}

#[test]
fn a_client_with_an_operators_key_is_warned_of() {
    let client = format!(
        "{SMALL}[[client]]\nclient_id = 'shop'\nevent = 'Sample'\nclient_secret = 'env:KEY'\nredirect_uris = ['https://shop.example/cb']\n"
    );
    let expected = "the secret of the client \"shop\" equals an admin key: its site is an operator";
    let key = format!("admin.keys = [{{ name = 'ops', key = '{SECRET}' }}]");
    let pair = format!("admin.sigv4 = [{{ access_key_id = 'AK', secret_access_key = '{SECRET}' }}]");
    for admin in [key, pair] {
        assert_eq!(warnings(&format!("{admin}\n{client}")), [expected]);
    }
    assert!(warnings(&client).is_empty());
}

#[test]
fn an_end_in_the_past_and_a_start_far_ahead_are_warned_of() {
    let ended = "ended at 2026-12-01 09:00:00 UTC: its inlet admits no more visitors";
    let far = "starts at 2026-12-02 09:00:01 UTC, more than a day from now: its inlet admits no visitors before";
    for (times, expected) in [
        (", end = 2026-12-01T09:00:00Z", Some(ended)),
        (", start = 2026-11-01T09:00:00Z, end = 2026-12-01T10:00:00+01:00", Some(ended)),
        (", end = 2026-12-01T09:00:01Z", None),
        (", start = 2026-12-02T09:00:01Z", Some(far)),
        (", start = 2026-12-02T09:00:00Z", None),
        (", start = 2020-01-01T00:00:00Z", None),
        ("", None),
    ] {
        let expected: Vec<String> =
            expected.iter().flat_map(|expected| ["a", "b"].map(|id| format!("event {id} {expected}"))).collect();
        assert_eq!(warnings(&inlet(times)), expected, "{times}");
    }
}

#[test]
fn a_world_readable_file_with_secrets_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    write("key", SECRET, 0o600);
    let warned = |file: &str, text: &str, mode: u32| {
        let path = write(file, &format!("{text}\n{SMALL}"), mode);
        let config = Config::load(&path, &environment(&[("KEY", SECRET)]), &NoSecretSource).unwrap();
        let warnings = config.warnings(NOW).into_iter();
        warnings.filter(|warning| warning.contains("every user of this machine may read it")).collect::<Vec<_>>()
    };
    let key = |key: &str| format!("admin.keys = [{{ name = 'ops', key = '{key}' }}]");
    let of = |name: &str| {
        let path = directory.path().join(name).display().to_string();
        vec![format!("{path} holds secrets, and every user of this machine may read it: chmod o-r")]
    };
    assert_eq!(warned("a.toml", &key(SECRET), 0o644), of("a.toml"));
    assert_eq!(warned("a.toml", &key(SECRET), 0o640), Vec::<String>::new());
    for named in ["env:KEY", "file:key"] {
        assert_eq!(warned("a.toml", &key(named), 0o644), Vec::<String>::new(), "no secret stands in it: {named}");
    }
    write("key", SECRET, 0o604);
    assert_eq!(warned("a.toml", &key("file:key"), 0o600), of("key"));
    let redis = |url: &str| format!("store = {{ engine = 'distributed', redis_url = '{url}' }}");
    assert_eq!(warned("a.toml", &redis("redis://:hush@h"), 0o644), of("a.toml"));
    assert_eq!(warned("a.toml", &redis("redis://h"), 0o644), Vec::<String>::new());
    write("tls.key", "", 0o644);
    assert_eq!(warned("a.toml", "tls = { certificate = 'c', key = 'tls.key' }", 0o644), of("tls.key"));
}
