//! Verification of AWS Signature Version 4 in its header form, which the scripts of the old system use.
//!
//! Pure: takes a received request, the key pairs and the time; returns the pair that signed, or the error. Source: *AWS
//! Identity and Access Management User Guide*, "Create a signed AWS API request". The session token is ignored, because
//! the configured key pairs have none.

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

/// The service name of the old system's API.
const SERVICE: &str = "execute-api";

/// The last part of every scope.
const TERMINATION: &str = "aws4_request";

const DATE: &str = "x-amz-date";
const CONTENT_HASH: &str = "x-amz-content-sha256";

/// All but the unreserved characters of RFC 3986 §2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same within a path.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// A received request.
pub struct SignedRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, escaped as it was sent.
    pub path: &'a str,
    /// Its query, likewise.
    pub query: &'a str,
    /// Its headers, names in lower case, in the order received.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// Its whole body.
    pub body: &'a [u8],
}

/// Why a signature is not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SigV4Error {
    /// The header lacks this parameter, or repeats it.
    Parameter(&'static str),
    /// The credential does not have five parts with the required ending.
    Credential,
    /// The key pair is not configured.
    UnknownKey,
    /// It was signed for another service.
    Service,
    /// This header must be among those that are signed.
    Unsigned(&'static str),
    /// No date, or none that can be read.
    NoDate,
    /// The day of the scope is not that of the date.
    ScopeDate,
    /// It was signed too long ago: its date, the earliest accepted one.
    Expired(String, String),
    /// It was signed too far in the future: its date, the latest accepted one.
    NotYetCurrent(String, String),
    /// Another request was signed, or with another secret.
    Mismatch,
}

impl SigV4Error {
    /// The kind of error, without details.
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

    /// The message of API Gateway for this error.
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

/// The ID of the pair that signed. `parameters` follows [`ALGORITHM`] in the `Authorization` header.
///
/// # Errors
/// See [`SigV4Error`].
pub fn verify<'k>(
    request: &SignedRequest<'_>,
    parameters: &str,
    pairs: &'k [SigV4Pair],
    now: Timestamp,
) -> Result<&'k str, SigV4Error> {
    let authorization = Authorization::parse(parameters)?;
    // An ID is no secret.
    let pair =
        pairs.iter().find(|pair| pair.access_key_id == authorization.access_key_id).ok_or(SigV4Error::UnknownKey)?;
    if authorization.service != SERVICE {
        return Err(SigV4Error::Service);
    }
    let date = request.date().ok_or(SigV4Error::NoDate)?;
    if !date.starts_with(authorization.day) || authorization.day.len() != 8 {
        return Err(SigV4Error::ScopeDate);
    }
    let (earliest, latest) = (iso(now - policy::SIGNATURE_SKEW), iso(now + policy::SIGNATURE_SKEW));
    // Dates of this format sort as texts.
    if date < earliest {
        return Err(SigV4Error::Expired(date, earliest));
    }
    if date > latest {
        return Err(SigV4Error::NotYetCurrent(date, latest));
    }
    authorization.covers(request)?;
    let signature = authorization.signature_of(request, &date, &pair.secret_access_key)?;
    let good: bool = signature.as_bytes().ct_eq(authorization.signature.as_bytes()).into();
    if good { Ok(&pair.access_key_id) } else { Err(SigV4Error::Mismatch) }
}

/// The parameters of the header, not verified yet.
#[derive(Clone, Copy)]
struct Authorization<'a> {
    access_key_id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(parameters: &'a str) -> Result<Self, SigV4Error> {
        let credential = parameter(parameters, "Credential")?;
        let signature = parameter(parameters, "Signature")?;
        let signed_headers = parameter(parameters, "SignedHeaders")?;
        let parts: Vec<_> = credential.split('/').collect();
        let &[access_key_id, day, region, service, TERMINATION] = parts.as_slice() else {
            return Err(SigV4Error::Credential);
        };
        Ok(Self { access_key_id, day, region, service, signed_headers, signature })
    }

    fn signs(&self, name: &str) -> bool {
        self.signed_headers.split(';').any(|signed| signed == name)
    }

    /// Checks that the relevant headers are signed, and that the body has the signed hash.
    fn covers(&self, request: &SignedRequest<'_>) -> Result<(), SigV4Error> {
        if !self.signs("host") {
            return Err(SigV4Error::Unsigned("Host"));
        }
        if request.has(DATE) && !self.signs(DATE) {
            return Err(SigV4Error::Unsigned("X-Amz-Date"));
        }
        // Checked even if the header is not signed; no body has the hash `UNSIGNED-PAYLOAD`.
        let hash = hash(request.body);
        let agrees = request.headers_named(CONTENT_HASH).all(|said| said.trim_ascii() == hash.as_bytes());
        if agrees { Ok(()) } else { Err(SigV4Error::Mismatch) }
    }

    fn signature_of(&self, request: &SignedRequest<'_>, date: &str, secret: &Secret) -> Result<String, SigV4Error> {
        let scope = format!("{}/{}/{}/{TERMINATION}", self.day, self.region, self.service);
        let request = hash(&request.canonical(self.signed_headers)?);
        let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{request}");
        Ok(hex(&mac(&self.signing_key(secret)?, to_sign.as_bytes())?))
    }

    fn signing_key(&self, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, SigV4Error> {
        let start = Zeroizing::new([b"AWS4".as_slice(), secret.expose()].concat());
        let steps = [self.day, self.region, self.service, TERMINATION];
        steps.iter().try_fold(start, |key, step| mac(&key, step.as_bytes()))
    }
}

/// The value of a parameter that occurs exactly once.
fn parameter<'a>(parameters: &'a str, name: &'static str) -> Result<&'a str, SigV4Error> {
    let pairs = parameters.split(',').filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value),
        _ => Err(SigV4Error::Parameter(name)),
    }
}

impl SignedRequest<'_> {
    fn headers_named(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(header, _)| *header == name).map(|(_, value)| *value)
    }

    fn has(&self, name: &str) -> bool {
        self.headers_named(name).next().is_some()
    }

    /// The signing date that the request names: `20260130T120000Z`.
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
    fn canonical(&self, signed_headers: &str) -> Result<Vec<u8>, SigV4Error> {
        let path = if self.path.is_empty() { "/" } else { self.path };
        // Encoded once more than on the wire, as for every service except S3.
        let path = percent_encode(path.as_bytes(), ENCODED_PATH);
        let mut text = format!("{}\n{path}\n{}\n", self.method, canonical_query(self.query)).into_bytes();
        for name in signed_headers.split(';') {
            if !self.has(name) {
                return Err(SigV4Error::Mismatch);
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

/// Parsed as the handlers parse it, so that they act on what was signed; then encoded and sorted.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| percent_encode(text.as_bytes(), ENCODED).to_string();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (encode(&name), encode(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A header's value, trimmed and with runs of blanks collapsed.
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

/// HMAC accepts keys of every length (RFC 2104 §2), so this error does not occur.
fn mac(key: &[u8], message: &[u8]) -> Result<Zeroizing<Vec<u8>>, SigV4Error> {
    let keyed = Hmac::<Sha256>::new_from_slice(key).map_err(|_| SigV4Error::Mismatch)?;
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
