//! A fake SNS: it serves certificates, signs, and records its requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anteroom::ambient::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::x509::X509;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::sessions::SAMPLE;
use crate::support::{NOW, TestApp};

pub const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:exits";
const DAY: u64 = 24 * 3600;

/// The path of its certificate.
pub const GOOD: &str = "/SimpleNotificationService-900d.pem";
/// Another valid certificate, which is served when the test allows it.
pub const SLOW: &str = "/SimpleNotificationService-510e.pem";
/// Answers that are no valid certificate, although their key has signed.
pub const BAD: [&str; 4] = [
    "/SimpleNotificationService-0bad.pem",
    "/SimpleNotificationService-01d.pem",
    "/SimpleNotificationService-1ea7e4.pem",
    "/SimpleNotificationService-22.pem",
];

pub struct Sns {
    address: SocketAddr,
    key: PKey<Private>,
    asked: Arc<Mutex<Vec<String>>>,
    release: Arc<Semaphore>,
}

/// The served files, the recorded requests, and the permits of the slow file.
type Shelf = (HashMap<&'static str, Vec<u8>>, Arc<Mutex<Vec<String>>>, Arc<Semaphore>);

fn certificate(key: &PKey<Private>, from: Timestamp, days: u64) -> Vec<u8> {
    let time = |seconds: u64| Asn1Time::from_unix(seconds.try_into().unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&time(from.as_secs())).unwrap();
    builder.set_not_after(&time(from.as_secs() + days * DAY)).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build().to_pem().unwrap()
}

fn files(key: &PKey<Private>) -> HashMap<&'static str, Vec<u8>> {
    let good = certificate(key, NOW, 1);
    let [nonsense, old, future, two] = BAD;
    HashMap::from([
        (nonsense, b"no certificate".to_vec()),
        (old, certificate(key, Timestamp::from_secs(NOW.as_secs() - 2 * DAY), 1)),
        (future, certificate(key, Timestamp::from_secs(NOW.as_secs() + DAY), 1)),
        (two, [good.clone(), good.clone()].concat()),
        (SLOW, good.clone()),
        (GOOD, good),
    ])
}

impl Sns {
    pub fn start() -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let (asked, release) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Semaphore::new(0)));
        let state = Data::new((files(&key), Arc::clone(&asked), Arc::clone(&release)));
        let server = HttpServer::new(move || App::new().app_data(Data::clone(&state)).default_service(web::to(answer)));
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        actix_web::rt::spawn(server.run());
        Self { address, key, asked, release }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// An application whose event `Sample` has a capacity of ten, and which is subscribed to this SNS's topic.
    pub async fn app(&self) -> TestApp {
        let event = "id = \"Sample\"\ninlet = { strategy = \"max_size\", max_size = 10 }\n";
        let topic = format!("[[sns_topic]]\narn = \"{TOPIC}\"\nevent = \"Sample\"\nendpoint = \"{}\"\n#", self.url(""));
        TestApp::replacing(SAMPLE, &format!("{event}{topic}")).await
    }

    /// A message as SNS writes it, with members replaced before it is signed.
    pub fn message(&self, kind: &str, members: Value) -> Value {
        let mut message = json!({
            "Type": kind, "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC, "Message": "{}",
            "Timestamp": NOW.rfc3339(), "SignatureVersion": "2", "SigningCertURL": self.url(GOOD),
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

    pub fn exits(&self, exits: &Value) -> Value {
        self.message("Notification", json!({ "Message": exits.to_string(), "Subject": "gone" }))
    }

    pub fn requests(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Serves the slow file.
    pub fn release(&self) {
        self.release.add_permits(1000);
    }
}

async fn answer(request: HttpRequest, state: Data<Shelf>) -> HttpResponse {
    let (pages, asked, release) = &**state;
    asked.lock().unwrap().push(request.uri().to_string());
    match (request.path(), pages.get(request.path())) {
        ("/confirm", _) => HttpResponse::Ok().finish(),
        (_, None) => HttpResponse::NotFound().finish(),
        (path, Some(page)) => {
            if path == SLOW {
                release.acquire().await.unwrap().forget();
            }
            HttpResponse::Ok().body(page.clone())
        }
    }
}
