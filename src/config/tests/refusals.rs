//! Each refused configuration, with the message that an operator reads.

use super::*;

/// A configuration with one event and one client, to which a case adds a mistake.
fn with_client(lines: &str) -> String {
    let mut client = vec![
        ("client_id", "'shop'".to_owned()),
        ("event", "'Sample'".to_owned()),
        ("client_secret", format!("'{SECRET}'")),
        ("redirect_uris", "['https://shop.example/cb']".to_owned()),
    ];
    let sets = |key: &str| lines.lines().any(|line| line.split('=').next().is_some_and(|name| name.trim() == key));
    client.retain(|(key, _)| !sets(key));
    let client: String = client.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("{SMALL}[[client]]\n{client}{lines}")
}

/// The mistake, and the message.
const INSTALLATION: &[(&str, &str)] = &[
    ("listen = 8080", "listen: it must be text in quotes"),
    ("listen = 'localhost:8080'", "listen: it must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080"),
    ("listen = '127.0.0.1:70000'", "listen: it must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080"),
    ("private_listen = '127.0.0.1:8080'", "private_listen: it must not be the address of listen"),
    (
        "public_url = 'https://queue.example/'",
        "public_url: it must not end with a slash: relying parties compare it byte for byte",
    ),
    ("listen = '0.0.0.0:80'", "public_url: it is missing: only on a loopback address does it follow from listen"),
    (
        "public_url = 'http://127.0.0.1:8080'\ntls = { certificate = 'c', key = 'k' }",
        "public_url: it must be https, because tls is set",
    ),
    ("tls = { certificate = 'c' }", "tls.key: it is missing"),
    ("tls = 'c.pem'", "tls: it must be a table"),
    (
        "trusted_proxies = ['10.0.0.0/8', 'proxy']",
        "trusted_proxies[1]: it must be an IP address or network, such as 10.0.0.0/8",
    ),
    ("trusted_proxies = '10.0.0.0/8'", "trusted_proxies: it must be a list in brackets"),
    ("limits.exempt = ['everybody']", "limits.exempt[0]: it must be an IP address or network, such as 10.0.0.0/8"),
    ("limits.joins_burst = 0", "limits.joins_burst: it must be a whole number from 1 to 1000000"),
    (
        "limits.client_failures_per_minute = '9'",
        "limits.client_failures_per_minute: it must be a whole number from 1 to 1000000",
    ),
    ("limits.joins_bursts = 1", "limits.joins_bursts: there is no such key; is joins_burst meant?"),
    ("metrics.allow = '10.0.0.0/8'", "metrics.allow: it must be a list in brackets"),
    ("metrics.allow = ['anybody']", "metrics.allow[0]: it must be an IP address or network, such as 10.0.0.0/8"),
    ("hsts = 'no'", "hsts: it must be true or false, without quotes"),
    ("data_dir = ''", "data_dir: it must name a path"),
    ("issuer = 'x'", "issuer: there is no such key"),
    ("pubic_url = 'x'", "pubic_url: there is no such key; is public_url meant?"),
    ("store.engine = 'postgres'\nstore.table_prefix = '#'", "store.engine: it must be \"embedded\" or \"distributed\""),
    ("log.format = 'xml'", "log.format: it must be \"text\" or \"json\""),
    ("log.level = 'loud'", "log.level: it must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
    ("notices.stream = 'yes'", "notices.stream: it must be true or false, without quotes"),
    (
        "webhook = [{ name = 'a b', url = 'https://h/', secret = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=' }]",
        "webhook[0].name: it must be 1 to 64 letters, digits, '_' and '-'",
    ),
    (
        "webhook = [{ name = 'a', url = 'http://hook.example/', secret = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=' }]",
        "webhook[0].url: it must be https, or http on a loopback address",
    ),
    (
        "webhook = [{ name = 'a', url = 'https://h/', secret = '0123456789abcdef0123456789abcdef' }]",
        "webhook[0].secret: it must be whsec_ and the base64 of 24 to 64 bytes",
    ),
    (
        "webhook = [{ name = 'a', url = 'http://[::1]/', secret = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=', events = ['No'] }]",
        "webhook[0].events[0]: there is no event \"No\"",
    ),
    (
        "eventbridge = [{ name = 'a', bus = 'no bus' }]",
        "eventbridge[0].bus: it must be the name or the ARN of an event bus",
    ),
    (
        "eventbridge = [{ name = 'a' }]\nwebhook = [{ name = 'a', url = 'https://h/', secret = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=' }]",
        "eventbridge[0].name: \"a\" is there twice",
    ),
    (
        "sns_topic = [{ arn = 'exits', event = 'Sample' }]",
        "sns_topic[0].arn: it must be the ARN of an SNS topic, such as arn:aws:sns:eu-central-1:123456789012:exits",
    ),
    (
        "sns_topic = [{ arn = 'arn:aws:sns:eu-central-1:123456789012:exits', event = 'Sample' }]",
        "sns_topic[0].event: its inlet has not the strategy \"max_size\", and takes no messages",
    ),
    (
        "sns_topic = [{ arn = 'arn:aws:sns:eu-central-1:123456789012:exits', event = 'No' }]",
        "sns_topic[0].event: there is no event \"No\"",
    ),
    ("keys.rotation = 'never'", "keys.rotation: it must be \"automatic\" or \"manual\""),
    ("keys = { rotation_period = 3600 }", "keys.rotation_period: it must be a whole number from 172800 to 315360000"),
    ("keys = { rest = 'manual' }", "keys.rest: there is no such key"),
    ("admin.key = []", "admin.key: there is no such key; is keys meant?"),
    ("admin.keys = [{ name = 'ops' }]", "admin.keys[0].key: it is missing"),
    (
        "admin.keys = [{ name = 'ops', key = 'hunter2' }]",
        "admin.keys[0].key: the secret has 7 bytes; at least 32 are needed",
    ),
    ("admin.keys = [{ name = 'ops', key = 42424242 }]", "admin.keys[0].key: it must be text in quotes"),
    ("admin.keys = [{ name = '', key = 'env:K' }]", "admin.keys[0].name: it must be one line of text, and not empty"),
    (
        "admin.keys = [{ name = 'a', key = 'env:K' }, { name = 'a', key = 'env:K' }]",
        "admin.keys[1].name: \"a\" is there twice",
    ),
    (
        "admin.sigv4 = [{ access_key_id = 'a b', secret_access_key = 'env:K' }]",
        "admin.sigv4[0].access_key_id: it must be 1 to 128 letters, digits and '_'",
    ),
    (
        "demo.shop_listen = '0.0.0.0:8090'",
        "demo.shop_listen: it must be a loopback address: the shop is a demonstration",
    ),
    ("demo.shop_listen = '127.0.0.1:8090'", "demo.shop_client: there is no client \"Sample\""),
];

#[test]
fn each_bad_key_of_the_installation_is_named() {
    for (lines, complaint) in INSTALLATION {
        assert_eq!(complaints(parse_with(&format!("{lines}\n{SMALL}"), &[("K", SECRET)])), [*complaint], "{lines}");
    }
}

#[test]
fn each_bad_key_of_an_event_is_named() {
    let periodic = |more: &str| format!("inlet = {{ strategy = 'periodic', increment_by = 1, {more} }}");
    let instant =
        "it must be a date and time with its offset, such as 2026-12-01T09:00:00+01:00, or seconds since 1970";
    let seconds =
        |key: &str, longest: u32| format!("event[0].{key}: it must be a whole number of seconds from 1 to {longest}");
    let cases = [
        ("validity_period = 0".to_owned(), seconds("validity_period", 604_800)),
        ("validity_period = -5".into(), seconds("validity_period", 604_800)),
        ("validity_period = 1.5".into(), seconds("validity_period", 604_800)),
        ("validity_period = '1h'".into(), seconds("validity_period", 604_800)),
        ("validity_period = 604801".into(), seconds("validity_period", 604_800)),
        ("queue_position_expiry_period = 0".into(), seconds("queue_position_expiry_period", 604_800)),
        (
            "queue_position_expiry = 'true'".into(),
            "event[0].queue_position_expiry: it must be true or false, without quotes".into(),
        ),
        ("entry = 'knock'".into(), "event[0].entry: it must be \"automatic\" or \"button\"".into()),
        ("channels = ['web']".into(), "event[0].channels[0]: it must be \"login\" or \"rest\"".into()),
        ("channels = []".into(), "event[0].channels: at least one is needed: otherwise no visitor could join".into()),
        ("channels = ['rest', 'rest']".into(), "event[0].channels[1]: \"rest\" is there twice".into()),
        ("channels = 'rest'".into(), "event[0].channels: it must be a list in brackets".into()),
        ("inlet = {}".into(), "event[0].inlet.strategy: it is missing".into()),
        (
            "inlet = { strategy = 'lottery', n = 1 }".into(),
            "event[0].inlet.strategy: it must be \"periodic\", \"max_size\" or \"manual\"".into(),
        ),
        (
            "inlet = { strategy = 'manual', every = 5 }".into(),
            "event[0].inlet.every: it belongs to the strategy \"periodic\"".into(),
        ),
        ("inlet = { strategy = 'periodic' }".into(), "event[0].inlet.increment_by: it is missing".into()),
        (
            "inlet = { strategy = 'periodic', increment_by = 0 }".into(),
            "event[0].inlet.increment_by: it must be a whole number from 1 to 281474976710655".into(),
        ),
        (periodic("every = 0"), seconds("inlet.every", 86_400)),
        (periodic("every = 86401"), seconds("inlet.every", 86_400)),
        (periodic("max_size = 5"), "event[0].inlet.max_size: it belongs to the strategy \"max_size\"".into()),
        (periodic("start = 2026-12-01"), format!("event[0].inlet.start: {instant}")),
        (periodic("start = -1"), format!("event[0].inlet.start: {instant}")),
        (periodic("start = 9, end = 9"), "event[0].inlet.end: it must be later than start".into()),
        (
            "valdity_period = 5".into(),
            "event[0].valdity_period: there is no such key; is validity_period meant?".into(),
        ),
        ("[[event]]\nid = 'Sample'".into(), "event[1].id: \"Sample\" is there twice".into()),
        (
            "[[event]]\nid = 'two words'".into(),
            "event[1].id: an event ID is 1 to 64 characters out of A-Z, a-z, 0-9, '_' and '-'".into(),
        ),
    ];
    for (lines, complaint) in cases {
        assert_eq!(complaints(parse(&format!("{SMALL}{lines}"))), [complaint], "{lines}");
    }
    assert_eq!(complaints(parse("")), ["event: at least one [[event]] is needed"]);
    let single = "[event]\nid = 'Sample'";
    assert_eq!(complaints(parse(single)), ["event: it must be a list: write [[event]] with double brackets"]);
}

#[test]
fn a_client_of_an_event_without_logins_is_refused() {
    let text = with_client("").replace(SMALL, &format!("{SMALL}channels = ['rest']\n"));
    let complaint = "client[0].event: its channels are without \"login\": its visitors could not log in";
    assert_eq!(complaints(parse(&text)), [complaint]);
    assert!(parse(&text.replace("['rest']", "['rest', 'login']")).is_ok());
}

#[test]
fn each_bad_key_of_a_gate_is_named() {
    let cases = [
        ("alarm = ''", "alarm: it must be the name of an alarm: 1 to 255 characters"),
        ("health_url = '/health'", "health_url: it must be an absolute URL"),
        ("health_url = 'file:///health'", "health_url: it must be https or http"),
        ("alarm = 'a', health_url = 'http://h/'", "health_url: there is an alarm already: one of them decides"),
        ("check_every = 5", "check_every: it belongs to an inlet with alarm or health_url"),
        ("alarm = 'a', check_every = 0", "check_every: it must be a whole number of seconds from 1 to 3600"),
    ];
    for (keys, complaint) in cases {
        for strategy in ["strategy = 'periodic', increment_by = 1", "strategy = 'max_size', max_size = 1"] {
            let text = format!("{SMALL}inlet = {{ {strategy}, {keys} }}");
            assert_eq!(complaints(parse(&text)), [format!("event[0].inlet.{complaint}")], "{keys}");
        }
    }
    let by_hand = format!("{SMALL}inlet = {{ strategy = 'manual', alarm = 'a' }}");
    let complaint = "event[0].inlet.alarm: it belongs to the strategy \"periodic\" or \"max_size\"";
    assert_eq!(complaints(parse(&by_hand)), [complaint]);
}

#[test]
fn a_max_size_inlet_needs_its_size_and_an_expiry() {
    let cases = [
        (
            "inlet = { strategy = 'max_size', max_size = 100, every = 5 }",
            "event[0].inlet.every: it belongs to the strategy \"periodic\"",
        ),
        ("inlet = { strategy = 'max_size' }", "event[0].inlet.max_size: it is missing"),
        (
            "queue_position_expiry = false\ninlet = { strategy = 'max_size', max_size = 1 }",
            "event[0].queue_position_expiry: it must be true with the strategy \"max_size\": who never comes would hold a \
             place for ever",
        ),
    ];
    for (lines, complaint) in cases {
        assert_eq!(complaints(parse(&format!("{SMALL}{lines}"))), [complaint], "{lines}");
    }
}

/// The mistake, and the message.
const CLIENT: &[(&str, &str)] = &[
    ("client_id = ''", "client_id: it must be 1 to 128 printable ASCII characters"),
    ("client_id = 'Käse'", "client_id: it must be 1 to 128 printable ASCII characters"),
    ("event = 'Other'", "event: there is no event \"Other\"; there is: Sample"),
    ("client_secret = 'env:NOWHERE'", "client_secret: the variable NOWHERE is not set"),
    ("client_secret = 'env:SHORT'", "client_secret: the secret has 5 bytes; at least 32 are needed"),
    (
        "client_secret = 'file:nowhere'",
        "client_secret: the file /etc/anteroom/nowhere cannot be read: No such file or directory (os error 2)",
    ),
    (
        "token_endpoint_auth_method = 'none'",
        "client_secret: a public client (token_endpoint_auth_method = \"none\") has no secret",
    ),
    (
        "token_endpoint_auth_method = 'private_key_jwt'",
        "token_endpoint_auth_method: \"private_key_jwt\" is not in this version",
    ),
    (
        "token_endpoint_auth_method = 'basic'",
        "token_endpoint_auth_method: it must be \"any\", \"client_secret_basic\", \"client_secret_post\" or \"none\"",
    ),
    ("redirect_uris = []", "redirect_uris: at least one is needed"),
    (
        "redirect_uris = ['https://a/', 'http://a/']",
        "redirect_uris[1]: it must be https, or http on a loopback address",
    ),
    (
        "redirect_uris = ['https://*.a/']",
        "redirect_uris[0]: it must not have a wildcard: redirect URIs match as exact strings",
    ),
    ("redirect_uris = ['https://a/', 'https://a/']", "redirect_uris[1]: \"https://a/\" is there twice"),
    ("post_logout_redirect_uris = ['/bye']", "post_logout_redirect_uris[0]: it is not an absolute URI"),
    (
        "initiate_login_uri = 'http://shop.example/'",
        "initiate_login_uri: it must be https, or http on a loopback address",
    ),
    ("client_uri = 'javascript:alert(1)'", "client_uri: it must be https, or http on a loopback address"),
    ("client_name = \"two\\nlines\"", "client_name: it must be one line of text, and not empty"),
    ("application_type = 'app'", "application_type: it must be \"web\" or \"native\""),
    ("login_timeout = 86401", "login_timeout: it must be a whole number of seconds from 1 to 86400"),
    (
        "id_token_signed_response_alg = 'none'",
        "id_token_signed_response_alg: it must be \"RS256\", \"ES256\" or \"EdDSA\"",
    ),
    ("access_token_signing_alg = 'HS256'", "access_token_signing_alg: it must be \"RS256\", \"ES256\" or \"EdDSA\""),
    ("acr_values = ['a b']", "acr_values[0]: it must be printable ASCII without spaces"),
    ("claims.sub = 'me'", "claims.sub: the claim sub is the provider's own"),
    ("claims.name = '{name}'", "claims.name: unknown placeholder in name: known are {sub}, {position} and {event_id}"),
    ("claims.born = 2000-01-01", "claims.born: the claim born must be text, a number, true or false"),
    ("claims = 'all'", "claims: it must be a table"),
    ("redirect_uri = 'https://a/'", "redirect_uri: there is no such key; is redirect_uris meant?"),
];

#[test]
fn each_bad_key_of_a_client_is_named() {
    let secret = "client_secret: it is missing; a public client says token_endpoint_auth_method = \"none\"";
    for (lines, complaint) in CLIENT {
        let found = complaints(parse_with(&with_client(lines), &[("SHORT", "12345")]));
        assert_eq!(found, [format!("client[0].{complaint}")], "{lines}");
    }
    let without = with_client("").replace(&format!("client_secret = '{SECRET}'\n"), "");
    assert_eq!(complaints(parse(&without)), [format!("client[0].{secret}")]);
    let twice = format!("{}\n{}", with_client(""), with_client("").replace(SMALL, ""));
    assert_eq!(complaints(parse(&twice)), ["client[1].client_id: \"shop\" is there twice"]);
}

#[test]
fn all_problems_are_reported_at_once() {
    let text =
        with_client("redirect_uris = ['http://a/', 7]\nlogin_timeout = 0\nextra = 1").replace("id = \"Sample\"", "");
    assert_eq!(
        complaints(parse(&text)),
        [
            "event[0].id: it is missing",
            "client[0].event: there is no event \"Sample\"; there is: ",
            "client[0].redirect_uris[0]: it must be https, or http on a loopback address",
            "client[0].redirect_uris[1]: it must be text in quotes",
            "client[0].login_timeout: it must be a whole number of seconds from 1 to 86400",
            "client[0].extra: there is no such key",
        ]
    );
}

#[test]
fn the_shop_must_be_a_confidential_client_with_its_callback() {
    let demo =
        |lines: &str| format!("demo = {{ shop_listen = '127.0.0.1:1', shop_client = 'shop' }}\n{}", with_client(lines));
    let callback =
        "demo.shop_listen: client \"shop\" does not have http://127.0.0.1:1/callback among its redirect_uris";
    assert_eq!(complaints(parse(&demo(""))), [callback]);
    let public = demo("token_endpoint_auth_method = 'none'").replace(&format!("client_secret = '{SECRET}'\n"), "");
    let complaint = "demo.shop_client: the shop has a secret, so its client must not be a public one";
    assert_eq!(complaints(parse(&public)), [complaint]);
}

#[test]
fn a_syntax_error_has_its_position_and_not_the_line() {
    let error = parse(&format!("listen = '127.0.0.1:1'\nkey = \"{SECRET}\n")).unwrap_err().to_string();
    assert!(error.starts_with("/etc/anteroom/anteroom.toml: line 2, column "), "{error}");
    assert!(!error.contains(SECRET), "{error}");
}

#[test]
fn no_problem_repeats_a_secret() {
    for line in ["client_secret = ['S']", "client_secret = { S = 'S' }", "redirect_uris = 'S'", "login_timeout = 'S'"] {
        let text = with_client(&line.replace('S', "open-sesame"));
        let found = complaints(parse(&text)).concat();
        assert!(!found.is_empty() && !found.contains("sesame"), "{found}");
    }
    let short = complaints(parse(&with_client("client_secret = 'opensesame'"))).concat();
    assert!(!short.contains("sesame"), "{short}");
}
