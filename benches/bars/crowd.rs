//! P8: the load test of the retired system. Each visitor joins, reads the number, polls the serving counter until it is
//! served (and now and then the number of waiting visitors), and takes the tokens; each answer is checked.
//!
//! Visitors share connections, as behind a proxy or a CDN: a hundred thousand sockets from one machine to itself would
//! measure its port numbers. A client of a load library per visitor would cost more than the server.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::http::{Connection, get, post};
use super::process::{CROWD, Server, prepare};
use super::report::grouped;
use super::{Bar, Options, Outcome, ensure};

/// The bar.
pub const BARS: [&str; 1] = ["P8"];

/// Visitors per second, slightly above the bar.
const ARRIVALS: u64 = 2_500;
/// The interval of arrivals.
const BEAT: Duration = Duration::from_millis(20);
/// The polling interval of a visitor.
const PATIENCE: Duration = Duration::from_secs(5);
/// One of this many polls also reads the number of waiting visitors.
const RARELY: u64 = 20;
/// The connections that all visitors share.
const CONNECTIONS: usize = 256;

/// Measures.
pub async fn measure(options: &Options) -> Outcome<Vec<Bar>> {
    let scratch = tempfile::tempdir()?;
    prepare(scratch.path())?;
    let server = Server::anteroom(scratch.path())?;
    let crowd = Rc::new(Crowd::of(options.visitors, &server.address));
    eprintln!("P8: {} visitors come", options.visitors);
    let started = Instant::now();
    let took = LocalSet::new().run_until(Rc::clone(&crowd).come(options.visitors)).await?;
    let (done, errors) = (crowd.done.get(), crowd.errors.borrow().len());
    if let Some(first) = crowd.errors.borrow().first() {
        eprintln!("P8: the first of {errors} errors: {first}");
    }
    let all = crowd.seen.borrow().iter().all(|seen| *seen);
    let (active, _) = server.get_as_operator(&format!("/private/num_active_tokens?event_id={CROWD}")).await?;
    let counted = active == format!(r#"{{"active_tokens":{done}}}"#);
    server.stop()?;
    let total = started.elapsed().as_secs_f64();
    let asked = crowd.asked.get();
    Ok(vec![Bar {
        id: "P8",
        job: "the old system's load test",
        figure: format!(
            "{} of {} visitors completed, {errors} errors",
            grouped(done as f64),
            grouped(options.visitors as f64)
        ),
        reach: "all, 0 errors, positions unique and dense",
        reached: done == options.visitors && errors == 0 && all && counted,
        made_of: format!(
            "{} arrivals a second; {} requests in {total:.0} s, {} a second; a join from sending to answer: {}; before \
             that, waiting in the client for one of its {CONNECTIONS} connections: {}",
            grouped(options.visitors as f64 / took.as_secs_f64()),
            grouped(asked as f64),
            grouped(asked as f64 / total),
            spread(crowd.joins.borrow().iter().map(|join| join.took)),
            spread(crowd.joins.borrow().iter().map(|join| join.waited)),
        ),
    }])
}

/// All visitors, and their results.
struct Crowd {
    address: String,
    idle: RefCell<Vec<Connection>>,
    free: Semaphore,
    /// The positions given, each to one visitor.
    seen: RefCell<Vec<bool>>,
    errors: RefCell<Vec<String>>,
    asked: Cell<u64>,
    done: Cell<u64>,
    joins: RefCell<Vec<Times>>,
}

/// The duration of a request.
#[derive(Clone, Copy)]
struct Times {
    /// The wait for a free connection in the client.
    waited: Duration,
    /// From sending until the answer was read. The client has one thread, which adds some time of its own.
    took: Duration,
}

/// The maximum of some durations, and their 99th percentile.
fn spread(times: impl Iterator<Item = Duration>) -> String {
    let mut sorted: Vec<Duration> = times.collect();
    sorted.sort_unstable();
    let rank = (sorted.len() * 99).div_ceil(100);
    let ms = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    format!("p99 {:.1} ms, slowest {:.1} ms", ms(sorted.get(rank.saturating_sub(1))), ms(sorted.last()))
}

impl Crowd {
    fn of(visitors: u64, address: &str) -> Self {
        Self {
            address: address.to_owned(),
            idle: RefCell::default(),
            free: Semaphore::new(CONNECTIONS),
            seen: RefCell::new(vec![false; usize::try_from(visitors).unwrap_or_default()]),
            errors: RefCell::default(),
            asked: Cell::new(0),
            done: Cell::new(0),
            joins: RefCell::default(),
        }
    }

    /// Starts the visitors and waits until all are done; returns how long their arrival took.
    async fn come(self: Rc<Self>, visitors: u64) -> Outcome<Duration> {
        let mut beat = interval(BEAT);
        // A late visitor starts all the same, so that the rate is kept.
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let started = Instant::now();
        let mut here = Vec::new();
        while (here.len() as u64) < visitors {
            beat.tick().await;
            let due = ARRIVALS * started.elapsed().as_millis() as u64 / 1000 + 1;
            while (here.len() as u64) < due.min(visitors) {
                here.push(spawn_local(Rc::clone(&self).visit()));
            }
        }
        let took = started.elapsed();
        for visitor in here {
            visitor.await?;
        }
        Ok(took)
    }

    async fn visit(self: Rc<Self>) {
        match self.wait_and_enter().await {
            Ok(()) => self.done.set(self.done.get() + 1),
            Err(error) => self.errors.borrow_mut().push(error.to_string()),
        }
    }

    async fn wait_and_enter(&self) -> Outcome<()> {
        let join = post("/api/assign_queue_num", JSON, &format!(r#"{{"event_id":"{CROWD}"}}"#));
        let (joined, times) = self.ask_timed(&join).await?;
        self.joins.borrow_mut().push(times);
        let id = text(&joined, "api_request_id")?;
        let number = self.ask(&get(&format!("/api/queue_num?event_id={CROWD}&request_id={id}"), "")).await?;
        let position = number["queue_number"].as_u64().ok_or("no queue_number")?;
        self.note(position)?;
        let serving = get(&format!("/api/serving_num?event_id={CROWD}"), "");
        let waiting = get(&format!("/api/waiting_num?event_id={CROWD}"), "");
        let mut looks = position;
        while self.ask(&serving).await?["serving_counter"].as_u64().ok_or("no serving_counter")? < position {
            sleep(PATIENCE).await;
            looks += 1;
            if looks.is_multiple_of(RARELY) {
                self.ask(&waiting).await?["waiting_num"].as_u64().ok_or("no waiting_num")?;
            }
        }
        let redeem = post("/api/generate_token", JSON, &format!(r#"{{"event_id":"{CROWD}","request_id":"{id}"}}"#));
        let tokens = self.ask(&redeem).await?;
        for (member, token_use) in [("access_token", "access"), ("refresh_token", "refresh"), ("id_token", "id")] {
            let claims = claims(&text(&tokens, member)?)?;
            let good = claims["sub"] == id && claims["queue_position"] == position && claims["token_use"] == token_use;
            ensure(good, || format!("{member} of position {position} says {claims}"))?;
        }
        Ok(())
    }

    /// Each position belongs to one visitor, and none is beyond the crowd: so they are dense when all are taken.
    fn note(&self, position: u64) -> Outcome<()> {
        let mut seen = self.seen.borrow_mut();
        let index = usize::try_from(position)?.checked_sub(1).ok_or("position 0")?;
        let place = seen.get_mut(index).ok_or_else(|| format!("position {position} is beyond the crowd"))?;
        ensure(!std::mem::replace(place, true), || format!("position {position} was given twice"))
    }

    /// Sends a request on a free connection; only 200 is a valid answer.
    async fn ask(&self, request: &str) -> Outcome<Value> {
        Ok(self.ask_timed(request).await?.0)
    }

    /// The same, with its duration.
    async fn ask_timed(&self, request: &str) -> Outcome<(Value, Times)> {
        let came = Instant::now();
        let _slot = self.free.acquire().await?;
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.address).await?,
        };
        self.asked.set(self.asked.get() + 1);
        let sent = Instant::now();
        let answer = connection.ask(request).await?;
        let times = Times { waited: sent - came, took: sent.elapsed() };
        ensure(answer.status == 200, || format!("{request}: {answer:?}"))?;
        let body = serde_json::from_str(answer.body)?;
        self.idle.borrow_mut().push(connection);
        Ok((body, times))
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

fn text(body: &Value, member: &str) -> Outcome<String> {
    let found = body[member].as_str().ok_or_else(|| format!("no {member}: {body}"))?;
    Ok(found.to_owned())
}

fn claims(token: &str) -> Outcome<Value> {
    let payload = token.split('.').nth(1).ok_or("no JWT")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?)
}
