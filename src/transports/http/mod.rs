//! HTTP: JSON endpoints and the event stream, as Broker 15's clients know them.

mod accept;
mod around;
mod body;
mod callers;
mod cors;
mod events;
mod extract;
mod handshake;
mod listing;
mod reply;
mod resets;
mod routes;
mod service;
mod session;
mod socket;
mod sse;
mod ticket;
mod users;

use actix_web::HttpRequest;
use actix_web::http::Method;

pub use accept::Connections;
pub use handshake::Handshakes;
pub use service::{plain, tls};

/// What of the library is worth a line in the log where nobody says so: of HTTP/2 only errors, since it warns of each stream
/// that a client has closed.
pub const LOG_FILTER: &str = "actix_http::h2=error";

/// Whether only the head of the answer is wanted.
fn is_head(request: &HttpRequest) -> bool {
    request.method() == Method::HEAD
}
