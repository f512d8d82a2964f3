//! How soon a move is shown by a node that is far from DynamoDB while many lines move, for `docs/scale.md`.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, sleep_until};

use super::ground::Ground;
use super::http::{Connection, get};
use super::process::Server;
use super::{Outcome, median};

/// How many lines move each second, and how often.
const LINES: [usize; 2] = [24, 100];
const MOVES: u64 = 10;

/// How long DynamoDB takes to answer the other node, beyond its own time.
const DISTANCE: Duration = Duration::from_millis(300);

/// Until both nodes listen to Redis.
const SETTLING: Duration = Duration::from_secs(2);

/// How long the other node is left alone after it was asked for every line.
const LOOK: Duration = Duration::from_millis(5);

/// Carries one way of a connection, each piece of it a half of [`DISTANCE`] later.
async fn carry(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
    let (sender, mut pieces) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    let reading = async move {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            if sender.send((tokio::time::Instant::now() + DISTANCE / 2, piece[..length].to_vec())).is_err() {
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

/// A port from which everything to `port` and back takes [`DISTANCE`].
async fn far_from(port: u16) -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let far = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let ((near_in, near_out), (server_in, server_out)) = (near.into_split(), server.into_split());
                tokio::join!(carry(near_in, server_out), carry(server_in, near_out));
            });
        }
    });
    Ok(far)
}

/// When which move of a line was sent, and how long it took to be shown.
#[derive(Default)]
struct Line {
    sent: RefCell<Vec<Instant>>,
    shown: Cell<u64>,
}

/// Has a line moved once a second, from a moment of its own.
async fn moves(line: &Line, number: usize, lines: usize, by: &Server) -> Outcome<()> {
    sleep(Duration::from_secs(1) * u32::try_from(number)? / u32::try_from(lines)?).await;
    let mut ticks = interval(Duration::from_secs(1));
    for _ in 0..MOVES {
        ticks.tick().await;
        line.sent.borrow_mut().push(Instant::now());
        let body = format!(r#"{{"event_id":"Line{number}","increment_by":1}}"#);
        by.post("/private/increment_serving_num", &body).await?;
    }
    Ok(())
}

/// Looks at the lines in turn until all moves are shown; the delays in milliseconds.
async fn looks(lines: &[Line], at: &Server) -> Outcome<Vec<f64>> {
    let mut connection = Connection::open(&at.address).await?;
    let mut delays = Vec::new();
    while lines.iter().any(|line| line.shown.get() < MOVES) {
        for (number, line) in lines.iter().enumerate() {
            let target = format!("/api/serving_num?event_id=Line{number}");
            let answer: Value = serde_json::from_str(connection.ask(&get(&target, "")).await?.body)?;
            let serving = answer["serving_counter"].as_u64().ok_or("no counter")?;
            for shown in line.shown.replace(serving)..serving {
                delays.push(line.sent.borrow()[usize::try_from(shown)?].elapsed().as_secs_f64() * 1e3);
            }
        }
        sleep(LOOK).await;
    }
    Ok(delays)
}

/// The rows of the table of news.
pub async fn far_away(ground: &Ground) -> Outcome<String> {
    let mut rows = String::new();
    let far = far_from(ground.dynamodb()).await?;
    for count in LINES {
        let lines =
            (0..count).map(|line| format!("\n[[event]]\nid = \"Line{line}\"\ninlet = {{ strategy = \"manual\" }}\n"));
        let nodes = ground.nodes_at(&format!("far{count}"), &[ground.dynamodb(), far], &lines.collect::<String>())?;
        let [here, there] = nodes.as_slice() else { return Err("not two nodes".into()) };
        sleep(SETTLING).await;
        let lines: Vec<Line> = (0..count).map(|_| Line::default()).collect();
        let moving = try_join_all(lines.iter().enumerate().map(|(number, line)| moves(line, number, count, here)));
        let (_, delays) = tokio::try_join!(moving, looks(&lines, there))?;
        let (middle, slowest) = (median(&delays), delays.iter().copied().fold(0.0, f64::max));
        eprintln!("{count} lines, far away: {middle:.0} ms, slowest {slowest:.0} ms");
        let distance = DISTANCE.as_millis();
        rows += &format!(
            "| with Redis, {count} lines that move each second, DynamoDB {distance} ms away | {middle:.0} ms | {slowest:.0} ms |\n"
        );
        nodes.into_iter().try_for_each(Server::stop)?;
    }
    Ok(rows)
}
