//! A server of the echo application, with everything that is around Broker's own requests.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_server::{Server, ServerHandle};
use actix_web::{HttpRequest, Responder, web};
use broker::app::Health;
use broker::config::{Callers, Live, Origins};
use broker::domain::{ClientAddress, TrustedProxies};
use broker::transports::http::{self, Bodies, Routes};
use broker::transports::tcp::Connections;

use super::echo::{Echo, Feed};
use super::sio::{Settings, SocketIo};

/// Two threads serve it, so that the requests of one session come to both.
const WORKERS: usize = 2;

/// A server that runs. It ends with this.
pub struct EchoServer {
    pub address: SocketAddr,
    pub sessions: SocketIo<Echo>,
    pub feed: Arc<Feed>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// With times that no test waits for.
    pub fn start() -> Self {
        Self::with(Settings { ping_interval: Duration::from_secs(600), ..Settings::default() })
    }

    /// As the suites want it, apart from how long a busy machine may take to answer a ping.
    pub fn pinging() -> Self {
        Self::with(Settings { ping_interval: Duration::from_millis(300), ..Settings::default() })
    }

    /// With a client that has no time to answer.
    pub fn impatient() -> Self {
        let short = Duration::from_millis(100);
        Self::with(Settings { ping_interval: short, ping_timeout: short, ..Settings::default() })
    }

    /// With these times.
    pub fn with(settings: Settings) -> Self {
        let sessions = SocketIo::new(settings, || {
            let id: [u8; 16] = uuid::Uuid::new_v4().into_bytes();
            std::array::from_fn(|at| id[at])
        });
        let feed = Arc::<Feed>::default();
        let (started, starts) = mpsc::channel();
        let parts = (sessions.clone(), Arc::clone(&feed));
        let thread = std::thread::spawn(move || serve(parts, &started));
        let (address, handle) = starts.recv().unwrap();
        Self { address, sessions, feed, handle, thread: Some(thread) }
    }

    /// Stops it, as Broker stops: requests are answered, and connections closed.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve((sessions, feed): (SocketIo<Echo>, Arc<Feed>), started: &mpsc::Sender<(SocketAddr, ServerHandle)>) {
    actix_web::rt::System::new().block_on(async {
        tokio::task::spawn_local(sessions.clone().keep_time());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let builder = Server::build().disable_signals().workers(WORKERS);
        let stopping = builder.graceful_shutdown_signal();
        let (connections, bodies) =
            (Connections::at_most(1000, broker::metrics::Metrics::default()), Bodies::default());
        let callers = Live::new(Callers { origins: Origins::Any, only_this_machine: false });
        let service = move || {
            let app = Echo { feed: Arc::clone(&feed), ..Echo::default() };
            let (sessions, bodies) = (sessions.clone(), bodies.clone());
            let routes: Routes = Rc::new(move |config| {
                config
                    .app_data(bodies.clone())
                    .app_data(Arc::<TrustedProxies>::default())
                    .app_data((sessions.clone(), app.clone()))
                    .route("/socket.io/", web::to(handle));
            });
            http::plain(routes, callers.clone(), (stopping.clone(), Health::default()), connections.clone())
        };
        let server = builder.listen("echo", listener, service).unwrap().run();
        started.send((address, server.handle())).unwrap();
        server.await.unwrap();
    });
}

async fn handle(request: HttpRequest, payload: web::Payload) -> impl Responder {
    let (sessions, app) = request.app_data::<(SocketIo<Echo>, Echo)>().unwrap().clone();
    let from = request.peer_addr().unwrap().ip();
    let request = (&request, &mut payload.into_inner());
    http::serve_socket_io(&sessions, app, request, ClientAddress::of(from), || ((), from)).await
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.sessions.stop();
        drop(self.handle.stop(false));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the server panicked");
    }
}
