//! Heads of requests of HTTP/1 before actix sees them. It would take 128 KiB of each, and wait for all but the first of a connection
//! as long as they like; and what it refuses it refuses without a word.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, Waker, ready};

use actix_http::body::BodySize;
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::cors::Cors;
use super::offers;
use super::service::{HEAD_WITHIN, KEEP_ALIVE, MAX_HEADER_BYTES};
use crate::error::Error;

/// An answer that actix writes at once, in bytes.
const SHORT: u64 = 16 << 10;

/// Where a connection is between its requests.
pub struct Heads {
    /// Whether what comes next is the head of a request.
    is_next: Cell<bool>,
    /// What has come of it, while it is not whole; or what has yet to be given on of one that is.
    come: RefCell<Vec<u8>>,
    is_whole: Cell<bool>,
    is_too_large: Cell<bool>,
    /// Who reads, while something is kept.
    waker: Cell<Option<Waker>>,
    /// Whether the request that is under way has a body that was not read to its end.
    has_rest: Cell<bool>,
    /// When a request must have come, while none is under way.
    due: Cell<Option<Instant>>,
}

/// What became of what was read.
pub enum Taken {
    /// It is given on.
    On,
    /// It is kept until there is more.
    Kept,
    /// It is too much.
    TooLarge,
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            is_next: Cell::new(true),
            come: RefCell::default(),
            is_whole: Cell::new(false),
            is_too_large: Cell::new(false),
            waker: Cell::default(),
            has_rest: Cell::new(false),
            due: Cell::new(Some(Instant::now() + HEAD_WITHIN)),
        }
    }
}

impl Heads {
    /// Whether what is read next must be shown to [`take`](Self::take).
    pub fn is_next(&self) -> bool {
        self.is_next.get()
    }

    /// Gives on what is left of a head that is whole; whether there was something.
    pub fn give(&self, buffer: &mut ReadBuf<'_>) -> bool {
        if !self.is_whole.get() {
            return false;
        }
        let mut come = self.come.borrow_mut();
        let given = come.len().min(buffer.remaining());
        buffer.put_slice(&come[..given]);
        come.drain(..given);
        if come.is_empty() {
            *come = Vec::new();
            self.is_whole.set(false);
        }
        true
    }

    /// Takes what was read behind `before`, which actix gets once the head is whole.
    pub fn take(&self, buffer: &mut ReadBuf<'_>, before: usize) -> Taken {
        let mut come = self.come.borrow_mut();
        let read = &buffer.filled()[before..];
        if come.is_empty() && read.iter().all(|byte| b"\r\n".contains(byte)) {
            // Lines that are empty may be before a request (RFC 9112, section 2.2).
            return Taken::On;
        }
        if come.is_empty() {
            let within = Instant::now() + HEAD_WITHIN;
            self.due.set(Some(self.due.get().map_or(within, |due| due.min(within))));
            if let Some(end) = end_of_head(read)
                && end <= MAX_HEADER_BYTES
                && place_of_length(&read[..end]).is_none()
            {
                offers::ignore(&mut buffer.filled_mut()[before..before + end]);
                self.is_next.set(false);
                return Taken::On;
            }
        }
        let from = come.len().saturating_sub(3);
        come.extend_from_slice(read);
        buffer.set_filled(before);
        match end_of_head(&come[from..]).map(|end| from + end) {
            Some(end) if end <= MAX_HEADER_BYTES => {
                offers::ignore(&mut come[..end]);
                if let Some(place) = place_of_length(&come[..end]) {
                    come.splice(place..place, *b"content-length: 0\r\n");
                }
                drop(come);
                self.is_next.set(false);
                self.is_whole.set(true);
                self.give(buffer);
                Taken::On
            }
            None if come.len() <= MAX_HEADER_BYTES => Taken::Kept,
            _ => {
                self.is_too_large.set(true);
                Taken::TooLarge
            }
        }
    }

    /// Notes who is to be woken if what is kept is to be given on after all.
    pub fn keep(&self, waker: &Waker) {
        self.waker.set(Some(waker.clone()));
    }

    /// What the beginning of a head that does not come, or is too large, says of the page that it comes from.
    pub fn cors(&self) -> Cors {
        Cors::of_part(&self.come.borrow())
    }

    /// A request has come.
    pub fn request(&self, has_body: bool) {
        self.is_next.set(false);
        if !self.come.borrow().is_empty() {
            // It came before the answer to the one before had been sent, and what is kept is of its body.
            self.is_whole.set(true);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        self.has_rest.set(has_body);
        self.due.set(None);
    }

    /// All of its body was read.
    pub fn body_ended(&self) {
        self.has_rest.set(false);
    }

    /// It is answered, by a body of this size, and the next may come. Where something of its body may come first, nobody can tell
    /// here where that ends; and while a long answer is sent, actix may have the next request already, and its body be what comes.
    pub fn answered(&self, size: BodySize) {
        let is_short = match size {
            BodySize::None => true,
            BodySize::Sized(bytes) => bytes <= SHORT,
            BodySize::Stream => false,
        };
        self.is_next.set(is_short && !self.has_rest.get());
        self.put_off();
    }

    /// Something of an answer is written: it is not over.
    pub fn wrote(&self) {
        if self.due.get().is_some() {
            self.put_off();
        }
    }

    /// actix ends a connection on which nothing comes before that, but not one on which something has come.
    fn put_off(&self) {
        self.due.set(Some(Instant::now() + KEEP_ALIVE + HEAD_WITHIN));
    }

    /// Becomes ready when the connection is to end, and says why. Must be polled after each read.
    pub async fn refused(&self) -> Error {
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|context| {
            if self.is_too_large.get() {
                return Poll::Ready(Error::HeadTooLarge(MAX_HEADER_BYTES));
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

/// Behind the empty line that ends a head, where there is one.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    lines.map(|(at, _)| at + 1).find_map(|next| match bytes.get(next..)? {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// Where a length is to be put in: a `POST` of HTTP/1.0 that tells none has no body (RFC 9112, section 6.3), which actix refuses.
fn place_of_length(head: &[u8]) -> Option<usize> {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next()?.trim_ascii();
    if !first.starts_with(b"POST ") || !first.ends_with(b" HTTP/1.0") {
        return None;
    }
    let tells = |line: &[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        [&b"content-length"[..], b"transfer-encoding"].iter().any(|length| name.eq_ignore_ascii_case(length))
    };
    let last = lines.clone().next_back()?.len();
    (!lines.any(tells)).then_some(head.len() - last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is given on of what comes in such parts; `None` where it is refused.
    fn given(parts: &[&[u8]]) -> Option<Vec<u8>> {
        let (heads, mut given) = (Heads::default(), Vec::new());
        let room = &mut vec![0; 100 << 10][..];
        for part in parts {
            let mut buffer = ReadBuf::new(room);
            buffer.put_slice(part);
            if heads.is_next() && matches!(heads.take(&mut buffer, 0), Taken::TooLarge) {
                return None;
            }
            given.extend_from_slice(buffer.filled());
            let mut small = [0; 7];
            loop {
                let mut buffer = ReadBuf::new(&mut small);
                if !heads.give(&mut buffer) {
                    break;
                }
                given.extend_from_slice(buffer.filled());
            }
        }
        Some(given)
    }

    #[test]
    fn a_head_is_given_on_once_it_is_whole_and_what_comes_behind_it_as_it_comes() {
        let all = b"\r\nPOST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nA\n\nB\n";
        for size in [1, 2, 3, 7, 20, all.len()] {
            let parts: Vec<&[u8]> = all.chunks(size).collect();
            assert_eq!(given(&parts).unwrap(), all, "{size}");
        }
        assert_eq!(given(&[b"GET / HTTP/1.1\r\nhost: x\r\n"]).unwrap(), b"");
        assert_eq!(given(&[b"GET / HTTP/1.1\nhost: x\n\n"]).unwrap(), b"GET / HTTP/1.1\nhost: x\n\n");
    }

    #[test]
    fn a_head_that_is_too_large_is_refused_whether_it_ends_or_not() {
        for (more, is_taken) in [(0, true), (1, false)] {
            let length = MAX_HEADER_BYTES - b"GET / HTTP/1.1\r\na: \r\n\r\n".len() + more;
            let head = [&b"GET / HTTP/1.1\r\na: "[..], &vec![b'x'; length], b"\r\n\r\n"].concat();
            assert_eq!(given(&[&head]).is_some(), is_taken);
            assert_eq!(given(&head.chunks(1000).collect::<Vec<_>>()).is_some(), is_taken);
        }
        assert_eq!(given(&[&vec![b'x'; MAX_HEADER_BYTES + 1]]), None);
    }

    #[test]
    fn a_post_of_http_1_0_without_a_length_has_an_empty_body() {
        let whole = |head: &str| String::from_utf8(given(&[head.as_bytes()]).unwrap()).unwrap();
        assert_eq!(whole("POST /a HTTP/1.0\r\nb: c\r\n\r\n"), "POST /a HTTP/1.0\r\nb: c\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(whole("POST /a HTTP/1.0\r\n\r\n"), "POST /a HTTP/1.0\r\ncontent-length: 0\r\n\r\n");
        for other in [
            "POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
            "POST /a HTTP/1.1\r\nb: c\r\n\r\n",
            "GET /a HTTP/1.0\r\nb: c\r\n\r\n",
        ] {
            assert_eq!(whole(other), other);
        }
    }
}
