//! A courier under a clock that stands still, and a sink that takes what the test says.

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

/// A letter, as the tests speak of it.
type Told = (String, u64);
type Rule = Box<dyn Fn(&Letter) -> Result<(), Refusal> + Send>;

struct Desk {
    subscription: Subscription,
    batch: usize,
    /// What it says of a letter.
    rule: Mutex<Rule>,
    is_away: Mutex<bool>,
    tried: Mutex<Vec<Told>>,
    took: Mutex<Vec<Told>>,
}

#[async_trait]
impl Sink for Desk {
    fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    fn batch(&self) -> usize {
        self.batch
    }

    async fn deliver(&self, letters: &[&Letter], _now: Timestamp) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        self.tried.lock().unwrap().extend(letters.iter().map(|letter| told(letter)));
        if *self.is_away.lock().unwrap() {
            return Err(Refusal::Away("away".to_owned()));
        }
        let rule = self.rule.lock().unwrap();
        let outcomes: Vec<_> = letters.iter().map(|letter| rule(letter)).collect();
        let taken = letters.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        self.took.lock().unwrap().extend(taken.map(|(letter, _)| told(letter)));
        Ok(outcomes)
    }
}

/// Its event and number.
fn told(letter: &Letter) -> Told {
    let body: serde_json::Value = serde_json::from_str(&letter.body).unwrap();
    let number = body["count"].as_u64().or_else(|| body["reason"].as_str()?.parse().ok());
    (letter.event.to_string(), number.unwrap())
}

fn refused() -> Result<(), Refusal> {
    Err(Refusal::Refused("no".to_owned()))
}

struct Scene {
    courier: Courier,
    desk: Arc<Desk>,
    lobby: Arc<Lobby>,
    clock: Arc<FrozenClock>,
    _home: TempDir,
}

impl Scene {
    /// Three events and a sink that takes everything, `batch` at once.
    async fn with(batch: usize) -> Self {
        let home = TempDir::new().unwrap();
        let text = "[[event]]\nid = \"A\"\n[[event]]\nid = \"B\"\n[[event]]\nid = \"C\"\n";
        let config = Config::parse(text, &home.path().join("anteroom.toml"), &Environment::default()).unwrap();
        let (clock, entropy) = (Arc::new(FrozenClock::at(NOW)), Arc::new(SeededEntropy::new(1)));
        let store = EmbeddedStore::open_with(home.path(), OutboxMode::Kept(clock.clone())).unwrap();
        let around = LobbyDeps {
            clock: clock.clone(),
            master: MasterSecret::generate(&*entropy),
            entropy,
            store: Arc::new(store),
            rotation: RotationPlan::default(),
        };
        let lobby = Lobby::open("http://127.0.0.1", config.events, Clients::default(), around).await.unwrap();
        let lobby = Arc::new(lobby);
        let desk = Arc::new(Desk {
            subscription: Subscription { name: "desk".to_owned(), events: Vec::new(), kinds: Vec::new() },
            batch,
            rule: Mutex::new(Box::new(|_| Ok(()))),
            is_away: Mutex::default(),
            tried: Mutex::default(),
            took: Mutex::default(),
        });
        let (_, bell) = watch::channel(Some(0));
        let mut courier = Courier::new(Arc::clone(&lobby), desk.clone(), bell);
        courier.round().await.unwrap();
        Self { courier, desk, lobby, clock, _home: home }
    }

    fn says(&self, rule: impl Fn(&Letter) -> Result<(), Refusal> + Send + 'static) {
        *self.desk.rule.lock().unwrap() = Box::new(rule);
    }

    fn is_away(&self, away: bool) {
        *self.desk.is_away.lock().unwrap() = away;
    }

    async fn post(&self, event: &str, number: u64) {
        self.write(event, number, DomainEvent::VisitorJoined { count: number, queue_counter: 0 }).await;
    }

    /// A letter of another kind.
    async fn post_pause(&self, event: &str, number: u64) {
        self.write(event, number, DomainEvent::InletPaused { reason: number.to_string() }).await;
    }

    async fn write(&self, event: &str, number: u64, happening: DomainEvent) {
        let tick = Timestamp::from_secs(number);
        assert!(self.lobby.store().post_letter(&event.parse().unwrap(), tick, &happening).await.unwrap());
    }

    /// Rounds until there is nothing to do now.
    async fn work(&mut self) {
        while self.courier.round().await.unwrap() == Round::More {}
    }

    /// The same after each of so many seconds.
    async fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.work().await;
        }
    }

    fn tries(&self, event: &str, number: u64) -> usize {
        let tried = self.desk.tried.lock().unwrap();
        tried.iter().filter(|(of, one)| of == event && *one == number).count()
    }

    fn took(&self, event: &str) -> Vec<u64> {
        let took = self.desk.took.lock().unwrap();
        took.iter().filter(|(of, _)| of == event).map(|(_, number)| *number).collect()
    }

    async fn dead(&self) -> Vec<DeadLetter> {
        self.lobby.store().dead_letters(None, 1000).await.unwrap()
    }

    /// Through which letter the store knows that all is told.
    async fn cursor(&self) -> u64 {
        self.lobby.store().claim_delivery("desk").await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn what_a_sink_does_not_take_holds_up_what_is_behind_it_of_the_same_event_and_nothing_else() {
    let mut scene = Scene::with(10).await;
    scene.says(|letter| match told(letter) {
        (event, 1) if event == "A" => Err(Refusal::Away("slow down".to_owned())),
        _ => Ok(()),
    });
    for (event, number) in [("A", 1), ("B", 1), ("A", 2), ("B", 2), ("C", 1)] {
        scene.post(event, number).await;
    }
    scene.work().await;
    assert_eq!((scene.took("B"), scene.took("C")), (vec![1, 2], vec![1]));
    assert_eq!(scene.cursor().await, 0, "a crash would lose nothing");
    // More than a page.
    for number in 3..200 {
        scene.post("B", number).await;
    }
    scene.post("A", 3).await;
    scene.work().await;
    assert_eq!(scene.took("B"), (1..200).collect::<Vec<_>>(), "each once");
    scene.seconds(100).await;
    assert!(scene.tries("A", 1) > 3);
    assert_eq!([2, 3].map(|number| scene.tries("A", number)), [1, 0], "only the first is tried again");
    scene.says(|_| Ok(()));
    scene.seconds(400).await;
    // The second went through at once, in the same call as the first, and is told again behind it.
    assert_eq!(scene.took("A"), [2, 1, 2, 3]);
    assert_eq!((scene.took("B").len(), scene.took("C")), (199, vec![1]));
    assert_eq!(scene.cursor().await, scene.lobby.store().newest_letter().await.unwrap());
    scene.post("A", 4).await;
    scene.work().await;
    assert_eq!(scene.took("A").last(), Some(&4), "it is like the others again");
    assert!(scene.dead().await.is_empty());
}

#[tokio::test]
async fn after_one_was_given_up_the_next_get_few_tries_until_one_is_taken() {
    let mut scene = Scene::with(1).await;
    scene.says(|_| refused());
    for number in 1..=5 {
        scene.post("A", number).await;
    }
    scene.work().await;
    scene.seconds(299).await;
    assert!(scene.dead().await.is_empty());
    scene.seconds(1).await;
    assert!(!scene.dead().await.is_empty(), "after five minutes");
    assert!(scene.tries("A", 1) >= 8);
    scene.seconds(30).await;
    assert_eq!(scene.dead().await.len(), 5);
    assert_eq!([2, 3, 4, 5].map(|number| scene.tries("A", number)), [2; 4]);
    scene.says(|_| Ok(()));
    scene.post("A", 6).await;
    scene.seconds(10).await;
    scene.says(|_| refused());
    scene.post("A", 7).await;
    scene.work().await;
    scene.seconds(200).await;
    assert_eq!((scene.dead().await.len(), scene.tries("A", 6)), (5, 1));
    assert!(scene.tries("A", 7) > 2);
}

#[tokio::test]
async fn a_kind_that_is_never_wanted_does_not_hold_the_others_up_for_long() {
    let mut scene = Scene::with(1).await;
    scene.says(|letter| if letter.kind == EventKind::VisitorJoined { refused() } else { Ok(()) });
    scene.post("A", 1).await;
    scene.work().await;
    scene.seconds(301).await;
    for number in 2..12 {
        scene.post("A", number).await;
        scene.post_pause("A", number).await;
    }
    scene.work().await;
    scene.seconds(30).await;
    assert_eq!(scene.took("A"), (2..12).collect::<Vec<_>>());
    assert_eq!(scene.dead().await.len(), 11);
}

#[tokio::test]
async fn what_a_sink_refuses_for_an_hour_does_not_pile_up() {
    let mut scene = Scene::with(1).await;
    scene.says(|_| refused());
    for number in 1..=200 {
        scene.post("A", number).await;
    }
    scene.work().await;
    scene.seconds(301).await;
    let before = scene.dead().await.len();
    scene.clock.advance(Duration::from_secs(3600));
    scene.post("A", 201).await;
    scene.work().await;
    assert!(before < 100);
    assert_eq!(scene.dead().await.len(), 200, "what is an hour old goes at once, and the young one is waited for");
    assert_eq!(scene.tries("A", 200), 1);
}

#[tokio::test]
async fn a_sink_that_stays_away_costs_all_that_is_an_hour_old_and_nothing_younger() {
    let mut scene = Scene::with(10).await;
    scene.is_away(true);
    for number in 1..=200 {
        scene.post("A", number).await;
    }
    scene.work().await;
    for _ in 0..59 {
        scene.clock.advance(Duration::from_secs(60));
        scene.work().await;
    }
    scene.post("B", 1).await;
    assert!(scene.dead().await.is_empty());
    scene.clock.advance(Duration::from_secs(60));
    scene.work().await;
    assert_eq!(scene.dead().await.len(), 200);
    scene.clock.advance(Duration::from_secs(600));
    scene.work().await;
    assert_eq!(scene.dead().await.len(), 200, "ten minutes old");
    scene.is_away(false);
    scene.work().await;
    assert_eq!((scene.took("B"), scene.took("A")), (vec![1], vec![]));
    assert_eq!(scene.cursor().await, scene.lobby.store().newest_letter().await.unwrap());
}
