//! Two nodes on the same tables: what happens once happens once in all, and what one began another finishes.

use std::sync::Arc;
use std::time::Duration;

use super::DistributedStore;
use super::client::Attributes;
use super::client::{Condition, Table};
use super::draft::{Expiry, Opening};
use super::intent_log::{IdempotencyKey, Note, Past};
use super::log;
use super::servers::servers;
use super::sessions;
use super::state::epoch_key;
use super::tests::{client, created, node_with};
use crate::ambient::FrozenClock;
use crate::policy::LEASE;
use crate::room::{Counters, EventId, SessionStatus};
use crate::store::outbox::{Letter, Outbox};
use crate::store::suite::{all_at_once, at, each_second, position, session, ticket};
use crate::store::{Change, Closed, OutboxMode, Refill, Store};

/// How often something that must come soon is looked for, and how long between two looks: a minute in all.
const ATTEMPTS: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(50);

/// Two nodes, an event that both know, and the clock that letters are dated by.
struct Pair {
    nodes: [Arc<DistributedStore>; 2],
    event: EventId,
    clock: Arc<FrozenClock>,
}

impl Pair {
    async fn start() -> Option<Self> {
        let redis = servers()?.redis.clone();
        Self::start_with(&redis).await
    }

    async fn start_with(redis: &str) -> Option<Self> {
        let servers = servers()?;
        let prefix = created(client(servers)).await;
        let (event, clock): (EventId, _) = ("Sample".parse().unwrap(), Arc::new(FrozenClock::at(at(0))));
        let nodes = [(), ()].map(|()| Arc::new(node_with(servers, redis, &prefix, OutboxMode::Kept(clock.clone()))));
        for node in &nodes {
            node.ensure_event(&event).await.unwrap();
        }
        Some(Self { nodes, event, clock })
    }

    /// Now one node, now the other.
    fn node(&self, turn: u64) -> Arc<DistributedStore> {
        Arc::clone(&self.nodes[usize::from(turn % 2 == 1)])
    }

    /// Runs a kind at both nodes at once, again and again.
    async fn at_both<T, F>(&self, count: u64, kind: impl Fn(Arc<DistributedStore>, EventId) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        all_at_once(count, |turn| kind(self.node(turn), self.event.clone())).await
    }

    /// Waits until a node's counters are so.
    async fn until(&self, turn: u64, so: impl Fn(&Counters) -> bool) -> Counters {
        for _ in 0..ATTEMPTS {
            let counters = self.node(turn).counters(&self.event).await.unwrap();
            if so(&counters) {
                return counters;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("it never comes");
    }
}

#[tokio::test]
async fn an_inlet_ticks_once_in_all() {
    let Some(pair) = Pair::start().await else { return };
    pair.node(0).take_some(&pair.event, 9, at(0)).await.unwrap();
    for second in 1..=3 {
        let steps = pair
            .at_both(16, move |node, event| async move {
                node.step_inlet(&event, &each_second(), None, at(second)).await.unwrap()
            })
            .await;
        assert_eq!(steps.iter().flatten().map(|counters| counters.serving).collect::<Vec<_>>(), [second]);
    }
}

#[tokio::test]
async fn positions_are_given_up_once_in_all() {
    let Some(pair) = Pair::start().await else { return };
    let (node, event) = (pair.node(0), &pair.event);
    node.take_some(event, 20, at(0)).await.unwrap();
    node.advance(event, 12, at(0)).await.unwrap();
    for number in [2, 5] {
        node.open_session(&session(event, number, 600)).await.unwrap();
    }
    let expire = |node: Arc<DistributedStore>, event: EventId| async move {
        node.expire_positions(&event, position(12), Refill::Next, at(1)).await.unwrap().positions
    };
    let given_up = pair.at_both(8, expire).await;
    // Where one finishes what another began, nobody may be told of it.
    assert!(given_up.iter().sum::<u64>() <= 10, "{given_up:?}");
    let counters = pair.until(1, |counters| counters.serving == 22).await;
    assert_eq!((counters.max_expired, counters.expired_positions), (12, 10));
}

#[tokio::test]
async fn letters_of_both_nodes_are_in_one_order_and_each_is_there_once() {
    let Some(pair) = Pair::start().await else { return };
    // More than leave together.
    const MOVES: u64 = 250;
    let moves = pair.at_both(MOVES, |node, event| async move { node.advance(&event, 1, at(0)).await.unwrap() });
    let reads = pair.at_both(20, |node, _| async move { node.letters(0, 1000).await.unwrap().len() });
    futures_util::future::join(moves, reads).await;
    pair.node(0).letters(0, 1000).await.unwrap();
    let seen = [pair.node(0).letters(0, 1000).await.unwrap(), pair.node(1).letters(0, 1000).await.unwrap()];
    assert_eq!(seen[0], seen[1]);
    let told = |letter: &Letter| {
        let body: serde_json::Value = serde_json::from_str(&letter.body).unwrap();
        body["current"].as_u64().unwrap_or_else(|| panic!("{body}"))
    };
    assert_eq!(seen[0].iter().map(told).collect::<Vec<_>>(), (1..=MOVES).collect::<Vec<_>>());
    assert_eq!(seen[0].iter().map(|letter| letter.seq).collect::<Vec<_>>(), (1..=MOVES).collect::<Vec<_>>());
    let note = Note { number: 9_999, at: at(0), kind: seen[0][0].kind.name().to_owned(), body: "{}".to_owned() };
    let shelved = pair.nodes[0].engine.publish(MOVES - 1, &pair.event, vec![note.clone(), note]).await;
    assert_eq!(shelved, Ok(None), "a node that knows an older number than the newest moves nothing");
    assert_eq!(pair.node(1).letters(0, 1000).await.unwrap(), seen[0]);
}

#[tokio::test]
async fn one_node_delivers_to_a_sink_until_it_is_silent_for_long() {
    let Some(pair) = Pair::start().await else { return };
    let claim = async |turn| pair.node(turn).claim_delivery("bus").await.unwrap();
    assert!(claim(0).await.is_some());
    assert!(claim(1).await.is_none() && claim(0).await.is_some());
    pair.node(0).advance(&pair.event, 1, at(0)).await.unwrap();
    assert_eq!(pair.node(0).letters(0, 10).await.unwrap().len(), 1);
    pair.node(0).note_delivered("bus", 1).await.unwrap();
    pair.clock.advance(LEASE + Duration::from_secs(1));
    assert_eq!(claim(1).await, Some(1), "it goes on where the other was");
    assert!(claim(0).await.is_none());
}

#[tokio::test]
async fn what_one_node_does_the_other_hears() {
    let Some(pair) = Pair::start().await else { return };
    let mut heard = pair.node(1).changes();
    let moved = pair.node(0).take_some(&pair.event, 3, at(0)).await.unwrap().counters;
    while heard.recv().await.unwrap() != Change::Counters(pair.event.clone(), moved) {}
    assert!(pair.node(0).replace_document("one", 0, b"text").await.unwrap());
    while heard.recv().await.unwrap() != Change::Document("one".to_owned()) {}
}

#[tokio::test]
async fn a_session_that_a_node_began_to_open_before_it_died_is_opened_by_another() {
    let Some(pair) = Pair::start().await else { return };
    let (node, event) = (pair.node(0), &pair.event);
    node.take_some(event, 3, at(0)).await.unwrap();
    node.advance(event, 3, at(0)).await.unwrap();
    let (begun, idempotency_key) = (session(event, 2, 600), IdempotencyKey::new([7; 16]));
    let began = node
        .engine
        .handle(event)
        .unwrap()
        .run(move |draft| draft.begin_opening(&begun, Past::Unknown, idempotency_key))
        .await
        .unwrap();
    assert!(matches!(began, Opening::Begun(_)));
    node.close().await;

    let counters = pair.until(1, |counters| counters.sessions_opened == 1).await;
    assert_eq!(counters.queue, 3);
    assert_eq!(pair.node(1).session(event, &ticket(2)).await.unwrap(), Some(session(event, 2, 600)));
    let again = pair.node(1).open_session(&session(event, 2, 900)).await.unwrap();
    assert_eq!((again.inserted, again.session), (false, session(event, 2, 600)));
    let other = pair.node(1).counters(event).await.unwrap();
    assert_eq!(other.sessions_opened, 1, "it counts once");
}

#[tokio::test]
async fn positions_that_a_node_began_to_give_up_before_it_died_are_counted_by_another() {
    let Some(pair) = Pair::start().await else { return };
    let (node, event) = (pair.node(0), &pair.event);
    node.take_some(event, 9, at(0)).await.unwrap();
    node.advance(event, 4, at(0)).await.unwrap();
    node.open_session(&session(event, 1, 600)).await.unwrap();
    let begin = |draft: &mut super::draft::Draft<'_>| {
        draft.begin_expiry(position(4), Refill::Next, at(1), IdempotencyKey::new([8; 16]))
    };
    // Whoever was there and has left is not taken for somebody who never came, though nobody asks after the place.
    node.close_session(event, &ticket(1), SessionStatus::Completed).await.unwrap();
    let began = node.engine.handle(event).unwrap().run(begin).await.unwrap();
    assert!(matches!(began, Expiry::Begun(_)));
    pair.node(1).sweep(at(2)).await.unwrap();
    node.close().await;
    let counters = pair.until(1, |counters| counters.expired_positions > 0).await;
    assert_eq!((counters.expired_positions, counters.max_expired, counters.serving), (3, 4, 7));
}

#[tokio::test]
async fn who_was_closed_before_their_place_was_written_holds_none() {
    let Some(pair) = Pair::start().await else { return };
    let (node, event) = (pair.node(0), &pair.event);
    node.take_some(event, 1, at(0)).await.unwrap();
    node.advance(event, 1, at(0)).await.unwrap();
    let (opening, idempotency_key) = (session(event, 1, 600), IdempotencyKey::new([7; 16]));
    let began = node
        .engine
        .handle(event)
        .unwrap()
        .run(move |draft| draft.begin_opening(&opening, Past::Unknown, idempotency_key))
        .await
        .unwrap();
    let Opening::Begun(begun) = began else { panic!("{began:?}") };
    let tables = &node.engine.context.tables;
    sessions::put(tables, &session(event, 1, 600), begun.epoch, idempotency_key).await.unwrap();
    let place =
        Attributes::new().with_text("event_id", epoch_key(event, begun.epoch)).with_number("queue_position", 1_u64);
    tables.delete(Table::Places, place, Condition::none()).await.unwrap();
    let closed = pair.node(1).close_session(event, &ticket(1), SessionStatus::Completed).await.unwrap();
    assert!(matches!(closed, Closed::Now(_)), "{closed:?}");
    pair.nodes[1].engine.recover(event, &begun).await.unwrap();
    let counted = pair.node(1).occupancy(event, at(1)).await.unwrap();
    assert_eq!((counted.active, counted.expected), (0, 0));
}

#[tokio::test]
async fn what_was_decided_after_the_item_was_read_is_not_read_of_the_log() {
    let Some(pair) = Pair::start().await else { return };
    let engine = &pair.nodes[0].engine;
    pair.node(0).take_some(&pair.event, 1, at(0)).await.unwrap();
    let before = engine.state(&pair.event).await.unwrap();
    pair.node(0).take_some(&pair.event, 1, at(1)).await.unwrap();
    let tables = &engine.context.tables;
    for _ in 0..ATTEMPTS {
        let newest = log::newest_arrival(tables, &pair.event, before.epoch).await.unwrap();
        if newest.is_some_and(|newest| newest.at == at(1)) {
            let read = log::arrivals(tables, &pair.event, &before, None).await.unwrap();
            assert_eq!(read.iter().map(|arrival| arrival.at).collect::<Vec<_>>(), [at(0)]);
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the row never reaches its table");
}

impl Pair {
    /// Has so many join at the first node that it reserves positions; answers the last position that was given. They
    /// are those after `last`, each given to one.
    async fn rush_after(&self, mut last: u64) -> u64 {
        let cache = Arc::clone(&self.nodes[0].engine.handle(&self.event).unwrap().cache);
        for _ in 0..ATTEMPTS {
            let taken = all_at_once(300, |_| {
                let (node, event) = (self.node(0), self.event.clone());
                async move { node.take_some(&event, 1, at(0)).await.unwrap().last.get() }
            });
            let mut taken = taken.await;
            taken.sort_unstable();
            assert_eq!(taken, (last + 1..=last + 300).collect::<Vec<_>>());
            last += 300;
            if cache.is_open() {
                return last;
            }
        }
        panic!("it never comes")
    }

    async fn take(&self, turn: u64) -> u64 {
        self.node(turn).take_some(&self.event, 1, at(0)).await.unwrap().last.get()
    }
}

#[tokio::test]
async fn positions_are_given_once_while_they_are_renewed_again_and_again() {
    let Some(pair) = Pair::start().await else { return };
    let mut last = 0;
    for _ in 0..30 {
        last = pair.rush_after(last).await;
    }
}

#[tokio::test]
async fn a_node_gets_its_turn_beside_one_that_writes_all_the_time_though_they_cannot_hear_each_other() {
    // Nobody listens there.
    let Some(pair) = Pair::start_with("redis://127.0.0.1:1").await else { return };
    let (node, event) = (pair.node(0), pair.event.clone());
    let busy = tokio::spawn(async move {
        loop {
            let each = (0..48).map(|_| node.take_some(&event, 1, at(0)));
            futures_util::future::try_join_all(each).await.unwrap();
        }
    });
    let mut last = 0;
    for _ in 0..5 {
        let position = pair.take(1).await;
        assert!(position > last);
        last = position;
    }
    busy.abort();
    assert!(busy.await.unwrap_err().is_cancelled(), "the busy one was refused");
}

#[tokio::test]
async fn a_requested_slot_has_the_next_write_refused_once_and_nothing_is_lost() {
    let Some(pair) = Pair::start().await else { return };
    let engine = &pair.nodes[1].engine;
    for last in 0..3 {
        super::item::request_slot(&engine.context.tables, &pair.event, "m", IdempotencyKey::new([9; 16]))
            .await
            .unwrap();
        let before = engine.state(&pair.event).await.unwrap();
        assert_eq!((before.slot_request.as_deref(), before.counters.queue), (Some("m"), last));
        assert_eq!(pair.take(0).await, last + 1);
        let after = engine.state(&pair.event).await.unwrap();
        assert_eq!((after.slot_request, after.counters.queue), (None, last + 1));
    }
}

#[tokio::test]
async fn reserved_positions_that_are_left_are_returned_at_the_end() {
    let Some(pair) = Pair::start().await else { return };
    let last = pair.rush_after(0).await;
    assert_eq!(pair.take(0).await, last + 1);
    let known = pair.until(1, |counters| counters.handed_out_at_most() > last).await;
    assert!(known.queue <= last + 1, "no more are said to wait than do: {known:?}");
    pair.node(0).close().await;
    let state = pair.nodes[1].engine.state(&pair.event).await.unwrap();
    assert_eq!((state.counters.queue, state.counters.reserved, state.intent_log.reservation), (last + 1, 0, None));
    assert_eq!(pair.take(1).await, last + 2, "none is lost");
}

#[tokio::test]
async fn a_join_at_another_node_stands_behind_the_reservation_and_before_all_later_joins() {
    let Some(pair) = Pair::start().await else { return };
    let mut last = pair.rush_after(0).await;
    for turn in [1, 0, 1, 0, 0, 1, 1] {
        let position = pair.take(turn).await;
        assert!(position > last, "{position} at {turn} after {last}");
        last = position;
    }
    let state = pair.nodes[1].engine.state(&pair.event).await.unwrap();
    assert_eq!((state.counters.queue, state.intent_log.reservation), (last, None), "nobody is alone any more");
}

#[tokio::test]
async fn the_reservation_of_a_dead_node_is_lost() {
    let Some(pair) = Pair::start().await else { return };
    pair.rush_after(0).await;
    let cache = Arc::clone(&pair.nodes[0].engine.handle(&pair.event).unwrap().cache);
    // Whatever it handed out, it said nothing of it.
    pair.nodes[0].join();
    while cache.allocate(&(1, at(0))).is_some() {}
    let given = cache.counters().queue;
    let there = pair.nodes[1].engine.state(&pair.event).await.unwrap();
    assert!(there.counters.handed_out_at_most() >= given, "its visitors are known everywhere: {there:?}");
    // The node's last write may arrive after its death, and give back what it had not handed out.
    let next = pair.take(1).await;
    assert!(next > given, "{next} after {given}, {there:?}");
    assert_eq!([pair.take(1).await, pair.take(1).await], [next + 1, next + 2]);
    let state = pair.nodes[1].engine.state(&pair.event).await.unwrap();
    assert_eq!(state.intent_log.reservation, None, "and then it is forgotten");
}

#[tokio::test]
async fn after_a_reset_no_node_gives_out_a_place_in_the_old_line() {
    let Some(pair) = Pair::start().await else { return };
    let mut last = 0;
    for _ in 0..3 {
        pair.rush_after(last).await;
        let reset = pair.node(1).reset(&pair.event).await.unwrap();
        let taken = pair.node(0).take_some(&pair.event, 1, at(0)).await.unwrap();
        assert_eq!(taken.counters.generation, reset.generation);
        last = taken.last.get();
    }
}
