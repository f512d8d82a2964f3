//! The visitor's cookie: a request ID under a second seal, which only the visitor's browser holds.
//!
//! Owns the second keys and the text forms; must not know cookies' names, flags or lifetimes (`web`). A
//! ticket from the login door is a `sub`, known to every relying party; the cookie is what makes its
//! holder the visitor. At admission the cookie of the place is replaced by that of the session, under a key of its own:
//! nobody who copied the one can make the other of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cipher::EventCipher;
use super::{EventId, Refusal, RequestId};
use crate::ambient::Secret;

/// What a cookie proves of its holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CookieKind {
    /// They have the place in line.
    Place,
    /// They were admitted: they have the session.
    Session,
}

/// Seals the request IDs of one event into cookie values and opens these. Never shown, wiped when dropped.
///
/// It authenticates only together with [`TicketKey::open`](super::TicketKey::open): the second seal is a
/// permutation without redundancy of its own, so *every* well-formed value opens to some request ID. A
/// value that was not sealed here opens to one that is as good as random, and that is refused as a
/// ticket, for the redundancy in it is still there. To make the value that opens to a *known* request ID is to
/// compute the permutation without its key. Hence: never act on an opened cookie before the ticket
/// in it is opened too.
#[derive(Debug)]
pub struct CookieKey {
    place: EventCipher,
    session: EventCipher,
}

impl CookieKey {
    /// Letters of a sealed request ID: 128 bits in base64url (RFC 4648 §5) without padding.
    pub const LENGTH: usize = 22;

    /// What the value of a session's cookie begins with; a place's is the sealed request ID alone.
    const SESSION: &str = "s.";

    /// The keys of `event` under the deployment's master secret; unrelated to each other and to the event's ticket key.
    pub fn derive(master: &Secret, event: &EventId) -> Self {
        Self {
            place: EventCipher::derive(master, b"anteroom/cookie/1", event),
            session: EventCipher::derive(master, b"anteroom/session-cookie/1", event),
        }
    }

    /// The cookie value for the place of `request_id`: characters none of which a cookie must quote.
    pub fn seal(&self, request_id: &RequestId) -> String {
        URL_SAFE_NO_PAD.encode(self.place.encipher(*request_id.as_bytes()))
    }

    /// The cookie value for the session of `request_id`.
    pub fn seal_session(&self, request_id: &RequestId) -> String {
        Self::SESSION.to_owned() + &URL_SAFE_NO_PAD.encode(self.session.encipher(*request_id.as_bytes()))
    }

    /// The request ID in a cookie value, still to be opened as a ticket, and what the cookie proves. There is one
    /// spelling of each value.
    ///
    /// # Errors
    /// [`Refusal::Forged`] for a text that no seal of ours looks like; other forgeries show when the ticket is opened.
    pub fn open(&self, value: &str) -> Result<(RequestId, CookieKind), Refusal> {
        let (sealed, cipher, kind) = match value.strip_prefix(Self::SESSION) {
            Some(sealed) => (sealed, &self.session, CookieKind::Session),
            None => (value, &self.place, CookieKind::Place),
        };
        let mut decoded = [0; Self::LENGTH];
        let written = URL_SAFE_NO_PAD.decode_slice(sealed, &mut decoded).map_err(|_| Refusal::Forged)?;
        let block = decoded[..written].try_into().map_err(|_| Refusal::Forged)?;
        Ok((RequestId::from_bytes(cipher.decipher(block)), kind))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ambient::Timestamp;
    use crate::room::{Arrival, Arrivals, Counters, Door, Position, Ticket, TicketKey};

    fn event(name: &str) -> EventId {
        name.parse().unwrap()
    }

    fn key() -> CookieKey {
        CookieKey::derive(&Secret::new([7; 32]), &event("Sample"))
    }

    #[test]
    fn a_value_does_not_change_between_releases() {
        let id = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        assert_eq!(key().seal(&id), "aOTOm5fTYqsSSI3b7ZiB_A");
        assert_eq!(key().seal_session(&id), "s.-p81pVaTsmlglWBHxQj90w");
    }

    #[test]
    fn what_is_not_22_letters_of_base64url_is_refused() {
        let good = key().seal(&RequestId::from_bytes([1; 16]));
        assert!(key().open(&good).is_ok());
        let bad = [
            String::new(),
            good[1..].to_owned(),
            format!("{good}A"),
            format!("{good}=="),
            format!("{}+", &good[1..]),
            format!("{}é", &good[2..]),
            RequestId::from_bytes([1; 16]).to_string(),
        ];
        for value in bad {
            assert_eq!(key().open(&value), Err(Refusal::Forged), "{value}");
            assert_eq!(key().open(&format!("s.{value}")), Err(Refusal::Forged), "{value}");
        }
        assert_eq!(key().open(&format!("S.{good}")), Err(Refusal::Forged));
    }

    #[test]
    fn no_key_is_shown() {
        assert_eq!(format!("{:?}", key()), "CookieKey { place: [secret], session: [secret] }");
    }

    /// The room as it stands when the first thousand have come at second 1 000 000.
    fn room() -> (TicketKey, Counters, Arrivals) {
        let mut arrivals = Arrivals::new();
        arrivals.merge(Arrival { first: Position::FIRST, at: Timestamp::from_secs(1_000_000) });
        let counters = Counters { queue: 1_000, ..Counters::default() };
        (TicketKey::derive(&Secret::new([7; 32]), &event("Sample")), counters, arrivals)
    }

    fn tickets() -> impl Strategy<Value = Ticket> {
        (1_u64..=1_000, any::<bool>()).prop_map(|(number, login)| Ticket {
            position: Position::new(number).unwrap(),
            entry: Timestamp::from_secs(1_000_000),
            generation: Counters::default().generation,
            door: if login { Door::Login } else { Door::Rest },
        })
    }

    proptest! {
        #[test]
        fn a_value_opens_to_what_was_sealed(bits: [u8; 16]) {
            let id = RequestId::from_bytes(bits);
            let value = key().seal(&id);
            prop_assert_eq!(value.len(), CookieKey::LENGTH);
            prop_assert_eq!(key().open(&value), Ok((id, CookieKind::Place)));
            prop_assert_eq!(key().open(&key().seal_session(&id)), Ok((id, CookieKind::Session)));
        }

        #[test]
        fn a_value_has_one_spelling(value in "(s\\.)?[A-Za-z0-9_-]{22}") {
            match key().open(&value) {
                Ok((id, CookieKind::Place)) => prop_assert_eq!(key().seal(&id), value),
                Ok((id, CookieKind::Session)) => prop_assert_eq!(key().seal_session(&id), value),
                Err(_) => {}
            }
        }

        #[test]
        fn any_text_is_refused_or_opened_without_a_fuss(value in ".{0,30}") {
            let _ = key().open(&value);
        }

        // Each of these four passes by chance with a probability of 2^-31 a case: the keys are fixed.

        #[test]
        fn who_presents_a_request_id_in_place_of_the_cookie_is_refused(ticket in tickets()) {
            let (tickets, counters, arrivals) = room();
            let known = tickets.seal(&ticket);
            let value = URL_SAFE_NO_PAD.encode(known.as_bytes());
            let (id, _) = key().open(&value).unwrap();
            prop_assert_eq!(tickets.open(&id, &counters, &arrivals), Err(Refusal::Forged));
        }

        #[test]
        fn who_presents_the_cookie_in_place_of_a_request_id_is_refused(ticket in tickets()) {
            let (tickets, counters, arrivals) = room();
            let value = key().seal(&tickets.seal(&ticket));
            prop_assert!(value.parse::<RequestId>().is_err());
            let bits: [u8; 16] = URL_SAFE_NO_PAD.decode(&value).unwrap().try_into().unwrap();
            let id = RequestId::from_bytes(bits);
            prop_assert_eq!(tickets.open(&id, &counters, &arrivals), Err(Refusal::Forged));
        }

        #[test]
        fn nobody_makes_the_cookie_of_the_session_of_that_of_the_place_or_the_other_way(ticket in tickets()) {
            let (tickets, counters, arrivals) = room();
            let id = tickets.seal(&ticket);
            let (place, session) = (key().seal(&id), key().seal_session(&id));
            for value in [format!("s.{place}"), session["s.".len()..].to_owned()] {
                let (made, _) = key().open(&value).unwrap();
                prop_assert_eq!(tickets.open(&made, &counters, &arrivals), Err(Refusal::Forged));
            }
        }

        #[test]
        fn a_changed_bit_or_another_events_key_yields_no_ticket(ticket in tickets(), bit in 0_usize..128) {
            let (tickets, counters, arrivals) = room();
            let value = key().seal(&tickets.seal(&ticket));
            let mut bits: [u8; 16] = URL_SAFE_NO_PAD.decode(&value).unwrap().try_into().unwrap();
            bits[bit / 8] ^= 1 << (bit % 8);
            let (changed, _) = key().open(&URL_SAFE_NO_PAD.encode(bits)).unwrap();
            prop_assert_eq!(tickets.open(&changed, &counters, &arrivals), Err(Refusal::Forged));
            let (foreign, _) = CookieKey::derive(&Secret::new([7; 32]), &event("Other")).open(&value).unwrap();
            prop_assert_eq!(tickets.open(&foreign, &counters, &arrivals), Err(Refusal::Forged));
        }
    }
}
