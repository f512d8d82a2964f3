//! P4, and P1 and P2 once more: the distributed engine on one local Redis and DynamoDB Local, on the same cores as
//! everything else. Besides, for `docs/scale.md`: how joins grow with the nodes, and what a visitor costs at DynamoDB.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::http::{Connection, post};
use super::line::{JOIN, against_bare, look, tickets};
use super::process::{BINARY, Server, prepare};
use super::report::{self, grouped};
use super::wrk::{self, Load};
use super::{Bar, Options, Outcome, ensure, median};

/// What is measured here: bars, and what `docs/scale.md` tells besides.
pub const BARS: [&str; 3] = ["P4", "nodes", "cost"];

/// How many nodes share a line.
const NODES: [usize; 3] = [1, 2, 4];

/// Visitors of a two-hour event.
const EVENTS: [u64; 2] = [100_000, 10_000_000];

/// Two hours.
const EVENT_SECONDS: f64 = 7_200.0;

/// US dollars for a million request units on demand, us-east-1: (write, read), as of November 2026.
const PRICES: (f64, f64) = (0.625, 0.125);

/// A server that is not ours, ended with its handle.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the nodes stand on.
struct Ground {
    directory: TempDir,
    redis: u16,
    dynamodb: u16,
    _servers: [Stranger; 2],
}

impl Ground {
    async fn open() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let (redis, dynamodb) = (free_port()?, free_port()?);
        let place = dynamodb_local()?;
        let start = |command: &mut Command| {
            let quiet = command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
            quiet.stderr(Stdio::null()).spawn().map(Stranger)
        };
        let mut java = Command::new("java");
        java.arg("-classpath").arg(place.join("*")).arg("software.amazon.dynamodb.services.local.main.ServerRunner");
        java.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &dynamodb.to_string()]);
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--save", "", "--port", &redis.to_string()]);
        let servers = [start(&mut java)?, start(&mut server)?];
        for port in [redis, dynamodb] {
            let patience = Instant::now() + Duration::from_secs(60);
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                ensure(Instant::now() < patience, || format!("nothing answers at port {port}"))?;
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(Self { directory, redis, dynamodb, _servers: servers })
    }

    /// Nodes that share fresh tables.
    fn nodes(&self, name: &str, count: usize) -> Outcome<Vec<Server>> {
        let directories: Vec<PathBuf> =
            (0..count).map(|index| self.directory.path().join(format!("{name}-{index}"))).collect();
        for directory in &directories {
            prepare(directory)?;
            let file = directory.join("anteroom.toml");
            let (redis, dynamodb) = (self.redis, self.dynamodb);
            let store = format!(
                "\n[store]\nengine = \"distributed\"\nredis_url = \"redis://127.0.0.1:{redis}\"\n\
                 dynamodb_endpoint = \"http://127.0.0.1:{dynamodb}\"\ntable_prefix = \"{name}-\"\n"
            );
            fs::write(&file, fs::read_to_string(&file)? + &store)?;
        }
        let first = directories.first().ok_or("no node")?.join("anteroom.toml");
        let mut init = Command::new(BINARY);
        let made = init.args(["store", "init", "--config"]).arg(first).stdout(Stdio::null());
        let made = made.env("AWS_ACCESS_KEY_ID", "bench").env("AWS_SECRET_ACCESS_KEY", "bench").status()?;
        ensure(made.success(), || "the tables cannot be created".to_owned())?;
        directories.iter().map(|directory| Server::anteroom(directory)).collect()
    }
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Where `scripts/bench` put DynamoDB Local: beside the profile's directory that this program runs in.
fn dynamodb_local() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let found = program.ancestors().map(|place| place.join("dynamodb-local")).find(|place| place.is_dir());
    Ok(found.ok_or("DynamoDB Local is missing: run scripts/bench")?)
}

async fn joining(server: &Server) -> Outcome<Load> {
    let target = "/api/assign_queue_num";
    let (_, answer_length) = server.post(target, JOIN).await?;
    Ok(Load { address: server.address.clone(), requests: vec![format!("POST {target} {JOIN}")], answer_length })
}

/// One node against the yardstick, at each of the jobs.
async fn one_node(options: &Options, ground: &Ground, scratch: &Path) -> Outcome<Vec<Bar>> {
    let bare = Server::bare()?;
    let node = ground.nodes("one", 1)?.remove(0);
    let echo = bare.post("/echo", JOIN).await?.1;
    let constant = bare.get("/number").await?.1;
    let bare_get = |request: &str| Load {
        address: bare.address.clone(),
        requests: vec![request.to_owned()],
        answer_length: constant,
    };
    let echo =
        Load { address: bare.address.clone(), requests: vec![format!("POST /echo {JOIN}")], answer_length: echo };
    // Among positions of one length, so that the answers have one, too.
    for _ in 0..1_000 {
        node.post("/api/assign_queue_num", JOIN).await?;
    }
    let number = tickets(&node).await?;
    let jobs = [
        (
            "P1",
            "`GET /api/serving_num`, distributed",
            ("≥ 0.90", 0.90),
            bare_get("GET /number?event_id=Sample"),
            look(&node).await?,
        ),
        ("P2", "`GET /api/queue_num`, distributed", ("≥ 0.85", 0.85), bare_get("GET /number?event_id=Sample"), number),
        ("P4", "`POST /api/assign_queue_num`, distributed", ("≥ 0.50", 0.50), echo, joining(&node).await?),
    ];
    let mut bars = Vec::new();
    for (id, job, least, yardstick, load) in jobs {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        wrk::run(&load, 1, scratch)?;
        for _ in 0..options.rounds {
            bare.push(wrk::run(&yardstick, options.seconds, scratch)?.rate);
            let round = wrk::run(&load, options.seconds, scratch)?;
            eprintln!("{id}, distributed: {:.0} (p99 {:.2} ms)", round.rate, round.p99_ms);
            ours.push(round.rate);
        }
        bars.push(against_bare(id, job, median(&ours), median(&bare), least));
    }
    node.stop()?;
    Ok(bars)
}

/// Joins through several nodes at once.
async fn scaling(options: &Options, ground: &Ground, scratch: &Path) -> Outcome<String> {
    let mut table =
        "| nodes | joins a second | slowest node's p99 | writes of the event's item a second |\n|---|---|---|---|\n"
            .to_owned();
    for count in NODES {
        let nodes = ground.nodes(&format!("scale{count}"), count)?;
        let loads = try_join_all(nodes.iter().map(joining)).await?;
        let before = Asked::by(&nodes).await?;
        let began = Instant::now();
        let rounds = loads.into_iter().enumerate().map(|(index, load)| {
            let (scratch, seconds) = (scratch.join(index.to_string()), options.seconds);
            tokio::task::spawn_blocking(move || {
                fs::create_dir_all(&scratch)?;
                wrk::run(&load, seconds, &scratch)
            })
        });
        let rounds = try_join_all(rounds).await?.into_iter().collect::<Outcome<Vec<_>>>()?;
        let writes = Asked::by(&nodes).await?.since(before, began.elapsed().as_secs_f64(), 1.0).writes;
        let rate: f64 = rounds.iter().map(|round| round.rate).sum();
        let p99 = rounds.iter().map(|round| round.p99_ms).fold(0.0, f64::max);
        eprintln!("{count} nodes: {rate:.0} joins a second, p99 {p99:.1} ms, {writes:.0} writes");
        table += &format!("| {count} | {} | {p99:.0} ms | {writes:.0} |\n", grouped(rate));
        nodes.into_iter().try_for_each(Server::stop)?;
    }
    Ok(table)
}

/// What was asked of DynamoDB: requests, and the units that they are billed for.
#[derive(Clone, Copy, Default)]
struct Asked {
    requests: f64,
    writes: f64,
    write_units: f64,
    read_units: f64,
}

impl Asked {
    /// By all nodes, so far.
    async fn by(nodes: &[Server]) -> Outcome<Self> {
        let mut sum = Self::default();
        for node in nodes {
            let (metrics, _) = node.get_as_operator("/metrics").await?;
            let value = |name: &str, kind: &str| {
                let start = format!("anteroom_dynamodb_{name}_total{{kind=\"{kind}\"}}");
                let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
                line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0)
            };
            sum.requests += value("requests", "write") + value("requests", "read");
            sum.writes += value("requests", "write");
            sum.write_units += value("units", "write");
            sum.read_units += value("units", "read");
        }
        Ok(sum)
    }

    /// Since then, for each so many of `count`.
    fn since(self, before: Self, count: f64, each: f64) -> Self {
        let part = |now: f64, then: f64| (now - then) * each / count;
        Self {
            requests: part(self.requests, before.requests),
            writes: part(self.writes, before.writes),
            write_units: part(self.write_units, before.write_units),
            read_units: part(self.read_units, before.read_units),
        }
    }

    fn dollars(self) -> f64 {
        (self.write_units * PRICES.0 + self.read_units * PRICES.1) / 1e6
    }
}

/// Visitors through two nodes at the pace of an event of two hours: first they join, then they are let in and get tokens.
async fn cost(options: &Options, ground: &Ground) -> Outcome<String> {
    let mut table = "| visitors in two hours | for 1 000 who join: requests, write + read units | for 1 000 who are let in | for two hours without visitors | DynamoDB for the event |\n|---|---|---|---|---|\n".to_owned();
    let said = |asked: Asked| {
        let [requests, writes, reads] = [asked.requests, asked.write_units, asked.read_units].map(grouped);
        format!("{requests}, {writes} + {reads}")
    };
    for visitors in EVENTS {
        let nodes = ground.nodes(&format!("cost{visitors}"), 2)?;
        let rate = visitors as f64 / EVENT_SECONDS;
        let (seconds, lanes) = (options.seconds.max(5) * 2, (rate / 10.0).ceil().clamp(4.0, 64.0) as u64);
        let (each, pace) = ((rate * seconds as f64).round() as u64 / lanes, lanes as f64 / rate);
        let count = (each * lanes) as f64;

        let start = Asked::by(&nodes).await?;
        sleep(Duration::from_secs(seconds)).await;
        let quiet = Asked::by(&nodes).await?;
        let tickets = try_join_all((0..lanes).map(|lane| join(&nodes, lane, each, pace))).await?;
        let joined = Asked::by(&nodes).await?;
        let entering = (0..).zip(tickets).map(|(lane, tickets)| enter(&nodes, lane, tickets, pace));
        let (entered, stepped) = tokio::join!(try_join_all(entering), step(&nodes, rate, seconds));
        entered.and(stepped)?;
        let entered = Asked::by(&nodes).await?;

        let idle = quiet.since(start, seconds as f64, EVENT_SECONDS);
        let (joined, entered) = (joined.since(quiet, count, 1e3), entered.since(joined, count, 1e3));
        // What is asked without visitors is in both figures already.
        let dollars = (joined.dollars() + entered.dollars()) * visitors as f64 / 1e3;
        eprintln!("{visitors} visitors: joined {}, let in {}, ${dollars:.2}", said(joined), said(entered));
        table += &format!(
            "| {} | {} | {} | {} | ${dollars:.2} |\n",
            grouped(visitors as f64),
            said(joined),
            said(entered),
            said(idle)
        );
        nodes.into_iter().try_for_each(Server::stop)?;
    }
    Ok(table)
}

fn every(pace: f64) -> tokio::time::Interval {
    let mut ticks = interval(Duration::from_secs_f64(pace));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

/// So many join, one each `pace` seconds; answers their tickets.
async fn join(nodes: &[Server], lane: u64, count: u64, pace: f64) -> Outcome<Vec<String>> {
    let mut connection = Connection::open(&nodes[lane as usize % nodes.len()].address).await?;
    let (mut ticks, mut tickets) = (every(pace), Vec::new());
    for _ in 0..count {
        ticks.tick().await;
        let joined = connection.ask(&post("/api/assign_queue_num", "Content-Type: application/json\r\n", JOIN)).await?;
        ensure(joined.status == 200, || format!("a join: {joined:?}"))?;
        let joined: Value = serde_json::from_str(joined.body)?;
        tickets.push(joined["api_request_id"].as_str().unwrap_or_default().to_owned());
    }
    Ok(tickets)
}

/// They are let in at another node than they joined at, one each `pace` seconds.
async fn enter(nodes: &[Server], lane: u64, tickets: Vec<String>, pace: f64) -> Outcome<()> {
    let mut connection = Connection::open(&nodes[(lane as usize + 1) % nodes.len()].address).await?;
    let mut ticks = every(pace);
    for ticket in tickets {
        ticks.tick().await;
        admit(&mut connection, &ticket).await?;
    }
    Ok(())
}

async fn admit(connection: &mut Connection, ticket: &str) -> Outcome<()> {
    let body = format!(r#"{{"event_id":"Sample","request_id":"{ticket}"}}"#);
    for _ in 0..50 {
        let request = post("/api/generate_token", "Content-Type: application/json\r\n", &body);
        let answer = connection.ask(&request).await?;
        match answer.status {
            200 => return Ok(()),
            202 => sleep(Duration::from_millis(200)).await,
            _ => return Err(format!("generate_token: {answer:?}").into()),
        }
    }
    Err("a visitor is never served".into())
}

/// Moves the line as an inlet does, each second.
async fn step(nodes: &[Server], rate: f64, seconds: u64) -> Outcome<()> {
    let mut ticks = interval(Duration::from_secs(1));
    // Who joined last is let in as well.
    for _ in 0..seconds + 5 {
        ticks.tick().await;
        let by = rate.ceil() as u64 + 1;
        let body = format!(r#"{{"event_id":"Sample","increment_by":{by}}}"#);
        nodes.first().ok_or("no node")?.post("/private/increment_serving_num", &body).await?;
    }
    Ok(())
}

/// Measures.
pub async fn measure(options: &Options) -> Outcome<Vec<Bar>> {
    eprintln!("P4: starting Redis and DynamoDB Local");
    let ground = Ground::open().await?;
    let scratch = tempfile::tempdir()?;
    let mut bars = Vec::new();
    if options.wants(&["P4"]) {
        bars = one_node(options, &ground, scratch.path()).await?;
    }
    let mut tables = String::new();
    if options.wants(&["nodes"]) {
        tables += &format!("{}\n", scaling(options, &ground, scratch.path()).await?);
    }
    if options.wants(&["cost"]) {
        tables += &cost(options, &ground).await?;
    }
    println!("\n{tables}");
    if options.document {
        report::write_scale(&tables, options)?;
    }
    Ok(bars)
}
