//! Middleware around every request: its id, the caller check, the headers of every answer, the answer for a handler that
//! panics, and the access log.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_http::ConnectionType;
use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode, Version};
use actix_web::{Error as ActixError, HttpResponse};
use bytes::Bytes;
use futures_util::TryFutureExt;
use futures_util::future::Either;
use pin_project_lite::pin_project;

use super::cors::Cors;
use super::endpoint::Endpoint;
use super::protection::Protection;
use super::request::{is_encrypted, no_services};
use super::socket::Socket;
use super::{callers, reply, request_id};
use crate::app::Health;
use crate::config::{Callers, Live};
use crate::error::Error;
use crate::log::RequestId;

/// Answers preflights, handles other requests, and completes the answer.
pub fn around<S, B>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<Answer<EitherBody<B>>>, ActixError>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError>,
    B: MessageBody + 'static,
{
    let began = Instant::now();
    let callers = request.app_data::<Live<Callers>>().map(Live::keep);
    // Checked before anything else. A worker without services serves nobody.
    let checked = callers.as_deref().ok_or_else(no_services).and_then(|callers| callers::check(callers, &request));
    let refused = checked.as_ref().err().map(reply::refusal);
    let finish = Finish::of(&request, callers, refused.is_some(), began);
    let id = finish.id.clone();
    let is_preflight = request.method() == Method::OPTIONS;
    if let Some(socket) = &finish.socket {
        socket.heads().request();
    }
    let at_once = refused.or_else(|| is_preflight.then(reply::empty));
    let answering = if let Some(answer) = at_once {
        Either::Left(ready(Ok(request.into_response(answer).map_into_right_body())))
    } else {
        Either::Right(id.within(|| service.call(request)).map_ok(ServiceResponse::map_into_left_body))
    };
    id.around(finish.after(answering))
}

/// Completes an answer.
struct Finish {
    id: RequestId,
    began: Instant,
    /// What counts requests that no route is for.
    elsewhere: Option<Endpoint>,
    log: Option<Log>,
    cors: Cors,
    protection: Protection,
    callers: Option<Arc<Callers>>,
    /// The connection, for HTTP/1.
    socket: Option<Socket>,
    /// Whether the server is about to stop, so that the client had better use another connection for its next request.
    is_leaving: bool,
}

impl Finish {
    fn of(request: &ServiceRequest, callers: Option<Arc<Callers>>, is_refused: bool, began: Instant) -> Self {
        let elsewhere = request.app_data::<Endpoint>().cloned();
        let log = tracing::enabled!(tracing::Level::DEBUG).then(|| Log::of(request, began));
        let socket = request.conn_data::<Socket>().cloned();
        let (cors, protection) =
            (Cors::of(request, is_refused), Protection::of(request, is_encrypted(request.request())));
        let is_leaving = request.app_data::<Health>().is_some_and(|health| health.ready().is_err());
        Self { id: request_id::of(request), began, elsewhere, log, cors, protection, callers, socket, is_leaving }
    }

    async fn after<B: MessageBody>(
        self,
        answering: impl Future<Output = Result<ServiceResponse<B>, ActixError>>,
    ) -> Result<ServiceResponse<Answer<B>>, ActixError> {
        let (end, id) = (self.socket.clone().map(End), self.id.clone());
        match answering.await {
            Ok(mut response) => {
                let endpoint = response.request().app_data::<Endpoint>().or(self.elsewhere.as_ref());
                self.count(endpoint, response.response());
                let size = response.response().body().size();
                let is_leaving = self.is_leaving;
                self.complete(response.status(), response.headers_mut());
                let head = response.response_mut().head_mut();
                if is_leaving && !head.upgrade() {
                    head.set_connection_type(ConnectionType::Close);
                }
                if response.request().version() == Version::HTTP_10 && size == BodySize::Stream {
                    // HTTP/1.0 has no chunks (RFC 9112, section 7.1): such a body ends with the connection.
                    let head = response.response_mut().head_mut();
                    head.no_chunking(true);
                    head.set_connection_type(ConnectionType::Close);
                }
                Ok(response.map_body(|_, body| Answer { body, end, id }))
            }
            // A handler panicked, and the log has the details. The request is gone with it; the answer is completed
            // like others, so that a page can read it.
            Err(_) => {
                let mut response = reply::refusal(&Error::Internal(String::new()));
                self.count(self.elsewhere.as_ref(), &response);
                self.complete(response.status(), response.headers_mut());
                let response = response.map_body(|_, body| Answer { body, end, id }).map_into_boxed_body();
                Err(InternalError::from_response("a handler panicked", response).into())
            }
        }
    }

    fn count<B>(&self, endpoint: Option<&Endpoint>, response: &HttpResponse<B>) {
        let Some(endpoint) = endpoint else { return };
        endpoint.cells.answered(response.status().as_u16(), self.began.elapsed());
        if let Some(reply::RefusedWith(code)) = response.extensions().get() {
            endpoint.metrics.refused(code);
        }
    }

    fn complete(self, status: StatusCode, headers: &mut HeaderMap) {
        let Self { id, log, cors, protection, callers, .. } = self;
        request_id::answer(&id, headers);
        if let Some(callers) = callers {
            cors.answer(&callers, headers);
        }
        protection.answer(headers);
        if let Some(log) = log {
            log.write(status.as_u16(), &id);
        }
    }
}

pin_project! {
    /// The body of an answer. Its connection is notified when the body is complete or dropped.
    pub struct Answer<B> {
        #[pin]
        body: B,
        end: Option<End>,
        id: RequestId,
    }
}

/// Notifies the HTTP/1 connection when dropped.
struct End(Socket);

impl Drop for End {
    fn drop(&mut self) {
        self.0.heads().answered();
    }
}

impl<B: MessageBody> MessageBody for Answer<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        let answer = self.project();
        answer.id.within(|| answer.body.poll_next(context))
    }
}

/// One line of the access log.
struct Log {
    started: Instant,
    method: Method,
    /// Without its query; headers are not logged either. Both can carry a secret.
    path: String,
}

impl Log {
    fn of(request: &ServiceRequest, started: Instant) -> Self {
        Self { started, method: request.method().clone(), path: request.path().to_owned() }
    }

    fn write(self, status: u16, request_id: &str) {
        let Self { started, method, path } = self;
        tracing::debug!(%method, path, status, micros = started.elapsed().as_micros() as u64, request_id, "request");
    }
}
