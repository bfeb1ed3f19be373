//! From a socket to the application: what is between accepting a connection and routing its requests.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpService, Protocol};
use actix_server::GracefulShutdownSignal;
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use rustls::ServerConfig;

use super::body::Connection;
use super::routes::application;
use super::socket::{Socket, Stream};
use crate::app::App;

/// How long the head of a request may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
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
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    fn_service(|stream: TcpStream| async move {
        let from = ready(&stream);
        Ok::<Accepted, DispatchError>((Socket::new(Stream::Plain(stream)), Protocol::Http1, from))
    })
    .and_then(http(app, stopping))
}

/// Serves connections with TLS: HTTP/2 and HTTP/1, as the client wishes (RFC 7301).
pub fn tls(
    app: App,
    stopping: GracefulShutdownSignal,
    mut config: ServerConfig,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = TlsError<io::Error, DispatchError>, InitError = ()>
{
    let ours = [b"h2".to_vec(), b"http/1.1".to_vec()];
    // Those of the certificate's upkeep come after.
    config.alpn_protocols.splice(..0, ours);
    let mut acceptor = Acceptor::new(config);
    acceptor.set_handshake_timeout(HANDSHAKE_WITHIN);
    acceptor
        .map_err(|error: TlsError<io::Error, Infallible>| error.into_service_error())
        .and_then(fn_service(|stream: TlsStream<TcpStream>| async move {
            let (tcp, session) = stream.get_ref();
            let from = ready(tcp);
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let stream = Stream::Tls(Box::new(stream));
            Ok(if is_http2 {
                (Socket::of_http2(stream), Protocol::Http2, from)
            } else {
                (Socket::new(stream), Protocol::Http1, from)
            })
        }))
        .and_then(http(app, stopping).map_err(TlsError::Service))
}

/// Small writes go out at once. From where the connection comes.
fn ready(stream: &TcpStream) -> Option<SocketAddr> {
    let _ = stream.set_nodelay(true);
    stream.peer_addr().ok()
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
