//! What clients and operators do in a schedule, and what they were answered.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, LocalSet};

use super::history::{Answer, Operation};
use super::world::{Node, World};
use crate::room::{DomainEvent, EventId, Generation, Position, RequestId, Session, SessionStatus};
use crate::store::suite::{at, each_second};
use crate::store::{Outbox as _, Refill, Store as _, StoreError};

/// The ticket of a position in a generation.
pub(super) fn ticket(generation: Generation, position: u64) -> RequestId {
    RequestId::from_bytes((u128::from(generation.0) << 64 | u128::from(position)).to_be_bytes())
}

fn session(event: &EventId, generation: Generation, position: Position) -> Session {
    Session {
        event: event.clone(),
        generation,
        request_id: ticket(generation, position.get()),
        position,
        opened_at: at(0),
        expires_at: at(100_000),
        status: SessionStatus::Active,
        issuer: None,
        opener: None,
    }
}

/// How long the longest call may take: DynamoDB's patience several times over.
const LONGEST_CALL: Duration = Duration::from_secs(300);

/// Runs the clients of a schedule to their ends, lets recovery finish, and checks what happened.
pub(super) async fn run(world: &World) -> String {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            for _ in 0..1 + world.dice.below(5) {
                world.start_node().await;
            }
            let rush = world.dice.below(3) == 0;
            let clients: Vec<JoinHandle<()>> = (0..2 + world.dice.below(4))
                .map(|number| tokio::task::spawn_local(client(Client::of(world, number, rush))))
                .collect();
            disturb(world).await;
            for client in clients {
                client.await.unwrap();
            }
            world.settle().await;
            world.check().await
        })
        .await
}

/// Crashes or stops nodes, and starts others.
async fn disturb(world: &World) {
    for _ in 0..world.dice.below(3) {
        tokio::time::sleep(Duration::from_millis(10 + world.dice.below(300))).await;
        let nodes = world.nodes.borrow().clone();
        let node = &nodes[usize::try_from(world.dice.below(nodes.len() as u64)).unwrap()];
        if !node.is_alive() {
            continue;
        }
        // One is always there before another goes.
        world.start_node().await;
        if world.dice.below(2) == 0 {
            world.history.borrow_mut().crashes += 1;
            node.crash();
        } else {
            node.store.close().await;
            node.crash();
        }
    }
}

struct Client {
    event: EventId,
    dice: super::super::client::memory::Dice,
    nodes: Rc<std::cell::RefCell<Vec<Rc<Node>>>>,
    history: Rc<std::cell::RefCell<super::history::History>>,
    steps: u64,
    /// Joins come in masses.
    rush: bool,
    /// Uses one node as long as it gc.
    loyal: bool,
}

impl Client {
    fn of(world: &World, number: u64, rush: bool) -> Self {
        let dice = super::super::client::memory::Dice::new(world.seed.wrapping_mul(1_000_003) + number * 17);
        Self {
            event: world.event.clone(),
            nodes: Rc::clone(&world.nodes),
            history: Rc::clone(&world.history),
            steps: if rush { 25 } else { 8 } + dice.below(10),
            loyal: world.seed.is_multiple_of(3),
            rush,
            dice,
        }
    }

    fn node(&self) -> Option<Rc<Node>> {
        let alive: Vec<_> = self.nodes.borrow().iter().filter(|node| node.is_alive()).cloned().collect();
        let index = if self.loyal { 0 } else { self.dice.below(alive.len().max(1) as u64) };
        alive.get(usize::try_from(index).unwrap()).cloned()
    }

    fn draw(&self) -> Operation {
        let some = |least: u64, more: u64| least + self.dice.below(more);
        let history = self.history.borrow();
        let known = history.some_position(self.dice.below(1 << 32));
        match (self.dice.below(100), known) {
            (0..55, _) if self.rush => Operation::Join(u32::try_from(some(1, 30)).unwrap()),
            (0..40, _) | (_, None) => Operation::Join(u32::try_from(some(1, 4)).unwrap()),
            (40..65, Some((generation, position))) => Operation::Open(generation, position),
            (65..74, Some((generation, position))) => {
                let status = if self.dice.below(2) == 0 { SessionStatus::Completed } else { SessionStatus::Abandoned };
                Operation::Close(generation, position, status)
            }
            (74..85, _) => Operation::Advance(i64::try_from(some(1, 20)).unwrap()),
            (85..87, _) => Operation::Advance(-i64::try_from(some(1, 10)).unwrap()),
            (87..91, Some((_, position))) => Operation::Expire(position, self.dice.below(2) == 0),
            (91..96, _) => Operation::Step(history.latest_tick + self.dice.below(3)),
            (96, _) => Operation::Reset,
            (_, _) => Operation::Tell(self.dice.below(5)),
        }
    }
}

async fn client(client: Client) {
    for _ in 0..client.steps {
        let pause = if client.rush { client.dice.below(6) } else { client.dice.below(50) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let Some(node) = client.node() else { return };
        let operation = client.draw();
        let begun = client.history.borrow_mut().begin(node.name, operation);
        let call = tokio::time::timeout(LONGEST_CALL, call(&client, &node, operation));
        // A node that crashed answers nobody: its caller turns to another.
        let answer = tokio::select! {
            biased;
            answer = call => answer.expect("a call never ends"),
            () = node.gone() => Answer::None,
        };
        let answer = if node.is_alive() { answer } else { Answer::None };
        client.history.borrow_mut().end(begun, answer);
    }
}

async fn call(client: &Client, node: &Node, operation: Operation) -> Answer {
    let (store, event) = (&node.store, &client.event);
    let seconds = client.history.borrow().now();
    let answer = match operation {
        Operation::Join(count) => store.take_some(event, count, at(seconds)).await.map(Answer::Taken),
        Operation::Open(generation, position) => store
            .open_session(&session(event, generation, position))
            .await
            .map(|opened| Answer::Opened(opened.inserted)),
        Operation::Close(generation, position, status) => {
            store.close_session(event, &ticket(generation, position.get()), status).await.map(Answer::Closed)
        }
        Operation::Advance(by) => store.advance(event, by, at(seconds)).await.map(|_| Answer::Done),
        Operation::Expire(position, refill) => {
            let refill = if refill { Refill::Next } else { Refill::None };
            store.expire_positions(event, position, refill, at(seconds)).await.map(|_| Answer::Done)
        }
        Operation::Step(tick) => {
            store.step_inlet(event, &each_second(), None, at(tick)).await.map(|step| Answer::Stepped(step.is_some()))
        }
        Operation::Reset => store.reset(event).await.map(|counters| Answer::Reset(counters.generation)),
        Operation::Tell(tick) => {
            let pause = DomainEvent::InletResumed {};
            match store.post_letter(event, at(tick), &pause).await {
                Ok(_) => store.tell_joins(event).await.map(|_| Answer::Done),
                Err(error) => Err(error),
            }
        }
    };
    answer.unwrap_or_else(|error| match error {
        StoreError::Unavailable(_) | StoreError::Outdated(_) | StoreError::SessionOver(_) => Answer::Refused,
        error => panic!("{operation:?}: {error}"),
    })
}
