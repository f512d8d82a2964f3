//! Overriding variables, and the sources of secrets.

use std::fs;

use super::*;

#[test]
fn a_variable_sets_a_key_over_the_file() {
    let config = parse_with(
        "listen = '127.0.0.1:1'\n[[event]]\nid = 'a'\nvalidity_period = 5\n[[event]]\nid = 'b'",
        &[
            ("ANTEROOM_LISTEN", "0.0.0.0:80"),
            ("ANTEROOM_PUBLIC_URL", "https://queue.example"),
            ("ANTEROOM_STORE__ENGINE", "embedded"),
            ("ANTEROOM_TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
            ("ANTEROOM_LOG", "{ level = \"debug\" }"),
            ("ANTEROOM_LOG__FORMAT", "json"),
            ("ANTEROOM_EVENT__0__VALIDITY_PERIOD", "7"),
            ("ANTEROOM_EVENT__1__ID", "2026"),
            ("ANTEROOM_EVENT__2__ID", "c"),
            ("ANTEROOM_EVENT__2__INLET__STRATEGY", "manual"),
            ("ANTEROOM_EVENT__2__ENTRY", "\"button\""),
        ],
    )
    .unwrap();
    assert_eq!(config.endpoints.listen, "0.0.0.0:80".parse().unwrap());
    assert_eq!(config.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Debug });
    let ids: Vec<&str> = config.events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["a", "2026", "c"], "a number after the last adds an event, and text may look like a number");
    assert_eq!(config.events[0].validity.as_secs(), 7);
    assert_eq!(config.events[2].entry, Entry::Button);
}

#[test]
fn entries_are_added_in_the_order_of_their_numbers() {
    let names: Vec<(String, String)> =
        (0..12).map(|index| (format!("ANTEROOM_EVENT__{index}__ID"), format!("e{index}"))).collect();
    let config = Config::parse("", Path::new("a.toml"), &names.into_iter().collect()).unwrap();
    assert_eq!(config.events[11].id.as_str(), "e11");
}

#[test]
fn a_bad_variable_is_named() {
    let cases = [
        ("ANTEROOM_LISTEN", "", "listen: it must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080"),
        ("ANTEROOM_LISTNE", "x", "listne: there is no such key; is listen meant?"),
        ("ANTEROOM_EVENT__0__ENTRY", "never", "event[0].entry: it must be \"automatic\" or \"button\""),
        ("ANTEROOM_LOG", "{ level = 5 }", "log.level: it must be text in quotes"),
        ("ANTEROOM_EVENT__3__ID", "x", "event[3].id: the list holds 1 so far, so the next number is 1"),
        ("ANTEROOM_EVENT__ID", "x", "event.id: this is a list: a number has to follow"),
        ("ANTEROOM_EVENT__0__ID__X", "x", "event[0].id.x: nothing can stand within this key"),
        ("ANTEROOM_NOTHING__1", "x", "nothing[1]: the list holds 0 so far, so the next number is 0"),
        ("ANTEROOM_LISTEN__0", "x", "listen: it must be text in quotes"),
        ("ANTEROOM_0", "x", "[0]: a number stands for an entry of a list, and this is a table"),
        ("ANTEROOM_", "x", "two underscores stand between the names of keys, and one of the names is missing"),
    ];
    for (variable, value, complaint) in cases {
        let found = complaints(parse_with(SMALL, &[(variable, value)]));
        assert_eq!(found, [format!("{complaint} (set by {variable})")]);
    }
}

#[test]
fn variables_that_contain_secrets_or_name_the_file_set_no_key() {
    let text = format!("admin.keys = [{{ name = 'ops', key = 'env:ANTEROOM_OPS_KEY' }}]\n{SMALL}");
    let variables = [("ANTEROOM_OPS_KEY", SECRET), ("ANTEROOM_CONFIG", "/etc/anteroom/anteroom.toml")];
    assert!(parse_with(&text, &variables).unwrap().admin.keys[0].key.matches(SECRET.as_bytes()));
    let complaint = "ops_key: there is no such key (set by ANTEROOM_OPS_KEY)";
    assert_eq!(complaints(parse_with(SMALL, &variables)), [complaint]);
    let by_variable = [
        ("ANTEROOM_OPS_KEY", SECRET),
        ("ANTEROOM_ADMIN__KEYS__0__NAME", "ops"),
        ("ANTEROOM_ADMIN__KEYS__0__KEY", "env:ANTEROOM_OPS_KEY"),
    ];
    assert!(parse_with(SMALL, &by_variable).is_ok(), "a variable may refer to a variable");
}

#[test]
fn byte_order_mark_and_line_end_are_removed_from_a_secret_of_any_source() {
    let directory = tempfile::tempdir().unwrap();
    let around = ["", "\n", "\r\n"].map(|end| format!("{SECRET}{end}"));
    for written in around.iter().flat_map(|secret| [secret.clone(), format!("\u{feff}{secret}")]) {
        fs::write(directory.path().join("key"), &written).unwrap();
        let environment = environment(&[("KEY", &written)]);
        let inline = format!("{written:?}").replace("\\u{feff}", "\\uFEFF");
        for key in ["'file:key'", "'env:KEY'", &inline] {
            let text = format!("admin.keys = [{{ name = 'ops', key = {key} }}]\n{SMALL}");
            let config = Config::parse(&text, &directory.path().join("a.toml"), &environment).unwrap();
            assert_eq!(config.admin.keys[0].key.expose(), SECRET.as_bytes(), "{key}: {written:?}");
        }
    }
    let two = environment(&[("KEY", &format!("{SECRET}\n\n"))]);
    let text = format!("admin.keys = [{{ name = 'ops', key = 'env:KEY' }}]\n{SMALL}");
    let config = Config::parse(&text, Path::new("a.toml"), &two).unwrap();
    assert_eq!(config.admin.keys[0].key.expose(), format!("{SECRET}\n").as_bytes(), "one line end, as of a file");
}

#[test]
fn byte_order_mark_and_line_end_are_removed_from_a_variable() {
    for end in ["\n", "\r\n"] {
        let variables = [
            ("ANTEROOM_LISTEN", format!("\u{feff}127.0.0.1:81{end}")),
            ("ANTEROOM_EVENT__0__ID", format!("e2{end}")),
            ("ANTEROOM_ADMIN__KEYS", format!("[{{ name = 'ops', key = 'env:KEY' }}]{end}")),
            ("KEY", format!("{SECRET}{end}")),
        ];
        let environment = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let config = Config::parse(SMALL, Path::new("a.toml"), &environment).unwrap();
        assert_eq!((config.endpoints.listen.port(), config.events[0].id.as_str()), (81, "e2"));
        assert!(config.admin.keys[0].key.matches(SECRET.as_bytes()));
    }
}

#[test]
fn a_byte_order_mark_before_the_configuration_is_ignored() {
    assert!(parse_with(&format!("\u{feff}{SMALL}"), &[]).is_ok());
    assert!(parse_with("\u{feff}[[event]]\nid = 'Sample'", &[]).is_ok());
    let complaint = parse_with("\u{feff}listen = ?\n", &[]).unwrap_err().to_string();
    assert!(complaint.contains("line 1, column 10"), "{complaint}");
}

#[test]
fn variables_of_kubernetes_services_are_ignored() {
    let services = [
        ("ANTEROOM_SERVICE_HOST", "10.96.0.11"),
        ("ANTEROOM_SERVICE_PORT", "8080"),
        ("ANTEROOM_SERVICE_PORT_HTTP", "8080"),
        ("ANTEROOM_PORT", "tcp://10.96.0.11:8080"),
        ("ANTEROOM_PORT_8080_TCP", "tcp://10.96.0.11:8080"),
        ("ANTEROOM_PORT_8080_TCP_PROTO", "tcp"),
        ("ANTEROOM_PORT_8080_TCP_PORT", "8080"),
        ("ANTEROOM_PORT_8080_TCP_ADDR", "10.96.0.11"),
        ("ANTEROOM_PUBLIC_URL_SERVICE_HOST", "fd00::11"),
        ("ANTEROOM_PUBLIC_URL_PORT", "tcp://[fd00::11]:443"),
        ("ANTEROOM__BLUE_SERVICE_HOST", "10.96.0.12"),
        ("ANTEROOM__BLUE_SERVICE_PORT", "80"),
        ("ANTEROOM__BLUE_PORT", "tcp://10.96.0.12:80"),
    ];
    let keys = [("ANTEROOM_LISTEN", "127.0.0.1:81"), ("ANTEROOM_EVENT__0__VALIDITY_PERIOD", "7")];
    let both: Vec<_> = services.iter().chain(&keys).copied().collect();
    let config = parse_with(SMALL, &both).unwrap();
    assert_eq!((config.endpoints.listen.port(), config.events[0].validity.as_secs()), (81, 7));
    let mut names = services.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(config.ignored_variables, names);
    // A variable that may be meant as a key is reported.
    for (variable, value) in
        [("ANTEROOM_PORT", "8080"), ("ANTEROOM_LISTEN_PORT", "8080"), ("ANTEROOM_HOST", "10.0.0.1")]
    {
        let others: Vec<_> =
            both.iter().filter(|(name, _)| *name != variable).copied().chain([(variable, value)]).collect();
        let found = complaints(parse_with(SMALL, &others));
        assert!(found.len() == 1 && found[0].ends_with(&format!(" (set by {variable})")), "{found:?}");
    }
}

#[test]
fn a_relative_path_is_based_on_its_source() {
    let config = parse_with(&format!("data_dir = 'state'\n{SMALL}"), &[]).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/anteroom/state"));
    let config = parse_with(&format!("data_dir = 'state'\n{SMALL}"), &[("ANTEROOM_DATA_DIR", "here")]).unwrap();
    assert_eq!(config.data_dir, Path::new("here"), "a variable is written in the working directory");
}

#[test]
fn the_public_url_follows_from_a_loopback_address() {
    let cases = [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("127.0.0.1:80", "http://127.0.0.1"),
        ("[::1]:80", "http://[::1]"),
    ];
    for (listen, url) in cases {
        assert_eq!(parse_with(SMALL, &[("ANTEROOM_LISTEN", listen)]).unwrap().endpoints.public_url.as_str(), url);
    }
    let tls = format!("tls = {{ certificate = 'c', key = 'k' }}\n{SMALL}");
    assert_eq!(parse(&tls).unwrap().endpoints.public_url.as_str(), "https://127.0.0.1:8080");
}

#[test]
fn a_missing_file_is_named() {
    let error =
        Config::load(Path::new("/nowhere/a.toml"), &Environment::default(), &NoSecretSource).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/a.toml: the configuration cannot be read: "), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_variable_is_applied_or_named_in_a_problem(
        name in "(EVENT|CLIENT|ADMIN|STORE|LISTEN|)(__)?[A-Z0-9_]{0,12}",
        value in r#"[a-z0-9"\[\]{}=,:. -]{0,24}"#,
    ) {
        let name = format!("ANTEROOM_{name}");
        let environment: Environment = secrets().into_iter().chain([(name.as_str(), value.as_str())]).collect();
        let found = complaints(Config::parse(EXAMPLE, Path::new("a.toml"), &environment));
        // The only message about another key: an event that a client refers to is missing.
        let origin_of_problem = |problem: &String| problem.contains(" (set by ANTEROOM_") || problem.contains("there is no event");
        proptest::prop_assert!(found.is_empty() || found.iter().any(origin_of_problem), "{:?}", found);
    }
}
