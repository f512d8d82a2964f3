//! Three nodes of one deployment, their connections, and their servers.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::api::{ADMIN_KEY, Answer, CLIENT_SECRET, DOOR, LINE, Node, http};
use crate::dynamodb::{Door, Mood, dynamodb};
use crate::link::{Forwarder, Link};
use crate::process::{ATTEMPTS, Launch, PAUSE, Program};
use crate::redis::Redis;

pub const NODES: usize = 3;

/// More than the visitors of the event that admits every login.
const EVERYBODY: i64 = 1_000_000;

/// As on three machines; values that differ per node are variables.
const CONFIG: &str = r#"
public_url = "https://queue.example"

[admin]
keys = [{ name = "ops", key = "env:ADMIN" }]

[[event]]
id = "Line"
inlet = { strategy = "periodic", increment_by = 4, every = 2 }

[[event]]
id = "Door"
inlet = { strategy = "manual" }

[[client]]
client_id = "Shop"
event = "Door"
client_secret = "env:SECRET"
redirect_uris = ["https://shop.example/callback"]
"#;

/// See the module's documentation. Fields are dropped in their order: the nodes first.
pub struct Cluster {
    programs: Vec<Option<Program>>,
    pub nodes: Vec<Node>,
    /// Each node's connection to Redis.
    pub redis_links: Vec<Link>,
    /// Each node's connection to DynamoDB.
    pub endpoints: Vec<Door>,
    pub redis: Redis,
    /// Additional variables of each node.
    variables: Vec<Vec<(String, String)>>,
    prefix: String,
    directory: TempDir,
    runtime: Runtime,
    _forwarder: Forwarder,
}

impl Cluster {
    /// The running cluster; `None`: a required program is missing.
    pub fn start() -> Option<Self> {
        Self::start_with(vec![Vec::new(); NODES])
    }

    /// The same, where each node has variables of its own.
    pub fn start_with(variables: Vec<Vec<(String, String)>>) -> Option<Self> {
        static CLUSTERS: AtomicU64 = AtomicU64::new(0);
        let (redis, dynamodb) = (Redis::start()?, dynamodb()?);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("anteroom.toml"), CONFIG).unwrap();
        let (forwarder, http) = (Forwarder::start(), http());
        let mut cluster = Self {
            programs: (0..NODES).map(|_| None).collect(),
            nodes: (0..NODES).map(|number| Node::new(number, &http)).collect(),
            redis_links: (0..NODES).map(|_| Link::before(redis.address(), &forwarder)).collect(),
            endpoints: (0..NODES).map(|_| Door::before(dynamodb.address, &forwarder)).collect(),
            redis,
            variables,
            prefix: format!("cluster{}-", CLUSTERS.fetch_add(1, Ordering::Relaxed)),
            directory,
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            _forwarder: forwarder,
        };
        let made = cluster.command(0, &["store", "init"]).run();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        (0..NODES).for_each(|number| cluster.start_node(number));
        cluster.ask(cluster.nodes[0].let_in(DOOR, EVERYBODY)).number();
        Some(cluster)
    }

    fn command(&self, number: usize, arguments: &[&str]) -> Launch {
        let directory = self.directory.path();
        let launch = Launch::command(directory, arguments).and(&["--config", "anteroom.toml"]);
        let launch = launch.with("ADMIN", ADMIN_KEY).with("SECRET", CLIENT_SECRET);
        let launch = launch
            .with("ANTEROOM_LISTEN", "127.0.0.1:0")
            .with("ANTEROOM_LOG__LEVEL", "warn")
            .with("ANTEROOM_STORE__ENGINE", "distributed")
            .with("ANTEROOM_STORE__TABLE_PREFIX", &self.prefix)
            .with("ANTEROOM_STORE__REDIS_URL", &format!("redis://{}", self.redis_links[number].address))
            .with("ANTEROOM_STORE__DYNAMODB_ENDPOINT", &format!("http://{}", self.endpoints[number].address));
        // DynamoDB Local accepts any credentials.
        let launch = launch.with("AWS_ACCESS_KEY_ID", "local").with("AWS_SECRET_ACCESS_KEY", "local");
        self.variables[number].iter().fold(launch, |launch, (name, value)| launch.with(name, value))
    }

    /// Starts a stopped node and waits until it serves.
    pub fn start_node(&mut self, number: usize) {
        let program = self.begin_node(number);
        self.serves(number, program);
    }

    /// Starts a stopped node without waiting.
    pub fn begin_node(&self, number: usize) -> Program {
        self.command(number, &["serve"]).begin()
    }

    /// Waits until a starting node serves.
    pub fn serves(&mut self, number: usize, mut program: Program) {
        program.is_serving();
        self.nodes[number].is_at(program.url(""));
        self.programs[number] = Some(program);
    }

    /// The outcome of `store export`.
    pub fn export(&self) -> Output {
        self.command(0, &["store", "export"]).run()
    }

    /// The number of nodes subscribed to Redis.
    pub fn listeners(&self) -> usize {
        self.redis.listeners(&format!("{}changes", self.prefix))
    }

    /// `kill -9`.
    pub fn kill_node(&mut self, number: usize) {
        self.programs[number].take().unwrap().kill();
    }

    /// SIGTERM; it must exit successfully.
    pub fn stop_node(&mut self, number: usize) {
        self.programs[number].take().unwrap().stop();
    }

    /// All nodes' DynamoDB.
    pub fn dynamodb_is(&self, mood: Mood) {
        self.endpoints.iter().for_each(|door| door.set(mood));
    }

    /// The current address of Redis.
    pub fn redis_moved(&self) {
        self.redis_links.iter().for_each(|gate| gate.leads_to(self.redis.address()));
    }

    /// Changes the behaviour of the connections.
    pub fn ask<T>(&self, question: impl Future<Output = T>) -> T {
        self.runtime.block_on(question)
    }

    /// Polls until the condition holds.
    pub fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        for _ in 0..ATTEMPTS {
            if so(self) {
                return;
            }
            thread::sleep(PAUSE);
        }
        panic!("never: {what}");
    }

    /// Every node gets the others' changes through Redis: a change on one is shown by another that cannot reach
    /// DynamoDB. To be called without other traffic.
    pub fn is_connected_by_redis(&self) {
        self.until("all listen to Redis", |cluster| cluster.listeners() == NODES);
        for number in 0..NODES {
            self.endpoints[number].set(Mood::Away);
            let other = &self.nodes[(number + 1) % NODES];
            let served = self.ask(other.let_in(LINE, 1)).number();
            let shown = |cluster: &Self| cluster.ask(cluster.nodes[number].serving()).number();
            self.until("a node gets another's changes", |cluster| shown(cluster) >= served);
            self.endpoints[number].set(Mood::Well);
        }
        self.all_well();
    }

    /// Every node is ready.
    pub fn all_well(&self) {
        for node in &self.nodes {
            self.until("a node is ready", |cluster| matches!(cluster.ask(node.ready()), Answer::Done(_)));
        }
    }
}

/// Debian's libfaketime, which shifts a program's clock. `None`: it is missing.
pub fn faketime() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let places = libraries.map(|library| library.join("faketime/libfaketime.so.1"));
    crate::servers::needed("libfaketime", places.into_iter().find(|place| place.is_file()))
}
