//! A worker with a frozen clock, and a sink whose answers the test sets.

use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::ambient::{FrozenClock, SeededEntropy};
use crate::config::{Config, Environment};
use crate::keys::{MasterSecret, RotationPlan};
use crate::lobby::{Clients, LobbyDeps};
use crate::room::{DomainEvent, EventKind};
use crate::store::embedded::EmbeddedStore;
use crate::store::{DeadLetter, OutboxMode};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A notice, by event and number.
type NoticeKey = (String, u64);
type Rule = Box<dyn Fn(&Letter) -> Result<(), SinkError> + Send>;

struct TestSink {
    subscription: Subscription,
    batch: usize,
    /// Decides the outcome of a notice.
    rule: Mutex<Rule>,
    unavailable: Mutex<bool>,
    attempts: Mutex<Vec<NoticeKey>>,
    delivered: Mutex<Vec<NoticeKey>>,
}

#[async_trait]
impl Sink for TestSink {
    fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    fn batch(&self) -> usize {
        self.batch
    }

    async fn deliver(&self, letters: &[&Letter], _now: Timestamp) -> Result<Vec<Result<(), SinkError>>, SinkError> {
        self.attempts.lock().unwrap().extend(letters.iter().map(|letter| key_of(letter)));
        if *self.unavailable.lock().unwrap() {
            return Err(SinkError::Unavailable("away".to_owned()));
        }
        let rule = self.rule.lock().unwrap();
        let outcomes: Vec<_> = letters.iter().map(|letter| rule(letter)).collect();
        let taken = letters.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        self.delivered.lock().unwrap().extend(taken.map(|(letter, _)| key_of(letter)));
        Ok(outcomes)
    }
}

/// The event and number of a notice.
fn key_of(letter: &Letter) -> NoticeKey {
    let body: serde_json::Value = serde_json::from_str(&letter.body).unwrap();
    let number = body["count"].as_u64().or_else(|| body["reason"].as_str()?.parse().ok());
    (letter.event.to_string(), number.unwrap())
}

fn rejected() -> Result<(), SinkError> {
    Err(SinkError::Rejected("no".to_owned()))
}

struct Fixture {
    worker: DeliveryWorker,
    sink: Arc<TestSink>,
    lobby: Arc<Lobby>,
    clock: Arc<FrozenClock>,
    _home: TempDir,
}

impl Fixture {
    /// Three events and a sink that accepts everything, in batches of `batch`.
    async fn with(batch: usize) -> Self {
        let home = TempDir::new().unwrap();
        let text = "[[event]]\nid = \"A\"\n[[event]]\nid = \"B\"\n[[event]]\nid = \"C\"\n";
        let config = Config::parse(text, &home.path().join("anteroom.toml"), &Environment::default()).unwrap();
        let (clock, entropy) = (Arc::new(FrozenClock::at(NOW)), Arc::new(SeededEntropy::new(1)));
        let store = EmbeddedStore::open_with(home.path(), OutboxMode::Kept(clock.clone())).unwrap();
        let deps = LobbyDeps {
            clock: clock.clone(),
            master: MasterSecret::generate(&*entropy),
            entropy,
            store: Arc::new(store),
            rotation: RotationPlan::default(),
        };
        let lobby = Lobby::open("http://127.0.0.1", config.events, Clients::default(), deps).await.unwrap();
        let lobby = Arc::new(lobby);
        let sink = Arc::new(TestSink {
            subscription: Subscription { name: "sink".to_owned(), events: Vec::new(), kinds: Vec::new() },
            batch,
            rule: Mutex::new(Box::new(|_| Ok(()))),
            unavailable: Mutex::default(),
            attempts: Mutex::default(),
            delivered: Mutex::default(),
        });
        let (_, wake) = watch::channel(Some(0));
        let mut worker = DeliveryWorker::new(Arc::clone(&lobby), sink.clone(), wake);
        worker.round().await.unwrap();
        Self { worker, sink, lobby, clock, _home: home }
    }

    fn answer_with(&self, rule: impl Fn(&Letter) -> Result<(), SinkError> + Send + 'static) {
        *self.sink.rule.lock().unwrap() = Box::new(rule);
    }

    fn set_unavailable(&self, away: bool) {
        *self.sink.unavailable.lock().unwrap() = away;
    }

    async fn post(&self, event: &str, number: u64) {
        self.write(event, number, DomainEvent::VisitorJoined { count: number, queue_counter: 0 }).await;
    }

    /// A notice of another kind.
    async fn post_pause(&self, event: &str, number: u64) {
        self.write(event, number, DomainEvent::InletPaused { reason: number.to_string() }).await;
    }

    async fn write(&self, event: &str, number: u64, event_data: DomainEvent) {
        let tick = Timestamp::from_secs(number);
        assert!(self.lobby.store().post_letter(&event.parse().unwrap(), tick, &event_data).await.unwrap());
    }

    /// Runs rounds until nothing is left to do.
    async fn work(&mut self) {
        while self.worker.round().await.unwrap() == Round::More {}
    }

    /// The same after each of `seconds` seconds.
    async fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.work().await;
        }
    }

    fn tries(&self, event: &str, number: u64) -> usize {
        let attempts = self.sink.attempts.lock().unwrap();
        attempts.iter().filter(|(of, one)| of == event && *one == number).count()
    }

    fn delivered(&self, event: &str) -> Vec<u64> {
        let delivered = self.sink.delivered.lock().unwrap();
        delivered.iter().filter(|(of, _)| of == event).map(|(_, number)| *number).collect()
    }

    async fn dead(&self) -> Vec<DeadLetter> {
        self.lobby.store().dead_letters(None, 1000).await.unwrap()
    }

    /// The cursor in the store.
    async fn cursor(&self) -> u64 {
        self.lobby.store().claim_delivery("sink").await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_failed_notice_delays_only_later_notices_of_its_event() {
    let mut fixture = Fixture::with(10).await;
    fixture.answer_with(|letter| match key_of(letter) {
        (event, 1) if event == "A" => Err(SinkError::Unavailable("slow down".to_owned())),
        _ => Ok(()),
    });
    for (event, number) in [("A", 1), ("B", 1), ("A", 2), ("B", 2), ("C", 1)] {
        fixture.post(event, number).await;
    }
    fixture.work().await;
    assert_eq!((fixture.delivered("B"), fixture.delivered("C")), (vec![1, 2], vec![1]));
    assert_eq!(fixture.cursor().await, 0, "a crash loses nothing");
    // More than a page.
    for number in 3..200 {
        fixture.post("B", number).await;
    }
    fixture.post("A", 3).await;
    fixture.work().await;
    assert_eq!(fixture.delivered("B"), (1..200).collect::<Vec<_>>(), "each once");
    fixture.seconds(100).await;
    assert!(fixture.tries("A", 1) > 3);
    assert_eq!([2, 3].map(|number| fixture.tries("A", number)), [1, 0], "only the first is retried");
    fixture.answer_with(|_| Ok(()));
    fixture.seconds(400).await;
    // The second was accepted in the same call that rejected the first, and is delivered again after it.
    assert_eq!(fixture.delivered("A"), [2, 1, 2, 3]);
    assert_eq!((fixture.delivered("B").len(), fixture.delivered("C")), (199, vec![1]));
    assert_eq!(fixture.cursor().await, fixture.lobby.store().newest_letter().await.unwrap());
    fixture.post("A", 4).await;
    fixture.work().await;
    assert_eq!(fixture.delivered("A").last(), Some(&4), "the event is delivered like the others again");
    assert!(fixture.dead().await.is_empty());
}

#[tokio::test]
async fn after_a_dead_letter_the_next_notices_get_few_attempts_until_one_is_accepted() {
    let mut fixture = Fixture::with(1).await;
    fixture.answer_with(|_| rejected());
    for number in 1..=5 {
        fixture.post("A", number).await;
    }
    fixture.work().await;
    fixture.seconds(299).await;
    assert!(fixture.dead().await.is_empty());
    fixture.seconds(1).await;
    assert!(!fixture.dead().await.is_empty(), "after five minutes");
    assert!(fixture.tries("A", 1) >= 8);
    fixture.seconds(30).await;
    assert_eq!(fixture.dead().await.len(), 5);
    assert_eq!([2, 3, 4, 5].map(|number| fixture.tries("A", number)), [2; 4]);
    fixture.answer_with(|_| Ok(()));
    fixture.post("A", 6).await;
    fixture.seconds(10).await;
    fixture.answer_with(|_| rejected());
    fixture.post("A", 7).await;
    fixture.work().await;
    fixture.seconds(200).await;
    assert_eq!((fixture.dead().await.len(), fixture.tries("A", 6)), (5, 1));
    assert!(fixture.tries("A", 7) > 2);
}

#[tokio::test]
async fn a_kind_that_is_always_rejected_does_not_delay_other_kinds_for_long() {
    let mut fixture = Fixture::with(1).await;
    fixture.answer_with(|letter| if letter.kind == EventKind::VisitorJoined { rejected() } else { Ok(()) });
    fixture.post("A", 1).await;
    fixture.work().await;
    fixture.seconds(301).await;
    for number in 2..12 {
        fixture.post("A", number).await;
        fixture.post_pause("A", number).await;
    }
    fixture.work().await;
    fixture.seconds(30).await;
    assert_eq!(fixture.delivered("A"), (2..12).collect::<Vec<_>>());
    assert_eq!(fixture.dead().await.len(), 11);
}

#[tokio::test]
async fn notices_rejected_for_an_hour_do_not_accumulate() {
    let mut fixture = Fixture::with(1).await;
    fixture.answer_with(|_| rejected());
    for number in 1..=200 {
        fixture.post("A", number).await;
    }
    fixture.work().await;
    fixture.seconds(301).await;
    let before = fixture.dead().await.len();
    fixture.clock.advance(Duration::from_secs(3600));
    fixture.post("A", 201).await;
    fixture.work().await;
    assert!(before < 100);
    assert_eq!(
        fixture.dead().await.len(),
        200,
        "notices of an hour become dead letters at once, the young one is retried"
    );
    assert_eq!(fixture.tries("A", 200), 1);
}

#[tokio::test]
async fn an_unavailable_sink_loses_notices_older_than_an_hour_and_no_younger_ones() {
    let mut fixture = Fixture::with(10).await;
    fixture.set_unavailable(true);
    for number in 1..=200 {
        fixture.post("A", number).await;
    }
    fixture.work().await;
    for _ in 0..59 {
        fixture.clock.advance(Duration::from_secs(60));
        fixture.work().await;
    }
    fixture.post("B", 1).await;
    assert!(fixture.dead().await.is_empty());
    fixture.clock.advance(Duration::from_secs(60));
    fixture.work().await;
    assert_eq!(fixture.dead().await.len(), 200);
    fixture.clock.advance(Duration::from_secs(600));
    fixture.work().await;
    assert_eq!(fixture.dead().await.len(), 200, "ten minutes old");
    fixture.set_unavailable(false);
    fixture.work().await;
    assert_eq!((fixture.delivered("B"), fixture.delivered("A")), (vec![1], vec![]));
    assert_eq!(fixture.cursor().await, fixture.lobby.store().newest_letter().await.unwrap());
}
