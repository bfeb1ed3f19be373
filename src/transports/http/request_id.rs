//! The header `x-request-id`: a trusted proxy may give it, and every answer has it.

use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::TrustedProxies;
use crate::log::RequestId;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: that of a trusted proxy, or else a new one. A client is not asked: many requests could have the same.
pub fn of(request: &ServiceRequest) -> RequestId {
    let proxies = request.app_data::<Arc<TrustedProxies>>().zip(request.peer_addr());
    let is_from_proxy = proxies.is_some_and(|(proxies, peer)| proxies.trusts(peer.ip().to_canonical()));
    let given = request.headers().get(X_REQUEST_ID).filter(|_| is_from_proxy);
    given.and_then(|given| RequestId::parse(given.as_bytes())).unwrap_or_else(RequestId::random)
}

/// Adds the id to an answer.
pub fn answer(id: &RequestId, headers: &mut HeaderMap) {
    // An id always is a valid value.
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, value);
    }
}
