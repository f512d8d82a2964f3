//! Where connections come from: a listening socket, with TLS or without.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use actix_http::body::MessageBody;
use actix_http::{KeepAlive, Request, ServiceConfig};
use actix_server::Server;
use actix_service::IntoServiceFactory;
use actix_web::Error;
use actix_web::dev::{AppConfig, Service, ServiceFactory, ServiceResponse, always_ready, fn_factory};
use futures_util::future::LocalBoxFuture;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Client, Setting};
use super::deadline::given_by;
use super::taken::{Counted, Taken};
use super::transport::{Records, Transport};
use super::{Admission, Shutdown, Timeouts, limits};
use crate::policy;
use crate::telemetry::{ConnectionEnd, ConnectionRefusal};

/// What the connections of a listener have in common.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// How its connections are encrypted, if they are.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// On how many threads; `None`: on each processor.
    pub threads: Option<usize>,
    /// The time that clients have.
    pub timeouts: Timeouts,
    /// Who gets one of its connections.
    pub admission: Arc<Admission>,
}

/// Serves an application on a listener. The server must be awaited, and is stopped by [`Shutdown::run`].
///
/// # Errors
/// What the system says of the socket.
pub fn serve<F, A, S, B>(listener: Listener, shutdown: &Arc<Shutdown>, application: F) -> io::Result<Server>
where
    F: Fn() -> A + Send + Clone + 'static,
    A: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::Service: 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let Listener { socket, tls, threads, timeouts, admission } = listener;
    let name = format!("http {}", socket.local_addr()?);
    let per_thread = limits::per_thread(admission.total(), threads);
    let shutdown = Arc::clone(shutdown);
    let factory = move || {
        let (shutdown, application, tls) = (Arc::clone(&shutdown), application.clone(), tls.clone());
        let admission = Arc::clone(&admission);
        fn_factory(move || {
            let created = application().into_factory().new_service(AppConfig::default());
            let setting = Setting {
                config: ServiceConfig::new(
                    KeepAlive::Timeout(timeouts.idle),
                    timeouts.head,
                    timeouts.drain,
                    tls.is_some(),
                    None,
                ),
                timeouts,
                worker: shutdown.worker(),
            };
            let (tls, admission) = (tls.clone().map(TlsAcceptor::from), Arc::clone(&admission));
            async move {
                let application = created.await.map_err(drop)?;
                Ok::<_, ()>(Connections(Rc::new(Shared { application, setting, tls, admission })))
            }
        })
    };
    let builder = Server::build()
        .disable_signals()
        .max_concurrent_connections(per_thread)
        .shutdown_timeout(policy::DRAIN.as_secs());
    let builder = match threads {
        Some(threads) => builder.workers(threads),
        None => builder,
    };
    Ok(builder.listen(name, socket, factory)?.run())
}

/// What the connections of one thread have in common.
pub(super) struct Shared<S> {
    pub(super) application: S,
    pub(super) setting: Setting,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) admission: Arc<Admission>,
}

/// Takes the connections of one thread.
struct Connections<S>(Rc<Shared<S>>);

impl<S, B> Service<TcpStream> for Connections<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = ();
    type Future = LocalBoxFuture<'static, Result<(), ()>>;

    always_ready!();

    fn call(&self, stream: TcpStream) -> Self::Future {
        let shared = Rc::clone(&self.0);
        Box::pin(async move {
            if let Err(error) = shared.serve(stream).await {
                tracing::debug!(%error, "a connection ended badly");
            }
            Ok(())
        })
    }
}

impl<S, B> Shared<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let peer = stream.peer_addr().ok();
        // The kernel holds some of what is sent, too: it must not wait for longer than we do.
        SockRef::from(&stream).set_tcp_user_timeout(Some(self.setting.timeouts.send))?;
        self.admit(stream, peer).await
    }

    /// Serves a connection, if there is one left.
    pub(super) async fn admit<IO>(&self, io: IO, peer: Option<SocketAddr>) -> io::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Some(slot) = self.admission.admit(peer.map(|peer| peer.ip())) else { return Ok(()) };
        let timeouts = &self.setting.timeouts;
        let until = Instant::now() + if slot.is_brief() { timeouts.brief } else { timeouts.head };
        let client = Client { peer, slot, until };
        let ended = tokio::select! {
            biased;
            () = client.slot.evicted() => {
                client.slot.metrics().refused(ConnectionRefusal::GaveWay);
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            ended = self.greet(io, &client) => ended,
        };
        // Said by the connection and, where the kernel waited longer, by the kernel.
        if matches!(&ended, Err(error) if error.kind() == io::ErrorKind::TimedOut) {
            client.slot.metrics().ended(ConnectionEnd::Unread);
        }
        ended
    }

    async fn greet<IO>(&self, io: IO, client: &Client) -> io::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let io = Counted::new(io);
        let taken = io.taken();
        let Some(tls) = &self.tls else { return self.speak(io, taken, client).await };
        let greeting = tls.accept_with(Records::new(io), |session| session.set_buffer_limit(Some(policy::TLS_BUFFER)));
        let greeted = given_by(client.until, greeting)
            .await
            .unwrap_or_else(|| Err(io::Error::other("the TLS handshake took too long")));
        if greeted.is_err() {
            client.slot.metrics().ended(ConnectionEnd::Handshake);
        }
        self.speak(greeted?, taken, client).await
    }

    async fn speak<IO>(&self, io: IO, taken: Taken, client: &Client) -> io::Result<()>
    where
        IO: Transport + 'static,
    {
        connection::serve((io, taken), client, &self.application, &self.setting).await
    }
}
