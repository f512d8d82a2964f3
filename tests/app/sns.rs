//! Departures on an SNS topic: only genuine messages are accepted.

mod certificates;
mod peer;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::sessions::{post, said, ticket};
use crate::support::{NOW, TestApp};
use crate::wire::{eventually, exchange};
use peer::{GOOD, Sns, TOPIC};

/// Delivers a message as SNS does, whose content type is text.
async fn deliver(app: &TestApp, message: &Value) -> (u16, String) {
    let head = app.http.post(app.url("/inlet/sns")).header("content-type", "text/plain; charset=UTF-8");
    let head = head.header("x-amz-sns-message-type", message["Type"].as_str().unwrap_or("x"));
    let head = head.header("x-amz-sns-topic-arn", message["TopicArn"].as_str().unwrap_or("x"));
    let answer = head.body(message.to_string()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Admits ten; their request IDs.
async fn full(app: &TestApp) -> Vec<String> {
    app.lobby().step_inlets(&mut std::collections::HashMap::new()).await;
    let ids = join_all((0..30).map(|_| app.join("Sample"))).await;
    let mut inside = Vec::new();
    for id in ids {
        if post(app, "/api/generate_token", &ticket(&id)).await.status() == 200 {
            inside.push(id);
        }
    }
    assert_eq!(inside.len(), 10);
    inside
}

fn serving(app: &TestApp) -> u64 {
    app.all_counters()["Sample"].serving
}

#[actix_web::test]
async fn departures_in_a_message_admit_the_next_with_either_signature_version() {
    let sns = Sns::start();
    let app = sns.app().await;
    let inside = full(&app).await;
    let exits = json!({ "completed": [inside[0], inside[1]], "abandoned": [inside[2]] });
    let message = sns.exits(&exits);
    assert_eq!(deliver(&app, &message).await, (200, r#"{"updated":3,"admitted":3}"#.to_owned()));
    assert_eq!(deliver(&app, &message).await, (200, r#"{"updated":0,"admitted":0}"#.to_owned()), "delivered twice");
    assert_eq!(serving(&app), 13);
    let text = json!({ "exited": 9, "completed": [inside[3]] }).to_string();
    let old = sns.message("Notification", json!({ "Message": text, "SignatureVersion": "1" }));
    assert_eq!(deliver(&app, &old).await, (200, r#"{"updated":1,"admitted":1}"#.to_owned()));
    assert_eq!(serving(&app), 14);
    let nothing = json!({ "exited": null, "completed": null, "abandoned": null });
    assert_eq!(deliver(&app, &sns.exits(&nothing)).await, (200, r#"{"updated":0,"admitted":0}"#.to_owned()));
    assert_eq!(sns.requests(), [GOOD], "the certificate is fetched once");
    app.stop().await;
}

#[actix_web::test]
async fn a_long_message_is_read_completely() {
    let sns = Sns::start();
    let app = sns.app().await;
    let inside = full(&app).await;
    // As many as a message of 256 KiB contains.
    let mut gone: Vec<String> = (0..6700).map(|number| format!("{number:08x}-0000-0000-0000-000000000000")).collect();
    gone.push(inside[4].clone());
    assert_eq!(deliver(&app, &sns.exits(&json!({ "completed": gone }))).await.0, 200);
    assert_eq!(serving(&app), 11);
    app.stop().await;
}

#[actix_web::test]
async fn a_malformed_id_does_not_stop_a_message() {
    let sns = Sns::start();
    let app = sns.app().await;
    let inside = full(&app).await;
    let before = serving(&app);
    let message = json!({ "completed": ["nonsense", inside[0], null], "abandoned": [inside[1], 5] });
    let (status, actual) = deliver(&app, &sns.exits(&message)).await;
    let actual: Value = serde_json::from_str(&actual).unwrap();
    let expected = json!({ "updated": 2, "invalid_count": 3, "invalid": ["nonsense", "null", "5"], "admitted": 2 });
    assert_eq!((status, actual), (200, expected));
    assert_eq!(serving(&app), before + 2);
    app.stop().await;
}

#[actix_web::test]
async fn a_subscription_is_confirmed_at_the_sns_endpoint_alone() {
    let sns = Sns::start();
    let app = sns.app().await;
    let offer = |url: String| {
        let members = json!({ "Message": "confirm", "Token": "t0ken", "SubscribeURL": url });
        sns.message("SubscriptionConfirmation", members)
    };
    assert_eq!(deliver(&app, &offer(sns.url("/confirm?Token=t0ken"))).await.0, 200);
    assert_eq!(sns.requests(), [GOOD, "/confirm?Token=t0ken"]);
    assert_eq!(deliver(&app, &offer(sns.url("/gone"))).await.0, 503, "SNS will try again");
    for elsewhere in ["http://127.0.0.1:1/confirm", "https://sns.eu-central-1.amazonaws.com/", "file:///etc/passwd"] {
        assert_eq!(deliver(&app, &offer(elsewhere.to_owned())).await.0, 403, "{elsewhere}");
    }
    let with_user = offer(sns.url("/confirm").replace("http://", "http://user:secret@"));
    assert_eq!(deliver(&app, &with_user).await.0, 403);
    assert_eq!(sns.requests().len(), 3);
    let end = json!({ "Message": "bye", "Token": "t", "SubscribeURL": sns.url("/confirm") });
    assert_eq!(deliver(&app, &sns.message("UnsubscribeConfirmation", end)).await.0, 200);
    assert_eq!(sns.requests().len(), 3, "who unsubscribed is not subscribed again");
    app.stop().await;
}

#[actix_web::test]
async fn messages_of_other_signers_topics_or_times_change_nothing() {
    let sns = Sns::start();
    let app = sns.app().await;
    let inside = full(&app).await;
    let text = json!({ "completed": [inside[0]] }).to_string();
    let good = json!({ "Message": text });
    let with = |name: &str, value: &str| {
        let mut members = good.clone();
        members[name] = value.into();
        sns.message("Notification", members)
    };
    let changed = |name: &str, value: &str| {
        let mut message = sns.message("Notification", good.clone());
        message[name] = value.into();
        message
    };
    let too_old = NOW - std::time::Duration::from_secs(4000);
    let too_new = NOW + std::time::Duration::from_secs(4000);
    let elsewhere = format!("http://127.0.0.1:1{GOOD}");
    let alike = format!("https://sns.eu-central-1.amazonaws.com.evil.example{GOOD}");
    let cases = [
        (changed("Message", r#"{"exited":1}"#), 403, "another message"),
        (changed("Signature", "bm9uZQ=="), 403, "no signature of theirs"),
        (changed("Signature", "%"), 403, "no base64"),
        (changed("Subject", "added"), 403, "a subject that was not signed"),
        (with("TopicArn", "arn:aws:sns:eu-central-1:123456789012:other"), 403, "another topic"),
        (with("Timestamp", &too_old.rfc3339()), 403, "an old message"),
        (with("Timestamp", &too_new.rfc3339()), 403, "a message from the future"),
        (with("Timestamp", "yesterday"), 400, "no date"),
        (with("SigningCertURL", &elsewhere), 403, "a certificate from elsewhere"),
        (with("SigningCertURL", &alike), 403, "a certificate from a place that looks alike"),
        (with("SigningCertURL", &sns.url("/cert.pem")), 403, "no name of a certificate of theirs"),
        (with("SigningCertURL", &sns.url(&format!("{GOOD}?x"))), 403, "a query"),
        (with("SignatureVersion", "3"), 400, "an unknown version"),
        (sns.exits(&json!({ "exited": -1 })), 400, "a negative number"),
        (sns.exits(&json!({ "completed": "x" })), 400, "no list of request IDs"),
        (sns.exits(&json!([])), 400, "no object"),
        (sns.exits(&json!([1, [inside[0]], []])), 400, "no object, though the members are there"),
        (json!({ "Type": "Notification" }), 400, "half a message"),
        (json!([1]), 400, "no message"),
    ];
    for (message, status, what) in cases {
        let (answered, body) = deliver(&app, &message).await;
        assert_eq!(answered, status, "{what}: {body}");
        assert!(body.contains("\"error\"") && !body.contains(TOPIC), "{what}: {body}");
    }
    assert_eq!((serving(&app), app.all_counters()["Sample"].completed), (10, 0));
    assert_eq!(sns.requests(), [GOOD]);
    let oversized =
        app.http.post(app.url("/inlet/sns")).header("x-amz-sns-topic-arn", TOPIC).body(vec![b' '; 300 * 1024]);
    assert_eq!(said(oversized.send().await.unwrap()).await.0, 400);
    app.stop().await;
}

/// The head of a message with a body of `length` bytes.
fn head(topic: &str, length: usize) -> String {
    format!(
        "POST /inlet/sns HTTP/1.1\r\nhost: anteroom\r\nx-amz-sns-topic-arn: {topic}\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[actix_web::test]
async fn without_a_configured_topic_no_body_is_read() {
    let sns = Sns::start();
    let app = TestApp::start().await;
    assert_eq!(deliver(&app, &sns.exits(&json!({ "exited": 1 }))).await.0, 404);
    // No body follows, so a server that waits for it times out.
    assert_eq!(exchange(app.address(), head(TOPIC, 200_000).as_bytes()).await.unwrap().status, 404);
    assert!(sns.requests().is_empty());
    app.stop().await;
}

#[actix_web::test]
async fn large_bodies_are_read_only_for_configured_topics_and_in_bounded_number() {
    let sns = Sns::start();
    let app = sns.app().await;
    let foreign = exchange(app.address(), head("arn:aws:sns:x:123456789012:other", 200_000).as_bytes()).await.unwrap();
    assert_eq!(foreign.status, 403, "the body is not waited for");
    let gone: Vec<String> = (0..2000).map(|number| format!("{number:08x}-0000-0000-0000-000000000000")).collect();
    let large = sns.exits(&json!({ "completed": gone }));
    assert_eq!(deliver(&app, &large).await.0, 200);

    let mut slow = Vec::new();
    for _ in 0..anteroom::policy::LARGE_BODIES {
        let mut stream = TcpStream::connect(app.address()).await.unwrap();
        stream.write_all(head(TOPIC, 200_000).as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let waits = eventually(async || {
        let busy = app.http.post(app.url("/inlet/sns")).header("x-amz-sns-topic-arn", TOPIC).body(vec![b' '; 100_000]);
        let busy = busy.send().await.unwrap();
        (busy.status() == 429).then(|| busy.headers()["retry-after"].to_str().unwrap().to_owned())
    });
    assert_eq!(waits.await, "5");
    assert_eq!(deliver(&app, &sns.exits(&json!({}))).await.0, 200, "what is short is not held up");
    drop(slow);
    eventually(async || (deliver(&app, &large).await.0 == 200).then_some(())).await;
    app.stop().await;
}
