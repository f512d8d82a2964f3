//! The delivery to one sink: in order for each event, at least once, with patience, and not for ever.
//!
//! A sink that is away holds everything up for [`policy::NOTICE_PATIENCE`]; then whatever is that old is given up. A
//! letter that the sink does not take though it is there holds up its event alone, and is given up sooner. What was
//! given up is kept as dead letters, which an operator can have sent once more.
//!
//! The store knows through which letter a sink has everything. What it has beyond that, because an event is held up
//! meanwhile, only the courier knows: after a crash it is told again.

use std::collections::{HashMap, HashSet};
use std::iter::repeat_with;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::trouble::{Pause, Refusal, Trouble, Weariness, is_old};
use crate::ambient::Timestamp;
use crate::config::Subscription;
use crate::lobby::Lobby;
use crate::outbound::Complaints;
use crate::policy;
use crate::room::{EventId, Moment};
use crate::store::{Letter, Outbox, Resent, StoreError};

/// Somebody who listens.
#[async_trait]
pub(super) trait Sink: Send + Sync + 'static {
    /// What it listens to, and its name, under which the store keeps how far it got.
    fn subscription(&self) -> &Subscription;

    /// How many letters it takes at once.
    fn batch(&self) -> usize {
        1
    }

    /// Tells it `letters`, in order, [`batch`](Sink::batch) at most, and says of each what became of it.
    ///
    /// # Errors
    /// When it took none of them, and would not take others either.
    async fn deliver(&self, letters: &[&Letter], now: Timestamp) -> Result<Vec<Result<(), Refusal>>, Refusal>;
}

/// What a round came to.
#[derive(PartialEq, Eq, Debug)]
enum Round {
    /// There may be more at once.
    More,
    /// Nothing is left that could be told now.
    Idle,
    /// It is up to another node.
    Elsewhere,
    /// The sink is away.
    Failed,
}

/// The sink is away: nothing from the letter `from` on was told.
struct Stopped {
    from: u64,
    refusal: Refusal,
}

/// An event of which a letter was not taken.
struct Held {
    /// What was looked at of the event from this number on is yet to be told.
    from: u64,
    /// Until then it is left alone.
    pause: Option<Pause>,
}

/// How far one got.
#[derive(Default)]
struct Progress {
    /// What is up to this number was told, or is held.
    reach: u64,
    held: HashMap<EventId, Held>,
}

impl Progress {
    /// Through which number the sink has everything.
    fn cursor(&self) -> u64 {
        self.held.values().map(|held| held.from.saturating_sub(1)).fold(self.reach, u64::min)
    }

    fn is_open(&self, letter: &Letter) -> bool {
        letter.seq > self.reach || self.held.get(&letter.event).is_some_and(|held| held.from <= letter.seq)
    }

    fn hold(&mut self, event: &EventId, from: u64, pause: Option<Pause>) {
        self.held.insert(event.clone(), Held { from, pause });
    }

    /// Notes that a letter is settled, and all before it of its event.
    fn settle(&mut self, letter: &Letter) {
        if let Some(held) = self.held.get_mut(&letter.event) {
            held.from = letter.seq + 1;
        }
    }

    /// Notes that everything through `seq` is settled.
    fn skip(&mut self, seq: u64) {
        self.reach = self.reach.max(seq);
        self.held.values_mut().for_each(|held| held.from = held.from.max(seq + 1));
    }

    /// An event that is left alone no longer.
    fn due(&self, now: Timestamp) -> Option<EventId> {
        let is_due = |held: &Held| held.pause.as_ref().is_none_or(|pause| pause.is_over(now));
        self.held.iter().find(|(_, held)| is_due(held)).map(|(event, _)| event.clone())
    }
}

/// What is made of a sink that says nothing of a letter.
fn silence() -> Refusal {
    Refusal::Away("it said nothing of this one".to_owned())
}

/// See the module's documentation.
pub(super) struct Courier {
    lobby: Arc<Lobby>,
    sink: Arc<dyn Sink>,
    bell: watch::Receiver<Option<u64>>,
    progress: Progress,
    /// With the sink as a whole, with the letters of an event, and with the outbox.
    away: Trouble,
    troubles: HashMap<EventId, Trouble>,
    unusable: Trouble,
    weariness: Weariness,
    complaints: Complaints,
    /// What is given up, and how much of it since the log last heard of that.
    losses: Complaints,
    lost: usize,
}

impl Courier {
    pub(super) fn new(lobby: Arc<Lobby>, sink: Arc<dyn Sink>, bell: watch::Receiver<Option<u64>>) -> Self {
        Self {
            lobby,
            sink,
            bell,
            progress: Progress::default(),
            away: Trouble::default(),
            troubles: HashMap::new(),
            unusable: Trouble::default(),
            weariness: Weariness::default(),
            complaints: Complaints::default(),
            losses: Complaints::default(),
            lost: 0,
        }
    }

    fn name(&self) -> &str {
        &self.sink.subscription().name
    }

    fn outbox(&self) -> &dyn Outbox {
        self.lobby.store()
    }

    pub(super) async fn run(mut self) {
        loop {
            self.bell.borrow_and_update();
            let round = self.round().await;
            if round.is_ok() {
                self.unusable = Trouble::default();
            }
            match round {
                Ok(Round::More) => {}
                Ok(Round::Idle) => self.rest(policy::NOTICE_LOOK).await,
                Ok(Round::Elsewhere) => self.rest(policy::LEASE).await,
                Ok(Round::Failed) => self.pause(&self.away).await,
                Err(error) => {
                    tracing::warn!(sink = self.name(), %error, "the outbox cannot be used");
                    // What was going on is not known: the store's own note counts.
                    self.progress = Progress::default();
                    self.unusable.note(&Refusal::Away(String::new()), self.lobby.moment().steady);
                    self.pause(&self.unusable).await;
                }
            }
        }
    }

    async fn pause(&self, trouble: &Trouble) {
        let wait = trouble.wait(self.lobby.entropy(), self.lobby.moment().steady);
        let pause = Pause::of(wait, self.lobby.now());
        while !pause.is_over(self.lobby.now()) {
            sleep(policy::CLOCK_POLL.min(wait)).await;
        }
    }

    /// Waits until there may be something new, or an event is left alone no longer; so long at most.
    async fn rest(&mut self, longest: Duration) {
        let Self { lobby, bell, progress, .. } = self;
        let due = async {
            while progress.due(lobby.now()).is_none() {
                sleep(policy::CLOCK_POLL).await;
            }
        };
        tokio::select! {
            _ = timeout(longest, bell.changed()) => {}
            () = due, if !progress.held.is_empty() => {}
        }
    }

    /// Delivers a page of what is new, and one of what was held.
    async fn round(&mut self) -> Result<Round, StoreError> {
        let Some(cursor) = self.outbox().claim_delivery(self.name()).await? else {
            self.progress = Progress::default();
            return Ok(Round::Elsewhere);
        };
        self.progress.skip(cursor);
        let again = self.send_again().await?;
        let due = self.progress.due(self.lobby.now());
        let held = match &due {
            Some(event) => self.tell_held(event).await?,
            None => None,
        };
        let page = self.outbox().letters(self.progress.reach, policy::NOTICE_PAGE).await?;
        let stopped = if held.is_some() { held } else { self.tell_new(&page).await? };
        if let Some(Stopped { refusal, .. }) = stopped {
            self.note_progress(cursor).await?;
            self.note_away(&refusal).await?;
            return Ok(Round::Failed);
        }
        self.note_progress(cursor).await?;
        let idle = !again && due.is_none() && page.is_empty();
        Ok(if idle { Round::Idle } else { Round::More })
    }

    async fn note_progress(&self, before: u64) -> Result<(), StoreError> {
        let cursor = self.progress.cursor();
        if cursor > before { self.outbox().note_delivered(self.name(), cursor).await } else { Ok(()) }
    }

    /// Tells what is on a page of new letters, of all events but those that are held.
    async fn tell_new(&mut self, page: &[Letter]) -> Result<Option<Stopped>, StoreError> {
        let Some(last) = page.last() else { return Ok(None) };
        let wants = |letter: &&Letter| self.sink.subscription().wants(letter);
        let new: Vec<_> =
            page.iter().filter(wants).filter(|letter| !self.progress.held.contains_key(&letter.event)).collect();
        let stopped = self.tell(&new).await?;
        self.progress.reach = stopped.as_ref().map_or(last.seq, |stopped| stopped.from.saturating_sub(1));
        Ok(stopped)
    }

    /// Tells a page of what was held of an event.
    async fn tell_held(&mut self, event: &EventId) -> Result<Option<Stopped>, StoreError> {
        let Some(held) = self.progress.held.get_mut(event) else { return Ok(None) };
        let from = held.from;
        held.pause = None;
        let mut page = self.outbox().letters(from.saturating_sub(1), policy::NOTICE_PAGE).await?;
        page.retain(|letter| letter.seq <= self.progress.reach);
        let wants = |letter: &&Letter| letter.event == *event && self.sink.subscription().wants(letter);
        let letters: Vec<_> = page.iter().filter(wants).collect();
        // The first alone: what is behind it would be told at each try.
        let (first, rest) = letters.split_at(letters.len().min(1));
        for letters in [first, rest] {
            let stopped = self.tell(letters).await?;
            let is_paused = self.progress.held.get(event).is_some_and(|held| held.pause.is_some());
            if stopped.is_some() || is_paused {
                return Ok(stopped);
            }
        }
        match page.last().filter(|last| last.seq < self.progress.reach) {
            Some(last) => self.progress.hold(event, last.seq + 1, None),
            None => drop(self.progress.held.remove(event)),
        }
        Ok(None)
    }

    /// Tells letters in order; of an event that does not get on, no more after the one that was not taken.
    async fn tell(&mut self, letters: &[&Letter]) -> Result<Option<Stopped>, StoreError> {
        let mut stuck = HashSet::new();
        let mut rest = letters.iter().copied();
        loop {
            let open = rest.by_ref().filter(|letter| !stuck.contains(&letter.event));
            let batch: Vec<&Letter> = open.take(self.sink.batch().max(1)).collect();
            let Some(first) = batch.first() else { return Ok(None) };
            let now = self.lobby.now();
            let outcomes = match self.sink.deliver(&batch, now).await {
                Ok(outcomes) => outcomes,
                Err(refusal) => return Ok(Some(Stopped { from: first.seq, refusal })),
            };
            self.away = Trouble::default();
            let silence = repeat_with(|| Err(silence()));
            for (letter, outcome) in batch.into_iter().zip(outcomes.into_iter().chain(silence)) {
                // What was taken although the one before it was not is told again behind it.
                if !stuck.contains(&letter.event) && !self.settle(letter, outcome, now).await? {
                    stuck.insert(letter.event.clone());
                }
            }
        }
    }

    /// Takes over what became of a letter. Whether its event gets on.
    async fn settle(
        &mut self,
        letter: &Letter,
        outcome: Result<(), Refusal>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Err(refusal) = outcome else {
            self.troubles.remove(&letter.event);
            self.weariness.taken(letter.kind);
            self.progress.settle(letter);
            return Ok(true);
        };
        let trouble = self.troubles.entry(letter.event.clone()).or_default();
        let steady = self.lobby.moment().steady;
        trouble.note(&refusal, steady);
        let (failures, hopeless) = (trouble.failures(), trouble.is_hopeless(steady));
        let wait = trouble.wait(self.lobby.entropy(), steady);
        self.complain(&refusal, failures, now);
        let refused = matches!(refusal, Refusal::Refused(_));
        let enough = refused && self.weariness.is_enough(letter, failures, now);
        if !(enough || (hopeless && (refused || is_old(letter, now)))) {
            self.progress.hold(&letter.event, letter.seq, Some(Pause::of(wait, now)));
            return Ok(false);
        }
        self.give_up(std::slice::from_ref(letter), self.progress.cursor(), &refusal).await?;
        if refused {
            self.troubles.remove(&letter.event);
            self.weariness.given_up(letter.kind);
        }
        self.progress.settle(letter);
        Ok(true)
    }

    /// Decides what a sink that is away costs: whatever has become old.
    async fn note_away(&mut self, refusal: &Refusal) -> Result<(), StoreError> {
        let Moment { wall: now, steady } = self.lobby.moment();
        self.away.note(refusal, steady);
        self.complain(refusal, self.away.failures(), now);
        if !self.away.is_hopeless(steady) {
            return Ok(());
        }
        loop {
            let page = self.outbox().letters(self.progress.cursor(), policy::NOTICE_PAGE).await?;
            let old = page.iter().take_while(|letter| is_old(letter, now)).collect::<Vec<_>>();
            let Some(last) = old.last() else { return Ok(()) };
            let wanted = old.iter().filter(|letter| self.sink.subscription().wants(letter));
            let dead: Vec<_> = wanted.filter(|letter| self.progress.is_open(letter)).copied().cloned().collect();
            self.give_up(&dead, last.seq, refusal).await?;
            self.progress.skip(last.seq);
        }
    }

    async fn give_up(&mut self, letters: &[Letter], through: u64, refusal: &Refusal) -> Result<(), StoreError> {
        let reason = refusal.reason();
        self.outbox().bury_letters(self.name(), letters, reason, through).await?;
        self.lost += letters.len();
        if self.lost > 0 && self.losses.is_news(reason, self.lobby.now()) {
            let letters = std::mem::take(&mut self.lost);
            tracing::error!(sink = self.name(), reason, letters, "notices were given up: see /private/dead_letters");
        }
        Ok(())
    }

    fn complain(&self, refusal: &Refusal, failures: u32, now: Timestamp) {
        let reason = refusal.reason();
        if self.complaints.is_news(reason, now) {
            tracing::warn!(sink = self.name(), reason, failures, "a notice was not taken");
        }
    }

    /// Tries once more what an operator asked for. Whether there was something.
    async fn send_again(&self) -> Result<bool, StoreError> {
        let letters = self.outbox().revived_letters(self.name(), policy::NOTICE_PAGE).await?;
        for letter in &letters {
            let answer = self.sink.deliver(&[letter], self.lobby.now()).await;
            let outcome = match answer.and_then(|mut outcomes| outcomes.pop().unwrap_or_else(|| Err(silence()))) {
                Ok(()) => Resent::Taken,
                Err(refusal) => {
                    tracing::warn!(sink = self.name(), reason = refusal.reason(), "a dead letter stays one");
                    Resent::Refused
                }
            };
            self.outbox().settle_dead_letter(self.name(), letter.seq, outcome).await?;
        }
        Ok(!letters.is_empty())
    }
}

#[cfg(test)]
mod tests;
