//! From a socket to the application: what is between accepting a connection and routing its requests.

use std::net::SocketAddr;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpService, Protocol};
use actix_server::GracefulShutdownSignal;
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;

use super::accept::{Connections, Tcp, counted};
use super::body::Connection;
use super::handshake::Handshakes;
use super::routes::application;
use super::socket::{Socket, Stream};
use crate::app::App;

/// How long the head of a request may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a client that was refused may go on sending before it must have read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// An accepted connection, what is spoken on it, and from where it comes.
type Accepted = (Socket, Protocol, Option<SocketAddr>);

/// Serves connections without TLS: HTTP/1.
pub fn plain(
    app: App,
    stopping: GracefulShutdownSignal,
    connections: Connections,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let served = fn_service(|tcp: Tcp| async move {
        let from = tcp.peer_addr().ok();
        Ok::<Accepted, DispatchError>((Socket::new(Stream::Plain(tcp)), Protocol::Http1, from))
    })
    .and_then(http(app, stopping));
    counted(served, connections)
}

/// Serves connections with TLS: HTTP/2 and HTTP/1, as the client wishes (RFC 7301).
pub fn tls(
    app: App,
    stopping: GracefulShutdownSignal,
    connections: Connections,
    handshakes: Handshakes,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let served = fn_service(move |tcp: Tcp| {
        let handshakes = handshakes.clone();
        async move {
            let stream = handshakes.shake(tcp).await?;
            let (tcp, session) = stream.get_ref();
            let from = tcp.peer_addr().ok();
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let stream = Stream::Tls(Box::new(stream));
            Ok::<Accepted, DispatchError>(if is_http2 {
                (Socket::of_http2(stream), Protocol::Http2, from)
            } else {
                (Socket::new(stream), Protocol::Http1, from)
            })
        }
    })
    .and_then(http(app, stopping));
    counted(served, connections)
}

fn http(
    app: App,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<Accepted, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let application = application(app).into_factory().map_err(|error: actix_web::Error| error.error_response());
    HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_WITHIN)
        .client_disconnect_timeout(LINGER)
        // A client that closed its side is gone; else its stream would stay until a write fails.
        .h1_allow_half_closed(false)
        .on_connect_ext(|socket: &Socket, extensions: &mut Extensions| {
            extensions.insert(socket.clone());
            extensions.insert(Connection::default());
        })
        .finish(map_config(application, |()| AppConfig::default()))
}
