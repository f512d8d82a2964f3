//! Requirements on what is forgotten, and on what it leaves: no ticket opens a second session, no counter changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Shared, all_at_once, at, event, position, served_event, session, ticket};
use crate::ambient::{SeededEntropy, random};
use crate::policy::{DEAD_LETTER_RETENTION, DEAD_LETTERS_KEPT, SESSION_RETENTION};
use crate::room::{Counters, EventId, EventKind, Session, SessionStatus};
use crate::store::{Closed, Letter, Refill, StoreError};

const DAY: u64 = SESSION_RETENTION.as_secs();

/// Opens the sessions of these positions, each for a minute.
async fn open(store: &Shared, event: &EventId, positions: &[u64]) {
    for number in positions {
        assert!(store.open_session(&session(event, *number, 60)).await.unwrap().inserted, "{number}");
    }
}

/// Whether the ticket opens a session now; if not, why.
async fn refusal(store: &Shared, event: &EventId, number: u64) -> Option<StoreError> {
    let late = crate::room::Session { opened_at: at(3 * DAY), ..session(event, number, 4 * DAY) };
    store.open_session(&late).await.err()
}

pub(in crate::store) async fn a_session_is_forgotten_a_day_after_its_end_and_its_ticket_opens_none(store: Shared) {
    let event = served_event(&store).await;
    store.take_some(&event, 10, at(0)).await.unwrap();
    open(&store, &event, &[1, 2]).await;
    store.close_session(&event, &ticket(2), SessionStatus::Completed).await.unwrap();
    let expired = store.expire_positions(&event, position(3), Refill::None, at(900)).await.unwrap();
    store.sweep(at(60 + DAY - 1)).await.unwrap();
    assert!(store.session(&event, &ticket(1)).await.unwrap().is_some(), "not a second too early");
    store.sweep(at(60 + DAY)).await.unwrap();
    for number in [1, 2] {
        assert_eq!(store.session(&event, &ticket(number)).await.unwrap(), None);
        assert!(matches!(refusal(&store, &event, number).await, Some(StoreError::Outdated(_))));
    }
    let closed = store.close_session(&event, &ticket(1), SessionStatus::Completed).await.unwrap();
    assert_eq!(closed, Closed::Unknown);
    assert_eq!(store.counters(&event).await.unwrap(), expired.counters, "what was counted stays counted");
    assert!(store.expired_sessions(&event, at(60 + DAY), None, 10).await.unwrap().is_empty());
}

pub(in crate::store) async fn a_used_position_that_is_not_given_up_stays_used(store: Shared) {
    let event = served_event(&store).await;
    store.take_some(&event, 100, at(0)).await.unwrap();
    // 2 stays away: what follows it is not given up.
    open(&store, &event, &[1, 3, 4, 99]).await;
    let before = store.counters(&event).await.unwrap();
    let counted = store.occupancy(&event, at(61)).await.unwrap();
    store.sweep(at(60 + DAY)).await.unwrap();
    store.sweep(at(60 + DAY)).await.unwrap();
    let after = store.counters(&event).await.unwrap();
    let still = |counters: Counters| Counters { version: before.version, max_expired: 0, ..counters };
    assert_eq!(still(after), before);
    assert!(after.max_expired <= 1, "who may still come keeps the place");
    let occupied = store.occupancy(&event, at(60 + DAY)).await.unwrap();
    assert_eq!((occupied.active, occupied.expected), (0, counted.expected));
    for number in [1, 3, 4, 99] {
        assert_eq!(store.session(&event, &ticket(number)).await.unwrap(), None);
        let refusal = refusal(&store, &event, number).await;
        assert!(matches!(refusal, Some(StoreError::SessionOver(_) | StoreError::Outdated(_))), "{number}: {refusal:?}");
    }
    assert_eq!(refusal(&store, &event, 2).await, None, "who never came can come");
    assert_eq!(store.occupancy(&event, at(60 + DAY)).await.unwrap().expected, counted.expected - 1);
    // A session of a later day, beside the forgotten ones.
    let expired = store.expire_positions(&event, position(100), Refill::None, at(4 * DAY)).await.unwrap();
    assert_eq!(expired.positions, 95, "1, 2, 3, 4 and 99 were used");
}

pub(in crate::store) async fn a_reset_forgets_which_positions_were_used(store: Shared) {
    let event = served_event(&store).await;
    store.take_some(&event, 100, at(0)).await.unwrap();
    open(&store, &event, &[2, 3]).await;
    store.sweep(at(60 + DAY)).await.unwrap();
    let counters = store.reset(&event).await.unwrap();
    store.take_some(&event, 100, at(DAY)).await.unwrap();
    store.advance(&event, 100, at(DAY)).await.unwrap();
    let new = crate::room::Session { generation: counters.generation, ..session(&event, 2, 2 * DAY) };
    assert!(store.open_session(&new).await.unwrap().inserted);
    store.sweep(at(DAY)).await.unwrap();
    assert_eq!(store.session(&event, &ticket(2)).await.unwrap(), Some(new));
}

pub(in crate::store) async fn the_rows_of_positions_that_are_given_up_are_forgotten(store: Shared) {
    let event = event(&store).await;
    for second in 0..20 {
        store.take_some(&event, 1, at(second)).await.unwrap();
        if second < 10 {
            store.advance(&event, 1, at(second)).await.unwrap();
        }
    }
    assert_eq!(store.oldest_arrival(&event).await.unwrap().unwrap().first, position(1));
    store.expire_positions(&event, position(8), Refill::None, at(1_000)).await.unwrap();
    for day in 1..20 {
        store.sweep(at(day * DAY)).await.unwrap();
    }
    let arrivals = store.arrivals(&event, None).await.unwrap();
    assert_eq!(arrivals.first().map(|row| (row.first, row.at)), Some((position(9), at(8))), "9 may still come");
    assert_eq!((arrivals.len(), store.oldest_arrival(&event).await.unwrap()), (12, arrivals.first().copied()));
    let records = store.recent_serving_records(&event, 100).await.unwrap();
    assert_eq!(records.iter().map(|record| record.serving).collect::<Vec<_>>(), [9, 10]);
    assert_eq!(store.serving_record_at(&event, position(9)).await.unwrap().unwrap().issued_at, at(8));
    // Nothing is left that could go; whoever joins comes after all others.
    store.advance(&event, 10, at(2_000)).await.unwrap();
    store.expire_positions(&event, position(20), Refill::None, at(3_000)).await.unwrap();
    for day in 20..40 {
        store.sweep(at(day * DAY)).await.unwrap();
    }
    assert_eq!(store.arrivals(&event, None).await.unwrap().len(), 1, "the newest stays");
    let taken = store.take_some(&event, 1, at(0)).await.unwrap();
    assert_eq!((taken.first, taken.entry), (position(21), at(19)));
}

pub(in crate::store) async fn a_visitors_arrival_is_kept_as_long_as_the_session(store: Shared) {
    let event = event(&store).await;
    for second in 0..5 {
        store.take_some(&event, 1, at(second)).await.unwrap();
    }
    store.advance(&event, 5, at(0)).await.unwrap();
    store.open_session(&session(&event, 2, 7 * DAY)).await.unwrap();
    store.expire_positions(&event, position(5), Refill::None, at(1_000)).await.unwrap();
    for day in 1..=7 {
        store.sweep(at(day * DAY)).await.unwrap();
    }
    let arrivals = store.arrivals(&event, None).await.unwrap();
    assert!(arrivals.iter().any(|row| (row.first, row.at) == (position(2), at(1))), "{arrivals:?}");
}

pub(in crate::store) async fn dead_letters_are_forgotten_after_a_month(store: Shared) {
    let event = event(&store).await;
    store.claim_delivery("hook").await.unwrap();
    store.advance(&event, 1, at(0)).await.unwrap();
    let letters = store.letters(0, 10).await.unwrap();
    store.bury_letters("hook", &letters, "it refuses", letters[0].seq).await.unwrap();
    store.sweep(at(DEAD_LETTER_RETENTION.as_secs() - 7_200)).await.unwrap();
    assert_eq!(store.dead_letters(None, 10).await.unwrap().len(), 1);
    store.sweep(at(DEAD_LETTER_RETENTION.as_secs())).await.unwrap();
    assert!(store.dead_letters(None, 10).await.unwrap().is_empty());
}

/// A line at which everything happens, in an order drawn by lot.
struct History {
    store: Shared,
    event: EventId,
    dice: SeededEntropy,
    /// Seconds since the start.
    now: u64,
    /// The positions of this line that had a session.
    used: BTreeSet<u64>,
}

impl History {
    fn below(&self, limit: u64) -> u64 {
        u64::from(u32::from_be_bytes(random(&self.dice))) % limit.max(1)
    }

    async fn counters(&self) -> Counters {
        self.store.counters(&self.event).await.unwrap()
    }

    /// The ticket at `number` asks for a session of an hour: it gets one if it had none and may enter, and never another.
    async fn tries(&mut self, number: u64) {
        let counters = self.counters().await;
        let session = Session {
            generation: counters.generation,
            opened_at: at(self.now),
            ..session(&self.event, number, self.now + 3_600)
        };
        match self.store.open_session(&session).await {
            Ok(opened) if opened.inserted => {
                assert!(counters.admits(position(number)), "{number} may not enter: {counters:?}");
                assert!(self.used.insert(number), "{number} opened a second session: {counters:?}");
            }
            Ok(_) => assert!(self.used.contains(&number), "{number} had none"),
            Err(StoreError::Outdated(_) | StoreError::SessionOver(_)) => {
                let free = counters.admits(position(number)) && !self.used.contains(&number);
                assert!(!free, "{number} never entered: {counters:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn step(&mut self) {
        let (counters, by) = (self.counters().await, 1 + self.below(8));
        let (store, event, now) = (Arc::clone(&self.store), self.event.clone(), at(self.now));
        match self.below(20) {
            0..=4 => drop(store.take_some(&event, by as u32, now).await.unwrap()),
            5..=7 => drop(store.advance(&event, by as i64, now).await.unwrap()),
            8 => drop(store.advance(&event, -(by.min(counters.serving) as i64), now).await.unwrap()),
            9..=13 => self.tries(1 + self.below(counters.queue)).await,
            14 => {
                let ticket = ticket(1 + self.below(counters.queue));
                store.close_session(&event, &ticket, SessionStatus::Completed).await.unwrap();
            }
            15 => {
                let (through, refill) = (position(counters.max_expired + by), [Refill::Next, Refill::None]);
                store.expire_positions(&event, through, refill[self.below(2) as usize], now).await.unwrap();
            }
            16 if self.below(4) == 0 => {
                store.reset(&event).await.unwrap();
                self.used.clear();
            }
            _ => {
                self.now += self.below(30 * 3_600);
                store.sweep(at(self.now)).await.unwrap();
                for number in self.used.clone() {
                    self.tries(number).await;
                }
            }
        }
    }

    /// Whoever had a session is not expected any more.
    async fn is_counted(&self) {
        let occupancy = self.store.occupancy(&self.event, at(self.now)).await.unwrap();
        let Counters { max_expired, serving, .. } = occupancy.counters;
        let expected = (max_expired + 1..=serving).filter(|number| !self.used.contains(number)).count() as u64;
        assert_eq!(occupancy.expected, expected, "{:?} {:?}", occupancy.counters, self.used);
    }
}

pub(in crate::store) async fn no_ticket_opens_a_second_session_whatever_is_forgotten(store: Shared) {
    let event = event(&store).await;
    let mut history = History { store, event, dice: SeededEntropy::new(10), now: 0, used: BTreeSet::new() };
    for _ in 0..250 {
        history.step().await;
        history.is_counted().await;
    }
}

pub(in crate::store) async fn of_dead_letters_the_newest_ten_thousand_are_kept(store: Shared) {
    const PAGE: u64 = 50;
    const MORE: u64 = 150;
    let (event, kept) = (event(&store).await, u64::from(DEAD_LETTERS_KEPT));
    let sinks = ["bus", "hook"];
    all_at_once((kept + MORE) / PAGE, |page| {
        let (store, event) = (Arc::clone(&store), event.clone());
        let letter = move |seq| Letter {
            seq,
            event: event.clone(),
            at: at(0),
            kind: EventKind::ServingCounterChanged,
            body: "{}".to_owned(),
        };
        let letters: Vec<Letter> = (page * PAGE + 1..=(page + 1) * PAGE).map(letter).collect();
        async move { store.bury_letters(sinks[page as usize % 2], &letters, "it refuses", 0).await.unwrap() }
    })
    .await;
    store.sweep(at(0)).await.unwrap();
    let dead = store.dead_letters(None, 2 * DEAD_LETTERS_KEPT).await.unwrap();
    let numbers: BTreeSet<u64> = dead.iter().map(|dead| dead.letter.seq).collect();
    assert!(numbers.into_iter().eq(MORE + 1..=MORE + kept), "{} are kept", dead.len());
}
