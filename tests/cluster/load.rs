//! The crowd: visitors, relying parties and an operator who call all nodes concurrently, and record the answers.
//!
//! Owns a thread, so that the crowd continues whatever the test does to the cluster. It does not run at full rate,
//! because a small machine has to run three nodes besides.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::api::{Answer, Node, http};
use crate::cluster::{Cluster, NODES};
use crate::crowd::Crowd;
use crate::history::{History, Token};
use crate::process::{ATTEMPTS, PAUSE};

/// How often callers may get 503 with `Retry-After` where the store is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    /// Rarely: only an overloaded machine causes them.
    Reliable,
    /// Often.
    Failing,
}

/// How often a node answered successfully.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Count {
    pub joins: usize,
    pub tokens: usize,
    pub logins: usize,
    pub reads: usize,
    /// The number of joins answered by 503.
    pub refused: usize,
}

/// The recorded history.
#[derive(Default)]
pub struct Notes {
    pub history: History,
    pub counts: [Count; NODES],
}

/// By node, whether it may leave requests unanswered.
pub type Gone = Arc<[AtomicBool; NODES]>;

/// See the module's documentation.
pub struct Load {
    notes: Arc<Mutex<Notes>>,
    over: Arc<AtomicBool>,
    gone: Gone,
    store: Store,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(cluster: &Cluster, store: Store) -> Self {
        let (notes, over) = (Arc::new(Mutex::new(Notes::default())), Arc::new(AtomicBool::new(false)));
        let gone = Gone::default();
        let crowd = (cluster.nodes.clone(), Arc::clone(&notes), Arc::clone(&over), Arc::clone(&gone));
        let thread = thread::spawn(move || {
            let (nodes, notes, over, gone) = crowd;
            let http = http();
            let nodes = nodes.iter().map(|node| node.with(&http)).collect();
            let (tickets, turn) = (RefCell::default(), Cell::new(0));
            let began = Instant::now();
            let crowd = Rc::new(Crowd { nodes, notes, over, gone, began, tickets, turn });
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, crowd.come());
        });
        Self { notes, over, gone, store, thread: Some(thread) }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// Runs a failure of a node that may end its connections, and its return: its callers may meanwhile get no answer.
    pub fn without(&self, node: usize, happen: impl FnOnce()) {
        self.gone[node].store(true, Ordering::SeqCst);
        happen();
        // Until the last of the unanswered callers has retried.
        self.goes_on_at(&[node]);
        self.gone[node].store(false, Ordering::SeqCst);
    }

    pub fn counts(&self) -> [Count; NODES] {
        self.notes().counts
    }

    /// Waits until each of these nodes has answered this much more.
    pub fn until(&self, nodes: &[usize], more: Count) {
        let before = self.counts();
        for _ in 0..ATTEMPTS {
            let now = self.counts();
            let enough = |&node: &usize| {
                let (before, now) = (before[node], now[node]);
                let parts: [fn(Count) -> usize; 5] = [
                    |count| count.joins,
                    |count| count.tokens,
                    |count| count.logins,
                    |count| count.reads,
                    |count| count.refused,
                ];
                parts.iter().all(|part| part(now) >= part(before) + part(more))
            };
            if nodes.iter().all(enough) {
                return;
            }
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the crowd has gone home");
            thread::sleep(PAUSE);
        }
        let wrong = self.notes().history.wrong.clone();
        panic!("never {more:?} more than {before:?}, but {:?}; {wrong:?}", self.counts());
    }

    /// Waits until these nodes have answered some calls of each kind.
    pub fn goes_on_at(&self, nodes: &[usize]) {
        self.until(nodes, Count { joins: 15, tokens: 2, logins: 2, reads: 15, refused: 0 });
    }

    /// Waits until all nodes have answered some calls of each kind.
    pub fn goes_on(&self) {
        self.goes_on_at(&[0, 1, 2]);
    }

    /// Lets a failure last.
    pub fn goes_on_for(&self, time: Duration) {
        thread::sleep(time);
        self.goes_on();
    }

    /// Stops the crowd, and checks the history and that no session is lost. Its counts are printed in `--nocapture`
    /// runs.
    pub fn finish(mut self, cluster: &Cluster) -> History {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let mut history = std::mem::take(&mut self.notes().history);
        eprintln!("{:?}\n{}", self.counts(), history.figures());
        let sum = |part: fn(&Count) -> usize| self.counts().iter().map(part).sum::<usize>();
        let (joins, refused) = (sum(|count| count.joins), sum(|count| count.refused));
        assert!(self.store == Store::Failing || refused * 5 <= joins, "{refused} refused, {joins} joined");
        cluster.all_well();
        cluster.ask(check_end(&cluster.nodes, &mut history));
        let faults = history.faults();
        assert!(faults.is_empty(), "{} faults, among them {:#?}", faults.len(), &faults[..faults.len().min(20)]);
        history
    }
}

/// Requests all tokens again, and the number of sessions: every node must know all.
async fn check_end(nodes: &[Node], history: &mut History) {
    let mut sessions = BTreeMap::new();
    for token in &history.tokens {
        sessions.insert(token.ticket.clone(), token.clone());
    }
    for (turn, token) in sessions.values().enumerate() {
        let again = nodes[turn % NODES].token(&token.ticket).await;
        match again {
            Answer::Done(claims) => history.tokens.push(Token { claims: claims.to_string(), ..token.clone() }),
            Answer::Refused(410, _) if history.closed.contains(&token.ticket) => {}
            other => history.wrong.push(format!("the session of position {}: {other:?}", token.position)),
        }
    }
    let active = (sessions.len() - history.closed.len()) as u64;
    for node in nodes {
        let said = node.active().await.number();
        if said != active {
            history.wrong.push(format!("node {} knows of {said} sessions, not {active}", node.number));
        }
    }
}
