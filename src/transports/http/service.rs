//! From an accepted socket to the application: TLS, HTTP/1 or HTTP/2, and connections that leave.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpService};
use actix_server::GracefulShutdownSignal;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config,
};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::endpoint::ELSEWHERE;
use super::h2;
use super::limits::{KEEP_ALIVE, LINGER};
use super::routes::{Routes, application};
use super::socket::{Onward, Socket};
use crate::app::Health;
use crate::config::{Callers, Live};
use crate::domain::Network;
use crate::error::Error;
use crate::metrics::{EndpointMetrics, Metrics, Protocol};
use crate::transports::open_sockets::OpenSockets;
use crate::transports::tcp::{Connections, GoesOn, Handshakes, Stream, Tcp, counted};

/// An accepted connection by protocol, with the peer's address.
enum Accepted {
    Http1(Socket, Option<SocketAddr>),
    Http2(Box<TlsStream<Tcp>>, Option<SocketAddr>),
}

/// What counts requests that never reach the application.
struct Unread {
    metrics: Metrics,
    endpoint: Arc<EndpointMetrics>,
}

impl Unread {
    fn refused(&self, error: &Error) {
        self.metrics.refused(error.code());
        self.endpoint.count(error.status());
    }
}

/// Serves connections without TLS, with HTTP/1.
pub fn plain(
    routes: Routes,
    callers: Live<Callers>,
    (stopping, health): (GracefulShutdownSignal, Health),
    connections: Connections,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let served = fn_service(|tcp: Tcp| async move {
        let from = tcp.peer_addr().ok();
        Ok::<Accepted, DispatchError>(Accepted::Http1(Socket::new(Stream::Plain(tcp)), from))
    })
    .and_then(http(routes, callers, (stopping, health), connections.metrics().clone()));
    counted(served, connections, Protocol::Http)
}

/// Serves TLS connections, with HTTP/2 or HTTP/1 as the client prefers (RFC 7301).
pub fn tls(
    routes: Routes,
    callers: Live<Callers>,
    (stopping, health): (GracefulShutdownSignal, Health),
    connections: Connections,
    handshakes: Handshakes,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let served = fn_service(move |tcp: Tcp| {
        let handshakes = handshakes.clone();
        async move {
            let network = Network::of(tcp.peer_addr()?.ip());
            let stream = handshakes.shake(tcp, network).await?;
            let (tcp, session) = stream.get_ref();
            let from = tcp.peer_addr().ok();
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let stream = Box::new(stream);
            Ok::<Accepted, DispatchError>(if is_http2 {
                Accepted::Http2(stream, from)
            } else {
                Accepted::Http1(Socket::new(Stream::Tls(stream)), from)
            })
        }
    })
    .and_then(http(routes, callers, (stopping, health), connections.metrics().clone()));
    counted(served, connections, Protocol::Https)
}

fn http(
    routes: Routes,
    callers: Live<Callers>,
    (stopping, health): (GracefulShutdownSignal, Health),
    metrics: Metrics,
) -> impl ServiceFactory<Accepted, Config = (), Response = Option<GoesOn>, Error = DispatchError, InitError = ()> {
    let unread = Rc::new(Unread { endpoint: metrics.add_endpoint(ELSEWHERE), metrics });
    let open = OpenSockets::default();
    let stops = stopping.clone();
    tokio::task::spawn_local(open.clone().close_when(async move { stops.notified().await }));
    let (asked, told) = (callers.clone(), health.clone());
    let application = move || {
        let application = application(Rc::clone(&routes), asked.clone());
        let application = application.app_data(open.clone()).app_data(told.clone()).into_factory();
        map_config(application.map_err(|error: actix_web::Error| error.error_response()), |()| AppConfig::default())
    };
    let stops = stopping.clone();
    let http1 = HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(KEEP_ALIVE)
        // `Heads` limits this for each request.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        // A client that closes its sending side is still answered, since its request is carried out (RFC 9112,
        // section 9.6). Only a stream ends then, and sees to that itself.
        .h1_allow_half_closed(true)
        .on_connect_ext(|socket: &Socket, extensions: &mut Extensions| {
            extensions.insert(socket.clone());
        })
        .h1(application());
    let http1 = Rc::new(http1);
    fn_factory(move || {
        let (http1, http2, stopping) = (Rc::clone(&http1), application(), stops.clone());
        let (callers, unread) = (callers.clone(), Rc::clone(&unread));
        let health = health.clone();
        async move {
            let http1 = Rc::new(http1.new_service(()).await?);
            let http2 = Rc::new(http2.new_service(()).await?);
            Ok(fn_service(move |accepted: Accepted| {
                let (http1, http2, stopping) = (Rc::clone(&http1), Rc::clone(&http2), stopping.clone());
                let (callers, unread) = (callers.clone(), Rc::clone(&unread));
                let health = health.clone();
                async move {
                    match accepted {
                        Accepted::Http1(mut socket, from) => loop {
                            let seen = socket.clone();
                            tokio::select! {
                                biased;
                                // A stream continues whatever becomes of the HTTP connection.
                                _ = http1.call((socket, from)) => {}
                                // actix's share of the connection is dropped then.
                                () = seen.left() => {}
                                // Boxed, or every connection would reserve its read buffer.
                                error = seen.heads().refused() => {
                                    unread.refused(&error);
                                    Box::pin(seen.refuse(&error, &callers.keep())).await;
                                }
                            }
                            let onward = seen.onward();
                            drop(seen);
                            socket = match onward {
                                None => break Ok(None),
                                Some(Onward::Leaves(goes_on)) => break Ok(Some(goes_on)),
                                Some(Onward::Returns(returns)) => match returns.await {
                                    None => break Ok(None),
                                    Some(back) => back,
                                },
                            };
                        },
                        Accepted::Http2(stream, from) => {
                            // Sooner than the server stops, so that the client opens another connection in peace. One that it opens
                            // meanwhile is for requests that have no other place, and is left until the end.
                            let serves = health.ready().is_ok();
                            let ending = async {
                                tokio::select! {
                                    () = stopping.notified() => {}
                                    () = health.leaving(), if serves => {}
                                }
                            };
                            // Boxed, or every connection would reserve room for it.
                            Box::pin(h2::serve(stream, from, http2, ending, h2::Times::default())).await;
                            Ok(None)
                        }
                    }
                }
            }))
        }
    })
}
