//! P6: waiting visitors, each with an event stream: the memory of one, and the delay until all of them get a move.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

use super::http::get;
use super::process::{Server, prepare};
use super::{Bar, Options, Outcome, ensure, median};

/// The bar.
pub const BARS: [&str; 1] = ["P6"];

/// The number of visitors; a process here may open 20 000 files.
const VISITORS: usize = 15_000;

/// The number of concurrent connects.
const ARRIVING: usize = 256;

/// Each round takes half a minute, and they vary little.
const ROUNDS: usize = 3;

/// The number of moves while all of them listen, and their interval: shorter than a stream's throttle.
const MOVES: u64 = 20;
const PACE: Duration = Duration::from_millis(500);

/// The stream of the event `Sample`.
const LINE: &str = "/line/Sample/events";

/// A visitor's event stream.
pub struct Stream {
    connection: TcpStream,
    /// The bytes after the last complete message.
    rest: Vec<u8>,
}

impl Stream {
    /// Opens the stream; it has sent its first state.
    pub async fn of_line(server: &Server) -> Outcome<Self> {
        Self::open(server, LINE).await
    }

    async fn open(server: &Server, target: &str) -> Outcome<Self> {
        let mut connection = TcpStream::connect(&server.address).await?;
        connection.write_all(get(target, "").as_bytes()).await?;
        let mut stream = Self { connection, rest: Vec::new() };
        let head = stream.until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        let good = head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream");
        ensure(good, || format!("{target}: {head}"))?;
        stream.message().await?;
        // Fifteen thousand buffers would distort the measurement.
        stream.rest.shrink_to_fit();
        Ok(stream)
    }

    /// Reads up to and including `end`.
    async fn until(&mut self, end: &[u8]) -> Outcome<Vec<u8>> {
        loop {
            if let Some(at) = self.rest.windows(end.len()).position(|window| window == end) {
                let rest = self.rest.split_off(at + end.len());
                return Ok(std::mem::replace(&mut self.rest, rest));
            }
            self.rest.reserve(512);
            let read = self.connection.read_buf(&mut self.rest).await?;
            ensure(read > 0, || "a stream ended".to_owned())?;
        }
    }

    /// The data of the next message. It is in a chunk of its own, preceded by the chunk's size.
    async fn message(&mut self) -> Outcome<Value> {
        let message = String::from_utf8(self.until(b"\n\n").await?)?;
        let data = message.lines().find_map(|line| line.strip_prefix("data: "));
        Ok(serde_json::from_str(data.ok_or_else(|| format!("no data: {message}"))?)?)
    }

    /// Reads until the counter has reached `last`; `heard` gets every message.
    async fn listen(&mut self, last: u64, heard: impl Fn(u64)) -> Outcome<()> {
        let mut serving = 0;
        while serving < last {
            let line = self.message().await?;
            let shown = line["serving"].as_u64().filter(|&shown| shown >= serving && shown <= last);
            serving = shown.ok_or_else(|| format!("after {serving} of {last} served, a stream says {line}"))?;
            heard(serving);
        }
        Ok(())
    }
}

/// The delay from sending a move until a visitor has got it or a later one.
pub struct Delays {
    /// The median over the moves, each by its slowest visitor, in milliseconds.
    pub median_ms: f64,
    /// The slowest visitor of the slowest move, in milliseconds.
    pub slowest_ms: f64,
}

/// Moves the counter by `by` from `from`, while all visitors read.
pub async fn hear(streams: &mut [Stream], by: &Server, from: u64, moves: u64, pace: Duration) -> Outcome<Delays> {
    let sent: Vec<Cell<Option<Instant>>> = (0..moves).map(|_| Cell::new(None)).collect();
    let slowest: Vec<Cell<f64>> = (0..moves).map(|_| Cell::new(0.0)).collect();
    let listening = try_join_all(streams.iter_mut().map(async |stream| {
        let next = Cell::new(0);
        let heard = |serving: u64| {
            let shown = serving.saturating_sub(from) as usize;
            for index in next.replace(shown.max(next.get()))..shown {
                let delay = sent[index].get().map_or(0.0, |sent| sent.elapsed().as_secs_f64() * 1e3);
                slowest[index].set(slowest[index].get().max(delay));
            }
        };
        stream.listen(from + moves, heard).await
    }));
    let moving = async {
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for sent in &sent {
            ticks.tick().await;
            sent.set(Some(Instant::now()));
            by.post("/private/increment_serving_num", r#"{"event_id":"Sample","increment_by":1}"#).await?;
        }
        Ok(())
    };
    tokio::try_join!(listening, moving)?;
    let slowest: Vec<f64> = slowest.into_iter().map(Cell::into_inner).collect();
    Ok(Delays { median_ms: median(&slowest), slowest_ms: slowest.iter().copied().fold(0.0, f64::max) })
}

/// Opens a stream for every visitor; returns them, and the server's KiB per stream.
async fn wait_in(server: &Server, target: &str) -> Outcome<(Vec<Stream>, f64)> {
    let before = server.resident()?;
    let opening = stream::iter(0..VISITORS).map(|_| Stream::open(server, target));
    let streams: Vec<Stream> = opening.buffer_unordered(ARRIVING).try_collect().await?;
    Ok((streams, per_visitor(server, before)?))
}

fn per_visitor(server: &Server, before: u64) -> Outcome<f64> {
    Ok((server.resident()? - before) as f64 / 1024.0 / VISITORS as f64)
}

/// An Anteroom without visitors.
async fn site() -> Outcome<(Server, TempDir)> {
    let directory = tempfile::tempdir()?;
    prepare(directory.path())?;
    let server = Server::anteroom(directory.path())?;
    server.get("/api/serving_num?event_id=Sample").await?;
    Ok((server, directory))
}

/// Measures.
pub async fn measure(options: &Options) -> Outcome<Vec<Bar>> {
    let (mut bare, mut ours, mut after, mut delays) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let rounds = options.rounds.min(ROUNDS);
    for _ in 0..rounds {
        let yardstick = Server::bare()?;
        yardstick.get("/number").await?;
        bare.push(wait_in(&yardstick, "/events").await?.1);

        let (server, _directory) = site().await?;
        let before = server.resident()?;
        let (mut streams, each) = wait_in(&server, LINE).await?;
        ours.push(each);
        delays.push(hear(&mut streams, &server, 0, MOVES, PACE).await?.slowest_ms);
        after.push(per_visitor(&server, before)?);
        drop(streams);
        server.stop()?;
    }
    eprintln!("P6: KiB bare {bare:.1?}, ours {ours:.1?}, after {MOVES} moves {after:.1?}; slowest {delays:.0?} ms");
    let (bare, ours, after) = (median(&bare), median(&ours), median(&after));
    let (ratio, slowest) = (ours / bare, delays.iter().copied().fold(0.0, f64::max));
    let bar = |job, figure, reach, reached, made_of| Bar { id: "P6", job, figure, reach, reached, made_of };
    Ok(vec![
        bar(
            "memory of a visitor on an event stream, 15 000 of them",
            format!("{ratio:.2}"),
            "≤ 1.3",
            ratio <= 1.3,
            format!("{ours:.1} ÷ {bare:.1} KiB; {after:.1} KiB after {MOVES} moves"),
        ),
        bar(
            "from a move to the last of 15 000 visitors",
            format!("{:.2} s", slowest / 1e3),
            "≤ 2 s",
            slowest <= 2e3,
            format!("the slowest of {} moves, one each half second", MOVES * rounds as u64),
        ),
    ])
}
