//! AWS Signature Version 4 in its header form: who signed a request, for which the scripts of the old system are written.
//!
//! Pure: a request as it was received, the key pairs and the time come in; the pair that signed, or why none did, goes
//! out. Source: *AWS Identity and Access Management User Guide*, "Create a signed AWS API request". The session token
//! is ignored, as our key pairs have none.

use std::borrow::Cow;
use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::ambient::{Secret, Timestamp};
use crate::config::SigV4Pair;
use crate::policy;

/// The scheme of the `Authorization` header.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The service that the old system's API belongs to.
const SERVICE: &str = "execute-api";

/// The last part of every scope.
const TERMINATION: &str = "aws4_request";

const DATE: &str = "x-amz-date";
const CONTENT_HASH: &str = "x-amz-content-sha256";

/// All but the unreserved characters of RFC 3986 §2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same within a path.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// A request as it came in.
pub struct Received<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, escaped as it was sent.
    pub path: &'a str,
    /// Its query, likewise.
    pub query: &'a str,
    /// Its headers, names in lower case, in the order of their coming.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// Its whole body.
    pub body: &'a [u8],
}

/// Why nobody is believed to have signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The header lacks this parameter, or has it twice.
    Parameter(&'static str),
    /// The credential has not five parts that end as they should.
    Credential,
    /// No such key pair.
    UnknownKey,
    /// It was signed for another service.
    Service,
    /// This header must be among those that are signed.
    Unsigned(&'static str),
    /// No date, or none that can be read.
    NoDate,
    /// The day of the scope is not that of the date.
    ScopeDate,
    /// Signed too long ago: its date, the earliest good one.
    Expired(String, String),
    /// Signed too far in the future: its date, the latest good one.
    NotYetCurrent(String, String),
    /// Something else was signed, or with another secret.
    Mismatch,
}

impl Refusal {
    /// A word for it, whatever its details are.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Parameter(_) => "parameter",
            Self::Credential => "credential",
            Self::UnknownKey => "unknown key pair",
            Self::Service => "service",
            Self::Unsigned(_) => "unsigned header",
            Self::NoDate => "no date",
            Self::ScopeDate => "scope date",
            Self::Expired(..) => "expired",
            Self::NotYetCurrent(..) => "not yet current",
            Self::Mismatch => "mismatch",
        }
    }

    /// What API Gateway says then.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Parameter(name) => format!("Authorization header requires '{name}' parameter.").into(),
            Self::Credential => "Credential must have exactly 5 slash-delimited elements, e.g. \
                                 keyid/date/region/service/term."
                .into(),
            Self::UnknownKey => "The security token included in the request is invalid.".into(),
            Self::Service => format!("Credential should be scoped to correct service: '{SERVICE}'.").into(),
            Self::Unsigned(name) => {
                format!("'{name}' must be a 'SignedHeader' in the AWS Authorization header.").into()
            }
            Self::NoDate => {
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.".into()
            }
            Self::ScopeDate => "Date in Credential scope does not match the date of the request.".into(),
            Self::Expired(date, earliest) => format!("Signature expired: {date} is now earlier than {earliest}").into(),
            Self::NotYetCurrent(date, latest) => {
                format!("Signature not yet current: {date} is still later than {latest}").into()
            }
            Self::Mismatch => "The request signature we calculated does not match the signature you provided.".into(),
        }
    }
}

/// The ID of the pair that signed. `parameters` is what follows [`ALGORITHM`] in the `Authorization` header.
///
/// # Errors
/// See [`Refusal`].
pub fn verify<'k>(
    received: &Received<'_>,
    parameters: &str,
    pairs: &'k [SigV4Pair],
    now: Timestamp,
) -> Result<&'k str, Refusal> {
    let claim = Claim::parse(parameters)?;
    // An ID is no secret.
    let pair = pairs.iter().find(|pair| pair.access_key_id == claim.access_key_id).ok_or(Refusal::UnknownKey)?;
    if claim.service != SERVICE {
        return Err(Refusal::Service);
    }
    let date = received.date().ok_or(Refusal::NoDate)?;
    if !date.starts_with(claim.day) || claim.day.len() != 8 {
        return Err(Refusal::ScopeDate);
    }
    let (earliest, latest) = (iso(now - policy::SIGNATURE_SKEW), iso(now + policy::SIGNATURE_SKEW));
    // Dates of this form are in order when their texts are.
    if date < earliest {
        return Err(Refusal::Expired(date, earliest));
    }
    if date > latest {
        return Err(Refusal::NotYetCurrent(date, latest));
    }
    claim.covers(received)?;
    let signature = claim.signature_of(received, &date, &pair.secret_access_key)?;
    let good: bool = signature.as_bytes().ct_eq(claim.signature.as_bytes()).into();
    if good { Ok(&pair.access_key_id) } else { Err(Refusal::Mismatch) }
}

/// What the header says, not believed yet.
#[derive(Clone, Copy)]
struct Claim<'a> {
    access_key_id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(parameters: &'a str) -> Result<Self, Refusal> {
        let credential = parameter(parameters, "Credential")?;
        let signature = parameter(parameters, "Signature")?;
        let signed_headers = parameter(parameters, "SignedHeaders")?;
        let parts: Vec<_> = credential.split('/').collect();
        let &[access_key_id, day, region, service, TERMINATION] = parts.as_slice() else {
            return Err(Refusal::Credential);
        };
        Ok(Self { access_key_id, day, region, service, signed_headers, signature })
    }

    fn signs(&self, name: &str) -> bool {
        self.signed_headers.split(';').any(|signed| signed == name)
    }

    /// Whether what gives the request its meaning is signed, and the body is the one that it says.
    fn covers(&self, received: &Received<'_>) -> Result<(), Refusal> {
        if !self.signs("host") {
            return Err(Refusal::Unsigned("Host"));
        }
        if received.has(DATE) && !self.signs(DATE) {
            return Err(Refusal::Unsigned("X-Amz-Date"));
        }
        // Also when it is not signed; `UNSIGNED-PAYLOAD` is the hash of nothing.
        let hash = hash(received.body);
        let agrees = received.headers_named(CONTENT_HASH).all(|said| said.trim_ascii() == hash.as_bytes());
        if agrees { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    fn signature_of(&self, received: &Received<'_>, date: &str, secret: &Secret) -> Result<String, Refusal> {
        let scope = format!("{}/{}/{}/{TERMINATION}", self.day, self.region, self.service);
        let request = hash(&received.canonical(self.signed_headers)?);
        let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{request}");
        Ok(hex(&mac(&self.signing_key(secret)?, to_sign.as_bytes())?))
    }

    fn signing_key(&self, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let start = Zeroizing::new([b"AWS4".as_slice(), secret.expose()].concat());
        let steps = [self.day, self.region, self.service, TERMINATION];
        steps.iter().try_fold(start, |key, step| mac(&key, step.as_bytes()))
    }
}

/// The value of a parameter that is there exactly once.
fn parameter<'a>(parameters: &'a str, name: &'static str) -> Result<&'a str, Refusal> {
    let pairs = parameters.split(',').filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value),
        _ => Err(Refusal::Parameter(name)),
    }
}

impl Received<'_> {
    fn headers_named(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(header, _)| *header == name).map(|(_, value)| *value)
    }

    fn has(&self, name: &str) -> bool {
        self.headers_named(name).next().is_some()
    }

    /// When it says that it was signed: `20260130T120000Z`.
    fn date(&self) -> Option<String> {
        let name = if self.has(DATE) { DATE } else { "date" };
        let mut values = self.headers_named(name);
        let text = std::str::from_utf8(values.next()?).ok()?.trim();
        if values.next().is_some() {
            return None;
        }
        let text = if name == DATE {
            text.to_owned()
        } else {
            Timestamp::from_http_date(text).map_or_else(|| text.to_owned(), iso)
        };
        is_iso(&text).then_some(text)
    }

    /// The canonical request.
    fn canonical(&self, signed_headers: &str) -> Result<Vec<u8>, Refusal> {
        let path = if self.path.is_empty() { "/" } else { self.path };
        // Encoded once more than on the wire, as every service but S3 does.
        let path = percent_encode(path.as_bytes(), ENCODED_PATH);
        let mut text = format!("{}\n{path}\n{}\n", self.method, canonical_query(self.query)).into_bytes();
        for name in signed_headers.split(';') {
            if !self.has(name) {
                return Err(Refusal::Mismatch);
            }
            let values: Vec<_> = self.headers_named(name).map(folded).collect();
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            text.extend_from_slice(&values.join(&b','));
            text.push(b'\n');
        }
        text.extend_from_slice(format!("\n{signed_headers}\n{}", hash(self.body)).as_bytes());
        Ok(text)
    }
}

/// Read as the handlers read it, so that what is signed is what they act on; then encoded and sorted.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| percent_encode(text.as_bytes(), ENCODED).to_string();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (encode(&name), encode(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A header's value without blanks around it, and one for each run of them inside.
fn folded(value: &[u8]) -> Vec<u8> {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

fn is_iso(text: &str) -> bool {
    let form = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 16 && text.bytes().enumerate().all(form)
}

fn iso(time: Timestamp) -> String {
    let digits: String = time.to_string().chars().filter(char::is_ascii_digit).collect();
    let (day, second) = digits.split_at(8.min(digits.len()));
    format!("{day}T{second}Z")
}

/// HMAC takes keys of every length (RFC 2104 §2), so that the refusal never comes.
fn mac(key: &[u8], message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let keyed = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Refusal::Mismatch)?;
    Ok(Zeroizing::new(keyed.chain_update(message).finalize().into_bytes().to_vec()))
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
