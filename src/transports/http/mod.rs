//! HTTP: the JSON endpoints and the event stream (SSE), as Broker 15's clients know them.

mod accept;
mod around;
mod bodies;
mod body;
mod callers;
mod cors;
mod events;
mod extract;
mod h2;
mod handshake;
mod heads;
mod listing;
mod offers;
mod protection;
mod reply;
mod routes;
mod service;
mod session;
mod socket;
mod sse;
mod ticket;
mod users;

use actix_web::HttpRequest;
use actix_web::http::{Method, Version};

use socket::Socket;

pub use accept::Connections;
pub use bodies::Bodies;
pub use handshake::Handshakes;
pub use service::{plain, tls};

/// Log filter for the library: it reports a client's malformed HTTP, and answers cut off because their reader lost
/// the right to them, as errors.
pub const LOG_FILTER: &str = "actix_http=off";

/// Whether the request came over TLS. HTTP/2 is only spoken with TLS.
fn is_encrypted(request: &HttpRequest) -> bool {
    request.version() == Version::HTTP_2 || request.conn_data::<Socket>().is_some_and(Socket::is_encrypted)
}

/// Whether this is a HEAD request.
fn is_head(request: &HttpRequest) -> bool {
    request.method() == Method::HEAD
}
