//! The vectors that AWS published (*Signature Version 4 test suite*; the derived key is from the *IAM User Guide*), and
//! other texts.

use proptest::prelude::*;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const AMZ_DATE: &str = "20150830T123600Z";
const DAY: &str = "20150830";

fn authorization<'a>(service: &'a str, signed_headers: &'a str) -> Authorization<'a> {
    Authorization {
        access_key_id: "AKIDEXAMPLE",
        day: DAY,
        region: "us-east-1",
        service,
        signed_headers,
        signature: "",
    }
}

fn signature(method: &str, query: &str, more: &[(&str, &str)], body: &str) -> String {
    let mut headers = vec![("host", "example.amazonaws.com"), ("x-amz-date", AMZ_DATE)];
    headers.extend(more);
    let mut names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let request = SignedRequest { method, path: "/", query, headers, body: body.as_bytes() };
    authorization("service", &names.join(";")).signature_of(&request, AMZ_DATE, &Secret::new(SECRET)).unwrap()
}

#[test]
fn the_signing_key_is_the_one_that_aws_derives() {
    let key = authorization("iam", "host").signing_key(&Secret::new(SECRET)).unwrap();
    assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
}

#[test]
fn signatures_are_those_of_the_published_vectors() {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let blanks = [("my-header1", " value1"), ("my-header2", " \"a   b   c\"")];
    for (name, found, published) in [
        (
            "get-vanilla",
            signature("GET", "", &[], ""),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "post-vanilla",
            signature("POST", "", &[], ""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "get-vanilla-query-order-key-case",
            signature("GET", "Param2=value2&Param1=value1", &[], ""),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "get-header-value-trim",
            signature("GET", "", &blanks, ""),
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "post-x-www-form-urlencoded",
            signature("POST", "", &[form], "Param1=value1"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        assert_eq!(found, published, "{name}");
    }
}

#[test]
fn a_query_is_sorted_and_encoded_as_the_handlers_read_it() {
    assert_eq!(canonical_query("b=2&a=%41+b&a=%2B&c"), "a=%2B&a=A%20b&b=2&c=");
    assert_eq!(canonical_query("k=-._~/%C3%A4"), "k=-._~%2F%C3%A4");
}

#[test]
fn an_http_date_is_accepted() {
    assert_eq!(
        Timestamp::from_http_date("Wed, 25 Nov 2026 12:00:09 GMT").map(iso).as_deref(),
        Some("20261125T120009Z")
    );
    assert_eq!(iso(Timestamp::from_secs(1_800_000_000)), "20270115T080000Z");
}

fn attempt(parameters: &str, date: &str, path: &str, query: &str) -> Result<(), SigV4Error> {
    let pairs = [SigV4Pair { access_key_id: "AKIDEXAMPLE".into(), secret_access_key: Secret::new(SECRET) }];
    let headers = vec![("host", b"example".as_slice()), ("x-amz-date", date.as_bytes())];
    let request = SignedRequest { method: "POST", path, query, headers, body: b"{}" };
    verify(&request, parameters, &pairs, Timestamp::from_secs(1_440_938_160)).map(|_| ())
}

proptest! {
    #[test]
    fn any_text_is_refused(parameters in any::<String>(), date in any::<String>(), path in any::<String>(), query in any::<String>()) {
        prop_assert!(attempt(&parameters, &date, &path, &query).is_err());
    }

    #[test]
    fn text_that_resembles_a_signature_is_refused_too(
        credential in "(AKIDEXAMPLE|[A-Z]{0,4})(/[0-9]{0,9}|/20150830)(/[a-z-]{0,9}){0,2}(/execute-api)?(/aws4_request)?",
        headers in "[a-z;-]{0,20}|host;x-amz-date",
        signature in "[0-9a-f]{0,70}",
        date in "20150830T12[0-9]{4}Z|[0-9TZ]{0,17}",
    ) {
        let parameters = format!("Credential={credential}, SignedHeaders={headers}, Signature={signature}");
        prop_assert!(attempt(&parameters, &date, "/", "").is_err());
        let doubled = format!("{parameters},Signature={signature}");
        prop_assert!(attempt(&doubled, &date, "/", "").is_err());
    }
}
