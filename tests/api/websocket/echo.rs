//! A server that sends every message back.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_server::{Server, ServerHandle};
use actix_web::{HttpResponse, web};
use broker::app::{CertificateEnd, Health};
use broker::config::{Callers, Certificate, Live, Origins};
use broker::domain::{OriginPattern, TrustedProxies};
use broker::metrics::Metrics;
use broker::transports::http::{Bodies, Routes, WebSocket, plain, tls};
use broker::transports::tcp::{Connections, Handshakes};
use broker::transports::ws::{Inlet, Message, Opcode, Outlet, Times, Written, frame};
use bytes::Bytes;

use crate::support::Authority;

/// How many connections there may be.
const MAX_CONNECTIONS: usize = 1000;

pub struct EchoServer {
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
    /// Where the certificate is.
    directory: Option<tempfile::TempDir>,
}

impl EchoServer {
    /// Takes connections from pages of anywhere.
    pub fn start() -> Self {
        Self::start_for(Origins::Any, None)
    }

    /// Takes connections from pages of these origins.
    pub fn start_for_pages_of(origin: &str) -> Self {
        Self::start_for(pages_of(origin), None)
    }

    /// Takes connections over TLS.
    pub fn start_with_tls(origins: Origins) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        std::fs::write(directory.path().join("root.pem"), authority.root()).unwrap();
        authority.issue(directory.path());
        Self::start_for(origins, Some(directory))
    }

    fn start_for(origins: Origins, directory: Option<tempfile::TempDir>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let callers = Live::new(Callers { origins, only_this_machine: false });
        let bodies = Bodies::default();
        let certificate = directory.as_ref().map(|directory| Certificate::Files {
            key: directory.path().join("private_key.pem"),
            chain: directory.path().join("chain.pem"),
        });
        let (started, handle) = channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let builder = Server::build().disable_signals().workers(1).shutdown_timeout(30);
                let stopping = builder.graceful_shutdown_signal();
                let connections = Connections::at_most(MAX_CONNECTIONS, Metrics::default());
                let builder = match certificate {
                    None => builder.listen("echo", listener, move || {
                        plain(
                            routes(&bodies),
                            callers.clone(),
                            (stopping.clone(), Health::default()),
                            connections.clone(),
                        )
                    }),
                    Some(certificate) => {
                        let (config, _maintenance) =
                            broker::tls::configure(&certificate, CertificateEnd::default()).unwrap();
                        let handshakes = Handshakes::new(config, &["h2", "http/1.1"], &connections);
                        builder.listen("echo", listener, move || {
                            let (callers, handshakes) = (callers.clone(), handshakes.clone());
                            tls(
                                routes(&bodies),
                                callers,
                                (stopping.clone(), Health::default()),
                                connections.clone(),
                                handshakes,
                            )
                        })
                    }
                };
                let server = builder.unwrap().run();
                started.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { address, handle: handle.recv().unwrap(), thread: Some(thread), directory }
    }

    /// Where clients connect to, and the certificate that they must trust, if there is one.
    pub fn url(&self) -> (String, Option<String>) {
        let port = self.address.port();
        match &self.directory {
            None => (format!("ws://127.0.0.1:{port}/echo"), None),
            Some(directory) => {
                let root = directory.path().join("root.pem");
                (format!("wss://localhost:{port}/echo"), Some(root.to_str().unwrap().to_owned()))
            }
        }
    }

    /// The certificate that clients must trust.
    pub fn root(&self) -> String {
        std::fs::read_to_string(self.directory.as_ref().unwrap().path().join("root.pem")).unwrap()
    }

    /// Has it stop, and waits until it has ended.
    pub async fn stop(mut self) {
        self.handle.stop(true).await;
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // It need not be waited for.
            drop(self.handle.stop(false));
        }
    }
}

/// Pages of this origin alone.
pub fn pages_of(origin: &str) -> Origins {
    Origins::Only(vec![OriginPattern::parse(origin).unwrap()])
}

fn routes(bodies: &Bodies) -> Routes {
    let bodies = bodies.clone();
    Rc::new(move |config| {
        config
            .app_data(bodies.clone())
            .app_data(Arc::<TrustedProxies>::default())
            .route("/echo", web::route().to(echo))
            .route("/cases", web::get().to(cases))
            .route("/stream", web::get().to(stream))
            .route("/", web::route().to(|| async { HttpResponse::Ok().body("alive") }));
    })
}

async fn echo(socket: WebSocket) -> HttpResponse {
    let protocol = socket.choose(&["echo.v1"]);
    socket.accept(protocol, 1 << 20, send_back)
}

/// For Autobahn's cases: a message may be very large, and there is no ping, which the cases do not expect.
async fn cases(socket: WebSocket) -> HttpResponse {
    let long = Duration::from_secs(3600);
    let times = Times { ping_every: long, silent_for: long, ..Times::default() };
    socket.accept_with(None, 32 << 20, times, send_back)
}

/// Sends back every message, beside a stream of 100 frames of 200,000 bytes, each of which ends with its number.
async fn stream(socket: WebSocket) -> HttpResponse {
    socket.accept(None, 1 << 20, |inlet, outlet| async move {
        let stream = outlet.stream();
        let writes = async {
            for number in 0..100_u8 {
                let mut payload = vec![b's'; 200_000];
                payload.push(number);
                let mut rest = Bytes::from(frame(Opcode::Binary, &payload));
                while let Written::Part(taken) = stream.write(&rest) {
                    rest = rest.slice(taken..);
                    poll_fn(|context| stream.poll_ready(context)).await;
                    if rest.is_empty() {
                        break;
                    }
                }
            }
        };
        tokio::join!(writes, send_back(inlet, outlet.clone()));
    })
}

async fn send_back(mut inlet: Inlet, outlet: Outlet) {
    while let Some(message) = inlet.next().await {
        match message {
            Message::Text(text) => outlet.send_text(&text),
            Message::Binary(bytes) => outlet.send_binary(&bytes),
        }
    }
}
