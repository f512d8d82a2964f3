//! What a ticket must and must not open to. The keys are fixed, so that a run repeats itself; a forgery in the form of
//! a UUID passes the redundancy by chance with a probability of 2⁻²⁵ a case, all checks with less than 2⁻⁹⁴.

use proptest::prelude::*;

use super::*;
use crate::policy::ARRIVAL_TOLERANCE;
use crate::room::Arrival;

const QUEUE: u64 = 10_000_000;
const OPENED: u64 = 1_800_000_000;

fn key(secret: u8, event: &str) -> TicketKey {
    TicketKey::derive(&Secret::new([secret; 32]), &event.parse().unwrap())
}

fn counters() -> Counters {
    Counters { queue: QUEUE, generation: Generation(3), ..Counters::default() }
}

/// A thousand came in each second.
fn arrivals() -> Arrivals {
    let mut arrivals = Arrivals::new();
    for second in 0..QUEUE / 1_000 {
        arrivals.merge(Arrival {
            first: Position::new(second * 1_000 + 1).unwrap(),
            at: Timestamp::from_secs(OPENED + second),
        });
    }
    arrivals
}

fn ticket(number: u64, door: Door) -> Ticket {
    Ticket {
        position: Position::new(number).unwrap(),
        entry: Timestamp::from_secs(OPENED + (number - 1) / 1_000),
        generation: Generation(3),
        door,
    }
}

#[test]
fn a_new_request_id_is_a_uuid_of_version_4() {
    check(|key, _, _, ticket, _| {
        let text = key.seal(&ticket).to_string();
        prop_assert_eq!(&text[14..15], "4");
        prop_assert!("89ab".contains(&text[19..20]), "{}", text);
        Ok(())
    });
}

fn tickets() -> impl Strategy<Value = Ticket> {
    (1..=QUEUE, prop_oneof![Just(Door::Rest), Just(Door::Login)]).prop_map(|(number, door)| ticket(number, door))
}

fn any_ticket() -> impl Strategy<Value = Ticket> {
    (1..=Position::LAST.get(), any::<u32>(), any::<u16>(), any::<bool>()).prop_map(
        |(number, entry, generation, login)| Ticket {
            position: Position::new(number).unwrap(),
            entry: Timestamp::from_secs(u64::from(entry)),
            generation: Generation(generation),
            door: if login { Door::Login } else { Door::Rest },
        },
    )
}

#[test]
fn a_request_id_does_not_change_between_releases() {
    let sealed = key(7, "Sample").seal(&ticket(4_711, Door::Login));
    assert_eq!(sealed.to_string(), "d2ccf59e-b694-4098-88dc-b467e4f0d24d");
}

/// Seals as programs did whose request IDs were no UUIDs.
fn seal_former(key: &TicketKey, ticket: &Ticket) -> RequestId {
    RequestId::from_bytes(key.former.encipher((ticket.encode() << FORMER_PADDING).to_be_bytes()))
}

#[test]
fn a_request_id_of_the_former_form_opens() {
    let (key, counters, arrivals) = (key(7, "Sample"), counters(), arrivals());
    let ticket = ticket(4_711, Door::Login);
    let former: RequestId = "c680ddea-fe01-9f67-86b6-d0d4851285a1".parse().unwrap();
    assert_eq!(seal_former(&key, &ticket), former);
    assert_eq!(key.open(&former, &counters, &arrivals), Ok(ticket));
    assert_eq!(key.position(&former), Some(ticket.position));
}

#[test]
fn a_request_id_of_the_former_form_that_looks_like_a_uuid_opens_too() {
    let (key, counters, arrivals) = (key(7, "Sample"), counters(), arrivals());
    let alike: Vec<Ticket> = (1..=2_000)
        .map(|number| ticket(number, Door::Rest))
        .filter(|ticket| seal_former(&key, ticket).uuid_bits().is_some())
        .collect();
    assert!(alike.len() > 10, "one in 64 is expected, not {} of 2 000", alike.len());
    for ticket in alike {
        assert_eq!(key.open(&seal_former(&key, &ticket), &counters, &arrivals), Ok(ticket));
    }
}

#[test]
fn a_reset_ends_request_ids_of_the_former_form() {
    let key = key(7, "Sample");
    let before = Ticket { generation: Generation(2), ..ticket(4_711, Door::Rest) };
    let opened = key.open(&seal_former(&key, &before), &counters(), &arrivals());
    assert_eq!(opened, Err(Refusal::OldGeneration));
}

#[test]
fn the_layout_is_the_documented_one() {
    let ticket = Ticket {
        position: Position::new(0x0102_0304_0506).unwrap(),
        entry: Timestamp::from_secs(0x0708_090a),
        generation: Generation(0x0b0c),
        door: Door::Login,
    };
    let block: u128 = 0x0102_0304_0506_0708_090a_0b0c_8000_0000 >> 6;
    assert_eq!(ticket.encode(), block);
    assert_eq!(Ticket::decode(block), Some(ticket));
    assert_eq!(Ticket::decode_former((block << 6).to_be_bytes()), Some(ticket));
}

#[test]
fn any_redundant_bit_set_makes_a_forgery() {
    let good = ticket(1, Door::Rest).encode();
    for bit in 0..25 {
        assert_eq!(Ticket::decode(good | 1 << bit), None, "{bit}");
    }
    for bit in 0..31 {
        let forged = (good << FORMER_PADDING | 1 << bit).to_be_bytes();
        assert_eq!(Ticket::decode_former(forged), None, "{bit}");
    }
    assert_eq!(Ticket::decode(0), None);
    assert_eq!(Ticket::decode_former([0; 16]), None);
}

#[test]
fn an_entry_time_that_no_ticket_can_hold_is_refused() {
    let mut late = ticket(1, Door::Rest);
    late.entry = Timestamp::from_secs(1 << 40);
    let mut log = Arrivals::new();
    log.merge(Arrival { first: Position::FIRST, at: late.entry });
    let key = key(7, "Sample");
    assert_eq!(key.open(&key.seal(&late), &counters(), &log), Err(Refusal::ImpossibleEntryTime));
}

#[test]
fn a_lagging_node_is_told_apart_from_a_forger() {
    assert!(!Refusal::Forged.may_be_lag() && !Refusal::OldGeneration.may_be_lag());
    for refusal in [Refusal::FutureGeneration, Refusal::BeyondQueue, Refusal::ImpossibleEntryTime] {
        assert!(refusal.may_be_lag());
    }
}

#[test]
fn no_key_is_shown() {
    assert_eq!(format!("{:?}", key(7, "Sample")), "TicketKey { cipher: [secret], former: [secret] }");
}

#[test]
fn no_single_flipped_bit_of_a_request_id_goes_unnoticed() {
    let (key, counters, arrivals) = (key(7, "Sample"), counters(), arrivals());
    for number in [1, 2, 999_999, QUEUE] {
        let good = key.seal(&ticket(number, Door::Rest));
        for bit in 0..128 {
            let mut bytes = *good.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let forged = key.open(&RequestId::from_bytes(bytes), &counters, &arrivals);
            assert_eq!(forged, Err(Refusal::Forged), "{number}, bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn the_layout_holds_every_ticket(ticket in any_ticket()) {
        prop_assert_eq!(Ticket::decode(ticket.encode()), Some(ticket));
    }
}

/// Opens against one big log, which is built once.
fn check(cases: impl Fn(&TicketKey, &Counters, &Arrivals, Ticket, u64) -> Result<(), TestCaseError>) {
    let (key, counters, arrivals) = (key(7, "Sample"), counters(), arrivals());
    proptest!(|(ticket in tickets(), dice: u64)| cases(&key, &counters, &arrivals, ticket, dice)?);
}

#[test]
fn a_sealed_ticket_opens_to_itself() {
    check(|key, counters, arrivals, ticket, _| {
        prop_assert_eq!(key.open(&key.seal(&ticket), counters, arrivals), Ok(ticket));
        Ok(())
    });
}

#[test]
fn a_guess_is_refused() {
    check(|key, counters, arrivals, _, dice| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&dice.to_be_bytes());
        bytes[8..].copy_from_slice(&dice.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        prop_assert_eq!(key.open(&RequestId::from_bytes(bytes), counters, arrivals), Err(Refusal::Forged));
        Ok(())
    });
}

#[test]
fn a_ticket_of_another_event_or_deployment_is_refused() {
    let others = [key(7, "sample"), key(7, "Sample2"), key(7, "S"), key(8, "Sample")];
    check(|key, counters, arrivals, ticket, _| {
        for other in &others {
            prop_assert!(key.open(&other.seal(&ticket), counters, arrivals).is_err());
        }
        Ok(())
    });
}

#[test]
fn a_ticket_from_before_a_reset_is_refused_and_one_from_after_it_told_apart() {
    check(|key, counters, arrivals, ticket, dice| {
        let further = 1 + (dice % 32_767) as u16;
        for (generation, refusal) in [
            (3_u16.wrapping_sub(further), Refusal::OldGeneration),
            (3_u16.wrapping_add(further), Refusal::FutureGeneration),
        ] {
            let other = Ticket { generation: Generation(generation), ..ticket };
            prop_assert_eq!(key.open(&key.seal(&other), counters, arrivals), Err(refusal));
        }
        Ok(())
    });
}

#[test]
fn the_last_position_handed_out_opens_and_the_next_does_not() {
    let (key, counters, arrivals) = (key(7, "Sample"), counters(), arrivals());
    let last = ticket(QUEUE, Door::Rest);
    assert_eq!(key.open(&key.seal(&last), &counters, &arrivals), Ok(last));
    let next = ticket(QUEUE + 1, Door::Rest);
    assert_eq!(key.open(&key.seal(&next), &counters, &arrivals), Err(Refusal::BeyondQueue));
}

#[test]
fn a_position_that_was_not_handed_out_is_refused() {
    check(|key, counters, arrivals, ticket, dice| {
        let position = Position::new(QUEUE + 1 + dice % (Position::LAST.get() - QUEUE)).unwrap();
        let beyond = Ticket { position, ..ticket };
        prop_assert_eq!(key.open(&key.seal(&beyond), counters, arrivals), Err(Refusal::BeyondQueue));
        Ok(())
    });
}

#[test]
fn an_entry_time_that_does_not_fit_the_log_is_refused() {
    check(|key, counters, arrivals, ticket, dice| {
        let off = ARRIVAL_TOLERANCE.as_secs() + 1 + dice % OPENED / 2;
        let entry = ticket.entry.as_secs();
        for wrong in [entry - off, entry + off] {
            let forged = Ticket { entry: Timestamp::from_secs(wrong), ..ticket };
            prop_assert_eq!(key.open(&key.seal(&forged), counters, arrivals), Err(Refusal::ImpossibleEntryTime));
        }
        Ok(())
    });
}
