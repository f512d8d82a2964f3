//! P4, and P1 and P2 again: the distributed engine on one local Redis and DynamoDB Local, on the same cores as
//! everything else. Also, for `docs/scale.md`: how joins scale with nodes, and the cost of a visitor at DynamoDB.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::cost::{Asked, cost};
use super::distance::far_away;
use super::ground::Ground;
use super::line::{JOIN, against_bare, look, tickets};
use super::process::Server;
use super::report::{self, grouped};
use super::streams::{Stream, hear};
use super::wrk::{self, Load};
use super::{Bar, Options, Outcome, median};

/// The bars, and the measurements for `docs/scale.md`.
pub const BARS: [&str; 4] = ["P4", "nodes", "news", "cost"];

/// The number of nodes that share an event.
const NODES: [usize; 3] = [1, 2, 4];

/// The number of moves at one node while a visitor listens at another, and their interval: long enough that only the
/// way from node to node delays them.
const MOVES: u64 = 20;
const PACE: Duration = Duration::from_millis(1_100);

/// The time after which nodes know that Redis is gone.
const BEREFT: Duration = Duration::from_secs(3);

async fn joining(server: &Server) -> Outcome<Load> {
    let target = "/api/assign_queue_num";
    let (_, answer_length) = server.post(target, JOIN).await?;
    Ok(Load { address: server.address.clone(), requests: vec![format!("POST {target} {JOIN}")], answer_length })
}

/// One node against the yardstick, for each job.
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
    // Positions of one length, so that the answers have one length too.
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

/// Joins through several nodes concurrently.
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
            let (scratch, seconds) = (scratch.join(index.to_string()), options.long_round());
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

/// The delay until a visitor at one node gets a move from another, with and without Redis.
async fn news(mut ground: Ground) -> Outcome<String> {
    let nodes = ground.nodes("news", 2)?;
    let [here, there] = nodes.as_slice() else { return Err("not two nodes".into()) };
    let mut stream = [Stream::of_line(there).await?];
    let with_redis = hear(&mut stream, here, 0, MOVES, PACE).await?;
    let far_away = far_away(&ground).await?;
    ground.take_redis_away();
    sleep(BEREFT).await;
    let without = hear(&mut stream, here, MOVES, MOVES, PACE).await?;
    let mut table =
        "| a move at one node is heard at another | half of the moves within | slowest |\n|---|---|---|\n".to_owned();
    for (way, delays) in [("with Redis", with_redis), ("while Redis is away", without)] {
        eprintln!("news {way}: {:.0} ms, slowest {:.0} ms", delays.median_ms, delays.slowest_ms);
        table += &format!("| {way} | {:.0} ms | {:.0} ms |\n", delays.median_ms, delays.slowest_ms);
    }
    table += &far_away;
    drop(stream);
    nodes.into_iter().try_for_each(Server::stop)?;
    Ok(table)
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
        tables += &format!("{}\n", cost(options, &ground).await?);
    }
    if options.wants(&["news"]) {
        tables += &news(ground).await?;
    }
    println!("\n{tables}");
    if options.document {
        report::write_scale(&tables, options)?;
    }
    Ok(bars)
}
