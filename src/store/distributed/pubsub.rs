//! Pub/sub: nodes announce changes to each other by Redis.
//!
//! Owns one channel and the form of its messages. Correctness does not depend on it: changes that are not received are
//! found by reading DynamoDB once a second (`recovery.rs`). So Redis stores nothing, may be emptied, may lose its last
//! writes, may be unreachable. A node of a Redis Cluster passes a message on to all others, so any of them will do.

use futures_util::StreamExt;
use redis::Client;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::state::EventState;
use crate::policy::{PUBSUB_BACKLOG, PUBSUB_BATCH, PUBSUB_LARGEST_ITEM, PUBSUB_RETRY, PUBSUB_SILENCE, PUBSUB_TIMEOUT};
use crate::room::{Counters, EventId};

/// A message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Announcement {
    #[serde(rename = "c")]
    Counters {
        event: EventId,
        counters: Counters,
        /// The whole item, for nodes that write it as well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Box<EventState>>,
    },

    #[serde(rename = "d")]
    Document { name: String },
    #[serde(rename = "l")]
    Letters {},
    /// A heartbeat: the receiver knows that its connection works.
    #[serde(rename = "p")]
    Life {},
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    /// The sender.
    node: String,
    what: Announcement,
}

/// What waits to be published.
pub(super) enum Outgoing {
    News(Announcement),
    /// Answered once everything before it is published.
    Flush(oneshot::Sender<()>),
}

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Publisher {
    out: mpsc::Sender<Outgoing>,
}

impl Publisher {
    /// The publisher of `node`, and the messages of other nodes. To be called on the engine's runtime; it ends with its
    /// last clone.
    pub(super) fn start(clients: Vec<Client>, channel: String, node: String) -> (Self, mpsc::Receiver<Announcement>) {
        let (out, outgoing) = mpsc::channel(PUBSUB_BACKLOG);
        let (incoming, heard) = mpsc::channel(PUBSUB_BACKLOG);
        tokio::spawn(speak(clients.clone(), channel.clone(), node.clone(), outgoing));
        let subscriber = Subscriber { channel, node, incoming, out: out.downgrade() };
        tokio::spawn(subscriber.listen(clients));
        (Self { out }, heard)
    }

    /// One whose messages a test carries.
    #[cfg(test)]
    pub(super) fn over(out: mpsc::Sender<Outgoing>) -> Self {
        Self { out }
    }

    pub(super) fn announce_counters(&self, event: &EventId, counters: Counters, item: Option<EventState>) {
        self.pubsub(Announcement::Counters { event: event.clone(), counters, item: item.map(Box::new) });
    }

    pub(super) fn announce_document(&self, name: &str) {
        self.pubsub(Announcement::Document { name: name.to_owned() });
    }

    pub(super) fn announce_outbox(&self) {
        self.pubsub(Announcement::Letters {});
    }

    /// Messages are dropped while Redis is unreachable and the backlog is full: other nodes read DynamoDB.
    fn pubsub(&self, what: Announcement) {
        drop(self.out.try_send(Outgoing::News(what)));
    }

    /// Waits until everything is published, or cannot be.
    pub(super) async fn flush(&self) {
        let (reply, said) = oneshot::channel();
        if self.out.try_send(Outgoing::Flush(reply)).is_ok() {
            // An error means that the task has ended, or takes too long.
            drop(tokio::time::timeout(PUBSUB_TIMEOUT * 2, said).await);
        }
    }
}

async fn speak(clients: Vec<Client>, channel: String, node: String, mut outgoing: mpsc::Receiver<Outgoing>) {
    let mut connection = None;
    let (mut batch, mut waiting) = (Vec::new(), Vec::new());
    while outgoing.recv_many(&mut batch, PUBSUB_BACKLOG).await > 0 {
        let mut news = Vec::with_capacity(batch.len());
        waiting.clear();
        for what in batch.drain(..) {
            match what {
                Outgoing::News(what) => news.push(what),
                // Dropped with the next batch, or answered below.
                Outgoing::Flush(reply) => waiting.push(reply),
            }
        }
        if connection.is_none() {
            connection = connect(&clients).await;
        }
        let Some(open) = connection.as_mut() else {
            waiting.clear();
            tokio::time::sleep(PUBSUB_RETRY).await;
            continue;
        };
        let messages = newest_only(news).into_iter().filter_map(|what| message(Envelope { node: node.clone(), what }));
        // Several in one request, as Redis may be far away.
        for messages in messages.collect::<Vec<String>>().chunks(PUBSUB_BATCH) {
            let mut request = redis::pipe();
            for message in messages {
                request.publish(&channel, message).ignore();
            }
            let said = tokio::time::timeout(PUBSUB_TIMEOUT, request.query_async::<()>(open)).await;
            if !matches!(said, Ok(Ok(()))) {
                connection = None;
                break;
            }
        }
        for reply in waiting.drain(..) {
            // The caller may have given up.
            let _gone = reply.send(());
        }
    }
}

/// The channel of the nodes that share these tables.
pub(super) fn channel(table_prefix: &str) -> String {
    format!("{table_prefix}changes")
}

/// How many nodes are subscribed; `None`: Redis does not answer.
pub(super) async fn listeners(clients: &[Client], channel: &str) -> Option<u64> {
    let mut sum = None;
    // Each node of a Redis Cluster counts its own subscribers.
    for client in clients {
        let asking = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).query_async::<(String, u64)>(&mut connection).await
        };
        if let Ok(Ok((_, count))) = tokio::time::timeout(PUBSUB_TIMEOUT, asking).await {
            sum = Some(sum.unwrap_or(0) + count);
        }
    }
    sum
}

/// The message as text: without the item, if that is large.
fn message(mut envelope: Envelope) -> Option<String> {
    let whole = serde_json::to_string(&envelope).ok()?;
    match &mut envelope.what {
        Announcement::Counters { item, .. } if whole.len() > PUBSUB_LARGEST_ITEM => *item = None,
        _ => return Some(whole),
    }
    serde_json::to_string(&envelope).ok()
}

/// Of several messages about an event, the last.
fn newest_only(batch: Vec<Announcement>) -> Vec<Announcement> {
    let mut kept: Vec<Announcement> = Vec::with_capacity(batch.len());
    for what in batch {
        let same = |other: &Announcement| match (other, &what) {
            (Announcement::Counters { event: one, .. }, Announcement::Counters { event: other, .. }) => one == other,
            (one, other) => one == other,
        };
        kept.retain(|other| !same(other));
        kept.push(what);
    }
    kept
}

async fn connect(clients: &[Client]) -> Option<redis::aio::MultiplexedConnection> {
    for client in clients {
        let connecting = tokio::time::timeout(PUBSUB_TIMEOUT, client.get_multiplexed_async_connection()).await;
        if let Ok(Ok(connection)) = connecting {
            return Some(connection);
        }
    }
    None
}

/// Receives messages.
struct Subscriber {
    channel: String,
    /// The receiver.
    node: String,
    incoming: mpsc::Sender<Announcement>,
    /// The queue of the publisher.
    out: mpsc::WeakSender<Outgoing>,
}

impl Subscriber {
    async fn listen(self, clients: Vec<Client>) {
        let (mut away, mut reason) = (false, String::new());
        while !self.incoming.is_closed() {
            for client in &clients {
                if self.hear(client, &mut away, &mut reason).await.is_none() {
                    return;
                }
            }
            if !away {
                tracing::warn!(reason, "Redis is unreachable: changes made by other nodes may be seen up to 1 s late");
                away = true;
            }
            tokio::time::sleep(PUBSUB_RETRY).await;
        }
    }

    /// Passes messages on until the connection ends; `None`: the engine has ended.
    async fn hear(&self, client: &Client, away: &mut bool, reason: &mut String) -> Option<()> {
        let subscribed = async {
            let mut connection = client.get_async_pubsub().await?;
            connection.subscribe(&self.channel).await?;
            Ok::<_, redis::RedisError>(connection)
        };
        let connection = match tokio::time::timeout(PUBSUB_TIMEOUT, subscribed).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                *reason = error.to_string();
                return Some(());
            }
            Err(_) => {
                "no answer in time".clone_into(reason);
                return Some(());
            }
        };
        "the connection ended".clone_into(reason);
        if std::mem::take(away) {
            tracing::info!("Redis answers again");
        }
        let mut messages = connection.into_on_message();
        let mut asked = false;
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = self.incoming.closed() => return None,
                () = tokio::time::sleep(PUBSUB_SILENCE) => {
                    // A node receives its own messages, too.
                    if std::mem::replace(&mut asked, true) {
                        return Some(());
                    }
                    drop(self.out.upgrade()?.try_send(Outgoing::News(Announcement::Life {})));
                    continue;
                }
            };
            let Some(message) = message else { return Some(()) };
            asked = false;
            let envelope = message.get_payload::<String>().ok().and_then(|text| serde_json::from_str(&text).ok());
            // A message of another program is ignored.
            let Some(Envelope { node, what }) = envelope else { continue };
            if node != self.node && what != (Announcement::Life {}) {
                self.incoming.send(what).await.ok()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::servers::Server;
    use super::*;
    use crate::ambient::Timestamp;
    use crate::room::Generation;

    #[test]
    fn counters_are_heard_as_they_were_said() {
        let event: EventId = "Sample".parse().unwrap();
        let said = Counters { version: 1, generation: Generation(2), queue: 3, serving: 4, ..Counters::default() };
        let said = Announcement::Counters { event, counters: said, item: Some(Box::default()) };
        let text = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<Announcement>(&text).unwrap(), said);
        let odd = text.replace("\"generation\":2", "\"generation\":65536");
        assert!(serde_json::from_str::<Announcement>(&odd).is_err(), "{odd}");
    }

    #[test]
    fn a_large_item_is_not_said() {
        let event: EventId = "Sample".parse().unwrap();
        let said = |notes: usize| {
            let mut item = EventState::default();
            item.intent_log.posted = (0..notes).map(|number| (number.to_string(), Timestamp::from_secs(1))).collect();
            let what =
                Announcement::Counters { event: event.clone(), counters: item.counters, item: Some(Box::new(item)) };
            let text = message(Envelope { node: "n".to_owned(), what }).unwrap();
            let Announcement::Counters { item, .. } = serde_json::from_str::<Envelope>(&text).unwrap().what else {
                panic!()
            };
            item.is_some()
        };
        assert_eq!([0, 10, PUBSUB_LARGEST_ITEM].map(said), [true, true, false]);
    }

    #[tokio::test]
    async fn any_node_of_a_redis_cluster_passes_a_message_on_to_all() {
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let clustered = |home: &tempfile::TempDir| {
            let server = Server::redis_with(home.path(), || {
                let bus = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                ["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()].map(str::to_owned).to_vec()
            })?;
            let client = Client::open(format!("redis://{}", server.address)).unwrap();
            Some((server, client))
        };
        let (Some(first), Some(second)) = (clustered(&homes[0]), clustered(&homes[1])) else { return };
        let mut connection = first.1.get_multiplexed_async_connection().await.unwrap();
        let mut asked = second.1.get_multiplexed_async_connection().await.unwrap();
        let mut port = redis::cmd("CONFIG");
        let port: Vec<String> = port.arg("GET").arg("cluster-port").query_async(&mut asked).await.unwrap();
        let mut meet = redis::cmd("CLUSTER");
        meet.arg("MEET").arg("127.0.0.1").arg(second.0.address.port()).arg(&port[1]);
        meet.query_async::<()>(&mut connection).await.unwrap();
        let start =
            |client: &Client, node: &str| Publisher::start(vec![client.clone()], "news".to_owned(), node.to_owned());
        let (publisher, _own) = start(&first.1, "one");
        let (_other, mut heard) = start(&second.1, "two");
        // Until they have met, and both are subscribed, messages are lost.
        loop {
            publisher.announce_outbox();
            if let Ok(what) = tokio::time::timeout(PUBSUB_RETRY, heard.recv()).await {
                assert_eq!(what, Some(Announcement::Letters {}));
                return;
            }
        }
    }

    #[test]
    fn of_one_event_the_newest_is_said() {
        let [one, two] = ["One", "Two"].map(|name| name.parse::<EventId>().unwrap());
        let at = |event: &EventId, version| {
            let counters = Counters { version, ..Counters::default() };
            Announcement::Counters { event: event.clone(), counters, item: None }
        };
        let batch = vec![at(&one, 1), Announcement::Letters {}, at(&two, 1), at(&one, 2), Announcement::Letters {}];
        assert_eq!(newest_only(batch), [at(&two, 1), at(&one, 2), Announcement::Letters {}]);
    }
}
