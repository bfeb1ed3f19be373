//! Requests of HTTP/1 before actix sees them: one at a time, and only once the head is whole. actix would take 128 KiB of a head, and
//! wait for all but the first of a connection as long as they like; and what it refuses it refuses without a word.
//!
//! Closes this fault too: requests that were sent ahead were handled whether or not anybody read the answers to those before, and all
//! of these were kept. So the next request is given on only when this one has come to its end and its answer was written; what comes
//! meanwhile waits, and beyond [`MAX_HEADER_BYTES`] of it nothing more is read.

mod framing;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::cors::Cors;
use super::offers;
use super::service::{HEAD_TOO_LARGE, HEAD_WITHIN, KEEP_ALIVE, MAX_HEADER_BYTES};
use crate::error::Error;
use framing::{Body, Framing, blank_lines, end_of_head};

/// What tells that a body is empty.
const EMPTY: &[u8] = b"content-length: 0\r\n";

/// Where a connection is in its requests.
pub struct Heads {
    /// Of the request whose head was given on last, what has yet to come; `None` while the next head is waited for.
    body: RefCell<Option<Body>>,
    answer: Cell<Answer>,
    /// What has come and cannot be given on yet.
    waiting: RefCell<Waiting>,
    is_too_large: Cell<bool>,
    /// When a request must have come, while none is under way.
    due: Cell<Option<Instant>>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many of these may be given on.
    free: usize,
    /// How many of these have no end of a head in them.
    searched: usize,
}

/// How far the answer is to the request that was given on last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing of it is written.
    Owed,
    /// All of it was given to actix, which has yet to write the end of it.
    Made,
    /// It is written.
    Sent,
}

/// What the next bytes are.
enum Next {
    /// So many may be given on.
    Free(usize),
    /// So many are empty lines, which nobody needs.
    Blank(usize),
    /// They are a whole head, which is to say at this place that the body is empty.
    Unsaid(usize),
    /// They must wait.
    Wait,
    /// They are the beginning of a head that is too large.
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
    /// Gives on what may be given on of what waits; whether there was something.
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
            // Whoever sends one request after the other needs no room.
            *waiting = Waiting::default();
        } else {
            waiting.bytes.drain(..given);
            waiting.free -= given;
            waiting.searched = 0;
        }
        given > 0
    }

    /// Takes what was read behind `before`, and leaves there what is given on of it; whether there is something.
    pub fn take(&self, buffer: &mut ReadBuf<'_>, before: usize) -> bool {
        let waits = !self.waiting.borrow().bytes.is_empty();
        let mut at = before;
        // Nearly always it is a whole request and nothing else, which stays where it is.
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

    /// Has this wait.
    pub fn keep(&self, bytes: &[u8]) {
        self.waiting.borrow_mut().bytes.extend_from_slice(bytes);
    }

    /// What these bytes are, which come next. Of a head so many were `searched` for its end before. In one that is whole no offer is left
    /// to speak another protocol.
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

    /// Whether something more may be read.
    pub fn has_room(&self) -> bool {
        !self.is_too_large.get() && self.waiting.borrow().bytes.len() <= MAX_HEADER_BYTES
    }

    /// Whether something waits for the answer to what is under way.
    pub fn has_more(&self) -> bool {
        !self.is_between() && !self.waiting.borrow().bytes.is_empty()
    }

    /// Whether all that was given on is answered, so that something can be said between two answers.
    pub fn is_between(&self) -> bool {
        self.answer.get() == Answer::Sent && self.body.borrow().as_ref().is_none_or(Body::is_whole)
    }

    /// What the beginning of a head that does not come, or is too large, says of the page that it comes from.
    pub fn cors(&self) -> Cors {
        Cors::of_part(&self.waiting.borrow().bytes)
    }

    /// A request has come.
    pub fn request(&self) {
        self.due.set(None);
    }

    /// All of its answer is made, and will be written when next something is flushed.
    pub fn answered(&self) {
        self.answer.set(Answer::Made);
    }

    /// All that was to be written is written; whether something waited for that.
    pub fn flushed(&self) -> bool {
        if self.answer.get() != Answer::Made {
            return false;
        }
        self.answer.set(Answer::Sent);
        // actix ends a connection on which nothing comes before that, but not one on which something has come.
        self.due.set(Some(Instant::now() + KEEP_ALIVE + HEAD_WITHIN));
        !self.waiting.borrow().bytes.is_empty()
    }

    /// Becomes ready when the connection is to end, and says why. Must be polled after each read.
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
                // It has been put off since: that is looked at when the timer goes off, and not at each request.
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
