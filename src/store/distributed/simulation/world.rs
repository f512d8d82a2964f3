//! The nodes, what connects them, and the faults of a schedule.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::Instant;

use super::super::client::Tables;
use super::super::client::memory::{Dice, Faults, Link, MemoryStore};
use super::super::context::Context;
use super::super::pubsub::{Announcement, Outgoing, Publisher};
use super::super::{DistributedStore, start};
use super::history::History;
use crate::ambient::{Clock, SeededEntropy, Timestamp};
use crate::room::EventId;
use crate::store::suite::START;
use crate::store::{FEED_CAPACITY, OutboxMode, Store as _};

/// A clock that goes as tokio's does.
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(START) + self.steady()
    }

    fn steady(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A node: the engine, and how it reaches the others.
pub(super) struct Node {
    pub(super) name: u64,
    pub(super) store: DistributedStore,
    link: Arc<Link>,
    alive: Rc<Cell<bool>>,
    end: Notify,
}

impl Node {
    pub(super) fn is_alive(&self) -> bool {
        self.alive.get()
    }

    /// Ends it as `kill -9` does. What it had sent may still be done.
    pub(super) fn crash(&self) {
        self.alive.set(false);
        self.link.cut();
        self.end.notify_waiters();
    }

    /// Ready once it is no more.
    pub(super) async fn gone(&self) {
        let end = self.end.notified();
        if self.is_alive() {
            end.await;
        }
    }
}

/// The nodes by name, and the way to each.
type Subscribers = Vec<(u64, mpsc::Sender<Announcement>)>;

/// Carries messages between nodes, as Redis does.
#[derive(Clone)]
struct Hub {
    subscribers: Rc<RefCell<Subscribers>>,
    dice: Rc<Dice>,
    /// How many of a hundred messages are lost.
    lost: Rc<RefCell<u64>>,
}

impl Hub {
    fn connect(&self, node: u64, alive: Rc<Cell<bool>>) -> (Publisher, mpsc::Receiver<Announcement>) {
        let (out, mut outgoing) = mpsc::channel(1024);
        let (incoming, heard) = mpsc::channel(1024);
        self.subscribers.borrow_mut().push((node, incoming));
        let hub = self.clone();
        tokio::task::spawn_local(async move {
            while let Some(message) = outgoing.recv().await {
                match message {
                    Outgoing::News(news) if alive.get() => hub.publish(node, &news),
                    Outgoing::News(_) => {}
                    Outgoing::Flush(reply) => drop(reply.send(())),
                }
            }
        });
        (Publisher::over(out), heard)
    }

    fn publish(&self, node: u64, news: &Announcement) {
        for (other, subscriber) in self.subscribers.borrow().iter().filter(|(other, _)| *other != node) {
            if self.dice.below(100) < *self.lost.borrow() {
                continue;
            }
            let (subscriber, news) = (subscriber.clone(), news.clone());
            let delay = Duration::from_micros(200 + self.dice.below(8_000) + other);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(delay).await;
                // A message that nobody has room for is lost.
                drop(subscriber.try_send(news));
            });
        }
    }
}

/// See the module's documentation.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) event: EventId,
    pub(super) dice: Rc<Dice>,
    pub(super) nodes: Rc<RefCell<Vec<Rc<Node>>>>,
    pub(super) history: Rc<RefCell<History>>,
    pub(super) items: Arc<MemoryStore>,
    hub: Hub,
    faults: Faults,
    began: Instant,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let dice = Rc::new(Dice::new(seed.wrapping_mul(0x9e37_79b9)));
        let faults = match dice.below(4) {
            0 => Faults::NONE,
            1 => Faults { latency: 1 + dice.below(40), ..Faults::NONE },
            _ => Faults {
                throttled: dice.below(8),
                lost_requests: dice.below(5),
                lost_answers: dice.below(6),
                repeated: dice.below(6),
                latency: 1 + dice.below(30),
            },
        };
        let lost = match dice.below(4) {
            0 => 100,
            1 => dice.below(60),
            _ => 0,
        };
        let hub = Hub {
            subscribers: Rc::default(),
            dice: Rc::new(Dice::new(seed ^ 0xabcd)),
            lost: Rc::new(RefCell::new(lost)),
        };
        Self {
            seed,
            event: "Sample".parse().unwrap(),
            dice,
            nodes: Rc::default(),
            history: Rc::default(),
            items: Arc::default(),
            hub,
            faults,
            began: Instant::now(),
        }
    }

    /// A further node, which serves the event.
    pub(super) async fn start_node(&self) -> Rc<Node> {
        let name = self.hub.subscribers.borrow().len() as u64;
        let own = self.seed.wrapping_mul(31) + name * 7_919;
        let link = Arc::new(Link::new(&self.items, own, self.faults));
        let alive = Rc::new(Cell::new(true));
        let (publisher, heard) = self.hub.connect(name, Rc::clone(&alive));
        let clock = Arc::new(VirtualClock(self.began));
        let (feed, _) = broadcast::channel(FEED_CAPACITY);
        let context = Context {
            tables: Tables::new(Arc::clone(&link) as Arc<_>),
            publisher,
            outbox: OutboxMode::Kept(Arc::clone(&clock) as Arc<_>),
            entropy: Arc::new(SeededEntropy::new(own ^ 0x5eed)),
            clock,
            node: format!("{name:016x}"),
            feed: feed.clone(),
        };
        let runtime = Handle::current();
        let engine = start(context, heard, &runtime);
        let store = DistributedStore { engine, runtime, feed, thread: std::sync::Mutex::new(None) };
        while store.ensure_event(&self.event).await.is_err() {}
        let node = Rc::new(Node { name, store, link, alive, end: Notify::new() });
        self.nodes.borrow_mut().push(Rc::clone(&node));
        node
    }

    /// Ends all faults and waits until recovery is done: everything that stands in the intent log has reached its table.
    pub(super) async fn settle(&self) {
        self.hub.lost.replace(0);
        let nodes: Vec<_> = self.nodes.borrow().iter().filter(|node| node.is_alive()).cloned().collect();
        for node in &nodes {
            node.link.set_faults(Faults::NONE);
        }
        for _ in 0..120 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let moved = nodes[0].store.engine.relay_outbox().await;
            let state = nodes[0].store.engine.state(&self.event).await.unwrap();
            let intent_log = &state.intent_log;
            let idle = intent_log.intents.is_empty() && intent_log.rows.is_empty() && intent_log.notes.is_empty();
            // That of a dead node stays until somebody joins.
            let reserved = intent_log
                .reservation
                .as_ref()
                .is_some_and(|reservation| nodes.iter().any(|node| format!("{:016x}", node.name) == reservation.node));
            if idle && moved.is_ok() && !reserved {
                return;
            }
        }
        let state = nodes[0].store.engine.state(&self.event).await.unwrap();
        panic!("seed {}: recovery does not finish: {:?}", self.seed, state.intent_log);
    }
}
