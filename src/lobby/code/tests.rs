use proptest::prelude::*;

use super::*;
use crate::ambient::{Secret, SeededEntropy};
use crate::keys::MasterSecret;
use crate::oauth::Client;

const NOW: u64 = 1_800_000_000;

fn seal() -> CodeSeal {
    CodeSeal::new(&MasterSecret::generate(&SeededEntropy::new(1)))
}

fn registered(event: &str, id: &str) -> RegisteredClient {
    RegisteredClient { client: Client::confidential(id, Secret::new("s")), event: event.parse().unwrap() }
}

fn code(asked: AskedClaims) -> Code {
    Code {
        id: GrantId([7; 16]),
        issued_at: Timestamp::from_secs(NOW),
        request_id: RequestId::from_bytes([9; 16]),
        session_end: Timestamp::from_secs(NOW + 3600),
        grant: Grant {
            client_id: "shop".to_owned(),
            redirect: RedirectHash::of("https://shop.example/callback"),
            challenge: Some(Challenge([3; 32])),
            scope: Scope { profile: true, email: true, queue: true },
            asked,
        },
    }
}

/// The code as its client opens it.
fn opened(code: &Code) -> Code {
    let shop = registered("Sample", "shop");
    let sealed = code.seal(&seal(), &shop).unwrap();
    assert!(sealed.text.len() <= policy::MAX_CODE_LENGTH);
    match (Code::open(&seal(), &shop, &sealed.text).unwrap(), sealed.kept) {
        (OpenedCode::Whole(code), None) => code,
        (OpenedCode::Short(mut code), Some(kept)) => {
            assert_eq!((kept.id, kept.request_id, kept.issued_at), (code.id, code.request_id, code.issued_at));
            code.grant.asked = decode_asked(&kept.body).unwrap();
            code
        }
        (opened, kept) => panic!("{opened:?} {kept:?}"),
    }
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z_]{0,20}", 0..5)
}

proptest! {
    #[test]
    fn a_code_contains_its_grant_of_any_length(
        nonce in prop::option::of(".{0,600}"),
        acr in prop::option::of("[a-z:]{0,300}"),
        (id_token, user_info) in (names(), names()),
        flags in 0_u8..16,
    ) {
        let mut code = code(AskedClaims { nonce, acr, id_token, user_info });
        code.grant.scope = Scope { profile: flags & 1 != 0, email: flags & 2 != 0, queue: flags & 8 != 0 };
        code.grant.challenge = code.grant.challenge.filter(|_| flags & 4 != 0);
        prop_assert_eq!(opened(&code), code);
    }

    #[test]
    fn any_content_is_read_or_refused_without_a_panic(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let shop = registered("Sample", "shop");
        let text = seal().seal(&[7; 16], &content, &associated_data(&shop)).unwrap();
        let _read = (Code::open(&seal(), &shop, &text), decode_asked(&content));
    }
}

#[test]
fn a_code_opens_only_for_its_client() {
    let text = code(AskedClaims::default()).seal(&seal(), &registered("Sample", "shop")).unwrap().text;
    for (event, id) in [("Sample", "other"), ("Other", "shop"), ("Sample", "Shop"), ("Samples", "hop")] {
        assert_eq!(Code::open(&seal(), &registered(event, id), &text), None, "{event} {id}");
    }
}

#[test]
fn ordinary_requests_fit_into_a_code() {
    // Nonces of Microsoft's OWIN middleware have some 120 characters; those of all others are shorter.
    let nonce = "6".repeat(120);
    let claims = ["preferred_username", "email", "email_verified", "name"].map(str::to_owned).to_vec();
    let most = AskedClaims {
        nonce: Some(nonce),
        acr: Some("urn:example:queue:fair".to_owned()),
        id_token: claims[..2].to_vec(),
        user_info: claims,
    };
    let shop = registered("Sample", "shop");
    let sealed = code(most).seal(&seal(), &shop).unwrap();
    assert!(sealed.kept.is_none(), "{}", sealed.text.len());
    // A load balancer of AWS sends neither nonce nor challenge.
    let mut least = code(AskedClaims::default());
    least.grant.challenge = None;
    let sealed = least.seal(&seal(), &shop).unwrap();
    assert!(sealed.kept.is_none() && sealed.text.len() < 200, "{}", sealed.text.len());
}

#[test]
fn a_code_is_good_from_its_issue_on_for_sixty_seconds_by_clocks_that_differ_a_little() {
    let ages = [(-301, CodeAge::Wrong), (-300, CodeAge::Good), (0, CodeAge::Good), (59, CodeAge::Good)];
    let later = [(60, CodeAge::Wrong), (3600, CodeAge::Wrong), (-3600, CodeAge::Wrong)];
    for (passed, age) in ages.into_iter().chain(later) {
        let now = Timestamp::from_secs(NOW.checked_add_signed(passed).unwrap());
        assert_eq!(code(AskedClaims::default()).redemption(now).code, age, "{passed}");
    }
}
