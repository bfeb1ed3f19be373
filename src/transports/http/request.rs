//! What several handlers ask of a request.

use actix_web::HttpRequest;
use actix_web::http::{Method, Version, header};

use super::socket::Socket;
use crate::error::Error;

/// Whether the request came over TLS. HTTP/2 is only spoken with TLS.
pub fn is_encrypted(request: &HttpRequest) -> bool {
    request.version() == Version::HTTP_2 || request.conn_data::<Socket>().is_some_and(Socket::is_encrypted)
}

/// Whether the request offers to switch to WebSocket. Its headers do not show it any more.
pub fn offers_websocket(request: &HttpRequest) -> bool {
    request.conn_data::<Socket>().is_some_and(|socket| socket.heads().offers_websocket())
}

/// Whether the request has a body, be it an empty one.
pub fn has_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}

/// Whether this is a HEAD request.
pub fn is_head(request: &HttpRequest) -> bool {
    request.method() == Method::HEAD
}

/// The error of a request on a worker without services, which no running server has.
pub fn no_services() -> Error {
    Error::Internal("a worker has no services".to_owned())
}
