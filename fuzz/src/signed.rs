//! Signed input: requests of operators (Signature Version 4), tokens (JWS), messages of Amazon SNS.

use std::sync::LazyLock;

use anteroom::ambient::{Secret, Timestamp};
use anteroom::aws::sns::{Inbox, Topic, TopicArn, UnverifiedMessage};
use anteroom::config::SigV4Pair;
use anteroom::keys::{KeyRing, PublicKeySet, TokenType};
use anteroom::oauth::SigningAlg;
use anteroom::web::sigv4::{ALGORITHM, SignedRequest, verify};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Builder, Runtime};

/// 2027-01-15 08:00:00 UTC.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SECRET: &str = "signing-secret-0123456789-0123456789-012";

static PAIRS: LazyLock<Vec<SigV4Pair>> = LazyLock::new(|| {
    let secret_access_key = Secret::new(SECRET);
    vec![SigV4Pair { access_key_id: "AKIDEXAMPLE".to_owned(), secret_access_key }]
});

/// Parameters of the header in the first line, the request line in the second, headers up to an empty line, the body.
pub fn sigv4(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let (parameters, request) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (method, target) = request.split_once(' ').unwrap_or((request, "/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(&str, &[u8])> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name, value.as_bytes())).collect();
    let received = SignedRequest { method, path, query, headers, body: body.as_bytes() };
    let refusal = verify(&received, parameters, &PAIRS, NOW).expect_err("a guess is no signature");
    assert!(!refusal.message().contains(SECRET) && !refusal.kind().is_empty());
    a_good_signature_covers_the_body(data);
}

/// The same body verifies, and no other.
fn a_good_signature_covers_the_body(body: &[u8]) {
    let mac = |key: &[u8], text: &str| {
        let keyed = Hmac::<Sha256>::new_from_slice(key).unwrap();
        keyed.chain_update(text).finalize().into_bytes().to_vec()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (date, scope) = ("20270115T080000Z", "20270115/eu-west-1/execute-api/aws4_request");
    let canonical = format!(
        "POST\n/private/inlet\n\nhost:queue.example\nx-amz-date:{date}\n\nhost;x-amz-date\n{}",
        hex(&Sha256::digest(body))
    );
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, step| mac(&key, step));
    let signature = hex(&mac(&key, &to_sign));
    let parameters = format!("Credential=AKIDEXAMPLE/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}");
    let received = |body| {
        let headers = vec![("host", &b"queue.example"[..]), ("x-amz-date", date.as_bytes())];
        SignedRequest { method: "POST", path: "/private/inlet", query: "", headers, body }
    };
    assert_eq!(verify(&received(body), &parameters, &PAIRS, NOW), Ok("AKIDEXAMPLE"));
    let longer = [body, b"x"].concat();
    assert!(verify(&received(&longer), &parameters, &PAIRS, NOW).is_err(), "another body was not signed");
}

static RING: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::generate(NOW).unwrap());
static PUBLISHED: LazyLock<PublicKeySet> =
    LazyLock::new(|| PublicKeySet::from_json(RING.jwks().json().as_bytes()).unwrap());

/// A token: as text; with a header in the first line, in which `$kid` is one of our keys; and a valid one that is
/// changed.
pub fn jwt(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(RING.verify(&text).is_err() && PUBLISHED.verify(&text).is_err(), "a guess is no token");
    let _foreign_set = PublicKeySet::from_json(data);
    let choice = usize::from(data.first().copied().unwrap_or_default());
    let alg = SigningAlg::ALL[choice % SigningAlg::ALL.len()];
    let (header, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let (payload, signature) = rest.split_once('\n').unwrap_or((rest, ""));
    let header = header.replace("$kid", RING.public_jwk(alg).kid());
    let parts = [header.as_bytes(), payload.as_bytes(), signature.as_bytes()].map(|part| URL_SAFE_NO_PAD.encode(part));
    assert!(RING.verify(&parts.join(".")).is_err(), "nobody signed it");
    // RSA takes a millisecond, so it is used rarely.
    if alg == SigningAlg::Rs256 && choice > 8 {
        return;
    }
    let token = RING.sign(alg, TokenType::AtJwt, payload.as_bytes()).unwrap();
    match RING.verify(&token) {
        Ok(verified) => assert_eq!((verified.alg, verified.payload.as_slice()), (alg, payload.as_bytes())),
        Err(error) => assert!(token.len() > anteroom::policy::MAX_TOKEN_BYTES, "{error}"),
    }
    let changed = change(&token, data);
    assert!(changed == token || RING.verify(&changed).is_err(), "a changed token is good");
}

/// The token with one letter replaced.
fn change(token: &str, data: &[u8]) -> String {
    let [.., high, low, letter] = data else { return token.to_owned() };
    let at = usize::from(u16::from_le_bytes([*low, *high])) % token.len();
    let mut changed = token.to_owned();
    let letter = char::from(letter & 0x7f);
    changed.replace_range(at..=at, letter.encode_utf8(&mut [0; 4]));
    changed
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

/// Certificates are fetched from an address without a server, ten times at most.
static INBOX: LazyLock<Inbox> = LazyLock::new(|| {
    let arn = "arn:aws:sns:eu-central-1:123456789012:exits".parse().unwrap();
    Inbox::new(Topic { arn, endpoint: Some("http://127.0.0.1:1/".parse().unwrap()) }).unwrap()
});

/// A message that SNS did not sign, and the name of a topic.
pub fn sns(data: &[u8]) {
    if let Ok(message) = UnverifiedMessage::parse(data) {
        let _topic = message.topic().len();
        assert!(RUNTIME.block_on(INBOX.verify(message, NOW)).is_err(), "nobody signed it");
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(arn) = text.trim().parse::<TopicArn>() {
        assert_eq!((arn.as_str(), arn.to_string().as_str()), (text.trim(), text.trim()));
    }
}
