//! Where clients are listened to.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::thread;

use actix_server::{GracefulShutdownSignal, Server as Listener, ServerBuilder, ServerServiceFactory};
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use super::inherited::{HTTP, Inherited, MQTT, MQTTS};
use super::start_error::StartError;
use crate::app::{App, Services, WeakApp};
use crate::config::{Listen, Mqtt};
use crate::tls::{self, Maintenance};
use crate::transports::http::{self, Bodies, Sockets};
use crate::transports::metrics;
use crate::transports::mqtt_tcp::{self, MqttWorker};
use crate::transports::tcp::{Connections, Handshakes, UnderWay};

/// How many descriptors are reserved for everything but connections, so that no number of connections keeps the
/// database from its files. They are for the database's open files, the journal's next file, certificates, time servers
/// and name lookups.
const RESERVED_DESCRIPTORS: usize = 64;
/// The same for each worker, which has its own poll.
const RESERVED_PER_WORKER: usize = 8;
/// The maximum number of workers that actix starts.
const MAX_WORKERS: usize = 512;
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How many seconds running requests may take when the server stops.
const STOP_WITHIN_SECS: u64 = 3;

/// What listens.
pub struct Listening {
    /// Where, as URLs.
    pub addresses: Addresses,
    /// All of it, once it is run.
    pub http: Listener,
    /// What keeps the certificate fresh.
    pub certificate: Option<Maintenance>,
}

/// The URLs of what is served.
pub struct Addresses {
    /// Of HTTP or HTTPS.
    pub http: String,
    /// Of MQTT without TLS.
    pub mqtt: Option<String>,
    /// Of MQTT with TLS.
    pub mqtts: Option<String>,
}

/// The protocols of HTTPS and of MQTT over TLS, as clients name them (ALPN, RFC 7301).
const OF_HTTPS: &[&str] = &["h2", "http/1.1"];
const OF_MQTTS: &[&str] = &["mqtt"];

/// What the services on a worker are made from; it may be sent to any thread. The services on a thread are the same for all that listens
/// there: each has a part of the hub.
#[derive(Clone)]
struct Worker {
    services: Services,
    bodies: Bodies,
    sockets: Sockets,
    connections: Connections,
    /// Connections of MQTT without a CONNECT.
    newcomers: UnderWay,
    stopping: GracefulShutdownSignal,
}

thread_local! {
    /// The services on this thread, while something that listens has them.
    static ON_THREAD: RefCell<WeakApp> = RefCell::default();
}

impl Worker {
    fn app(&self) -> App {
        ON_THREAD.with_borrow_mut(|on_thread| {
            on_thread.upgrade().unwrap_or_else(|| {
                let app = App::on_worker(self.services.clone());
                *on_thread = app.downgrade();
                app
            })
        })
    }

    fn mqtt(&self) -> MqttWorker {
        MqttWorker::start(self.app(), self.bodies.clone(), self.newcomers.clone(), self.stopping.clone())
    }
}

/// Listens wherever the configuration says, or on the sockets that the process was started with.
///
/// # Errors
/// [`StartError`].
pub fn listen(
    listen: &Listen,
    host: IpAddr,
    services: Services,
    sockets: Sockets,
    mut inherited: Inherited,
) -> Result<Listening, StartError> {
    let workers = thread::available_parallelism().map_or(2, NonZeroUsize::get).min(MAX_WORKERS);
    let per_worker = connections_per_worker(getrlimit(Resource::Nofile).current, workers);
    let connections = Connections::at_most(per_worker * workers, services.metrics().clone());
    let builder = Listener::build()
        .disable_signals()
        .workers(workers)
        .max_concurrent_connections(per_worker)
        .shutdown_timeout(STOP_WITHIN_SECS);
    let stopping = builder.graceful_shutdown_signal();
    let mqtt = services.mqtt.clone();
    let callers = services.callers.clone();
    let newcomers = UnderWay::of(&connections);
    let worker = Worker { services, bodies: Bodies::default(), sockets, connections, newcomers, stopping };
    let routes = |worker: &Worker| {
        http::routes(worker.app(), worker.bodies.clone(), worker.sockets.clone(), worker.connections.clone())
    };
    let of_http = worker.clone();
    match listen {
        Listen::Http(port) => {
            let service = move || {
                let Worker { connections, stopping, .. } = of_http.clone();
                http::plain(routes(&of_http), callers.clone(), (stopping, of_http.services.health.clone()), connections)
            };
            let (builder, address) =
                add(builder, HTTP, sockets_for(HTTP, SocketAddr::new(host, *port), &mut inherited)?, service)?;
            let addresses = Addresses { http: format!("http://{address}"), mqtt: None, mqtts: None };
            let (builder, addresses) =
                listen_to_mqtt(builder, addresses, (host, &mut inherited), mqtt.as_deref(), &worker, None)?;
            inherited.check_used().map_err(StartError::Config)?;
            Ok(Listening { addresses, http: builder.run(), certificate: None })
        }
        Listen::Https(port, certificate) => {
            let (tls, maintenance) =
                tls::configure(certificate, worker.services.certificate.clone()).map_err(StartError::Tls)?;
            let handshakes = Handshakes::new(tls.clone(), OF_HTTPS, &worker.connections);
            let service = move || {
                let Worker { connections, stopping, .. } = of_http.clone();
                http::tls(
                    routes(&of_http),
                    callers.clone(),
                    (stopping, of_http.services.health.clone()),
                    connections,
                    handshakes.clone(),
                )
            };
            let (builder, address) =
                add(builder, HTTP, sockets_for(HTTP, SocketAddr::new(host, *port), &mut inherited)?, service)?;
            let handshakes = Handshakes::new(tls, OF_MQTTS, &worker.connections);
            let addresses = Addresses { http: format!("https://{address}"), mqtt: None, mqtts: None };
            let (builder, addresses) =
                listen_to_mqtt(builder, addresses, (host, &mut inherited), mqtt.as_deref(), &worker, Some(handshakes))?;
            inherited.check_used().map_err(StartError::Config)?;
            Ok(Listening { addresses, http: builder.run(), certificate: Some(maintenance) })
        }
    }
}

/// Listens to who asks for the metrics. Returns the URL of that.
///
/// # Errors
/// [`StartError::Listen`].
pub fn listen_to_scrapes(wanted: SocketAddr, services: Services) -> Result<(Listener, String), StartError> {
    let cannot = |error| StartError::Listen(wanted, error);
    let listener = bind(wanted).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    Ok((metrics::serve(listener, services).map_err(cannot)?, format!("http://{address}/metrics")))
}

fn listen_to_mqtt(
    mut builder: ServerBuilder,
    mut addresses: Addresses,
    (host, inherited): (IpAddr, &mut Inherited),
    mqtt: Option<&Mqtt>,
    worker: &Worker,
    handshakes: Option<Handshakes>,
) -> Result<(ServerBuilder, Addresses), StartError> {
    let Some(mqtt) = mqtt else { return Ok((builder, addresses)) };
    let plain = sockets_if(MQTT, mqtt.port.map(|port| SocketAddr::new(host, port)), inherited)?;
    if !plain.is_empty() {
        let worker = worker.clone();
        let service = move || mqtt_tcp::plain(worker.mqtt(), worker.connections.clone());
        let (with, address) = add(builder, MQTT, plain, service)?;
        (builder, addresses.mqtt) = (with, Some(format!("mqtt://{address}")));
    }
    let Some(handshakes) = handshakes else { return Ok((builder, addresses)) };
    let encrypted = sockets_if(MQTTS, mqtt.tls_port.map(|port| SocketAddr::new(host, port)), inherited)?;
    if !encrypted.is_empty() {
        let worker = worker.clone();
        let service = move || mqtt_tcp::tls(worker.mqtt(), worker.connections.clone(), handshakes.clone());
        let (with, address) = add(builder, MQTTS, encrypted, service)?;
        (builder, addresses.mqtts) = (with, Some(format!("mqtts://{address}")));
    }
    Ok((builder, addresses))
}

/// The sockets of this name that the process was started with; if there are none, one that listens on an address.
fn sockets_for(name: &str, wanted: SocketAddr, inherited: &mut Inherited) -> Result<Vec<TcpListener>, StartError> {
    sockets_if(name, Some(wanted), inherited)
}

/// The same, of which there are none without an address.
fn sockets_if(
    name: &str,
    wanted: Option<SocketAddr>,
    inherited: &mut Inherited,
) -> Result<Vec<TcpListener>, StartError> {
    let sockets = inherited.named(name);
    match wanted {
        Some(wanted) if sockets.is_empty() => {
            Ok(vec![bind(wanted).map_err(|error| StartError::Listen(wanted, error))?])
        }
        _ => Ok(sockets),
    }
}

/// Serves connections of sockets, of which there is at least one. Returns where the first of them is, if any free port was asked for.
fn add(
    mut builder: ServerBuilder,
    name: &str,
    sockets: Vec<TcpListener>,
    service: impl ServerServiceFactory<TcpStream>,
) -> Result<(ServerBuilder, SocketAddr), StartError> {
    let mut first = None;
    let nowhere = SocketAddr::from(([0; 4], 0));
    for socket in sockets {
        let address = socket.local_addr().map_err(|error| StartError::Listen(nowhere, error))?;
        let cannot = |error| StartError::Listen(address, error);
        builder = builder.listen(name, socket, service.clone()).map_err(cannot)?;
        first.get_or_insert(address);
    }
    Ok((builder, first.unwrap_or(nowhere)))
}

/// How many connections a worker may have, if the process may have this many descriptors.
fn connections_per_worker(descriptors: Option<u64>, workers: usize) -> usize {
    let descriptors = descriptors.map_or(usize::MAX / 2, |limit| usize::try_from(limit).unwrap_or(usize::MAX / 2));
    let reserved = RESERVED_DESCRIPTORS + RESERVED_PER_WORKER * workers;
    (descriptors.saturating_sub(reserved) / workers).max(1)
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run that are not quite gone do not prevent a start.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
