//! One request of HTTP/2 and its answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::error::PayloadError;
use actix_http::{Payload, Request, Response, ResponseHead, StatusCode, Version};
use actix_service::Service;
use actix_web::http::header::{self, HeaderName, HttpDate, TryIntoHeaderValue};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Method;
use tokio::time::timeout;

use super::STALLED_AFTER;
use super::heads::Heads;
use crate::transports::http::reply;

/// How much of a request's body is thrown away after its answer, at most. No body that is taken has more than 2 MiB; who sends
/// one that is a few times as long can still read why it was refused.
const MAX_DRAINED_BYTES: usize = 8 << 20;
/// How long that may take.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was given to the last byte, or nobody wants it any more.
    Over,
    /// Its client took nothing of it for too long.
    Stalled,
}

/// What is of one connection and not of the message has no place in HTTP/2 (RFC 9113, section 8.2.2).
const OF_HTTP_1: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Has a request answered. All of it is dropped as soon as its client cancels it.
pub async fn answer<S, B>(
    service: Rc<S>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    from: Option<SocketAddr>,
    heads: Heads,
) -> Outcome
where
    S: Service<Request>,
    S::Error: Into<Response<BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
    let is_head = request.method() == Method::HEAD;
    let (body, outcome) = match heads.hold(request.headers(), request.uri()) {
        // Of what is refused the body alone is kept.
        Err(error) => {
            let body = Body::of(request.into_body());
            (body, send::<BoxBody>(reply::refusal(&error).into(), respond, is_head).await)
        }
        Ok(held) => {
            let (request, body) = for_application(request, from);
            let handled = service.call(request);
            let handled = tokio::select! {
                biased;
                _ = poll_fn(|context| respond.poll_reset(context)) => return Outcome::Over,
                handled = handled => handled,
            };
            // The request goes with what is made of its answer here.
            let handled = handled.map(Into::into).map_err(Into::into);
            drop(held);
            let outcome = match handled {
                Ok(response) => send::<B>(response, respond, is_head).await,
                Err(error) => send::<BoxBody>(error, respond, is_head).await,
            };
            (body, outcome)
        }
    };
    if let (Outcome::Over, Some(body)) = (outcome, body) {
        let _ = timeout(DRAINED_WITHIN, body.drain()).await;
    }
    outcome
}

/// The request as the application takes it, and its body, if there is one.
fn for_application(request: http::Request<RecvStream>, from: Option<SocketAddr>) -> (Request, Option<Body>) {
    let (parts, body) = request.into_parts();
    let body = Body::of(body);
    let payload = body.clone().map_or(Payload::None, |body| Payload::Stream { payload: Box::pin(body) as _ });
    let mut request = Request::with_payload(payload);
    let head = request.head_mut();
    head.uri = parts.uri;
    head.method = parts.method;
    head.version = parts.version;
    head.headers = parts.headers.into();
    head.peer_addr = from;
    (request, body)
}

/// The body of a request. Its client may send more as it is read. The application has it, and may drop it unread; the answer keeps
/// it to the end, since `h2` resets a stream whose body nobody has any more, and many clients take that for no answer at all.
#[derive(Clone)]
struct Body(Rc<RefCell<RecvStream>>);

impl Body {
    /// What comes on a stream, if something does.
    fn of(stream: RecvStream) -> Option<Self> {
        (!stream.is_end_stream()).then(|| Self(Rc::new(RefCell::new(stream))))
    }

    /// Throws away what has come and still comes, until the client has sent all. A client that goes on beyond the bound is told
    /// by a reset without error that no more is needed, as the stream is dropped (RFC 9113, section 8.1).
    async fn drain(mut self) {
        let mut left = MAX_DRAINED_BYTES;
        while let Some(Ok(chunk)) = self.next().await {
            let Some(less) = left.checked_sub(chunk.len()) else { return };
            left = less;
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.0.borrow_mut();
        let chunk = ready!(body.poll_data(context));
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk.map_err(|_| PayloadError::Incomplete(None))?;
            // A stream that has just been cancelled says so at the next chunk.
            let _ = body.flow_control().release_capacity(chunk.len());
            Ok(chunk)
        }))
    }
}

async fn send<B: MessageBody>(response: Response<B>, mut respond: SendResponse<Bytes>, is_head: bool) -> Outcome {
    let (response, body) = response.into_parts();
    let (head, has_body) = head(response.head(), body.size());
    let is_over = is_head || !has_body;
    // What fails from here on fails because the client, or the connection, has gone.
    let Ok(mut stream) = respond.send_response(head, is_over) else { return Outcome::Over };
    if is_over {
        return Outcome::Over;
    }
    let mut body = pin!(body);
    loop {
        let chunk = tokio::select! {
            biased;
            _ = poll_fn(|context| stream.poll_reset(context)) => return Outcome::Over,
            chunk = poll_fn(|context| body.as_mut().poll_next(context)) => chunk,
        };
        match chunk {
            Some(Ok(chunk)) => match send_chunk(&mut stream, chunk).await {
                Sent::All => {}
                Sent::Gone => return Outcome::Over,
                Sent::Stalled => {
                    stream.send_reset(Reason::CANCEL);
                    return Outcome::Stalled;
                }
            },
            Some(Err(_)) => {
                // What has come of it must not be taken for the whole.
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Outcome::Over;
            }
            None => {
                let _ = stream.send_data(Bytes::new(), true);
                return Outcome::Over;
            }
        }
    }
}

enum Sent {
    All,
    Gone,
    Stalled,
}

/// Sends a chunk as the client takes it.
async fn send_chunk(stream: &mut SendStream<Bytes>, mut chunk: Bytes) -> Sent {
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len());
        if stream.capacity() == 0 {
            match timeout(STALLED_AFTER, poll_fn(|context| stream.poll_capacity(context))).await {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return Sent::Gone,
                Err(_) => return Sent::Stalled,
            }
        }
        let piece = chunk.split_to(stream.capacity().min(chunk.len()));
        if !piece.is_empty() && stream.send_data(piece, false).is_err() {
            return Sent::Gone;
        }
    }
    Sent::All
}

/// The head of an answer, and whether a body follows.
fn head(of: &ResponseHead, size: BodySize) -> (http::Response<()>, bool) {
    let mut response = http::Response::new(());
    *response.status_mut() = of.status;
    *response.version_mut() = Version::HTTP_2;
    let may_have_body = of.status != StatusCode::NO_CONTENT && of.status != StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    for (name, value) in of.headers() {
        if !OF_HTTP_1.contains(name) {
            headers.append(name, value.clone());
        }
    }
    if let BodySize::Sized(length) = size
        && may_have_body
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if !headers.contains_key(header::DATE)
        && let Ok(date) = HttpDate::from(SystemTime::now()).try_into_value()
    {
        headers.insert(header::DATE, date);
    }
    (response, may_have_body && !size.is_eof())
}
