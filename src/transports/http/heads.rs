//! HTTP/1 requests before actix sees them: actix gets one request at a time, and only once its head is complete. Left
//! to itself, actix accepts 128 KiB of head, applies its head timeout to the first request of a connection only, and
//! closes the connection without an answer when it refuses a head.
//!
//! It also closes a memory fault: pipelined requests were handled whether or not the client read the earlier answers,
//! and all those answers were kept. The next request is now passed on only when the current one has ended and its
//! answer is written. Until then further bytes wait here, and once more than [`MAX_HEADER_BYTES`] wait, nothing more
//! is read.

mod framing;
#[cfg(test)]
mod tests;

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
    /// Whether the current request offers to switch to WebSocket.
    offers_websocket: Cell<bool>,
    /// The deadline for the next request, while none is being handled.
    due: Cell<Option<Instant>>,
    /// The head with which the connection came back, until it is passed on.
    brought: RefCell<Option<Vec<u8>>>,
    /// The same while it is the current request's.
    request: RefCell<Option<Vec<u8>>>,
    /// Whether the connection came back without a byte, and none has come since.
    is_kept: Cell<bool>,
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
            offers_websocket: Cell::new(false),
            due: Cell::new(Some(Instant::now() + HEAD_WITHIN)),
            brought: RefCell::default(),
            request: RefCell::default(),
            is_kept: Cell::default(),
        }
    }
}

impl Heads {
    /// For a connection that comes back with these bytes.
    pub fn of(received: Vec<u8>) -> Self {
        // Blank lines before a head are passed over, and would end it.
        let is_head = blank_lines(&received) == 0 && end_of_head(&received) == Some(received.len());
        let heads = Self { brought: RefCell::new(is_head.then(|| received.clone())), ..Self::default() };
        if received.is_empty() {
            heads.is_kept.set(true);
            // A proxy takes it for one that is kept as long as others.
            heads.due.set(Some(Instant::now() + KEEP_ALIVE));
        }
        *heads.waiting.borrow_mut() = Waiting { bytes: received, ..Waiting::default() };
        heads
    }

    /// The head of the current request, if the connection came back with it and nothing else.
    pub fn take_request(&self) -> Option<Vec<u8>> {
        self.request.take()
    }

    /// Passes on waiting bytes if that is allowed; returns whether there were any.
    pub fn give(&self, buffer: &mut ReadBuf<'_>) -> bool {
        let waiting = &mut *self.waiting.borrow_mut();
        while waiting.free == 0 && !waiting.bytes.is_empty() {
            match self.next(&mut waiting.bytes, waiting.searched) {
                Next::Free(bytes) => waiting.free = bytes,
                Next::Blank(bytes) => {
                    *self.brought.borrow_mut() = None;
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
        self.is_kept.set(false);
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
                    self.offers_websocket.set(offers::take(&mut bytes[..end]));
                    *body = Some(framed);
                    self.answer.set(Answer::Owed);
                    *self.request.borrow_mut() = self.brought.take();
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

    /// Whether the current request offers to switch to WebSocket.
    pub fn offers_websocket(&self) -> bool {
        self.offers_websocket.get()
    }

    /// What the client has sent behind the current request, for a connection that leaves.
    pub fn take_rest(&self) -> Vec<u8> {
        self.waiting.take().bytes
    }

    /// Whether every request passed on was answered, so that an error can be sent between two answers.
    pub fn is_between(&self) -> bool {
        self.answer.get() == Answer::Sent && self.body.borrow().as_ref().is_none_or(Body::is_whole)
    }

    /// Whether the client has sent nothing that it could be refused for: the connection came back, and was only kept.
    pub fn is_kept(&self) -> bool {
        self.is_kept.get()
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
