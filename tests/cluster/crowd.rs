//! The visitors and other callers, each a task that sends requests and records the answers until the end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::{Answer, LINE, Node};
use crate::cluster::NODES;
use crate::history::{History, Join, Move, Redeemed, Span, Token};
use crate::load::{Count, Gone, Notes};

/// The number of joining visitors at each node, and of those that wait for tokens at any.
const JOINERS: usize = 2;
const WAITERS: usize = 3;

/// The number of joins before all others: the inlet never reaches the end of the queue, where its steps are irregular.
const FIRST: usize = 15;

/// The pause between two requests of one caller.
const BREATH: Duration = Duration::from_millis(15);
/// The pause between two moves of the operator, and between two logins at a node.
const SELDOM: Duration = Duration::from_millis(100);

/// The callers.
pub struct Crowd {
    pub nodes: Vec<Node>,
    pub notes: Arc<Mutex<Notes>>,
    pub over: Arc<AtomicBool>,
    pub gone: Gone,
    pub began: Instant,
    /// By position, tickets without a waiting visitor.
    pub tickets: RefCell<BTreeMap<u64, String>>,
    pub turn: Cell<usize>,
}

impl Crowd {
    pub async fn come(self: Rc<Self>) {
        for turn in 0..FIRST {
            self.join(turn % NODES).await;
        }
        let mut all = Vec::new();
        for number in 0..NODES {
            for _ in 0..JOINERS {
                all.push(tokio::task::spawn_local(Rc::clone(&self).join_on_and_on(number)));
            }
            all.push(tokio::task::spawn_local(Rc::clone(&self).watch(number)));
            all.push(tokio::task::spawn_local(Rc::clone(&self).log_in_on_and_on(number)));
        }
        for _ in 0..WAITERS {
            all.push(tokio::task::spawn_local(Rc::clone(&self).enter_on_and_on()));
        }
        all.push(tokio::task::spawn_local(Rc::clone(&self).operate()));
        for one in all {
            one.await.unwrap();
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn note(&self, note: impl FnOnce(&mut History)) {
        note(&mut self.notes.lock().unwrap().history);
    }

    fn count(&self, node: usize, count: impl FnOnce(&mut Count)) {
        count(&mut self.notes.lock().unwrap().counts[node]);
    }

    /// Another node each time.
    fn any(&self) -> &Node {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        &self.nodes[turn % NODES]
    }

    /// Sends a request and records when.
    async fn timed(&self, question: impl Future<Output = Answer>) -> (Span, Answer) {
        let asked = self.began.elapsed();
        let answer = question.await;
        (Span { asked, answered: self.began.elapsed() }, answer)
    }

    /// Records an answer that is a violation.
    fn mind(&self, node: &Node, what: impl Debug, answer: &Answer) {
        let borne = match answer {
            // The number of such answers is counted.
            Answer::Away => true,
            Answer::Gone => self.gone[node.number].load(Ordering::SeqCst),
            _ => false,
        };
        if !borne {
            let at = self.began.elapsed();
            self.note(|history| history.wrong.push(format!("{at:?}: {what:?} at node {}: {answer:?}", node.number)));
        }
    }

    async fn join_on_and_on(self: Rc<Self>, number: usize) {
        while !self.is_over() {
            tokio::time::sleep(BREATH).await;
            self.join(number).await;
        }
    }

    async fn join(&self, number: usize) {
        let node = &self.nodes[number];
        let (span, answer) = self.timed(node.join()).await;
        match answer {
            Answer::Done(Value::String(ticket)) => {
                self.count(number, |count| count.joins += 1);
                if let Some(position) = self.position(&ticket).await {
                    self.note(|history| history.joins.push(Join { span, position }));
                    self.tickets.borrow_mut().insert(position, ticket);
                } else {
                    self.note(|history| history.unheard += 1);
                }
            }
            answer => {
                self.note(|history| history.unheard += 1);
                self.mind(node, "join", &answer);
                if answer == Answer::Away {
                    self.count(number, |count| count.refused += 1);
                }
            }
        }
    }

    /// The answer of another node about a valid ticket; `None`: unknown now.
    async fn position(&self, ticket: &str) -> Option<u64> {
        loop {
            let node = self.any();
            match node.position(ticket).await {
                Answer::Done(position) => return position.as_u64(),
                answer => self.mind(node, "position", &answer),
            }
            if self.is_over() {
                return None;
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Polls the serving counter of one node, as a page does.
    async fn watch(self: Rc<Self>, number: usize) {
        let node = &self.nodes[number];
        while !self.is_over() {
            tokio::time::sleep(BREATH).await;
            match node.serving().await {
                Answer::Done(served) => {
                    self.count(number, |count| count.reads += 1);
                    let shown = (self.began.elapsed(), served.as_u64().unwrap());
                    self.note(|history| history.shown.entry(number).or_default().push(shown));
                }
                Answer::Away => self.note(|history| history.wrong.push("a page cannot be shown".to_owned())),
                answer => self.mind(node, "serving", &answer),
            }
        }
    }

    async fn operate(self: Rc<Self>) {
        let mut unsure = false;
        while !self.is_over() {
            tokio::time::sleep(SELDOM).await;
            let node = self.any();
            match self.timed(node.let_in(LINE, 1)).await {
                (span, Answer::Done(served)) => {
                    let served = served.as_u64().unwrap();
                    self.note(|history| history.moves.push(Move { span, served, unsure }));
                    unsure = false;
                }
                (_, answer) => {
                    self.mind(node, "let in", &answer);
                    unsure = true;
                }
            }
        }
    }

    /// Waits for tokens with one ticket after the other, at any node; requests them again at another, and closes every
    /// third session.
    async fn enter_on_and_on(self: Rc<Self>) {
        let mut entered = 0;
        while !self.is_over() {
            let Some((position, ticket)) = self.tickets.borrow_mut().pop_first() else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            if !self.enter(position, &ticket, Stay::UntilServed).await {
                continue;
            }
            self.enter(position, &ticket, Stay::UntilServed).await;
            entered += 1;
            if entered % 3 == 0 {
                self.leave(&ticket).await;
            }
            // A visitor near the end of the queue tries, too.
            let last = self.tickets.borrow().last_key_value().map(|(position, ticket)| (*position, ticket.clone()));
            if let Some((position, ticket)) = last {
                self.enter(position, &ticket, Stay::Never).await;
            }
        }
    }

    /// Whether the ticket gets tokens. Even after the end, a caller without an answer retries until it knows.
    async fn enter(&self, position: u64, ticket: &str, stay: Stay) -> bool {
        loop {
            let node = self.any();
            let unsure = match self.timed(node.token(ticket)).await {
                (span, Answer::Done(claims)) => {
                    self.count(node.number, |count| count.tokens += 1);
                    let (ticket, claims) = (ticket.to_owned(), claims.to_string());
                    self.note(|history| history.tokens.push(Token { span, ticket, position, claims }));
                    return true;
                }
                (_, Answer::Refused(202, said)) if said.contains("not being served yet") => false,
                (_, answer) => {
                    self.mind(node, "token", &answer);
                    matches!(answer, Answer::Away | Answer::Gone)
                }
            };
            if !unsure && (self.is_over() || stay == Stay::Never) {
                return false;
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Closes the session of a ticket. A caller without an answer retries: it may have been done.
    async fn leave(&self, ticket: &str) {
        let mut asked_before = false;
        loop {
            let node = self.any();
            match node.complete(ticket).await {
                Answer::Done(_) => break,
                Answer::Refused(404, said) if asked_before && said.contains("already set") => break,
                answer @ (Answer::Away | Answer::Gone) => self.mind(node, "leave", &answer),
                answer => return self.mind(node, "leave", &answer),
            }
            asked_before = true;
            tokio::time::sleep(BREATH).await;
        }
        self.note(|history| history.closed.extend([ticket.to_owned()]));
    }

    /// Logs new visitors in. Every other code is redeemed concurrently; of the others, every node must know the login.
    async fn log_in_on_and_on(self: Rc<Self>, number: usize) {
        let mut many = false;
        while !self.is_over() {
            tokio::time::sleep(SELDOM).await;
            let node = &self.nodes[number];
            let code = match node.code().await {
                Answer::Done(code) => code.as_str().unwrap().to_owned(),
                answer => {
                    self.mind(node, "code", &answer);
                    continue;
                }
            };
            many = !many;
            let done = if many { self.redeem_by_many(&code).await } else { self.redeem(&code).await };
            if done {
                self.count(number, |count| count.logins += 1);
            }
        }
    }

    async fn redeem_by_many(&self, code: &str) -> bool {
        let answers = join_all(self.nodes.iter().chain(&self.nodes).map(|node| async move {
            let answer = node.redeem(code).await;
            (node, answer)
        }))
        .await;
        let (mut taken, mut unsure) = (0, false);
        for (node, answer) in answers {
            match answer {
                Answer::Done(_) => taken += 1,
                Answer::Refused(400, said) if said.contains("invalid_grant") => {}
                answer => {
                    unsure |= matches!(answer, Answer::Away | Answer::Gone);
                    self.mind(node, "redeem", &answer);
                }
            }
        }
        self.note(|history| history.codes.push(Redeemed { taken, unsure }));
        !unsure
    }

    async fn redeem(&self, code: &str) -> bool {
        let node = self.any();
        let token = match node.redeem(code).await {
            Answer::Done(token) => token.as_str().unwrap().to_owned(),
            answer => {
                self.mind(node, "redeem", &answer);
                return false;
            }
        };
        for node in &self.nodes {
            match node.user_info(&token).await {
                Answer::Done(_) => {}
                answer => self.mind(node, "user info", &answer),
            }
        }
        true
    }
}

/// How long a visitor waits for tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    UntilServed,
    Never,
}
