//! One HTTP/2 request and its answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::error::PayloadError;
use actix_http::{HttpMessage, Payload, Request, Response, ResponseHead, StatusCode, Version};
use actix_service::Service;
use actix_web::http::header::{self, HeaderName, HttpDate, TryIntoHeaderValue};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Method;
use tokio::time::{Instant, timeout, timeout_at};

use super::frames::Frames;
use super::shared::{PACE, Shared};
use crate::app::STEP_BYTES;
use crate::transports::http::bodies::HeadBytes;
use crate::transports::http::reply;

/// Bytes that the answers of one connection may hold before a stalled one among them is given up early.
const MAX_IN_HAND: usize = 1 << 20;

/// Bytes of a request body that are discarded after its answer. No accepted body exceeds 2 MiB; a client that sends a
/// few times as much can still read why it was refused.
const MAX_DRAINED_BYTES: usize = 8 << 20;
/// Time limit for discarding.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent completely, or the client cancelled it.
    Over,
    /// The client took none of it for too long.
    Stalled,
}

/// Connection-specific headers, which HTTP/2 forbids (RFC 9113, section 8.2.2).
const OF_HTTP_1: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Handles a request and sends the answer. Everything is dropped as soon as the client cancels.
pub async fn answer<S, B>(
    service: Rc<S>,
    shared: Rc<Shared>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Outcome
where
    S: Service<Request>,
    S::Error: Into<Response<BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
    let is_head = request.method() == Method::HEAD;
    let (body, outcome) = match shared.heads.hold(request.headers(), request.uri()) {
        // Only the body of a refused request is kept, to discard it.
        Err(error) => {
            let body = Body::of(request.into_body(), &shared);
            (body, send::<BoxBody>(reply::refusal(&error).into(), respond, is_head, &shared).await)
        }
        Ok(held) => {
            let (request, body) = for_application(request, &shared);
            request.extensions_mut().insert(HeadBytes(held.counted()));
            let handled = service.call(request);
            let handled = tokio::select! {
                biased;
                _ = poll_fn(|context| respond.poll_reset(context)) => return Outcome::Over,
                handled = handled => handled,
            };
            // The request's own data was dropped when the handler finished.
            let handled = handled.map(Into::into).map_err(Into::into);
            drop(held);
            let outcome = match handled {
                Ok(response) => send::<B>(response, respond, is_head, &shared).await,
                Err(error) => send::<BoxBody>(error, respond, is_head, &shared).await,
            };
            (body, outcome)
        }
    };
    if let (Outcome::Over, Some(body)) = (outcome, body) {
        let _ = timeout(DRAINED_WITHIN, body.drain()).await;
    }
    outcome
}

/// Converts the request for the application; returns its body too, if it has one.
fn for_application(request: http::Request<RecvStream>, shared: &Shared) -> (Request, Option<Body>) {
    let (parts, body) = request.into_parts();
    let body = Body::of(body, shared);
    let payload = body.clone().map_or(Payload::None, |body| Payload::Stream { payload: Box::pin(body) as _ });
    let mut request = Request::with_payload(payload);
    let head = request.head_mut();
    head.uri = parts.uri;
    head.method = parts.method;
    head.version = parts.version;
    head.headers = parts.headers.into();
    head.peer_addr = shared.from;
    (request, body)
}

/// A request body. Reading it grants the client more window. The application may drop it unread; the answer keeps a
/// copy to the end, because `h2` resets a stream whose body was dropped, and many clients then report no answer at
/// all.
#[derive(Clone)]
struct Body {
    body: Rc<RefCell<RecvStream>>,
    frames: Rc<Frames>,
}

impl Body {
    /// The body of a stream, if it has one.
    fn of(stream: RecvStream, shared: &Shared) -> Option<Self> {
        (!stream.is_end_stream())
            .then(|| Self { body: Rc::new(RefCell::new(stream)), frames: Rc::clone(&shared.frames) })
    }

    /// Discards the rest of the body until the client has sent all of it. A client that exceeds the limit gets a
    /// reset without an error when the stream is dropped: no more is needed (RFC 9113, section 8.1).
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
        let mut body = self.body.borrow_mut();
        let chunk = ready!(body.poll_data(context));
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk.map_err(|_| PayloadError::Incomplete(None))?;
            // A stream that was just cancelled reports it with the next chunk.
            let _ = body.flow_control().release_capacity(chunk.len());
            self.frames.read(chunk.len());
            Ok(chunk)
        }))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if Rc::strong_count(&self.body) > 1 {
            return;
        }
        // Unread data is discarded here, so that it no longer counts.
        let context = &mut Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(_))) = Pin::new(&mut *self).poll_next(context) {}
    }
}

async fn send<B: MessageBody>(
    response: Response<B>,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
    shared: &Shared,
) -> Outcome {
    let (response, body) = response.into_parts();
    let size = body.size();
    let (head, has_body) = head(response.head(), size);
    let is_over = is_head || !has_body;
    // From here on only a lost client or connection can fail.
    let Ok(mut stream) = respond.send_response(head, is_over) else { return Outcome::Over };
    if is_over {
        return Outcome::Over;
    }
    let mut unsent = if let BodySize::Sized(length) = size { length } else { u64::MAX };
    let mut body = pin!(body);
    // A listing has already read its first step.
    let mut in_hand = InHand::new(shared, unsent.min(STEP_BYTES as u64) as usize);
    while unsent > 0 {
        // Nothing is produced before the client can take it.
        match in_hand.room(&mut stream, 1, Instant::now() + shared.times.stalled).await {
            Room::Some => {}
            other => return other.ends(&mut stream),
        }
        let chunk = tokio::select! {
            biased;
            _ = poll_fn(|context| stream.poll_reset(context)) => return Outcome::Over,
            chunk = poll_fn(|context| body.as_mut().poll_next(context)) => chunk,
        };
        match chunk {
            Some(Ok(chunk)) => {
                unsent = unsent.saturating_sub(chunk.len() as u64);
                in_hand.set(chunk.len());
                let sent = in_hand.send(&mut stream, chunk).await;
                in_hand.set(0);
                match sent {
                    Room::Some => {}
                    other => return other.ends(&mut stream),
                }
            }
            Some(Err(_)) => {
                // The client must not take the truncated body for a complete one.
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Outcome::Over;
            }
            None => break,
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
    Outcome::Over
}

/// Whether a client can take more of an answer.
enum Room {
    Some,
    /// The client has gone.
    Gone,
    /// The client took nothing in time.
    Stalled,
}

impl Room {
    fn ends(self, stream: &mut SendStream<Bytes>) -> Outcome {
        if !matches!(self, Self::Stalled) {
            return Outcome::Over;
        }
        stream.send_reset(Reason::CANCEL);
        Outcome::Stalled
    }
}

/// The bytes that an answer holds, counted for its connection until this is dropped.
struct InHand<'a> {
    shared: &'a Shared,
    bytes: usize,
}

impl<'a> InHand<'a> {
    fn new(shared: &'a Shared, bytes: usize) -> Self {
        let mut new = Self { shared, bytes: 0 };
        new.set(bytes);
        new
    }

    fn set(&mut self, bytes: usize) {
        let all = &self.shared.in_hand;
        all.set(all.get() - self.bytes + bytes);
        self.bytes = bytes;
    }

    fn is_crowded(&self) -> bool {
        self.bytes > 0 && self.shared.in_hand.get() > MAX_IN_HAND
    }

    /// Waits until the client can take some of this many bytes.
    async fn room(&self, stream: &mut SendStream<Bytes>, bytes: usize, until: Instant) -> Room {
        stream.reserve_capacity(bytes);
        if stream.capacity() > 0 {
            return Room::Some;
        }
        loop {
            let now = Instant::now();
            let next = until.min(now + self.shared.times.crowded);
            match timeout_at(next, poll_fn(|context| stream.poll_capacity(context))).await {
                Ok(Some(Ok(_))) => return Room::Some,
                Ok(Some(Err(_)) | None) => return Room::Gone,
                Err(_) if next == until || self.is_crowded() => return Room::Stalled,
                Err(_) => {}
            }
        }
    }

    /// Sends a chunk at the client's pace, which has a minimum: otherwise one byte now and then would keep the rest
    /// in memory for ever.
    async fn send(&self, stream: &mut SendStream<Bytes>, mut chunk: Bytes) -> Room {
        let mut until = Instant::now() + self.shared.times.stalled;
        while !chunk.is_empty() {
            match self.room(stream, chunk.len(), until).await {
                Room::Some => {}
                other => return other,
            }
            let piece = chunk.split_to(stream.capacity().min(chunk.len()));
            until += Duration::from_secs(1).mul_f64(piece.len() as f64 / f64::from(PACE));
            if !piece.is_empty() && stream.send_data(piece, false).is_err() {
                return Room::Gone;
            }
        }
        Room::Some
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The head of an answer, and whether a body follows it.
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
