//! The OpenAPI document: it has exactly the routes of the program, and its examples fit its schemas.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{ADMIN_KEY, TestApp, json};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn document() -> Value {
    serde_json::from_str(&read("docs/openapi.json")).unwrap()
}

/// Whether `value` fits `schema`, for the keywords that the document uses; another keyword is a failure.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(word, rule)| match word.as_str() {
        "description" | "format" | "default" | "pattern" => word != "pattern" || pattern(rule, value),
        "$ref" => fits(root, root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap(), value),
        "const" => rule == value,
        "enum" => rule.as_array().unwrap().contains(value),
        "type" => match rule {
            Value::Array(types) => types.iter().any(|one| is_a(one, value)),
            one => is_a(one, value),
        },
        "oneOf" => rule.as_array().unwrap().iter().filter(|one| fits(root, one, value)).count() == 1,
        "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
        "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(root, rule, item))),
        "properties" => rule.as_object().unwrap().iter().all(|(name, rule)| {
            let member = value.get(name);
            member.is_none_or(|member| fits(root, rule, member))
        }),
        other => panic!("a word that this test does not know: {other}"),
    })
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type: {other}"),
    }
}

/// The two kinds of pattern that the document uses.
fn pattern(rule: &Value, value: &Value) -> bool {
    let Some(text) = value.as_str() else { return true };
    let rule = rule.as_str().unwrap();
    let digits = text.strip_prefix('-').filter(|_| rule.starts_with("^-?")).unwrap_or(text);
    match rule.contains("a-f") {
        true => text.split('-').map(str::len).eq([8, 4, 4, 4, 12]),
        false => !digits.is_empty() && digits.bytes().all(|letter| letter.is_ascii_digit()),
    }
}

/// Every media type object below `value`.
fn contents<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "content" => found.extend(member.as_object().unwrap().values()),
                    _ => contents(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| contents(item, found)),
        _ => {}
    }
}

#[test]
fn every_path_of_the_rest_api_is_in_the_document_and_no_other() {
    let (routes, keys) = (read("src/web/routes.rs"), read("src/web/private/keys.rs"));
    let literals = routes.split('"').chain(keys.split('"'));
    let rest = |path: &&str| path.starts_with("/api/") || path.starts_with("/private/");
    let mounted: BTreeSet<&str> = literals.filter(rest).collect();
    let document = document();
    let described = document["paths"].as_object().unwrap().keys().map(String::as_str);
    assert_eq!(described.filter(rest).collect::<BTreeSet<_>>(), mounted);
}

#[test]
fn every_example_fits_its_schema() {
    let document = document();
    let mut found = Vec::new();
    contents(&document, &mut found);
    let mut checked = 0;
    for content in found {
        let named = content["examples"].as_object().into_iter().flat_map(|all| all.values().map(|one| &one["value"]));
        for example in content.get("example").into_iter().chain(named) {
            assert!(fits(&document, &content["schema"], example), "{example}");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

#[actix_web::test]
async fn the_document_is_served_to_any_origin_with_the_public_url_as_its_server() {
    let app = TestApp::start().await;
    let answer = app.get("/openapi.json").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
    let served = json(answer).await;
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["servers"][0]["url"], app.issuer.as_str());
    app.stop().await;
}

#[actix_web::test]
async fn the_program_answers_each_described_call_with_a_described_answer() {
    let app = TestApp::with("[notices]\nstream = true").await;
    let (document, ticket) = (document(), app.join("Sample").await);
    app.serve("Sample", 1).await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        // The stream does not end; a rotation generates keys, which is slow.
        if ["/private/events", "/private/rotate_keys"].contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in operations.as_object().unwrap() {
            let query = format!("{path}?event_id=Sample{}", ["", "&request_id="][usize::from(path.contains("queue_"))]);
            let query = if query.ends_with('=') { format!("{query}{ticket}") } else { query };
            let request = app.request(method.to_uppercase().parse().unwrap(), &query);
            let mut sent = operation["requestBody"]["content"]["application/json"]["example"].clone();
            if sent.get("request_id").is_some() {
                sent["request_id"] = ticket.as_str().into();
            }
            let request = if path.starts_with("/private") { request.bearer_auth(ADMIN_KEY) } else { request };
            let answer = request.body(sent.to_string()).send().await.unwrap();
            let status = answer.status();
            let described = &operation["responses"][status.as_str()];
            assert!(described.is_object(), "{path}: {status}");
            if let Some(content) = described.pointer("/content/application~1json") {
                let body = json(answer).await;
                assert!(fits(&document, &content["schema"], &body), "{path}: {status} {body}");
            }
        }
    }
    app.stop().await;
}
