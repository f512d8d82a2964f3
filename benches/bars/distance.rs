//! The delay of a move at a node that is far from DynamoDB while many events move, for `docs/scale.md`.
//!
//! The operator moves the counters at a node beside DynamoDB; a visitor polls the other node for all of them. A delay
//! is from sending the operator's call until an answer contains the number, so it includes the call itself.

use std::cell::{Cell, RefCell};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{try_join, try_join_all};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, sleep_until, timeout};

use super::ground::Ground;
use super::http::{Connection, get};
use super::process::Server;
use super::{Outcome, ensure, median};

/// How many events move each second, and the additional latency of DynamoDB for the other node.
const CASES: [(usize, Duration); 3] =
    [(24, Duration::from_millis(300)), (100, Duration::from_millis(300)), (100, Duration::ZERO)];

/// The number of moves of each event.
const MOVES: u64 = 10;

/// After this time a move counts as lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time until both nodes are subscribed to Redis.
const SETTLING: Duration = Duration::from_secs(2);

/// The pause after each round of polls.
const LOOK: Duration = Duration::from_millis(5);

/// Forwards one direction of a connection, each piece with a delay.
async fn carry(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, later: Duration) {
    let (sender, mut pieces) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    let reading = async move {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            if sender.send((tokio::time::Instant::now() + later, piece[..length].to_vec())).is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

/// A port that forwards everything to `port` and back with a latency of `distance`. It has a thread of its own: the
/// start of a node blocks its caller until the node listens, and the node needs DynamoDB before that.
fn far_from(port: u16, distance: Duration) -> Outcome<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let far = listener.local_addr()?.port();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || runtime.block_on(relay(listener, port, distance)));
    Ok(far)
}

async fn relay(listener: std::net::TcpListener, port: u16, distance: Duration) -> Outcome<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (near, _) = listener.accept().await?;
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let ((near_in, near_out), (server_in, server_out)) = (near.into_split(), server.into_split());
            tokio::join!(carry(near_in, server_out, distance / 2), carry(server_in, near_out, distance / 2));
        });
    }
}

/// For each move of an event: when it was sent, how long the call took in milliseconds, and how many are shown.
#[derive(Default)]
struct Line {
    sent: RefCell<Vec<Instant>>,
    calls: RefCell<Vec<f64>>,
    shown: Cell<u64>,
}

/// Moves an event once a second, from its own offset.
async fn moves(line: &Line, number: usize, lines: usize, by: &Server) -> Outcome<()> {
    sleep(Duration::from_secs(1) * u32::try_from(number)? / u32::try_from(lines)?).await;
    let mut ticks = interval(Duration::from_secs(1));
    for _ in 0..MOVES {
        ticks.tick().await;
        let began = Instant::now();
        line.sent.borrow_mut().push(began);
        let body = format!(r#"{{"event_id":"Line{number}","increment_by":1}}"#);
        by.post("/private/increment_serving_num", &body).await?;
        line.calls.borrow_mut().push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

/// Polls the events in turn until all moves are shown; returns the delays in milliseconds. A number that was never
/// sent, or that goes back, fails the run.
async fn looks(lines: &[Line], at: &Server) -> Outcome<Vec<f64>> {
    let mut connection = Connection::open(&at.address).await?;
    let mut delays = Vec::new();
    while lines.iter().any(|line| line.shown.get() < MOVES) {
        for (number, line) in lines.iter().enumerate() {
            let target = format!("/api/serving_num?event_id=Line{number}");
            let answer = connection.ask(&get(&target, "")).await?;
            ensure(answer.status == 200, || format!("{target}: {answer:?}"))?;
            let answer: Value = serde_json::from_str(answer.body)?;
            let serving = answer["serving_counter"].as_u64().ok_or("no counter")?;
            let (before, sent) = (line.shown.replace(serving), line.sent.borrow());
            ensure(before <= serving, || format!("line {number} went back from {before} to {serving}"))?;
            let news = sent.get(usize::try_from(before)?..usize::try_from(serving)?);
            let news = news.ok_or_else(|| format!("line {number} shows {serving} of {} moves", sent.len()))?;
            delays.extend(news.iter().map(|sent| sent.elapsed().as_secs_f64() * 1e3));
        }
        sleep(LOOK).await;
    }
    Ok(delays)
}

/// The latency is real: a join at the far node waits for a write.
async fn is_far(node: &Server, distance: Duration) -> Outcome<()> {
    let began = Instant::now();
    node.post("/api/assign_queue_num", r#"{"event_id":"Line0"}"#).await?;
    ensure(began.elapsed() >= distance, || format!("a join at the far node takes {:?}", began.elapsed()))
}

/// The rows of the table of news.
pub async fn far_away(ground: &Ground) -> Outcome<String> {
    let mut rows = String::new();
    for (count, distance) in CASES {
        let far = far_from(ground.dynamodb(), distance)?;
        let lines =
            (0..count).map(|line| format!("\n[[event]]\nid = \"Line{line}\"\ninlet = {{ strategy = \"manual\" }}\n"));
        let (name, milliseconds) = (format!("far{count}x{}", distance.as_millis()), distance.as_millis());
        let nodes = ground.nodes_at(&name, &[ground.dynamodb(), far], &lines.collect::<String>())?;
        let [here, there] = nodes.as_slice() else { return Err("not two nodes".into()) };
        sleep(SETTLING).await;
        is_far(there, distance).await?;
        let lines: Vec<Line> = (0..count).map(|_| Line::default()).collect();
        let moving = try_join_all(lines.iter().enumerate().map(|(number, line)| moves(line, number, count, here)));
        let measuring = timeout(PATIENCE, try_join(moving, looks(&lines, there)));
        let (_, delays) = measuring.await.map_err(|_| "a move is never shown")??;
        ensure(delays.len() as u64 == MOVES * count as u64, || format!("{} moves were shown", delays.len()))?;
        let (middle, slowest) = (median(&delays), delays.iter().copied().fold(0.0, f64::max));
        let call = median(&lines.iter().flat_map(|line| line.calls.take()).collect::<Vec<_>>());
        eprintln!(
            "{count} lines, {milliseconds} ms away: {middle:.0} ms, slowest {slowest:.0} ms; the calls themselves take {call:.0} ms"
        );
        rows += &format!(
            "| with Redis, {count} lines that move each second, DynamoDB {milliseconds} ms away | {middle:.0} ms | {slowest:.0} ms |\n"
        );
        nodes.into_iter().try_for_each(Server::stop)?;
    }
    Ok(rows)
}
