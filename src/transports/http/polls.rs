//! Polls of Socket.IO on a connection that has left actix. A client sends the same head again and again, and is owed the
//! same head of an answer each time: neither is read or made anew. With anything else that the client sends, the
//! connection goes back to actix, which knows nothing of what was in between.
//!
//! A client that polls costs as many requests as events, and nearly all of their cost was actix's.

use std::future::poll_fn;
use std::io::Write;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use actix_http::ConnectionType;
use actix_web::http::header::{self, HeaderName, HttpDate};
use actix_web::http::{StatusCode, Version};
use actix_web::{HttpRequest, HttpResponse};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::body::LeavingBody;
use super::endpoint::Endpoint;
use super::limits::MAX_HEADER_BYTES;
use super::request::has_body;
use super::socket::{Left, Onward, Socket};
use crate::app::Health;
use crate::transports::socket_io::{PollCall, Types};
use crate::transports::tcp::{Stream, bound};

/// The header that says what answers are.
pub const TEXT: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=UTF-8");
/// How much of what a client sends is read at once.
const READ_BYTES: usize = 2048;
/// Maximum length of the parameter by which clients tell a poll from the last one.
const MAX_STAMP_BYTES: usize = 32;
/// The length of a date (RFC 9110, section 5.6.7).
const DATE_BYTES: usize = 29;
/// At least the length of the line that says a length, and of the end of the head.
const LENGTH_BYTES: usize = 48;

/// The connection of a poll that can leave actix: it has no body, which would be taken for the next request, the client
/// keeps the connection, and nobody wants a line about each request in the log.
pub fn leaving(request: &HttpRequest) -> Option<&Socket> {
    let is_kept = request.head().connection_type() == ConnectionType::KeepAlive;
    let can = request.version() == Version::HTTP_11 && is_kept && !has_body(request) && !is_logged();
    request.conn_data::<Socket>().filter(|_| can)
}

fn is_logged() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// Answers a poll, and those that come after it on its connection.
pub fn answer<T: Types>(
    socket: &Socket,
    poll: PollCall<T>,
    health: Health,
    endpoint: Option<Endpoint>,
) -> HttpResponse {
    let leaves_to = Box::new(move |left: Left| Onward::Returns(Box::pin(serve(left, poll, health, endpoint))));
    let mut response = HttpResponse::Ok().insert_header(TEXT).body(LeavingBody::new(socket, leaves_to));
    // The length is said for each answer.
    response.head_mut().no_chunking(true);
    response
}

async fn serve<T: Types>(
    left: Left,
    mut poll: PollCall<T>,
    health: Health,
    endpoint: Option<Endpoint>,
) -> Option<Socket> {
    let Left { mut stream, head, request, mut received } = left;
    bound(stream.tcp());
    let (mut head, poll_head) = (AnswerHead::of(head), request.and_then(|request| PollHead::of(&request)));
    loop {
        let answer = poll_fn(|context| match poll.poll_answer(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            // Only this task hears that the client has gone, as one that closes its side has.
            Poll::Pending => poll_gone(&mut stream, context, &mut received).map(|()| None),
        });
        let answer = head.with(&answer.await?);
        // Before it is written: with the answer, the client may send the next one on another connection.
        let last = poll.answered();
        stream.write_all(&answer).await.ok()?;
        stream.flush().await.ok()?;
        drop(answer);
        let next = poll_fn(|context| {
            let is_closed = poll_gone(&mut stream, context, &mut received).is_ready();
            if is_closed || !received.is_empty() {
                return Poll::Ready(());
            }
            // If the session has ended, or goes on elsewhere, this is no connection of its any more.
            last.poll_over(context)
        });
        next.await;
        // A server that is about to stop ends the connection, which is said in another head.
        let may_be_same = !is_logged() && health.ready().is_ok();
        let same_head = poll_head.as_ref().filter(|head| may_be_same && head.is_of(&received));
        match same_head.and_then(|_| last.again()) {
            Some(next) => {
                poll = next;
                // The first was counted as other requests are. How long a poll waits says nothing.
                if let Some(endpoint) = &endpoint {
                    endpoint.cells.count(StatusCode::OK.as_u16());
                }
            }
            // There it is found out, too, that the client has gone.
            None => return Some(Socket::back(stream, received)),
        }
        received.clear();
    }
}

/// Reads once. Ready with whether there is more to come: the client has not closed its side.
fn poll_read(stream: &mut Stream, context: &mut Context<'_>, received: &mut Vec<u8>) -> Poll<bool> {
    let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut bytes);
    let read = ready!(Pin::new(stream).poll_read(context, &mut buffer));
    received.extend_from_slice(buffer.filled());
    Poll::Ready(read.is_ok() && !buffer.filled().is_empty())
}

/// Reads what a client has sent. Ready when it has closed its side.
fn poll_gone(stream: &mut Stream, context: &mut Context<'_>, received: &mut Vec<u8>) -> Poll<()> {
    while received.len() <= MAX_HEADER_BYTES {
        if !ready!(poll_read(stream, context, received)) {
            return Poll::Ready(());
        }
    }
    Poll::Pending
}

/// The head of an answer, as actix wrote it, but for its length and its date.
struct AnswerHead {
    bytes: Vec<u8>,
    /// Where its date stands, if it has one.
    date: Option<usize>,
    /// The time of that date, in seconds since 1970.
    seconds: u64,
}

impl AnswerHead {
    fn of(mut bytes: Vec<u8>) -> Self {
        const DATE: &[u8] = b"\r\ndate: ";
        // The line that ends the head comes after the length.
        bytes.truncate(bytes.len().saturating_sub(2));
        let date = memmem::find(&bytes, DATE).map(|at| at + DATE.len()).filter(|at| at + DATE_BYTES <= bytes.len());
        Self { bytes, date, seconds: 0 }
    }

    /// This head, as of now, and a body.
    fn with(&mut self, body: &[u8]) -> Vec<u8> {
        self.set_date(SystemTime::now());
        let mut answer = Vec::with_capacity(self.bytes.len() + LENGTH_BYTES + body.len());
        answer.extend_from_slice(&self.bytes);
        // It cannot fail in memory.
        let _ = write!(answer, "content-length: {}\r\n\r\n", body.len());
        answer.extend_from_slice(body);
        answer
    }

    fn set_date(&mut self, now: SystemTime) {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let Some(at) = self.date.filter(|_| seconds != self.seconds) else { return };
        let date = HttpDate::from(now).to_string();
        if date.len() == DATE_BYTES {
            self.bytes[at..at + DATE_BYTES].copy_from_slice(date.as_bytes());
            self.seconds = seconds;
        }
    }
}

/// The head that a poll came with: others that are the same, or differ only in the parameter `t`, are polls of the same
/// session by the same client, with the same headers, and so have the same answer.
struct PollHead {
    before_stamp: Vec<u8>,
    /// Empty without that parameter.
    after_stamp: Vec<u8>,
}

impl PollHead {
    /// `None` if it cannot be told from others.
    fn of(request: &[u8]) -> Option<Self> {
        let line = memchr::memchr(b'\n', request)?;
        let stamp =
            [&b"?t="[..], b"&t="].iter().find_map(|name| Some(memmem::find(&request[..line], name)? + name.len()));
        let Some(at) = stamp else {
            return Some(Self { before_stamp: request.to_owned(), after_stamp: Vec::new() });
        };
        let after = at + request[at..].iter().position(|byte| !is_stamp(*byte))?;
        Some(Self { before_stamp: request[..at].to_owned(), after_stamp: request[after..].to_owned() })
    }

    /// Whether a client has sent this poll again, and nothing else.
    fn is_of(&self, received: &[u8]) -> bool {
        let rest = received.strip_prefix(&self.before_stamp[..]);
        let stamp = rest.and_then(|rest| rest.strip_suffix(&self.after_stamp[..]));
        let most = if self.after_stamp.is_empty() { 0 } else { MAX_STAMP_BYTES };
        stamp.is_some_and(|stamp| stamp.len() <= most && stamp.iter().all(|byte| is_stamp(*byte)))
    }
}

/// Whether a byte needs no encoding in a URL (RFC 3986, section 2.3).
fn is_stamp(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_sent_again_if_nothing_of_it_differs_but_its_stamp() {
        let head = |query: &str| format!("GET /socket.io/?{query} HTTP/1.1\r\nhost: x\r\ncookie: t=1&t=2\r\n\r\n");
        let is_again = |first: &str, next: &str| PollHead::of(first.as_bytes()).unwrap().is_of(next.as_bytes());
        for query in ["EIO=4&transport=polling&t=P6-b._~&sid=abc", "t=0&sid=abc", "sid=abc&t=", "sid=abc"] {
            assert!(is_again(&head(query), &head(query)), "{query}");
            let other = query.replace("t=P6-b._~", "t=QQ").replace("t=0", "t=00");
            assert!(is_again(&head(query), &head(&other)), "{query}");
            for other in [
                head(&query.replace("abc", "abd")),
                head(&format!("{query}&x=1")),
                head(query).replace("cookie", "x"),
                head(query).replacen("GET", "POST", 1),
                head(query)[1..].to_owned(),
                head(query).trim_end().to_owned(),
                head(query).repeat(2),
                head(query) + "x",
                String::new(),
            ] {
                assert!(!is_again(&head(query), &other), "{query} {other}");
            }
        }
        let first = head("t=1&sid=a");
        for stamp in ["1&sid=b", "1%26", "1 HTTP/1.1\r\nx: y", "1/", &"1".repeat(MAX_STAMP_BYTES + 1)] {
            assert!(!is_again(&first, &head(&format!("t={stamp}&sid=a"))), "{stamp}");
        }
    }

    #[test]
    fn an_answer_has_its_length_and_the_date_of_now() {
        let date =
            |seconds| HttpDate::from(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ndate: {}\r\nx: y\r\n\r\n", date(1));
        let mut head = AnswerHead::of(head.into_bytes());
        let before = date(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
        let answer = String::from_utf8(head.with(b"42")).unwrap();
        let after = date(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
        let of = |date: &str| format!("HTTP/1.1 200 OK\r\ndate: {date}\r\nx: y\r\ncontent-length: 2\r\n\r\n42");
        assert!([of(&before), of(&after)].contains(&answer), "{answer}");
        assert_eq!(
            AnswerHead::of(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).with(b""),
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        );
    }
}
