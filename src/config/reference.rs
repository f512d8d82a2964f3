//! Every key of the configuration, as data: the source of the reference page.
//!
//! A test compares the list with the keys that are read, and the page with the list.

mod client;
mod keys;
mod limits;

use std::fmt::Write as _;
use std::time::Duration;

use crate::policy;

/// One key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Its path; `[]` stands for each entry of a list.
    pub path: &'static str,
    /// Its type.
    pub kind: String,
    /// Its default; empty: it is required.
    pub default: String,
    /// Its meaning.
    pub meaning: &'static str,
}

const INTRODUCTION: &str = "\
<!-- Made by `anteroom config-reference`; a test fails when it is out of date. -->

# Configuration

`anteroom serve --config FILE` reads one TOML file (`ANTEROOM_CONFIG` may name it instead). Without either, `serve` runs a demonstration
and writes `data/anteroom.toml` for it, with comments: a good file to start from. [anteroom.example.toml](anteroom.example.toml) shows
a site behind a proxy. `anteroom check-config` names everything that is wrong with a file; a key that is not on this page is refused.

**Secrets** may stand in the file as they are, or be named: `env:NAME` takes an environment variable, `file:PATH` what a file
holds, `secret:NAME` the secret of this name or ARN in [AWS Secrets Manager](operators.md#aws-secrets-manager), and
`secret:NAME#MEMBER` one member of it, where it is a JSON object. A byte order mark before a secret and one line end
after it do not count. They need at least 32 bytes; `openssl rand -hex 32` makes a good one.

**Paths** that are relative start from the directory of the configuration file.

**Variables** set keys over what the file says. Two underscores go one level down, a number counts the entries of a list from 0, and the
number after the last adds one: `ANTEROOM_PUBLIC_URL`, `ANTEROOM_LOG__LEVEL`, `ANTEROOM_EVENT__0__VALIDITY_PERIOD`. A value that reads as
TOML is taken as TOML (`[\"a\", \"b\"]`, `5`, `true`), any other as text. Relative paths in a variable start from the working directory.
A variable with this prefix that names no key is refused, unless it is `ANTEROOM_CONFIG` or a secret that the file names with `env:`.
The variables that Kubernetes sets of a Service whose name begins with `anteroom` (`ANTEROOM_SERVICE_HOST`, `ANTEROOM_PORT_8080_TCP`) are ignored.
";

/// A heading, its introduction, and the prefix of its keys.
const SECTIONS: [(&str, &str, &str); 14] = [
    ("The installation", "These keys stand at the top of the file, before any section.", ""),
    ("`[admin]`", "Who may use the private API. Without any key, it stays shut.", "admin."),
    ("`[limits]`", "How much one visitor's address may use.", "limits."),
    (
        "`[metrics]`",
        "Who may read the metrics. With `private_listen` they are served there alone, without a key.",
        "metrics.",
    ),
    ("`[keys]`", "The signing keys, see [keys and secrets](operators.md#keys-and-secrets).", "keys."),
    ("`[store]`", "Where state lives.", "store."),
    ("`[log]`", "The log, which goes to standard error.", "log."),
    ("`[[event]]`", "A waiting room; one section for each, and at least one.", "event[]."),
    (
        "`[[client]]`",
        "A relying party: a site that sends its visitors here to log in. One section for each.",
        "client[].",
    ),
    (
        "`[[webhook]]`",
        "Somebody who is called when something happens, see [events out](operators.md#events-out). One section for each.",
        "webhook[].",
    ),
    (
        "`[[eventbridge]]`",
        "An Amazon EventBridge bus that what happens is put on. One section for each. Region and credentials are found as every AWS SDK finds them.",
        "eventbridge[].",
    ),
    ("`[notices]`", "Events out.", "notices."),
    (
        "`[[sns_topic]]`",
        "An Amazon SNS topic that tells who left the site, for rooms with the inlet `max_size`; see [inlets](operators.md#inlets). It is subscribed to `public_url` and `/inlet/sns`.",
        "sns_topic[].",
    ),
    ("`[demo]`", "The sample shop. It runs beside the provider when this section is there.", "demo."),
];

/// Every key, in the order of the page.
pub fn reference() -> Vec<Setting> {
    [
        installation(),
        admin(),
        limits::settings(),
        keys::settings(),
        store(),
        log(),
        event(),
        inlet(),
        client::settings(),
        events_out(),
        demo(),
    ]
    .concat()
}

/// The page `docs/configuration.md`.
pub fn reference_page() -> String {
    let settings = reference();
    let mut page = INTRODUCTION.to_owned();
    for (heading, introduction, prefix) in SECTIONS {
        let _ = write!(
            page,
            "\n## {heading}\n\n{introduction}\n\n| key | takes | default | meaning |\n|---|---|---|---|\n"
        );
        for setting in settings.iter().filter(|setting| section_of(setting.path) == prefix) {
            let Setting { path, kind, default, meaning } = setting;
            let key = &path[prefix.len()..];
            let default = if default.is_empty() { "must be set" } else { default };
            let _ = writeln!(page, "| `{key}` | {kind} | {default} | {meaning} |");
        }
    }
    page
}

/// The prefix of the section that a key is listed under.
fn section_of(path: &str) -> &'static str {
    let named = SECTIONS.iter().map(|(_, _, prefix)| *prefix).filter(|prefix| !prefix.is_empty());
    named.into_iter().find(|prefix| path.starts_with(prefix)).unwrap_or_default()
}

fn setting(path: &'static str, kind: impl Into<String>, default: impl Into<String>, meaning: &'static str) -> Setting {
    Setting { path, kind: kind.into(), default: default.into(), meaning }
}

fn seconds(path: &'static str, default: Duration, longest: Duration, meaning: &'static str) -> Setting {
    let kind = format!("seconds, 1 to {}", longest.as_secs());
    setting(path, kind, format!("`{}`", default.as_secs()), meaning)
}

fn installation() -> Vec<Setting> {
    let listen = format!("`\"{}\"`", super::DEFAULT_LISTEN);
    let data = format!("`\"{}\"`", super::DEFAULT_DATA_DIR);
    let derived = "on a loopback address: `http://` (with `tls`: `https://`) and `listen`; else it must be set";
    vec![
        setting(
            "public_url",
            "URL",
            derived,
            "The address that browsers and relying parties know Anteroom by: the issuer, byte for byte. https; http on loopback addresses only. No query, no slash at the end. With a path, everything is mounted under it.",
        ),
        setting("listen", "IP address and port", listen, "Where Anteroom listens. Port 0: one that is free."),
        setting(
            "private_listen",
            "IP address and port",
            "none",
            "When set, the private API answers only here, over plain HTTP: an address for the inner network.",
        ),
        setting(
            "hsts",
            "true, false",
            "`true`",
            "Whether browsers are told to reach the host of `public_url` by https alone for a year, where it is https (`Strict-Transport-Security`, without its subdomains). `false`: another port or path of this host is reached by http, as on `localhost`.",
        ),
        setting("data_dir", "path", data, "The embedded engine's files and generated keys. Made when it is not there."),
        setting(
            "trusted_proxies",
            "list of IP addresses and networks",
            "none",
            "Proxies in front whose word on a visitor's address and on the host that was asked for is believed (`X-Forwarded-For` and `X-Forwarded-Host`, else `Forwarded`).",
        ),
        setting(
            "tls.certificate",
            "path",
            "plain HTTP",
            "PEM file: the certificate, and those of its issuers after it. Goes with `tls.key`; used at `listen`.",
        ),
        setting("tls.key", "path", "plain HTTP", "PEM file: the certificate's private key."),
    ]
}

fn admin() -> Vec<Setting> {
    vec![
        setting("admin.keys[].name", "text", "", "Who uses the key, for the log. Each name once."),
        setting("admin.keys[].key", "secret", "", "The bearer key."),
        setting(
            "admin.sigv4[].access_key_id",
            "1 to 128 letters, digits, `_`",
            "",
            "The ID of a key pair of AWS Signature Version 4. Each ID once.",
        ),
        setting("admin.sigv4[].secret_access_key", "secret", "", "The secret of the pair."),
    ]
}

fn store() -> Vec<Setting> {
    vec![
        setting(
            "store.engine",
            "`\"embedded\"`, `\"distributed\"`",
            "`\"embedded\"`",
            "`embedded` is SQLite in `data_dir`, for one node. `distributed` is Redis and DynamoDB, for any number; the other keys belong to it.",
        ),
        setting(
            "store.redis_url",
            "URL (`redis://`, or `rediss://` for TLS), or a list of them; or `env:NAME`, `file:PATH`, `secret:NAME`",
            "`distributed`: must be set",
            "Where Redis is: the server, whichever is the primary, or a Redis Cluster. Several, in a list or with commas between them, are nodes of one cluster, of which one that answers is enough. User and password stand in the URL: `rediss://USER:PASSWORD@HOST:6379`, with a comma in a password written `%2C`.",
        ),
        setting(
            "store.dynamodb_endpoint",
            "URL (https, http)",
            "AWS",
            "Where DynamoDB is, if it is not AWS's. Region and credentials are found as every AWS SDK finds them.",
        ),
        setting(
            "store.table_prefix",
            "0 to 64 letters, digits, `_`, `.`, `-`",
            format!("`\"{}\"`", super::store::DEFAULT_TABLE_PREFIX),
            "What the names of tables begin with, and of channels in Redis: deployments that share an account or a Redis need one each.",
        ),
        setting(
            "store.master_secret",
            "at least 32 bytes, in base64url or hexadecimal digits",
            "unset",
            "What all keys of the deployment are derived from, the same on every node. Unset: the first node makes it and leaves it in DynamoDB, where whoever may read the table `Documents` may read it.",
        ),
    ]
}

fn log() -> Vec<Setting> {
    vec![
        setting("log.format", "`\"text\"`, `\"json\"`", "`\"text\"`", "Lines for people, or a JSON object a line."),
        setting(
            "log.level",
            "`\"error\"`, `\"warn\"`, `\"info\"`, `\"debug\"`, `\"trace\"`",
            "`\"info\"`",
            "The least important lines that are written.",
        ),
    ]
}

fn event() -> Vec<Setting> {
    vec![
        setting("event[].id", "1 to 64 letters, digits, `_`, `-`", "", "The event ID. Each once."),
        seconds(
            "event[].validity_period",
            policy::DEFAULT_VALIDITY,
            policy::MAX_VALIDITY,
            "How long an admitted visitor's session and its tokens are good.",
        ),
        setting(
            "event[].queue_position_expiry",
            "true, false",
            "`true`",
            "Whether a served position must be used in time.",
        ),
        seconds(
            "event[].queue_position_expiry_period",
            policy::DEFAULT_POSITION_EXPIRY,
            policy::MAX_POSITION_EXPIRY,
            "In what time.",
        ),
        setting(
            "event[].increment_serving_on_expiry",
            "true, false",
            "`false`",
            "Whether others take the places of those who did not enter in time.",
        ),
        setting(
            "event[].metrics_events",
            "true, false",
            "`false`",
            "Whether the event's figures are sent out each minute.",
        ),
        setting(
            "event[].entry",
            "`\"automatic\"`, `\"button\"`",
            "`\"automatic\"`",
            "How a served visitor enters: at once, or by pressing a button, so that a forgotten tab takes no place.",
        ),
        setting(
            "event[].public_tokens",
            "true, false",
            "`true`",
            "Whether the public `generate_token` gives tokens; without, a login or the private API alone does.",
        ),
        setting(
            "event[].channels",
            "list of `\"login\"`, `\"rest\"`",
            "`[\"login\", \"rest\"]`",
            "How visitors join and use their places. Without `rest`, the public API answers 403 to `assign_queue_num`, `queue_num`, `generate_token` and `queue_pos_expiry`; without `login`, the event has no clients.",
        ),
    ]
}

fn inlet() -> Vec<Setting> {
    let instant = "date and time with offset, or seconds since 1970";
    vec![
        setting(
            "event[].inlet.strategy",
            "`\"periodic\"`, `\"max_size\"`, `\"manual\"`",
            "without `inlet`: `\"manual\"`",
            "What moves the serving counter: the clock; places that become free; or only the private API.",
        ),
        setting("event[].inlet.increment_by", "whole number from 1", "", "`periodic`: visitors let in in each period."),
        seconds(
            "event[].inlet.every",
            policy::DEFAULT_INLET_PERIOD,
            policy::MAX_INLET_PERIOD,
            "`periodic`: the period.",
        ),
        setting(
            "event[].inlet.smooth",
            "true, false",
            "`true`",
            "`periodic`: whether they are spread over the period; else they are let in all at once at its end.",
        ),
        setting(
            "event[].inlet.max_size",
            "whole number from 1",
            "",
            "`max_size`: how many may be inside at once, those counted who were served and may still come in. It needs `queue_position_expiry = true`.",
        ),
        setting("event[].inlet.start", instant, "none", "`periodic`, `max_size`: nobody is let in by itself before."),
        setting(
            "event[].inlet.end",
            instant,
            "none",
            "`periodic`, `max_size`: nobody is let in by itself from then on.",
        ),
        setting(
            "event[].inlet.alarm",
            "name of a CloudWatch alarm",
            "none",
            "`periodic`, `max_size`: nobody is let in by itself while the alarm is in `ALARM`, or cannot be asked.",
        ),
        setting(
            "event[].inlet.health_url",
            "URL",
            "none",
            "`periodic`, `max_size`: nobody is let in by itself unless a `GET` there is answered with a 2xx. Instead of `alarm`.",
        ),
        seconds(
            "event[].inlet.check_every",
            policy::DEFAULT_GATE_CHECK,
            policy::MAX_GATE_CHECK,
            "How often `alarm` or `health_url` is asked.",
        ),
    ]
}

fn events_out() -> Vec<Setting> {
    vec![
        setting(
            "webhook[].name",
            "1 to 64 letters, digits, `_`, `-`",
            "",
            "Its name, for the log. Each once, buses included. Another name is another webhook, which begins with what happens from then on.",
        ),
        setting("webhook[].url", "URL (https, or http on loopback)", "", "Where it is called, by `POST`."),
        setting(
            "webhook[].secret",
            "secret: `whsec_` and the base64 of 24 to 64 bytes",
            "",
            "What calls are signed with.",
        ),
        setting("webhook[].events", "list of event IDs", "all", "The events whose notices it gets."),
        setting("webhook[].kinds", "list of kinds", "all", "Which kinds of notices it gets."),
        setting("eventbridge[].name", "1 to 64 letters, digits, `_`, `-`", "", "As a webhook's."),
        setting("eventbridge[].bus", "name or ARN of an event bus", "`\"default\"`", "The bus."),
        setting("eventbridge[].events", "list of event IDs", "all", "The events whose notices it gets."),
        setting("eventbridge[].kinds", "list of kinds", "all", "Which kinds of notices it gets."),
        setting("sns_topic[].arn", "ARN of a topic", "", "The topic: messages of any other are refused. Each once."),
        setting("sns_topic[].event", "event ID", "", "Whose exits it tells: an event with the inlet `max_size`."),
        setting(
            "sns_topic[].endpoint",
            "URL (https, or http on loopback)",
            "AWS, in the topic's region",
            "Where SNS is, if it is not AWS's (an emulator): certificates, directly below this address, and confirmations are asked for there alone.",
        ),
        setting(
            "notices.stream",
            "true, false",
            "`false`",
            "Whether events out are kept for `GET /private/events` although neither a webhook nor a bus is configured.",
        ),
    ]
}

fn demo() -> Vec<Setting> {
    vec![
        setting(
            "demo.shop_listen",
            "loopback address and port",
            "",
            "Where the shop listens. Its client has `http://`, this address and `/callback` among its redirect URIs. Port 0, here and there: one that is free.",
        ),
        setting("demo.shop_client", "client ID", "`\"Sample\"`", "The client that the shop is."),
    ]
}
