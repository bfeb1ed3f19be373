//! What goes around every request: cross-origin rules, and a line in the log.

use std::time::Instant;

use actix_web::Error as ActixError;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;

use super::reply;
use super::sse::Detached;
use crate::app::App;
use crate::config::Origins;

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, OPTIONS");
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, last-event-id, idempotency-key, if-match");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("retry-after");
/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Answers preflights, lets the others through, says who may read the answer, and logs.
pub async fn around<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, ActixError> {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let origins = request.app_data::<App>().map(|app| app.origins.clone());
    let allowed = origins.as_deref().and_then(|origins| allow(origins, origin.as_ref()));

    let mut response = if method == Method::OPTIONS {
        let mut response = request.into_response(reply::empty()).map_into_right_body();
        if allowed.is_some() {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        response
    } else {
        next.call(request).await?.map_into_left_body()
    };
    if matches!(origins.as_deref(), Some(Origins::Only(_))) {
        // The answer to one origin must not be served to another by a cache in between.
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(allowed) = allowed {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    // A stream that leaves with its connection takes the headers along, now that they are complete.
    let detached = response.response_mut().extensions_mut().remove::<Detached>();
    if let Some(detached) = detached {
        detached.begin(response.headers());
    }
    // The path without its query, and no header: either may carry a secret.
    tracing::debug!(
        %method,
        path,
        status = response.status().as_u16(),
        micros = started.elapsed().as_micros() as u64,
        "request"
    );
    Ok(response)
}

/// The `access-control-allow-origin` of an answer, where the request has an origin that may read it.
fn allow(origins: &Origins, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    let origin = origin?;
    match origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::Only(only) => {
            only.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(origin.as_bytes())).then(|| origin.clone())
        }
    }
}
