//! Authorization codes: a grant and its session, encrypted for one client in some hundred bytes.
//!
//! Owns the layout of a code's content. Values that are only compared are stored as hashes. Values of unbounded length
//! (nonce, `acr`, individually requested claims) come last; if they do not fit, they are kept in the store. Client and
//! event are bound as associated data: for another client the code does not open. Must not know how a code is redeemed
//! (`exchange.rs`).

use super::RegisteredClient;
use crate::ambient::Timestamp;
use crate::keys::{CodeSeal, SealError};
use crate::oauth::{AskedClaims, Challenge, Grant, RedirectHash, Scope};
use crate::policy;
use crate::room::RequestId;
use crate::store::{CodeAge, GrantId, LongGrant, Redemption};

/// The content of a code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Code {
    pub id: GrantId,
    pub issued_at: Timestamp,
    /// The session that the code was issued for, and when it ends.
    pub request_id: RequestId,
    pub session_end: Timestamp,
    pub grant: Grant,
}

/// A decrypted code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum OpenedCode {
    Whole(Code),
    /// Everything but [`Grant::asked`], which is in the store.
    Short(Code),
}

/// An encrypted code, and the part of its grant that the store must keep.
#[derive(Debug)]
pub(super) struct SealedCode {
    pub text: String,
    pub kept: Option<LongGrant>,
}

// Flags: which optional fields are present.
const PROFILE: u8 = 1;
const EMAIL: u8 = 1 << 1;
const CHALLENGE: u8 = 1 << 2;
const KEPT: u8 = 1 << 3;
const QUEUE: u8 = 1 << 4;
const NONCE: u8 = 1;
const ACR: u8 = 1 << 1;

impl Code {
    /// Encrypts the code for `client`.
    pub(super) fn seal(&self, seal: &CodeSeal, client: &RegisteredClient) -> Result<SealedCode, SealError> {
        let (bound, asked) = (associated_data(client), encode_asked(&self.grant.asked));
        let whole = [self.head(0), asked.clone()].concat();
        if whole.len() <= CodeSeal::ROOM {
            return Ok(SealedCode { text: seal.seal(&self.id.0, &whole, &bound)?, kept: None });
        }
        let kept = LongGrant { id: self.id, request_id: self.request_id, issued_at: self.issued_at, body: asked };
        Ok(SealedCode { text: seal.seal(&self.id.0, &self.head(KEPT), &bound)?, kept: Some(kept) })
    }

    /// Decrypts the code that `client` presents; `None` if it is not a code of this client.
    pub(super) fn open(seal: &CodeSeal, client: &RegisteredClient, text: &str) -> Option<OpenedCode> {
        let (name, content) = seal.open(text, &associated_data(client)).ok()?;
        let mut rest = Reader(&content);
        let flags = rest.byte()?;
        let code = Self {
            id: GrantId(name),
            issued_at: rest.time()?,
            session_end: rest.time()?,
            request_id: RequestId::from_bytes(rest.bytes()?),
            grant: Grant {
                client_id: client.client.id.clone(),
                redirect: RedirectHash(rest.bytes()?),
                challenge: if flags & CHALLENGE == 0 { None } else { Some(Challenge(rest.bytes()?)) },
                scope: Scope { profile: flags & PROFILE != 0, email: flags & EMAIL != 0, queue: flags & QUEUE != 0 },
                asked: AskedClaims::default(),
            },
        };
        if flags & KEPT != 0 {
            return rest.is_empty().then_some(OpenedCode::Short(code));
        }
        let asked = decode_asked(rest.0)?;
        Some(OpenedCode::Whole(Self { grant: Grant { asked, ..code.grant }, ..code }))
    }

    /// The redemption of this code at `now`.
    pub(super) fn redemption(&self, now: Timestamp) -> Redemption {
        let good = now < self.issued_at + policy::CODE_LIFETIME && self.issued_at <= now + policy::CODE_AHEAD;
        let code = if good { CodeAge::Good } else { CodeAge::Wrong };
        Redemption { id: self.id, issued_at: self.issued_at, session_end: self.session_end, code }
    }

    fn head(&self, kept: u8) -> Vec<u8> {
        let Grant { redirect, challenge, scope, .. } = &self.grant;
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        let scopes = flag(PROFILE, scope.profile) | flag(EMAIL, scope.email) | flag(QUEUE, scope.queue);
        let flags = kept | scopes | flag(CHALLENGE, challenge.is_some());
        let mut head = vec![flags];
        head.extend(self.issued_at.as_secs().to_be_bytes());
        head.extend(self.session_end.as_secs().to_be_bytes());
        head.extend(self.request_id.as_bytes());
        head.extend(redirect.0);
        head.extend(challenge.iter().flat_map(|challenge| challenge.0));
        head
    }
}

/// The associated data of a code. Event names contain no NUL, so no two clients share it.
fn associated_data(client: &RegisteredClient) -> String {
    format!("{}\0{}", client.event, client.client.id)
}

fn encode_asked(asked: &AskedClaims) -> Vec<u8> {
    let flag = |flag, text: &Option<String>| if text.is_some() { flag } else { 0 };
    let mut bytes = vec![flag(NONCE, &asked.nonce) | flag(ACR, &asked.acr)];
    let lists = [&asked.id_token, &asked.user_info];
    asked.nonce.iter().chain(&asked.acr).for_each(|text| put_text(&mut bytes, text));
    for list in lists {
        put_length(&mut bytes, list.len());
        list.iter().for_each(|text| put_text(&mut bytes, text));
    }
    bytes
}

/// Decodes the body of [`SealedCode::kept`].
pub(super) fn decode_asked(bytes: &[u8]) -> Option<AskedClaims> {
    let mut rest = Reader(bytes);
    let flags = rest.byte()?;
    let asked = AskedClaims {
        nonce: if flags & NONCE == 0 { None } else { Some(rest.text()?) },
        acr: if flags & ACR == 0 { None } else { Some(rest.text()?) },
        id_token: rest.texts()?,
        user_info: rest.texts()?,
    };
    rest.is_empty().then_some(asked)
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_length(bytes, text.len());
    bytes.extend(text.as_bytes());
}

/// Requests and configurations are far shorter than 32 bits can count.
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    // Most lengths are short: one byte, unless that byte marks a longer length.
    match u8::try_from(length) {
        Ok(short) if short < LONG => bytes.push(short),
        _ => {
            bytes.push(LONG);
            bytes.extend(length.to_be_bytes());
        }
    }
}

/// Marks that four bytes of length follow.
const LONG: u8 = u8::MAX;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.bytes().map(u64::from_be_bytes).map(Timestamp::from_secs)
    }

    fn length(&mut self) -> Option<usize> {
        match self.byte()? {
            LONG => usize::try_from(u32::from_be_bytes(self.bytes()?)).ok(),
            short => Some(short.into()),
        }
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        // Collected one by one: a count without content reserves no memory.
        let count = self.length()?;
        (0..count).map(|_| self.text()).collect()
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
