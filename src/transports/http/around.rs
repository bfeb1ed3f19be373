//! What goes around every request: cross-origin rules, and a line in the log.

use std::future::{Future, ready};
use std::time::Instant;

use actix_http::ConnectionType;
use actix_web::Error as ActixError;
use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, Version};
use futures_util::TryFutureExt;
use futures_util::future::Either;

use super::cors::Cors;
use super::extract::no_services;
use super::socket::Socket;
use super::{callers, reply};
use crate::app::App;

/// Answers preflights, lets the others through, says who may read the answer, and logs.
pub fn around<S, B>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<EitherBody<B>>, ActixError>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError>,
    B: MessageBody + 'static,
{
    let log = tracing::enabled!(tracing::Level::DEBUG).then(|| Log::of(&request));
    let cors = Cors::of(&request);
    let callers = request.app_data::<App>().map(|app| app.callers.clone());
    // Before anything else of the request is looked at. A worker without services serves nobody.
    let checked = callers.as_deref().ok_or_else(no_services).and_then(|callers| callers::check(callers, &request));
    let refused = checked.as_ref().err().map(reply::refusal);
    let is_preflight = request.method() == Method::OPTIONS;
    // What was sent after the request for a stream, whose answer says that it is the last, is not carried out: nobody would hear
    // how that went.
    let is_too_late = request.conn_data::<Socket>().is_some_and(Socket::has_left);
    let at_once = refused.or_else(|| (is_preflight || is_too_late).then(reply::empty));
    let answering = if let Some(answer) = at_once {
        Either::Left(ready(Ok(request.into_response(answer).map_into_right_body())))
    } else {
        Either::Right(service.call(request).map_ok(ServiceResponse::map_into_left_body))
    };
    async move {
        let mut response = answering.await?;
        if let Some(callers) = callers {
            cors.answer(&callers, response.headers_mut());
        }
        if response.request().version() == Version::HTTP_10 && response.response().body().size() == BodySize::Stream {
            // It has no chunks (RFC 9112, section 7.1): such a body ends with the connection.
            let head = response.response_mut().head_mut();
            head.no_chunking(true);
            head.set_connection_type(ConnectionType::Close);
        }
        if let Some(log) = log {
            log.write(response.status().as_u16());
        }
        Ok(response)
    }
}

/// What is logged of a request.
struct Log {
    started: Instant,
    method: Method,
    /// Without its query, and no header is logged: either may carry a secret.
    path: String,
}

impl Log {
    fn of(request: &ServiceRequest) -> Self {
        Self { started: Instant::now(), method: request.method().clone(), path: request.path().to_owned() }
    }

    fn write(self, status: u16) {
        let Self { started, method, path } = self;
        tracing::debug!(%method, path, status, micros = started.elapsed().as_micros() as u64, "request");
    }
}
