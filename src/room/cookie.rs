//! The visitor's cookie: a request ID under a second seal, which only the visitor's browser holds.
//!
//! Owns the second key and the text form; must not know cookies' names, flags or lifetimes (`web`). A
//! ticket from the login door is a `sub`, known to every relying party; the cookie is what makes its
//! holder the visitor.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cipher::EventCipher;
use super::{EventId, Refusal, RequestId};
use crate::ambient::Secret;

/// Seals the request IDs of one event into cookie values and opens these. Never shown, wiped when dropped.
///
/// It authenticates only together with [`TicketKey::open`](super::TicketKey::open): the second seal is a
/// permutation without redundancy of its own, so *every* well-formed value opens to some request ID. A
/// value that was not sealed here opens to one that is as good as random, and that is refused as a
/// ticket, for the redundancy in it is still there. To make the value that opens to a *known* request ID is to
/// compute the permutation without its key. Hence: never act on an opened cookie before the ticket
/// in it is opened too.
#[derive(Debug)]
pub struct CookieKey(EventCipher);

impl CookieKey {
    /// Letters of a cookie value: 128 bits in base64url (RFC 4648 §5) without padding.
    pub const LENGTH: usize = 22;

    /// The key of `event` under the deployment's master secret; unrelated to the event's ticket key.
    pub fn derive(master: &Secret, event: &EventId) -> Self {
        Self(EventCipher::derive(master, b"anteroom/cookie/1", event))
    }

    /// The cookie value for `request_id`: [`LENGTH`](Self::LENGTH) characters, none of which a cookie must quote.
    pub fn seal(&self, request_id: &RequestId) -> String {
        URL_SAFE_NO_PAD.encode(self.0.encipher(*request_id.as_bytes()))
    }

    /// The request ID in a cookie value, still to be opened as a ticket. There is one spelling of each value.
    ///
    /// # Errors
    /// [`Refusal::Forged`] for a text that no seal of ours looks like; other forgeries show when the ticket is opened.
    pub fn open(&self, value: &str) -> Result<RequestId, Refusal> {
        let mut decoded = [0; Self::LENGTH];
        let written = URL_SAFE_NO_PAD.decode_slice(value, &mut decoded).map_err(|_| Refusal::Forged)?;
        let block = decoded[..written].try_into().map_err(|_| Refusal::Forged)?;
        Ok(RequestId::from_bytes(self.0.decipher(block)))
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
        }
    }

    #[test]
    fn no_key_is_shown() {
        assert_eq!(format!("{:?}", key()), "CookieKey([secret])");
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
            prop_assert_eq!(key().open(&value), Ok(id));
        }

        #[test]
        fn a_value_has_one_spelling(value in "[A-Za-z0-9_-]{22}") {
            if let Ok(id) = key().open(&value) {
                prop_assert_eq!(key().seal(&id), value);
            }
        }

        #[test]
        fn any_text_is_refused_or_opened_without_a_fuss(value in ".{0,30}") {
            let _ = key().open(&value);
        }

        // Each of these three passes by chance with a probability of 2^-31 a case: the keys are fixed.

        #[test]
        fn who_presents_a_request_id_in_place_of_the_cookie_is_refused(ticket in tickets()) {
            let (tickets, counters, arrivals) = room();
            let known = tickets.seal(&ticket);
            let value = URL_SAFE_NO_PAD.encode(known.as_bytes());
            let id = key().open(&value).unwrap();
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
        fn a_changed_bit_or_another_events_key_yields_no_ticket(ticket in tickets(), bit in 0_usize..128) {
            let (tickets, counters, arrivals) = room();
            let value = key().seal(&tickets.seal(&ticket));
            let mut bits: [u8; 16] = URL_SAFE_NO_PAD.decode(&value).unwrap().try_into().unwrap();
            bits[bit / 8] ^= 1 << (bit % 8);
            let changed = key().open(&URL_SAFE_NO_PAD.encode(bits)).unwrap();
            prop_assert_eq!(tickets.open(&changed, &counters, &arrivals), Err(Refusal::Forged));
            let foreign = CookieKey::derive(&Secret::new([7; 32]), &event("Other")).open(&value).unwrap();
            prop_assert_eq!(tickets.open(&foreign, &counters, &arrivals), Err(Refusal::Forged));
        }
    }
}
