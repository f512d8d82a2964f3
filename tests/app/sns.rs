//! Messages of an SNS topic that tell who left: only genuine ones are heard.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::x509::X509;
use serde_json::{Value, json};

use crate::sessions::{SAMPLE, post, said, ticket};
use crate::support::{NOW, TestApp};

const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:exits";

/// An SNS of our own: it has a certificate, and notes who confirms.
struct Sns {
    address: SocketAddr,
    key: PKey<Private>,
    asked: Arc<Mutex<Vec<String>>>,
}

fn certificate(key: &PKey<Private>) -> Vec<u8> {
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build().to_pem().unwrap()
}

impl Sns {
    fn start() -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let (pem, asked) = (certificate(&key), Arc::<Mutex<Vec<String>>>::default());
        let state = Data::new((pem, Arc::clone(&asked)));
        let server = HttpServer::new(move || App::new().app_data(Data::clone(&state)).default_service(web::to(answer)));
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        actix_web::rt::spawn(server.run());
        Self { address, key, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// An application whose event `Sample` holds ten, and hears this SNS's topic.
    async fn app(&self) -> TestApp {
        let event = "id = \"Sample\"\ninlet = { strategy = \"max_size\", max_size = 10 }\n";
        let topic = format!("[[sns_topic]]\narn = \"{TOPIC}\"\nevent = \"Sample\"\nendpoint = \"{}\"\n#", self.url(""));
        TestApp::replacing(SAMPLE, &format!("{event}{topic}")).await
    }

    /// A message as SNS writes it, with members replaced before it is signed.
    fn message(&self, kind: &str, members: Value) -> Value {
        let mut message = json!({
            "Type": kind, "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC, "Message": "{}",
            "Timestamp": NOW.rfc3339(), "SignatureVersion": "2", "SigningCertURL": self.url("/cert.pem"),
        });
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.sign(&mut message);
        message
    }

    fn sign(&self, message: &mut Value) {
        let notification = message["Type"] == "Notification";
        let all = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];
        let signed = all.into_iter().filter(|name| match *name {
            "Subject" => notification,
            "SubscribeURL" | "Token" => !notification,
            _ => true,
        });
        let line = |name| message[name].as_str().map(|value| format!("{name}\n{value}\n"));
        let text: String = signed.filter_map(line).collect();
        let old = message["SignatureVersion"] == "1";
        let digest = if old { MessageDigest::sha1() } else { MessageDigest::sha256() };
        let mut signer = Signer::new(digest, &self.key).unwrap();
        signer.update(text.as_bytes()).unwrap();
        message["Signature"] = STANDARD.encode(signer.sign_to_vec().unwrap()).into();
    }

    fn exits(&self, exits: &Value) -> Value {
        self.message("Notification", json!({ "Message": exits.to_string(), "Subject": "gone" }))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The certificate, and what was asked for.
type Shelf = (Vec<u8>, Arc<Mutex<Vec<String>>>);

async fn answer(request: HttpRequest, state: Data<Shelf>) -> HttpResponse {
    state.1.lock().unwrap().push(request.uri().to_string());
    match request.path() {
        "/cert.pem" => HttpResponse::Ok().body(state.0.clone()),
        "/nonsense.pem" => HttpResponse::Ok().body("no certificate"),
        "/confirm" => HttpResponse::Ok().finish(),
        _ => HttpResponse::NotFound().finish(),
    }
}

/// Delivers a message as SNS does, whose content type is text.
async fn deliver(app: &TestApp, message: &Value) -> (u16, String) {
    let body = app.http.post(app.url("/inlet/sns")).header("content-type", "text/plain; charset=UTF-8");
    let sent = body.header("x-amz-sns-message-type", message["Type"].as_str().unwrap_or("x")).body(message.to_string());
    let answer = sent.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Lets ten in; their request IDs.
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
async fn who_left_by_a_message_is_followed_by_the_next_whatever_the_version_of_the_signature() {
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
    assert_eq!(sns.asked(), ["/cert.pem"], "the certificate is fetched once");
    app.stop().await;
}

#[actix_web::test]
async fn a_long_message_is_read_whole() {
    let sns = Sns::start();
    let app = sns.app().await;
    let inside = full(&app).await;
    let mut gone: Vec<String> = (0..3000).map(|number| format!("{number:08x}-0000-0000-0000-000000000000")).collect();
    gone.push(inside[4].clone());
    assert_eq!(deliver(&app, &sns.exits(&json!({ "completed": gone }))).await.0, 200);
    assert_eq!(serving(&app), 11);
    app.stop().await;
}

#[actix_web::test]
async fn a_subscription_is_confirmed_where_sns_is_and_nowhere_else() {
    let sns = Sns::start();
    let app = sns.app().await;
    let offer = |url: String| {
        let members = json!({ "Message": "confirm", "Token": "t0ken", "SubscribeURL": url });
        sns.message("SubscriptionConfirmation", members)
    };
    assert_eq!(deliver(&app, &offer(sns.url("/confirm?Token=t0ken"))).await.0, 200);
    assert_eq!(sns.asked(), ["/cert.pem", "/confirm?Token=t0ken"]);
    assert_eq!(deliver(&app, &offer(sns.url("/gone"))).await.0, 503, "SNS will try again");
    for elsewhere in ["http://127.0.0.1:1/confirm", "https://sns.eu-central-1.amazonaws.com/", "file:///etc/passwd"] {
        assert_eq!(deliver(&app, &offer(elsewhere.to_owned())).await.0, 403, "{elsewhere}");
    }
    let with_user = offer(sns.url("/confirm").replace("http://", "http://user:secret@"));
    assert_eq!(deliver(&app, &with_user).await.0, 403);
    assert_eq!(sns.asked().len(), 3);
    let end = json!({ "Message": "bye", "Token": "t", "SubscribeURL": sns.url("/confirm") });
    assert_eq!(deliver(&app, &sns.message("UnsubscribeConfirmation", end)).await.0, 200);
    assert_eq!(sns.asked().len(), 3, "who unsubscribed is not subscribed again");
    app.stop().await;
}

#[actix_web::test]
async fn what_sns_did_not_sign_for_this_topic_and_now_changes_nothing() {
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
    let elsewhere = "http://127.0.0.1:1/cert.pem";
    let cases = [
        (changed("Message", r#"{"exited":1}"#), 403, "another message"),
        (changed("Signature", "bm9uZQ=="), 403, "no signature of theirs"),
        (changed("Signature", "%"), 403, "no base64"),
        (changed("Subject", "added"), 403, "a subject that was not signed"),
        (with("TopicArn", "arn:aws:sns:eu-central-1:123456789012:other"), 403, "another topic"),
        (with("Timestamp", &too_old.rfc3339()), 403, "an old message"),
        (with("Timestamp", &too_new.rfc3339()), 403, "a message from the future"),
        (with("Timestamp", "yesterday"), 400, "no date"),
        (with("SigningCertURL", elsewhere), 403, "a certificate from elsewhere"),
        (with("SigningCertURL", "https://sns.eu-central-1.amazonaws.com.evil.example/cert.pem"), 403, "alike"),
        (with("SigningCertURL", &sns.url("/cert.key")), 403, "no certificate's name"),
        (with("SignatureVersion", "3"), 400, "an unknown version"),
        (sns.exits(&json!({ "exited": -1 })), 400, "a negative number"),
        (sns.exits(&json!({ "completed": ["x"] })), 400, "no request ID"),
        (sns.exits(&json!([])), 400, "no object"),
        (json!({ "Type": "Notification" }), 400, "half a message"),
        (json!([1]), 400, "no message"),
    ];
    for (message, status, what) in cases {
        let (answered, body) = deliver(&app, &message).await;
        assert_eq!(answered, status, "{what}: {body}");
        assert!(body.contains("\"error\"") && !body.contains(TOPIC), "{what}: {body}");
    }
    assert_eq!((serving(&app), app.all_counters()["Sample"].completed), (10, 0));
    let oversized = app.http.post(app.url("/inlet/sns")).body(vec![b' '; 700 * 1024]).send().await.unwrap();
    assert_eq!(said(oversized).await.0, 400);
    app.stop().await;
}

#[actix_web::test]
async fn certificates_that_do_not_exist_are_asked_for_only_so_often() {
    let sns = Sns::start();
    let app = sns.app().await;
    let named = |path: &str| sns.message("Notification", json!({ "SigningCertURL": sns.url(path) }));
    assert_eq!(deliver(&app, &named("/missing.pem")).await.0, 403);
    for number in 0..5 {
        assert_eq!(deliver(&app, &named(&format!("/missing-{number}.pem"))).await.0, 429);
    }
    assert_eq!(sns.asked(), ["/missing.pem"]);
    app.pass(10);
    assert_eq!(deliver(&app, &named("/nonsense.pem")).await.0, 403);
    app.pass(10);
    assert_eq!(deliver(&app, &named("/cert.pem")).await, (200, r#"{"updated":0,"admitted":0}"#.to_owned()));
    assert_eq!(sns.asked(), ["/missing.pem", "/nonsense.pem", "/cert.pem"]);
    app.stop().await;
}

#[actix_web::test]
async fn where_no_topic_is_configured_none_is_heard() {
    let sns = Sns::start();
    let app = TestApp::start().await;
    assert_eq!(deliver(&app, &sns.exits(&json!({ "exited": 1 }))).await.0, 403);
    assert!(sns.asked().is_empty());
    app.stop().await;
}
