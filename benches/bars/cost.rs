//! The cost of a visitor at DynamoDB, for `docs/scale.md`.

use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::ground::Ground;
use super::http::{Connection, post};
use super::line::JOIN;
use super::process::Server;
use super::report::grouped;
use super::{Options, Outcome, ensure};

/// Visitors of a two-hour event.
const EVENTS: [u64; 2] = [100_000, 10_000_000];

/// Two hours.
const EVENT_SECONDS: f64 = 7_200.0;

/// US dollars for a million request units on demand, us-east-1: (write, read), as of November 2026.
const PRICES: (f64, f64) = (0.625, 0.125);

/// Requests to DynamoDB, and their billed units.
#[derive(Clone, Copy, Default)]
pub struct Asked {
    requests: f64,
    pub writes: f64,
    write_units: f64,
    read_units: f64,
}

impl Asked {
    /// The sum of all nodes so far.
    pub async fn by(nodes: &[Server]) -> Outcome<Self> {
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

    /// The difference since `self`, divided by `count`.
    pub fn since(self, before: Self, count: f64, each: f64) -> Self {
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

/// Visitors through two nodes at the rate of a two-hour event: first they join, then they are admitted and get tokens.
pub async fn cost(options: &Options, ground: &Ground) -> Outcome<String> {
    let mut table = "| visitors in two hours | for 1 000 who join: requests, write + read units | for 1 000 who are let in | for two hours without visitors | DynamoDB for the event |\n|---|---|---|---|---|\n".to_owned();
    let said = |asked: Asked| {
        let [requests, writes, reads] = [asked.requests, asked.write_units, asked.read_units].map(grouped);
        format!("{requests}, {writes} + {reads}")
    };
    for visitors in EVENTS {
        let nodes = ground.nodes(&format!("cost{visitors}"), 2)?;
        let rate = visitors as f64 / EVENT_SECONDS;
        let (seconds, lanes) = (options.long_round() * 2, (rate / 10.0).ceil().clamp(4.0, 64.0) as u64);
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
        // Requests without visitors are in both figures already.
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

/// Joins visitors, one each `pace` seconds; returns their tickets.
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

/// Admits them at another node than they joined at, one each `pace` seconds.
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

/// Moves the counter like an inlet, each second.
async fn step(nodes: &[Server], rate: f64, seconds: u64) -> Outcome<()> {
    let mut ticks = interval(Duration::from_secs(1));
    // The last visitor is admitted as well.
    for _ in 0..seconds + 5 {
        ticks.tick().await;
        let by = rate.ceil() as u64 + 1;
        let body = format!(r#"{{"event_id":"Sample","increment_by":{by}}}"#);
        nodes.first().ok_or("no node")?.post("/private/increment_serving_num", &body).await?;
    }
    Ok(())
}
