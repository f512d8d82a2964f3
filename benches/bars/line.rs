//! P1, P2, P3 and P7: waiting visitors. Three servers run side by side (the yardstick, a queue of a thousand, a queue
//! of ten million) and are measured in turn, so that one run gives both the cost of a visitor and whether it grows.

use std::fs;
use std::path::Path;

use anteroom::ambient::Timestamp;
use anteroom::store::Store;
use anteroom::store::embedded::EmbeddedStore;
use futures_util::future::try_join_all;
use serde_json::Value;
use tempfile::TempDir;

use super::process::{Server, prepare};
use super::report::{grouped, mib};
use super::wrk::{self, CONNECTIONS, Load, Round};
use super::{Bar, Options, Outcome, ensure, median};

/// The bars.
pub const BARS: [&str; 4] = ["P1", "P2", "P3", "P7"];

/// The two lengths of the queue.
const SHORT: u64 = 1_000;
const LONG: u64 = 10_000_000;

/// The number of visitors whose positions are read in turn.
const TICKETS: usize = 500;

pub const JOIN: &str = r#"{"event_id":"Sample"}"#;

/// An Anteroom whose queue was filled before it started.
struct Site {
    server: Server,
    /// Bytes of the data directory after filling.
    data: u64,
    /// Memory before the first request, in bytes.
    resident: u64,
    _directory: TempDir,
}

impl Site {
    async fn with_line(length: u64) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let data = prepare(directory.path())?;
        fill(&data, length).await?;
        let data = bytes_in(&data)?;
        let server = Server::anteroom(directory.path())?;
        let resident = server.resident()?;
        Ok(Self { server, data, resident, _directory: directory })
    }
}

/// Positions that were handed out.
async fn joined(server: &Server) -> Outcome<u64> {
    let (body, _) = server.get("/api/waiting_num?event_id=Sample").await?;
    let answer: Value = serde_json::from_str(&body)?;
    Ok(answer["waiting_num"].as_u64().ok_or("no waiting_num")?)
}

/// Reads the serving counter; no position was served.
pub async fn look(server: &Server) -> Outcome<Load> {
    let target = "/api/serving_num?event_id=Sample";
    let (body, answer_length) = server.get(target).await?;
    ensure(body == r#"{"serving_counter":0}"#, || format!("{target}: {body}"))?;
    Ok(Load { address: server.address.clone(), requests: vec![format!("GET {target}")], answer_length })
}

/// Takes positions at the rate of a rush, 2 000 per second until now: the arrival log has a row for each second.
async fn fill(data: &Path, length: u64) -> Outcome<()> {
    const A_SECOND: u32 = 2_000;
    let store = EmbeddedStore::open(data)?;
    let event = "Sample".parse()?;
    store.ensure_event(&event).await?;
    let now: u64 = fs::metadata(data)?.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let steps = length.div_ceil(u64::from(A_SECOND));
    let step = |index: u64| {
        let left = length - index * u64::from(A_SECOND);
        let count = u32::try_from(left.min(u64::from(A_SECOND))).unwrap_or(A_SECOND);
        store.take_some(&event, count, Timestamp::from_secs(now - steps + index))
    };
    try_join_all((0..steps).map(step)).await?;
    store.close().await;
    Ok(())
}

fn bytes_in(directory: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// A job, with the request of each of the three servers.
struct Job {
    bare: Load,
    short: Load,
    long: Load,
}

/// The rounds of a job, in the same order.
#[derive(Default)]
struct Rounds {
    bare: Vec<f64>,
    short: Vec<f64>,
    long: Vec<f64>,
    /// For the short queue.
    p99_ms: Vec<f64>,
}

impl Rounds {
    fn against_bare(&self) -> f64 {
        median(&self.short) / median(&self.bare)
    }

    fn growth(&self) -> f64 {
        median(&self.long) / median(&self.short)
    }

    fn made_of(&self) -> String {
        format!("{} ÷ {} a second", grouped(median(&self.short)), grouped(median(&self.bare)))
    }
}

/// The three servers.
struct Field<'a> {
    options: &'a Options,
    scratch: TempDir,
    bare: Server,
    short: Site,
    long: Site,
}

impl Field<'_> {
    async fn look(&self) -> Outcome<Job> {
        let bare = self.bare_get(vec!["GET /number?event_id=Sample".to_owned()]).await?;
        Ok(Job { bare, short: look(&self.short.server).await?, long: look(&self.long.server).await? })
    }

    async fn ask_number(&self) -> Outcome<Job> {
        let (short, long) = (tickets(&self.short.server).await?, tickets(&self.long.server).await?);
        let same = short.requests.iter().map(|request| request.replace("/api/queue_num", "/number")).collect();
        Ok(Job { bare: self.bare_get(same).await?, short, long })
    }

    async fn join(&self) -> Outcome<Job> {
        let load = async |server: &Server, target: &str| {
            let (_, answer_length) = server.post(target, JOIN).await?;
            let requests = vec![format!("POST {target} {JOIN}")];
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Load {
                address: server.address.clone(),
                requests,
                answer_length,
            })
        };
        let target = "/api/assign_queue_num";
        let (short, long) = (load(&self.short.server, target).await?, load(&self.long.server, target).await?);
        Ok(Job { bare: load(&self.bare, "/echo").await?, short, long })
    }

    async fn bare_get(&self, requests: Vec<String>) -> Outcome<Load> {
        let (_, answer_length) = self.bare.get("/number").await?;
        Ok(Load { address: self.bare.address.clone(), requests, answer_length })
    }

    fn round(&self, load: &Load) -> Outcome<Round> {
        wrk::run(load, self.options.seconds, self.scratch.path())
    }

    /// The rounds of a job; `joins` means that every answer is a taken position.
    async fn rounds(&self, name: &str, job: &Job, joins: bool) -> Outcome<Rounds> {
        for load in [&job.bare, &job.short, &job.long] {
            wrk::run(load, 1, self.scratch.path())?;
        }
        let mut rounds = Rounds::default();
        for _ in 0..self.options.rounds {
            let bare = self.round(&job.bare)?;
            let before = joined(&self.short.server).await?;
            let short = self.round(&job.short)?;
            let handed_out = joined(&self.short.server).await? - before;
            // Visitors whose answer was pending when the round ended joined as well.
            let expected = if joins { short.requests..=short.requests + CONNECTIONS } else { 0..=0 };
            ensure(expected.contains(&handed_out), || {
                format!("{} answers, but {handed_out} positions were handed out", short.requests)
            })?;
            let long = self.round(&job.long)?;
            eprintln!(
                "{name}: bare {:.0}, short line {:.0} (p99 {:.2} ms), long line {:.0}",
                bare.rate, short.rate, short.p99_ms, long.rate
            );
            rounds.bare.push(bare.rate);
            rounds.short.push(short.rate);
            rounds.p99_ms.push(short.p99_ms);
            rounds.long.push(long.rate);
        }
        Ok(rounds)
    }
}

/// Joins visitors, and verifies the number of each once.
pub async fn tickets(server: &Server) -> Outcome<Load> {
    let (mut requests, mut answer_length) = (Vec::new(), 0);
    let mut position = joined(server).await?;
    for _ in 0..TICKETS {
        let (joined, _) = server.post("/api/assign_queue_num", JOIN).await?;
        let joined: Value = serde_json::from_str(&joined)?;
        let ticket = joined["api_request_id"].as_str().ok_or("no api_request_id")?;
        let target = format!("/api/queue_num?event_id=Sample&request_id={ticket}");
        let (body, length) = server.get(&target).await?;
        position += 1;
        let answer: Value = serde_json::from_str(&body)?;
        let good = answer["queue_number"] == position && answer["status"] == 1 && answer["event_id"] == "Sample";
        ensure(good, || format!("position {position} is answered {body}"))?;
        ensure(answer_length == 0 || answer_length == length, || "answers differ in length".to_owned())?;
        answer_length = length;
        requests.push(format!("GET {target}"));
    }
    Ok(Load { address: server.address.clone(), requests, answer_length })
}

/// Measures.
pub async fn measure(options: &Options) -> Outcome<Vec<Bar>> {
    eprintln!("P1, P2, P3, P7: filling the lines");
    let field = Field {
        options,
        scratch: tempfile::tempdir()?,
        bare: Server::bare()?,
        short: Site::with_line(SHORT).await?,
        long: Site::with_line(LONG).await?,
    };
    let number = field.rounds("P2", &field.ask_number().await?, false).await?;
    let look = field.rounds("P1", &field.look().await?, false).await?;
    let join = field.rounds("P3", &field.join().await?, true).await?;
    let mut bars = vec![
        against_bare("P1", "`GET /api/serving_num`", median(&look.short), median(&look.bare), ("≥ 0.90", 0.90)),
        against_bare("P2", "`GET /api/queue_num`", median(&number.short), median(&number.bare), ("≥ 0.85", 0.85)),
        joining(&join),
    ];
    bars.extend(growth(&field, [("P1", &look), ("P2", &number), ("P3", &join)])?);
    field.short.server.stop()?;
    field.long.server.stop()?;
    Ok(bars)
}

/// A rate that must be a fraction of the yardstick's.
pub fn against_bare(
    id: &'static str,
    job: &'static str,
    rate: f64,
    bare: f64,
    (reach, least): (&'static str, f64),
) -> Bar {
    let ratio = rate / bare;
    Bar {
        id,
        job,
        figure: format!("{ratio:.2}"),
        reach,
        reached: ratio >= least,
        made_of: format!("{} ÷ {} a second", grouped(rate), grouped(bare)),
    }
}

fn joining(rounds: &Rounds) -> Bar {
    let (ratio, p99) = (rounds.against_bare(), median(&rounds.p99_ms));
    Bar {
        id: "P3",
        job: "`POST /api/assign_queue_num`, durable",
        figure: format!("{ratio:.2}, p99 {p99:.1} ms"),
        reach: "≥ 0.80, p99 ≤ 3 ms",
        reached: ratio >= 0.80 && p99 <= 3.0,
        made_of: rounds.made_of(),
    }
}

fn growth(field: &Field<'_>, jobs: [(&str, &Rounds); 3]) -> Outcome<[Bar; 2]> {
    let least = jobs.iter().map(|(_, rounds)| rounds.growth()).fold(f64::INFINITY, f64::min);
    let each: Vec<String> = jobs.iter().map(|(id, rounds)| format!("{id} {:.2}", rounds.growth())).collect();
    let throughput = Bar {
        id: "P7",
        job: "throughput with 10 000 000 in line ÷ with 1 000",
        figure: format!("{least:.2}"),
        reach: "≥ 0.95",
        reached: least >= 0.95,
        made_of: each.join(", "),
    };
    let (short, long) = (&field.short, &field.long);
    let more = |long: u64, short: u64| mib(long) - mib(short);
    let (memory, disk) = (more(long.resident, short.resident), more(long.data, short.data));
    let after = more(long.server.resident()?, short.server.resident()?);
    let costs = Bar {
        id: "P7",
        job: "what 10 000 000 in line cost more than 1 000",
        figure: format!("{memory:.2} MiB of memory, {disk:.2} MiB on disk"),
        reach: "≤ 1 MiB",
        reached: memory <= 1.0 && disk <= 1.0,
        made_of: format!("{after:.2} MiB of memory after the load of this run"),
    };
    Ok([throughput, costs])
}
