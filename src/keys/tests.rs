//! The key ring through its public interface.

mod channels;

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::{HS256, JwsSigner as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::ambient::{OsEntropy, SeededEntropy, Timestamp};
use crate::policy::{KEY_PUBLICATION_LEAD, KEY_RETIREMENT_MARGIN, KEY_ROTATION_PERIOD, MAX_TOKEN_BYTES};

const BORN: Timestamp = Timestamp::from_secs(1_800_000_000);
const LIFE: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const EC: &[KeyUse] = &[KeyUse::Oidc(SigningAlg::Es256)];

/// RSA keys are slow to generate: one immutable key ring for all tests.
static RING: LazyLock<KeyRing> =
    LazyLock::new(|| KeyRing::generate(BORN).unwrap().complete_next(BORN).unwrap().unwrap());
static STRANGER: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::generate(BORN).unwrap());

fn master(seed: u64) -> MasterSecret {
    MasterSecret::generate(&SeededEntropy::new(seed))
}

fn token() -> String {
    RING.sign(SigningAlg::Es256, TokenType::Jwt, br#"{"sub":"visitor"}"#).unwrap()
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

/// `token` with another header and its old signature.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

fn published(ring: &KeyRing) -> Vec<Value> {
    let set: Value = serde_json::from_str(ring.jwks().json()).unwrap();
    set["keys"].as_array().unwrap().clone()
}

fn kids(ring: &KeyRing) -> Vec<String> {
    published(ring).iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn rotated(ring: &KeyRing, at: Timestamp) -> KeyRing {
    ring.rotate(EC, Rotation::Patient, at, LIFE).unwrap()
}

#[test]
fn a_key_ring_verifies_its_signatures_with_every_algorithm_and_type() {
    for alg in SigningAlg::ALL {
        for typ in TokenType::ALL {
            let token = RING.sign(alg, typ, br#"{"sub":"visitor"}"#).unwrap();
            let kid = RING.public_jwk(alg).kid();
            assert_eq!(part(&token, 0), json!({"alg": alg.as_str(), "typ": typ.name(), "kid": kid}));
            let verified = RING.verify(&token).unwrap();
            assert_eq!((verified.alg, verified.typ, verified.kid.as_str()), (alg, typ, kid));
            assert_eq!(verified.payload, br#"{"sub":"visitor"}"#);
            assert_eq!(verified.claims::<Value>().unwrap(), json!({"sub": "visitor"}));
        }
    }
}

#[test]
fn the_published_key_alone_is_enough_to_verify() {
    for alg in SigningAlg::ALL {
        let key = serde_json::from_str::<PublicJwk>(&RING.public_jwk(alg).to_json()).unwrap();
        let token = RING.sign(alg, TokenType::AtJwt, b"{}").unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        key.verifier().unwrap().verify(message.as_bytes(), &signature).unwrap();
    }
}

#[test]
fn a_changed_payload_or_signature_is_refused() {
    for alg in SigningAlg::ALL {
        let token = RING.sign(alg, TokenType::Jwt, br#"{"sub":"visitor"}"#).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(br#"{"sub":"somebody"}"#);
        assert_eq!(
            RING.verify(&format!("{}.{forged}.{}", parts[0], parts[2])),
            Err(VerifyError::BadSignature),
            "{alg}"
        );
        let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        signature[7] ^= 1;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        assert_eq!(
            RING.verify(&format!("{}.{}.{signature}", parts[0], parts[1])),
            Err(VerifyError::BadSignature),
            "{alg}"
        );
    }
}

#[test]
fn signatures_of_zeros_of_other_lengths_or_of_nothing_are_refused() {
    for alg in SigningAlg::ALL {
        let token = RING.sign(alg, TokenType::Jwt, b"{}").unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let long = [&signature[..], &[0]].concat();
        for wrong in [&[][..], &[0; 64], &[0; 256], &signature[..signature.len() - 1], &long] {
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(wrong));
            assert_eq!(RING.verify(&token), Err(VerifyError::BadSignature), "{alg} {}", wrong.len());
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let token = token();
    for length in 0..token.len() {
        assert!(RING.verify(&token[..length]).is_err(), "{length}");
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    for alg in ["none", "None", "NONE", ""] {
        let header = json!({"alg": alg, "typ": "JWT", "kid": RING.public_jwk(SigningAlg::Es256).kid()});
        assert_eq!(
            RING.verify(&with_header(&token(), &header)),
            Err(VerifyError::WrongAlg(SigningAlg::Es256)),
            "{alg}"
        );
        let bare = with_header(&token(), &header);
        let (message, _) = bare.rsplit_once('.').unwrap();
        assert!(RING.verify(&format!("{message}.")).is_err());
    }
}

#[test]
fn a_public_key_does_not_serve_as_an_hmac_secret() {
    for alg in SigningAlg::ALL {
        let key = RING.public_jwk(alg);
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": key.kid()});
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(r#"{"sub":"me"}"#));
        let mac = HS256.signer_from_bytes(key.to_json()).unwrap().sign(message.as_bytes()).unwrap();
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac));
        assert_eq!(RING.verify(&token), Err(VerifyError::WrongAlg(alg)));
    }
}

#[test]
fn a_replaced_header_is_refused() {
    let (es, rs) = (RING.public_jwk(SigningAlg::Es256).kid(), RING.public_jwk(SigningAlg::Rs256).kid());
    let cases = [
        (json!({"alg": "RS256", "typ": "JWT", "kid": es}), VerifyError::WrongAlg(SigningAlg::Es256)),
        (json!({"alg": "ES256", "typ": "JWT", "kid": rs}), VerifyError::WrongAlg(SigningAlg::Rs256)),
        (json!({"alg": "RS256", "typ": "JWT", "kid": rs}), VerifyError::BadSignature),
        (json!({"alg": "ES256", "typ": "at+jwt", "kid": es}), VerifyError::BadSignature),
        (json!({"alg": "ES256", "typ": "JOSE", "kid": es}), VerifyError::WrongType),
        (json!({"alg": "ES256", "kid": es}), VerifyError::WrongType),
        (json!({"alg": "ES256", "typ": "JWT", "kid": "unheard-of"}), VerifyError::UnknownKey),
        (json!({"alg": "ES256", "typ": "JWT"}), VerifyError::NoKey),
        (json!({"alg": "ES256", "typ": "JWT", "kid": es, "crit": ["exp"]}), VerifyError::Critical),
        (json!({"alg": "ES256", "typ": "JWT", "kid": es, "crit": null}), VerifyError::Critical),
        (json!({"alg": "ES256", "typ": "JWT", "kid": es, "b64": false, "crit": ["b64"]}), VerifyError::Critical),
    ];
    for (header, error) in cases {
        assert_eq!(RING.verify(&with_header(&token(), &header)), Err(error), "{header}");
    }
}

#[test]
fn a_key_inside_the_token_is_ignored() {
    let own: Value = serde_json::from_str(&STRANGER.public_jwk(SigningAlg::Es256).to_json()).unwrap();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": own["kid"], "jwk": own});
    assert_eq!(RING.verify(&with_header(&token(), &header)), Err(VerifyError::UnknownKey));
}

#[test]
fn another_rings_token_is_refused() {
    for alg in SigningAlg::ALL {
        let theirs = STRANGER.sign(alg, TokenType::Jwt, b"{}").unwrap();
        assert_eq!(RING.verify(&theirs), Err(VerifyError::UnknownKey));
        let ours = json!({"alg": alg.as_str(), "typ": "JWT", "kid": RING.public_jwk(alg).kid()});
        assert_eq!(RING.verify(&with_header(&theirs, &ours)), Err(VerifyError::BadSignature));
    }
}

#[test]
fn only_a_compact_jws_of_limited_size_is_verified() {
    let token = token();
    let duplicate = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"ES256","typ":"JWT","kid":"x"}"#),
        token.split_once('.').unwrap().1
    );
    let bad = ["", ".", "..", "...", "a.b", "{}", &format!("{token}."), &format!("{token}="), &format!(" {token}")];
    for text in bad.into_iter().chain([duplicate.as_str(), &format!("{token}.x.y"), &token.replacen('.', "=.", 1)]) {
        assert!(matches!(RING.verify(text), Err(VerifyError::Malformed(_))), "{text}");
    }
    let huge = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert_eq!(RING.verify(&huge), Err(VerifyError::TooLong(MAX_TOKEN_BYTES + 1)));
}

#[test]
fn the_jwk_set_has_public_members_only_and_rs256_first() {
    let keys = published(&RING);
    let algs: Vec<&str> = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect();
    assert_eq!(algs, ["RS256", "RS256", "ES256", "ES256", "EdDSA", "EdDSA"]);
    for key in &keys {
        let members: HashSet<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        let expected: &[&str] = match key["kty"].as_str().unwrap() {
            "RSA" => &["kty", "alg", "kid", "n", "e", "use"],
            "EC" => &["kty", "alg", "kid", "crv", "x", "y", "use"],
            "OKP" => &["kty", "alg", "kid", "crv", "x", "use"],
            other => panic!("{other}"),
        };
        assert_eq!(members, expected.iter().copied().collect(), "{key}");
        assert_eq!(key["use"], "sig");
    }
    assert_eq!(keys[0], serde_json::from_str::<Value>(&RING.public_jwk(SigningAlg::Rs256).to_json()).unwrap());
    assert_eq!(URL_SAFE_NO_PAD.decode(keys[0]["n"].as_str().unwrap()).unwrap().len(), 256);
}

#[test]
fn every_published_kid_is_the_keys_thumbprint_and_no_two_are_alike() {
    for key in published(&RING) {
        // RFC 7638 §3.2 and RFC 8037 §2: the required members, by name.
        let required: &[&str] = match key["kty"].as_str().unwrap() {
            "RSA" => &["e", "kty", "n"],
            "EC" => &["crv", "kty", "x", "y"],
            _ => &["crv", "kty", "x"],
        };
        let members: Vec<String> = required.iter().map(|name| format!("\"{name}\":{}", key[name])).collect();
        let thumbprint = Sha256::digest(format!("{{{}}}", members.join(",")));
        assert_eq!(key["kid"], URL_SAFE_NO_PAD.encode(thumbprint));
    }
    assert_eq!(kids(&RING).into_iter().collect::<HashSet<_>>().len(), 6);
}

#[test]
fn the_next_key_is_published_before_it_signs() {
    let next = kids(&RING)[3].clone();
    assert_ne!(RING.public_jwk(SigningAlg::Es256).kid(), next);
    let ready = BORN + KEY_PUBLICATION_LEAD;
    assert_eq!(
        RING.rotate(&KeyUse::ALL, Rotation::Patient, ready - SECOND, LIFE).unwrap_err(),
        KeyError::TooSoon { alg: SigningAlg::Rs256, ready }
    );
    let ring = rotated(&RING, ready);
    assert_eq!(ring.public_jwk(SigningAlg::Es256).kid(), next);
    assert_eq!(part(&ring.sign(SigningAlg::Es256, TokenType::Jwt, b"{}").unwrap(), 0)["kid"], next.as_str());
    assert_eq!(kids(&ring).len(), 7, "a new next key is published at once");
}

#[test]
fn a_rotation_leaves_the_other_algorithms_alone() {
    let ring = rotated(&RING, BORN + KEY_PUBLICATION_LEAD);
    for alg in [SigningAlg::Rs256, SigningAlg::EdDsa] {
        assert_eq!(ring.public_jwk(alg), RING.public_jwk(alg));
    }
}

#[test]
fn an_old_key_is_kept_until_its_last_token_has_expired_and_then_dropped() {
    let old = token();
    let at = BORN + KEY_PUBLICATION_LEAD;
    let ring = rotated(&RING, at);
    assert!(ring.verify(&old).is_ok());
    let last = at + LIFE + KEY_RETIREMENT_MARGIN;
    assert!(ring.prune(last).is_none());
    let pruned = ring.prune(last + SECOND).unwrap();
    assert_eq!(pruned.verify(&old), Err(VerifyError::UnknownKey));
    assert!(!kids(&pruned).contains(&RING.public_jwk(SigningAlg::Es256).kid().to_owned()));
    assert!(pruned.prune(last + SECOND).is_none());
}

#[test]
fn an_operator_in_a_hurry_need_not_wait() {
    let hurried = RING.rotate(EC, Rotation::AtOnce, BORN, LIFE).unwrap();
    assert_eq!(hurried.public_jwk(SigningAlg::Es256).kid(), kids(&RING)[3]);
    assert!(hurried.verify(&token()).is_ok());
    assert_eq!(
        STRANGER.rotate(EC, Rotation::Patient, BORN, LIFE).unwrap_err(),
        KeyError::NoNext(SigningAlg::Es256),
        "its next keys were never made"
    );
    let made = STRANGER.rotate(EC, Rotation::AtOnce, BORN, LIFE).unwrap();
    assert_ne!(made.public_jwk(SigningAlg::Es256), STRANGER.public_jwk(SigningAlg::Es256));
}

#[test]
fn a_rotation_of_compromised_keys_drops_successors_and_predecessors() {
    let old = token();
    let ring = RING.rotate(EC, Rotation::AtOnce, BORN, LIFE).unwrap();
    let ring = ring.rotate(EC, Rotation::Compromised, BORN, LIFE).unwrap();
    assert_eq!(ring.verify(&old), Err(VerifyError::UnknownKey));
    let known: HashSet<String> = kids(&RING).drain(2..4).collect();
    assert!(kids(&ring).iter().all(|kid| !known.contains(kid)));
    assert_eq!(kids(&ring).len(), 6);
    let rsa = RING.sign(SigningAlg::Rs256, TokenType::Jwt, b"{}").unwrap();
    assert!(ring.verify(&rsa).is_ok(), "other algorithms keep their keys");
}

#[test]
fn a_key_is_due_after_its_period_and_not_without_a_successor() {
    let due = BORN + KEY_ROTATION_PERIOD;
    let all = RotationPlan { rest: RotationMode::Automatic, ..RotationPlan::default() };
    assert!(RING.due_for_rotation(due - SECOND, &all).is_empty());
    assert_eq!(RING.due_for_rotation(due, &all), KeyUse::ALL);
    assert!(STRANGER.due_for_rotation(due, &all).is_empty());
    let ring = rotated(&RING, due);
    let [rsa, _, ed, rest] = KeyUse::ALL;
    assert_eq!(ring.due_for_rotation(due, &all), [rsa, ed, rest]);
    assert_eq!(ring.due_for_rotation(due + KEY_ROTATION_PERIOD, &all), KeyUse::ALL);
    assert_eq!(RING.due_for_rotation(due, &RotationPlan::default()), KeyUse::OIDC);
    let manual = RotationPlan { login: RotationMode::Manual, ..all };
    assert_eq!(RING.due_for_rotation(due, &manual), [rest]);
    let later = RotationPlan { period: KEY_ROTATION_PERIOD + SECOND, ..all };
    assert!(RING.due_for_rotation(due, &later).is_empty());
}

#[test]
fn a_first_key_ring_signs_without_next_keys_which_are_generated_once() {
    assert_eq!(kids(&STRANGER).len(), 3);
    assert!(STRANGER.sign(SigningAlg::Rs256, TokenType::Jwt, b"{}").is_ok());
    assert!(RING.complete_next(BORN).unwrap().is_none());
}

#[test]
fn a_ring_survives_sealing_with_its_keys_and_dates() {
    let at = BORN + KEY_PUBLICATION_LEAD;
    let ring = rotated(&RING, at);
    let sealed = ring.seal(&master(1), &OsEntropy).unwrap();
    let opened = KeyRing::unseal(&sealed, &master(1)).unwrap();
    assert_eq!(opened.jwks(), ring.jwks());
    for alg in SigningAlg::ALL {
        let made = opened.sign(alg, TokenType::Jwt, b"{}").unwrap();
        assert!(ring.verify(&made).is_ok(), "{alg}");
    }
    assert!(opened.verify(&token()).is_ok(), "the retired key is there");
    assert!(opened.prune(at + LIFE + KEY_RETIREMENT_MARGIN).is_none());
    assert!(opened.prune(at + LIFE + KEY_RETIREMENT_MARGIN + SECOND).is_some());
    let too_soon = opened.rotate(EC, Rotation::Patient, at + KEY_PUBLICATION_LEAD - SECOND, LIFE);
    assert_eq!(too_soon.unwrap_err(), KeyError::TooSoon { alg: SigningAlg::Es256, ready: at + KEY_PUBLICATION_LEAD });
}

#[test]
fn a_ring_without_next_keys_survives_sealing_too() {
    let sealed = STRANGER.seal(&master(1), &OsEntropy).unwrap();
    let opened = KeyRing::unseal(&sealed, &master(1)).unwrap();
    assert_eq!(opened.jwks(), STRANGER.jwks());
    assert!(opened.complete_next(BORN).unwrap().is_some());
}

#[test]
fn another_master_secret_does_not_open_a_ring() {
    let sealed = RING.seal(&master(1), &OsEntropy).unwrap();
    assert_eq!(KeyRing::unseal(&sealed, &master(2)).unwrap_err(), UnsealError::WrongMasterSecret);
}

#[test]
fn a_damaged_ring_is_refused() {
    let sealed = RING.seal(&master(1), &OsEntropy).unwrap();
    assert_eq!(KeyRing::unseal(b"", &master(1)).unwrap_err(), UnsealError::Damaged);
    assert_eq!(KeyRing::unseal(&[0xff, 0xfe], &master(1)).unwrap_err(), UnsealError::Damaged);
    assert_eq!(KeyRing::unseal(&sealed[..sealed.len() - 1], &master(1)).unwrap_err(), UnsealError::Damaged);
    let mut changed = sealed.clone();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    assert_eq!(KeyRing::unseal(&changed, &master(1)).unwrap_err(), UnsealError::WrongMasterSecret);
}

#[test]
fn a_flow_and_a_ring_do_not_open_as_each_other() {
    let flow = FlowSeal::new(&master(1)).seal(b"{}", &OsEntropy).unwrap();
    assert_eq!(KeyRing::unseal(flow.as_bytes(), &master(1)).unwrap_err(), UnsealError::Damaged);
    let ring = String::from_utf8(STRANGER.seal(&master(1), &OsEntropy).unwrap()).unwrap();
    assert!(FlowSeal::new(&master(1)).open(&ring).is_err());
    let (header, _) = flow.split_once('.').unwrap();
    let (_, rest) = ring.split_once('.').unwrap();
    assert!(FlowSeal::new(&master(1)).open(&format!("{header}.{rest}")).is_err());
}

#[test]
fn debug_output_shows_no_private_key() {
    let shown = format!("{:?} {:?}", *RING, FlowSeal::new(&master(1)));
    assert!(shown.starts_with("KeyRing([SigningKey(RS256 "), "{shown}");
    assert!(shown.len() < 300, "{shown}");
}
