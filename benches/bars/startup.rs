//! P9: startup time on an existing directory, memory of an idle process, and size of the program.

use std::fs;
use std::time::{Duration, Instant};

use super::process::{BINARY, Server, prepare};
use super::report::mib;
use super::{Bar, Options, Outcome, ensure, median};

/// The bar.
pub const BARS: [&str; 1] = ["P9"];

/// Enough starts for a meaningful median; each takes tenths of a second.
const STARTS: usize = 11;

/// The time after which a started process has settled.
const SETTLED: Duration = Duration::from_secs(2);

/// Measures.
pub async fn measure(_: &Options) -> Outcome<Vec<Bar>> {
    eprintln!("P9: starting");
    let scratch = tempfile::tempdir()?;
    prepare(scratch.path())?;
    Server::anteroom(scratch.path())?.stop()?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let server = Server::anteroom(scratch.path())?;
        let (body, _) = server.get("/api/serving_num?event_id=Sample").await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        ensure(body == r#"{"serving_counter":0}"#, || format!("the first answer is {body}"))?;
        server.stop()?;
    }
    let server = Server::anteroom(scratch.path())?;
    tokio::time::sleep(SETTLED).await;
    let resident = mib(server.resident()?);
    let size = mib(fs::metadata(BINARY)?.len());
    let bar = |job, figure, reach, reached| Bar { id: "P9", job, figure, reach, reached, made_of: String::new() };
    let start = median(&times);
    let mut bars = vec![
        bar("start to first answer", format!("{start:.0} ms"), "≤ 150 ms", start <= 150.0),
        bar("resident memory, idle", format!("{resident:.1} MiB"), "≤ 30 MiB", resident <= 30.0),
        bar("size of the binary", format!("{size:.1} MiB"), "≤ 40 MiB", size <= 40.0),
    ];
    bars[0].made_of = format!("median of {STARTS} starts on a directory that exists");
    Ok(bars)
}
