//! HTTP: JSON endpoints and the event stream, as Broker 15's clients know them.

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

/// What of the library is worth a line in the log where nobody says so: nothing of a connection, since it calls an error
/// what a client sent that is no HTTP, and an answer that was cut off because its reader lost the right to it.
pub const LOG_FILTER: &str = "actix_http=off";

/// Whether nobody on the way can read along. HTTP/2 is only spoken with TLS.
fn is_encrypted(request: &HttpRequest) -> bool {
    request.version() == Version::HTTP_2 || request.conn_data::<Socket>().is_some_and(Socket::is_encrypted)
}

/// Whether only the head of the answer is wanted.
fn is_head(request: &HttpRequest) -> bool {
    request.method() == Method::HEAD
}
