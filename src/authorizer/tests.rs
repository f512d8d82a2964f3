//! Each form of event with its expected answer, each rule for a token, and a key set that becomes unavailable.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::Authorizer;
use super::key_source::KeySource;
use super::settings::Settings;
use crate::ambient::{Clock, FrozenClock, Timestamp};
use crate::keys::{KeyRing, TokenType};
use crate::oauth::SigningAlg;
use crate::policy;

const NOW: u64 = 1_800_000_000;
const SUB: &str = "01234567-89ab-cdef-0123-456789abcdef";
const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abc123/prod/GET/cart/7";

/// Generating keys takes longest: two key rings for all tests.
static RINGS: LazyLock<[KeyRing; 2]> =
    LazyLock::new(|| [0, 1].map(|_| KeyRing::generate(Timestamp::from_secs(NOW)).unwrap()));

/// An issuer whose key set the test defines; `None`: it fails.
#[derive(Default)]
struct Published {
    set: Option<String>,
    asked: u32,
}

/// An authorizer and its issuer.
struct Fixture {
    authorizer: Authorizer,
    clock: Arc<FrozenClock>,
    published: Arc<Mutex<Published>>,
}

impl Fixture {
    fn new() -> Self {
        let set = Some(RINGS[0].jwks().json().to_string());
        let published = Arc::new(Mutex::new(Published { set, asked: 0 }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&published);
        thread::spawn(move || listener.incoming().for_each(|stream| publish(stream.unwrap(), &shared)));
        let jwks_url = format!("{issuer}/.well-known/jwks.json").parse().unwrap();
        let settings = Settings { event_id: "sale".into(), issuer: "https://q.example".into(), jwks_url };
        let clock = Arc::new(FrozenClock::at(Timestamp::from_secs(NOW)));
        let shared: Arc<dyn Clock> = clock.clone();
        let keys = KeySource::new(settings.jwks_url.clone(), Arc::clone(&shared)).unwrap();
        Self { authorizer: Authorizer { settings, keys, clock: shared }, clock, published }
    }

    async fn decide(&self, event: Value) -> Value {
        self.authorizer.decide(&event).await
    }

    async fn lets_in(&self, token: &str) -> bool {
        let answer = self.decide(json!({ "type": "TOKEN", "authorizationToken": token, "methodArn": ARN })).await;
        answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
    }

    fn requests(&self) -> u32 {
        self.published.lock().unwrap().asked
    }

    fn publishes(&self, set: Option<String>) {
        self.published.lock().unwrap().set = set;
    }
}

fn publish(mut stream: std::net::TcpStream, published: &Mutex<Published>) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
    let mut published = published.lock().unwrap();
    published.asked += 1;
    let (status, body) = match &published.set {
        Some(set) => ("200 OK", set.as_str()),
        None => ("503 Service Unavailable", ""),
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
}

fn token(ring: &KeyRing, alg: SigningAlg, other: &Value) -> String {
    let mut claims = json!({
        "iss": "https://q.example", "aud": "sale", "sub": SUB, "token_use": "access", "queue_position": 7,
        "iat": NOW, "nbf": NOW, "exp": NOW + 3600,
    });
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let typ = if alg == SigningAlg::Rs256 { TokenType::Jwt } else { TokenType::AtJwt };
    ring.sign(alg, typ, claims.to_string().as_bytes()).unwrap()
}

fn good() -> String {
    token(&RINGS[0], SigningAlg::Rs256, &json!({}))
}

/// The policy of the contract.
fn policy(principal: &str, effect: &str, resource: &str) -> Value {
    json!({
        "principalId": principal,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{ "Action": "execute-api:Invoke", "Effect": effect, "Resource": resource }],
        },
    })
}

const WHOLE: &str = "arn:aws:execute-api:eu-west-1:123456789012:abc123/*/*/*";

#[tokio::test]
async fn a_token_authorizer_is_answered_with_the_policy_of_the_contract() {
    let fixture = Fixture::new();
    for sent in [format!("Bearer {}", good()), format!("bearer  {}", good()), good()] {
        let event = json!({ "type": "TOKEN", "authorizationToken": sent, "methodArn": ARN });
        assert_eq!(fixture.decide(event).await, policy(SUB, "Allow", WHOLE), "{sent}");
        let untyped = json!({ "authorizationToken": sent, "methodArn": ARN });
        assert_eq!(fixture.decide(untyped).await, policy(SUB, "Allow", WHOLE), "the old system's form");
    }
    let event = json!({ "type": "TOKEN", "authorizationToken": "Bearer no.good.token", "methodArn": ARN });
    assert_eq!(fixture.decide(event).await, policy("denied", "Deny", WHOLE));
}

#[tokio::test]
async fn a_request_authorizer_takes_the_header_or_else_the_query() {
    let fixture = Fixture::new();
    let event = |headers: Value, query: Value| json!({ "type": "REQUEST", "methodArn": ARN, "headers": headers, "queryStringParameters": query });
    let (bearer, good) = (format!("Bearer {}", good()), good());
    for event in [
        event(json!({ "Authorization": bearer, "Accept": "*/*" }), Value::Null),
        event(json!({ "authorization": good }), json!({})),
        event(json!({}), json!({ "access_token": good })),
        event(Value::Null, json!({ "access_token": good, "x": "y" })),
    ] {
        assert_eq!(fixture.decide(event.clone()).await, policy(SUB, "Allow", WHOLE), "{event}");
    }
    for event in [
        event(json!({ "Authorization": "Basic dTpw" }), json!({ "access_token": good })),
        event(json!({ "Authorization": bearer, "authorization": bearer }), Value::Null),
        event(json!({ "Authorization": 7 }), Value::Null),
        event(json!({ "X": bearer }), json!({ "token": good })),
        event(Value::Null, Value::Null),
    ] {
        assert_eq!(fixture.decide(event.clone()).await, policy("denied", "Deny", WHOLE), "{event}");
    }
}

#[tokio::test]
async fn an_http_api_gets_a_simple_response() {
    let fixture = Fixture::new();
    let event = |headers: Value| json!({ "version": "2.0", "type": "REQUEST", "routeArn": ARN, "headers": headers });
    let context = json!({ "sub": SUB, "event_id": "sale", "queue_position": 7, "exp": NOW + 3600 });
    assert_eq!(
        fixture.decide(event(json!({ "authorization": format!("Bearer {}", good()) }))).await,
        json!({ "isAuthorized": true, "context": context })
    );
    for event in [event(json!({ "authorization": "Bearer x" })), event(json!([])), json!({ "version": "2.0" })] {
        assert_eq!(fixture.decide(event).await, json!({ "isAuthorized": false, "context": {} }));
    }
}

#[tokio::test]
async fn an_event_that_is_not_understood_is_denied() {
    let fixture = Fixture::new();
    let nothing = [json!(null), json!(7), json!("x"), json!([]), json!({}), json!({ "authorizationToken": good() })];
    for event in nothing {
        assert_eq!(fixture.decide(event.clone()).await, policy("denied", "Deny", "*"), "{event}");
    }
    let arns =
        ["", "arn", "*", "arn:aws:s3:::x/y/z", "arn:aws:execute-api:r:1:/prod/GET/", "arn:aws:execute-api:r:1:*/p"];
    for arn in arns {
        let event = json!({ "type": "TOKEN", "authorizationToken": good(), "methodArn": arn });
        assert_eq!(fixture.decide(event).await, policy("denied", "Deny", "*"), "{arn}");
    }
    let strange = json!({ "type": "OTHER", "authorizationToken": good(), "methodArn": ARN });
    assert_eq!(fixture.decide(strange).await, policy("denied", "Deny", WHOLE));
}

#[tokio::test]
async fn only_a_valid_access_token_of_the_event_is_allowed() {
    let fixture = Fixture::new();
    let ours = |other: Value| token(&RINGS[0], SigningAlg::Es256, &other);
    for alg in SigningAlg::ALL {
        assert!(fixture.lets_in(&token(&RINGS[0], alg, &json!({}))).await, "{alg}");
    }
    assert!(fixture.lets_in(&ours(json!({ "nbf": NOW + 5 }))).await, "clocks differ a little");
    let whole = ours(json!({}));
    let (message, _) = whole.rsplit_once('.').unwrap();
    let cases = [
        ("a foreign key", token(&RINGS[1], SigningAlg::Es256, &json!({}))),
        ("no signature", format!("{message}.")),
        ("another issuer", ours(json!({ "iss": "https://q.example/" }))),
        ("another event", ours(json!({ "aud": "other" }))),
        ("several events", ours(json!({ "aud": ["sale", "other"] }))),
        ("a refresh token", ours(json!({ "token_use": "refresh" }))),
        ("an ID token", ours(json!({ "token_use": "id" }))),
        ("no use", ours(json!({ "token_use": null }))),
        ("expired", ours(json!({ "exp": NOW }))),
        ("endless", ours(json!({ "exp": null }))),
        ("early", ours(json!({ "nbf": NOW + 60 }))),
        ("a sub that says denied", ours(json!({ "sub": "denied" }))),
        ("no sub", ours(json!({ "sub": "" }))),
        ("too long", "A".repeat(20_000)),
    ];
    for (case, bad) in cases {
        assert!(!fixture.lets_in(&bad).await, "{case}");
    }
}

#[tokio::test]
async fn the_key_set_is_fetched_once_and_kept_while_the_issuer_is_away() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        assert!(fixture.lets_in(&good()).await);
    }
    assert_eq!(fixture.requests(), 1);
    fixture.publishes(None);
    for _ in 0..10 {
        fixture.clock.advance(policy::AUTHORIZER_KEEP);
        let now = fixture.authorizer.clock.now().as_secs();
        assert!(fixture.lets_in(&token(&RINGS[0], SigningAlg::Es256, &json!({ "exp": now + 60 }))).await);
    }
    assert_eq!(fixture.requests(), 11);
    // A withdrawn key is accepted only as long as the set is cached.
    fixture.publishes(Some(RINGS[1].jwks().json().to_string()));
    fixture.clock.advance(policy::AUTHORIZER_KEEP);
    let now = fixture.authorizer.clock.now().as_secs();
    assert!(!fixture.lets_in(&token(&RINGS[0], SigningAlg::Es256, &json!({ "exp": now + 60 }))).await);
}

#[tokio::test]
async fn an_unknown_key_causes_at_most_one_fetch_a_minute() {
    let fixture = Fixture::new();
    assert!(fixture.lets_in(&good()).await);
    let next = token(&RINGS[1], SigningAlg::EdDsa, &json!({}));
    fixture.publishes(Some(RINGS[1].jwks().json().to_string()));
    for _ in 0..20 {
        assert!(!fixture.lets_in(&next).await);
    }
    assert_eq!(fixture.requests(), 1);
    fixture.clock.advance(policy::AUTHORIZER_REFETCH);
    assert!(fixture.lets_in(&next).await);
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn without_keys_every_request_is_denied_and_the_fetch_is_retried_soon() {
    let fixture = Fixture::new();
    for set in [None, Some("<html>".to_owned()), Some("x".repeat(policy::MAX_KEY_SET + 1))] {
        fixture.publishes(set);
        assert!(!fixture.lets_in(&good()).await);
        assert!(!fixture.lets_in(&good()).await);
        fixture.clock.advance(policy::AUTHORIZER_FIRST_RETRY);
    }
    assert_eq!(fixture.requests(), 3);
    fixture.publishes(Some(RINGS[0].jwks().json().to_string()));
    assert!(fixture.lets_in(&good()).await);
    assert!(!fixture.lets_in("garbage").await, "what no key could have signed asks for none");
    assert_eq!(fixture.requests(), 4);
}
