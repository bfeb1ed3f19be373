//! HTTP/1 requests before actix sees them: actix gets one request at a time, and only once its head is complete. Left
//! to itself, actix accepts 128 KiB of head, applies its head timeout to the first request of a connection only, and
//! closes the connection without an answer when it refuses a head.
//!
//! It also closes a memory fault: pipelined requests were handled whether or not the client read the earlier answers,
//! and all those answers were kept. The next request is now passed on only when the current one has ended and its
//! answer is written. Until then further bytes wait here, and once more than [`MAX_HEADER_BYTES`] wait, nothing more
//! is read.

mod framing;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::cors::Cors;
use super::limits::{HEAD_TOO_LARGE, HEAD_WITHIN, KEEP_ALIVE, MAX_HEADER_BYTES};
use super::offers;
use crate::error::Error;
use framing::{Body, Framing, blank_lines, end_of_head};

/// Declares an empty body.
const EMPTY: &[u8] = b"content-length: 0\r\n";

/// The state of one connection: the current request, its answer, and the bytes that wait.
pub struct Heads {
    /// The part of the current request's body that has yet to arrive; `None` while the next head is awaited.
    body: RefCell<Option<Body>>,
    answer: Cell<Answer>,
    /// Bytes that have arrived and cannot be passed on yet.
    waiting: RefCell<Waiting>,
    is_too_large: Cell<bool>,
    /// The deadline for the next request, while none is being handled.
    due: Cell<Option<Instant>>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many of them may be passed on.
    free: usize,
    /// How many of them were already searched for the end of a head.
    searched: usize,
}

/// The state of the answer to the current request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Not written yet.
    Owed,
    /// actix has all of it and has yet to write its end.
    Made,
    /// Written.
    Sent,
}

/// What to do with the next bytes.
enum Next {
    /// Pass on this many.
    Free(usize),
    /// Drop this many: they are empty lines.
    Blank(usize),
    /// They are a complete head; insert [`EMPTY`] at this offset.
    Unsaid(usize),
    /// Keep them until the answer is written or more arrives.
    Wait,
    /// They begin a head that is too large.
    TooLarge,
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            body: RefCell::default(),
            answer: Cell::new(Answer::Sent),
            waiting: RefCell::default(),
            is_too_large: Cell::new(false),
            due: Cell::new(Some(Instant::now() + HEAD_WITHIN)),
        }
    }
}

impl Heads {
    /// Passes on waiting bytes if that is allowed; returns whether there were any.
    pub fn give(&self, buffer: &mut ReadBuf<'_>) -> bool {
        let waiting = &mut *self.waiting.borrow_mut();
        while waiting.free == 0 && !waiting.bytes.is_empty() {
            match self.next(&mut waiting.bytes, waiting.searched) {
                Next::Free(bytes) => waiting.free = bytes,
                Next::Blank(bytes) => {
                    waiting.bytes.drain(..bytes);
                    waiting.searched = 0;
                }
                Next::Unsaid(place) => drop(waiting.bytes.splice(place..place, EMPTY.iter().copied())),
                Next::Wait => {
                    if self.is_between() {
                        waiting.searched = waiting.bytes.len();
                    }
                    return false;
                }
                Next::TooLarge => {
                    self.is_too_large.set(true);
                    return false;
                }
            }
        }
        let given = waiting.free.min(buffer.remaining());
        buffer.put_slice(&waiting.bytes[..given]);
        if given == waiting.bytes.len() {
            // A client that waits for each answer needs no buffer between requests.
            *waiting = Waiting::default();
        } else {
            waiting.bytes.drain(..given);
            waiting.free -= given;
            waiting.searched = 0;
        }
        given > 0
    }

    /// Examines the bytes read after `before` and leaves in the buffer those that are passed on; returns whether
    /// there are any.
    pub fn take(&self, buffer: &mut ReadBuf<'_>, before: usize) -> bool {
        let waits = !self.waiting.borrow().bytes.is_empty();
        let mut at = before;
        // In the usual case, one complete request and nothing else, nothing is copied.
        while !waits
            && at < buffer.filled().len()
            && let Next::Free(bytes) = self.next(&mut buffer.filled_mut()[at..], 0)
        {
            at += bytes;
        }
        if at < buffer.filled().len() {
            self.keep(&buffer.filled()[at..]);
            buffer.set_filled(at);
        }
        at > before || self.give(buffer)
    }

    /// Keeps bytes for later.
    pub fn keep(&self, bytes: &[u8]) {
        self.waiting.borrow_mut().bytes.extend_from_slice(bytes);
    }

    /// Classifies the next bytes. `searched` is how many of them were already searched for the end of a head. Offers
    /// to switch protocols are removed from a complete head.
    fn next(&self, bytes: &mut [u8], searched: usize) -> Next {
        let mut body = self.body.borrow_mut();
        if let Some(body) = &mut *body
            && !body.is_whole()
        {
            return Next::Free(body.take(bytes));
        }
        if self.answer.get() != Answer::Sent {
            return Next::Wait;
        }
        *body = None;
        let blank = blank_lines(bytes);
        if blank > 0 {
            return Next::Blank(blank);
        }
        let from = searched.saturating_sub(3);
        match end_of_head(&bytes[from..]).map(|end| from + end) {
            Some(end) if end <= MAX_HEADER_BYTES => match Framing::of(&bytes[..end]) {
                Framing::Body(framed) => {
                    offers::ignore(&mut bytes[..end]);
                    *body = Some(framed);
                    self.answer.set(Answer::Owed);
                    Next::Free(end)
                }
                Framing::Unsaid(place) => Next::Unsaid(place),
                Framing::TooMany => Next::TooLarge,
            },
            None if bytes.len() <= MAX_HEADER_BYTES => {
                if searched == 0 {
                    let within = Instant::now() + HEAD_WITHIN;
                    self.due.set(Some(self.due.get().map_or(within, |due| due.min(within))));
                }
                Next::Wait
            }
            _ => Next::TooLarge,
        }
    }

    /// Whether more may be read from the socket.
    pub fn has_room(&self) -> bool {
        !self.is_too_large.get() && self.waiting.borrow().bytes.len() <= MAX_HEADER_BYTES
    }

    /// Whether bytes wait for the answer to the current request.
    pub fn has_more(&self) -> bool {
        !self.is_between() && !self.waiting.borrow().bytes.is_empty()
    }

    /// Whether every request passed on was answered, so that an error can be sent between two answers.
    pub fn is_between(&self) -> bool {
        self.answer.get() == Answer::Sent && self.body.borrow().as_ref().is_none_or(Body::is_whole)
    }

    /// The CORS fields of an incomplete or oversized head, so that its refusal can be read by the page that sent it.
    pub fn cors(&self) -> Cors {
        Cors::of_part(&self.waiting.borrow().bytes)
    }

    /// A request has arrived.
    pub fn request(&self) {
        self.due.set(None);
    }

    /// actix has the whole answer and writes it at its next flush.
    pub fn answered(&self) {
        self.answer.set(Answer::Made);
    }

    /// Everything was flushed; returns whether bytes waited for that.
    pub fn flushed(&self) -> bool {
        if self.answer.get() != Answer::Made {
            return false;
        }
        self.answer.set(Answer::Sent);
        // actix closes an idle connection earlier than this, but not one on which part of a request arrived.
        self.due.set(Some(Instant::now() + KEEP_ALIVE + HEAD_WITHIN));
        !self.waiting.borrow().bytes.is_empty()
    }

    /// Resolves with the reason when the connection must be refused. Must be polled after each read.
    pub async fn refused(&self) -> Error {
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|context| {
            if self.is_too_large.get() {
                return Poll::Ready(HEAD_TOO_LARGE);
            }
            loop {
                let Some(due) = self.due.get() else { return Poll::Pending };
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
                if due < timer.deadline() {
                    timer.as_mut().reset(due);
                }
                ready!(timer.as_mut().poll(context));
                if due <= Instant::now() {
                    return Poll::Ready(Error::RequestTimeout);
                }
                // The deadline was moved meanwhile. That is checked here, when the timer fires, and not at each
                // request.
                timer.as_mut().reset(due);
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives on what comes.
    struct Connection {
        heads: Heads,
    }

    impl Connection {
        fn new() -> Self {
            Self { heads: Heads::default() }
        }

        /// Something comes; what is given on then.
        fn read(&mut self, part: &[u8]) -> Vec<u8> {
            let mut room = vec![0; 100 << 10];
            let mut buffer = ReadBuf::new(&mut room);
            buffer.put_slice(b"before");
            buffer.put_slice(part);
            self.heads.take(&mut buffer, 6);
            let mut given = buffer.filled()[6..].to_vec();
            given.extend(self.rest());
            given
        }

        fn rest(&mut self) -> Vec<u8> {
            let (mut given, mut small) = (Vec::new(), [0; 7]);
            loop {
                let mut buffer = ReadBuf::new(&mut small);
                if !self.heads.give(&mut buffer) {
                    return given;
                }
                given.extend_from_slice(buffer.filled());
            }
        }

        /// What was given on is answered; what is given on then.
        fn answer(&mut self) -> Vec<u8> {
            self.heads.request();
            self.heads.answered();
            self.heads.flushed();
            self.rest()
        }
    }

    #[test]
    fn requests_are_given_on_one_at_a_time_however_they_come() {
        let requests: [&[u8]; 5] = [
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nA\n\nB\n",
            b"GET / HTTP/1.1\nhost: x\n\n",
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\n\n\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 00\r\n\r\n",
            b"GET /last HTTP/1.1\r\nhost: x\r\n\r\n",
        ];
        let all = requests.join(&b"\r\n"[..]);
        for size in [1, 2, 3, 7, 20, 60, all.len()] {
            let mut connection = Connection::new();
            let mut given: Vec<u8> = all.chunks(size).flat_map(|part| connection.read(part)).collect();
            for request in &requests {
                assert_eq!(given, *request, "{size}");
                assert!(connection.rest().is_empty());
                given = connection.answer();
            }
            assert!(given.is_empty() && connection.heads.is_between());
        }
    }

    #[test]
    fn the_next_request_waits_for_the_end_of_the_body_and_for_the_answer_to_be_written() {
        let post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n";
        let mut connection = Connection::new();
        assert_eq!(connection.read(post), post);
        assert!(connection.answer().is_empty());
        // It is answered, and its body is still to come.
        assert!(!connection.heads.is_between());
        assert_eq!(connection.read(b"12345GET / HTTP/1.1\r\n\r\nGET"), b"12345GET / HTTP/1.1\r\n\r\n");
        connection.heads.request();
        connection.heads.flushed();
        assert!(connection.rest().is_empty() && !connection.heads.is_between());
        connection.heads.answered();
        assert!(connection.read(b" /a HTTP/1.1\r\n\r\n").is_empty());
        assert!(connection.heads.flushed());
        assert_eq!(connection.rest(), b"GET /a HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn no_more_is_read_than_one_head_while_a_request_is_under_way() {
        let mut connection = Connection::new();
        connection.read(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut read = 0;
        while connection.heads.has_room() {
            assert!(connection.read(&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(10)).is_empty());
            read += 270;
        }
        assert!((MAX_HEADER_BYTES..MAX_HEADER_BYTES + 300).contains(&read), "{read}");
        for _ in 0..read / 27 {
            assert_eq!(connection.answer().len(), 27);
        }
        assert!(connection.answer().is_empty() && connection.heads.has_room() && connection.heads.is_between());
    }

    #[test]
    fn a_head_that_is_too_large_is_refused_whether_it_ends_or_not() {
        for (more, is_taken) in [(0, true), (1, false)] {
            let length = MAX_HEADER_BYTES - b"GET / HTTP/1.1\r\na: \r\n\r\n".len() + more;
            let head = [&b"GET / HTTP/1.1\r\na: "[..], &vec![b'x'; length], b"\r\n\r\n"].concat();
            for size in [head.len(), 1000] {
                let mut connection = Connection::new();
                let given: Vec<u8> = head.chunks(size).flat_map(|part| connection.read(part)).collect();
                assert_eq!(given == head, is_taken);
                assert_eq!(connection.heads.is_too_large.get(), !is_taken);
            }
        }
        let mut connection = Connection::new();
        connection.read(&vec![b'x'; MAX_HEADER_BYTES + 1]);
        assert!(connection.heads.is_too_large.get());
    }

    #[test]
    fn a_post_of_http_1_0_without_a_length_has_an_empty_body() {
        let whole = |head: &str| String::from_utf8(Connection::new().read(head.as_bytes())).unwrap();
        assert_eq!(whole("POST /a HTTP/1.0\r\nb: c\r\n\r\n"), "POST /a HTTP/1.0\r\nb: c\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(whole("POST /a HTTP/1.0\r\n\r\n"), "POST /a HTTP/1.0\r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn a_request_must_come_in_time_and_its_answer_may_take_any() {
        let due = |connection: &Connection| {
            let left = connection.heads.due.get()?.saturating_duration_since(Instant::now());
            Some(left.as_secs_f64().round() as u64)
        };
        let mut connection = Connection::new();
        assert_eq!(due(&connection), Some(HEAD_WITHIN.as_secs()));
        connection.read(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        connection.heads.request();
        connection.read(b"GET /next");
        assert_eq!(due(&connection), None);
        connection.heads.answered();
        assert_eq!(due(&connection), None);
        connection.heads.flushed();
        // The beginning of the next has been there, but it is its turn only now.
        assert_eq!(due(&connection), Some((KEEP_ALIVE + HEAD_WITHIN).as_secs()));
        assert!(connection.rest().is_empty());
        assert_eq!(due(&connection), Some(HEAD_WITHIN.as_secs()));
        // More of it is no reason to wait for longer.
        connection.heads.due.set(Some(Instant::now() + HEAD_WITHIN / 2));
        connection.read(b" HTTP/1.1\r\n");
        assert_eq!(due(&connection), Some(HEAD_WITHIN.as_secs() / 2));
        connection.read(b"\r\n");
        connection.answer();
        assert_eq!(due(&connection), Some((KEEP_ALIVE + HEAD_WITHIN).as_secs()));
    }
}
