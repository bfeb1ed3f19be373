//! HTTP: JSON endpoints and the event stream, as Broker 15's clients know them.

mod around;
mod body;
mod callers;
mod events;
mod extract;
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

pub use service::{plain, tls};

/// Whether only the head of the answer is wanted.
fn is_head(request: &HttpRequest) -> bool {
    request.method() == Method::HEAD
}
