//! Sealed values that clients return: tickets, codes, flows, place cookies.

use std::sync::LazyLock;

use anteroom::ambient::{Secret, SeededEntropy, Timestamp};
use anteroom::keys::{CodeSeal, FlowSeal, MasterSecret};
use anteroom::policy;
use anteroom::room::{
    Arrival, Arrivals, CookieKey, CookieKind, Counters, Door, EventId, Generation, Position, RequestId, Ticket,
    TicketKey,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A room with a thousand joins at three moments, after two resets.
struct Room {
    tickets: TicketKey,
    cookies: CookieKey,
    foreign: TicketKey,
    counters: Counters,
    arrivals: Arrivals,
}

static ROOM: LazyLock<Room> = LazyLock::new(|| {
    let (event, other): (EventId, EventId) = ("Sample".parse().unwrap(), "Other".parse().unwrap());
    let master = Secret::new([7; 32]);
    let mut arrivals = Arrivals::new();
    for (first, before) in [(1, 3600), (400, 60), (900, 0)] {
        let first = Position::new(first).unwrap();
        arrivals.merge(Arrival { first, at: Timestamp::from_secs(NOW.as_secs() - before) });
    }
    Room {
        tickets: TicketKey::derive(&master, &event),
        cookies: CookieKey::derive(&master, &event),
        foreign: TicketKey::derive(&master, &other),
        counters: Counters { queue: 1000, generation: Generation(2), ..Counters::default() },
        arrivals,
    }
});

/// The first bytes of `data`, padded with zeros.
fn bytes<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let length = data.len().min(N);
    bytes[..length].copy_from_slice(&data[..length]);
    bytes
}

/// A ticket from the bytes; not always one that the room issued.
fn described(data: &[u8]) -> Option<Ticket> {
    let [position, more, back, ahead, generation, door, ..] = bytes::<8>(data);
    let entry = NOW.as_secs() - u64::from(back) * 20 + u64::from(ahead);
    Some(Ticket {
        position: Position::new(u64::from(position) + 256 * u64::from(more % 8))?,
        entry: Timestamp::from_secs(entry),
        generation: Generation(u16::from(generation % 4)),
        door: if door % 2 == 0 { Door::Rest } else { Door::Login },
    })
}

/// A ticket that opens was sealed: sealing it again gives the same request ID, and the room issued it.
fn opens_only_what_was_sealed(room: &Room, id: &RequestId) -> Option<Ticket> {
    let ticket = room.tickets.open(id, &room.counters, &room.arrivals).ok()?;
    assert_eq!(room.tickets.seal(&ticket), *id);
    assert_eq!(room.tickets.position(id), Some(ticket.position));
    assert!(ticket.position.get() <= room.counters.queue && ticket.generation == room.counters.generation);
    assert!(room.arrivals.fits(ticket.position, ticket.entry));
    Some(ticket)
}

/// A request ID, in text and in bytes.
pub fn ticket(data: &[u8]) {
    let room = &*ROOM;
    let text = String::from_utf8_lossy(data);
    if let Ok(id) = text.parse::<RequestId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(opens_only_what_was_sealed(room, &id), None, "a guess opened");
    }
    let guessed = RequestId::from_bytes(bytes(data));
    assert_eq!(guessed.to_string().parse(), Ok(guessed));
    assert_eq!(opens_only_what_was_sealed(room, &guessed), None, "a guess opened");
    let Some(ticket) = described(data) else { return };
    let id = room.tickets.seal(&ticket);
    let given = ticket.position.get() <= room.counters.queue
        && ticket.generation == room.counters.generation
        && room.arrivals.fits(ticket.position, ticket.entry);
    assert_eq!(opens_only_what_was_sealed(room, &id), given.then_some(ticket));
    assert!(room.foreign.open(&id, &room.counters, &room.arrivals).is_err(), "another event's key opened it");
    let mut changed = *id.as_bytes();
    let bit = usize::from(data.last().copied().unwrap_or_default() % 128);
    changed[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(opens_only_what_was_sealed(room, &RequestId::from_bytes(changed)), None, "a changed bit opened");
}

fn sealed_as(room: &Room, id: &RequestId, kind: CookieKind) -> String {
    match kind {
        CookieKind::Place => room.cookies.seal(id),
        CookieKind::Session => room.cookies.seal_session(id),
    }
}

/// A place cookie or a session cookie, and a request ID in its place.
pub fn cookie(data: &[u8]) {
    let room = &*ROOM;
    let text = String::from_utf8_lossy(data);
    if let Ok((id, kind)) = room.cookies.open(&text) {
        assert_eq!(sealed_as(room, &id, kind), text, "a value has one spelling");
        assert_eq!(opens_only_what_was_sealed(room, &id), None, "a guess opened");
    }
    let id = RequestId::from_bytes(bytes(data));
    assert_eq!(room.cookies.seal(&id).len(), CookieKey::LENGTH);
    for kind in [CookieKind::Place, CookieKind::Session] {
        assert_eq!(room.cookies.open(&sealed_as(room, &id, kind)), Ok((id, kind)));
    }
    let Some(ticket) = described(data) else { return };
    let known = RequestId::from_bytes(*room.tickets.seal(&ticket).as_bytes());
    let shown = room.cookies.open(&room.cookies.seal(&known)).unwrap();
    assert_eq!(shown, (known, CookieKind::Place));
    // Knowing the `sub` is not enough: the cookie's value is not the ticket's.
    assert_ne!(room.cookies.seal(&known).as_bytes(), known.to_string().as_bytes());
}

static FLOWS: LazyLock<FlowSeal> = LazyLock::new(|| FlowSeal::new(&MasterSecret::generate(&SeededEntropy::new(7))));

/// Replaces bytes of a text of single-byte letters, given as pairs of position and letter. `None`: it is unchanged.
/// Letters are compared one by one: the fuzzer traces comparisons of texts, and would guess the token.
fn changed(token: &str, edits: &[u8]) -> Option<String> {
    let mut letters: Vec<u8> = token.bytes().collect();
    for edit in edits.chunks_exact(3).take(8) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % letters.len();
        letters[at] = edit[2] & 0x7f;
    }
    let differs = letters.iter().zip(token.bytes()).any(|(letter, before)| *letter != before);
    String::from_utf8(letters).ok().filter(|_| differs)
}

/// A flow, as text and as one that was sealed here and then changed.
pub fn flow(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(FLOWS.open(&text).is_err(), "a guess opened");
    let (plain, edits) = data.split_at(data.len() / 2);
    let entropy = SeededEntropy::new(u64::from_le_bytes(bytes(edits)));
    let Ok(token) = FLOWS.seal(plain, &entropy) else {
        assert!(plain.len() > policy::MAX_FLOW_BYTES / 2, "it would have fitted");
        return;
    };
    assert!(token.len() <= policy::MAX_FLOW_BYTES);
    assert_eq!(FLOWS.open(&token).unwrap().as_slice(), plain);
    if let Some(changed) = changed(&token, edits) {
        assert!(FLOWS.open(&changed).is_err(), "a changed flow opened");
    }
}

static CODES: LazyLock<CodeSeal> = LazyLock::new(|| CodeSeal::new(&MasterSecret::generate(&SeededEntropy::new(7))));

/// The associated data of a client's codes.
const BOUND: &str = "Sample\0shop";

/// An authorization code, as text and as one that was sealed here and then changed.
pub fn code(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(CODES.open(&text, BOUND).is_err(), "a guess opened");
    let (plain, edits) = data.split_at(data.len() / 2);
    let name = bytes(edits);
    let Ok(code) = CODES.seal(&name, plain, BOUND) else {
        assert!(plain.len() > CodeSeal::ROOM, "it would have fitted");
        return;
    };
    assert!(code.len() <= policy::MAX_CODE_LENGTH);
    let (opened, content) = CODES.open(&code, BOUND).unwrap();
    assert_eq!((opened, content.as_slice()), (name, plain));
    assert!(CODES.open(&code, "Sample\0other").is_err(), "another client's code opened");
    if let Some(changed) = changed(&code, edits) {
        assert!(CODES.open(&changed, BOUND).is_err(), "a changed code opened");
    }
}
