//! A connection from one node to a server that the test can cut.
//!
//! Owns the thread that forwards all connections of one cluster, so that they continue whatever the test waits for.
//! Must not know the forwarded content.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

/// The state of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    Open,
    /// Every connection is closed, including new ones.
    Closed,
    /// Nothing is forwarded, and no end is notified; connections of this time stay dead even after it is open again, as
    /// when the machine at the other end is gone.
    Silent,
}

/// The forwarding thread.
pub struct Forwarder {
    pub runtime: Handle,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Forwarder {
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        // An error means that the sender was dropped, which has the same effect.
        let thread = thread::spawn(move || drop(runtime.block_on(stopped)));
        Self { runtime: handle, thread: Some((stop, thread)) }
    }

    /// A listener on a free port, for a task of this thread.
    pub fn listen(&self) -> (TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let _inside = self.runtime.enter();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            thread.join().unwrap();
        }
    }
}

/// See the module's documentation.
pub struct Link {
    /// The address of the server for the node.
    pub address: SocketAddr,
    way: watch::Sender<LinkState>,
    server: Arc<Mutex<SocketAddr>>,
}

impl Link {
    pub fn before(server: SocketAddr, forwarder: &Forwarder) -> Self {
        let (listener, address) = forwarder.listen();
        let (way, server) = (watch::Sender::new(LinkState::Open), Arc::new(Mutex::new(server)));
        let (watched, behind) = (way.subscribe(), Arc::clone(&server));
        forwarder.runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let server = *behind.lock().unwrap();
                tokio::spawn(carry(connection, server, watched.clone()));
            }
        });
        Self { address, way, server }
    }

    pub fn set(&self, way: LinkState) {
        self.way.send_replace(way);
    }

    /// New connections lead to another server from now on.
    pub fn leads_to(&self, server: SocketAddr) {
        *self.server.lock().unwrap() = server;
    }
}

async fn carry(mut connection: TcpStream, server: SocketAddr, mut way: watch::Receiver<LinkState>) {
    if *way.borrow() == LinkState::Open {
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut connection, &mut server) => return,
            _ = way.wait_for(|way| *way != LinkState::Open) => {}
        }
    }
    if *way.borrow() == LinkState::Silent {
        std::future::pending::<()>().await;
    }
}
