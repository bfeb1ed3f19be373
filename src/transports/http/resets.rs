//! Streams of HTTP/2 that their client has cancelled. actix asks for that only when it next has something to send, which on a
//! quiet event stream is the next heartbeat. So what comes on such a connection is looked at for frames that cancel a stream.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use actix_web::dev::Payload;
use futures_util::Stream;

/// What a client says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of what is before the payload of each frame: how long that is in three bytes, the frame's type, and more (RFC
/// 9113, section 4.1).
const HEADER: usize = 9;
/// The type of the frame that cancels a stream (RFC 9113, section 6.4).
const RST_STREAM: u8 = 3;

/// Those who want to know whether their stream is cancelled, of one connection.
#[derive(Default)]
pub struct Resets {
    reader: RefCell<Reader>,
    watches: RefCell<Vec<Weak<Watch>>>,
}

/// Somebody who wants to know.
struct Watch {
    /// Whether a stream of the connection was cancelled since the last look.
    is_due: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// Tells whether one stream is cancelled.
pub struct Cancelled {
    watch: Rc<Watch>,
    /// The body of its request, which is at its end; it gives an error once the stream is cancelled.
    request: Payload,
}

impl Resets {
    /// Looks at what has come, just before actix does. Whoever is woken by it runs after that, since they are on this thread.
    pub fn look_at(&self, bytes: &[u8]) {
        if !self.reader.borrow_mut().read(bytes) {
            return;
        }
        for watch in self.watches.borrow().iter().filter_map(Weak::upgrade) {
            watch.is_due.set(true);
            if let Some(waker) = watch.waker.take() {
                waker.wake();
            }
        }
    }

    /// Has somebody told of one stream, by the body of its request.
    pub fn watch(&self, request: Payload) -> Cancelled {
        // It may have been cancelled by now.
        let watch = Rc::new(Watch { is_due: Cell::new(true), waker: Cell::default() });
        let mut watches = self.watches.borrow_mut();
        // In passing, so that who comes and goes leaves nothing behind.
        if watches.len() == watches.capacity() {
            watches.retain(|watch| watch.strong_count() > 0);
        }
        watches.push(Rc::downgrade(&watch));
        Cancelled { watch, request }
    }
}

impl Cancelled {
    /// Whether it is by now. Wakes as a future does.
    pub fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.watch.waker.set(Some(context.waker().clone()));
        if !self.watch.is_due.replace(false) {
            return false;
        }
        loop {
            match Pin::new(&mut self.request).poll_next(context) {
                Poll::Ready(Some(Err(_))) => return true,
                // Nothing is expected of it: no more than the window that it was given.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) | Poll::Pending => return false,
            }
        }
    }
}

/// Where in the frames of a connection somebody is who reads along.
struct Reader {
    /// How much is passed over before the next header.
    skip: usize,
    header: [u8; HEADER],
    /// How much of it has come.
    have: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { skip: PREFACE.len(), header: [0; HEADER], have: 0 }
    }
}

impl Reader {
    /// Takes the next bytes; whether they end the header of a frame that cancels a stream, or its payload.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        let mut is_reset = false;
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            // All of such a frame must be here: before, nobody knows of it.
            is_reset |= passed > 0 && passed == self.skip && self.header[3] == RST_STREAM;
            (self.skip, bytes) = (self.skip - passed, &bytes[passed..]);
            if self.skip > 0 {
                break;
            }
            let taken = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            (self.have, bytes) = (self.have + taken, &bytes[taken..]);
            if self.have == HEADER {
                let [high, middle, low, ..] = self.header;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.have = 0;
            }
        }
        is_reset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len() as u32;
        [&length.to_be_bytes()[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn a_frame_that_cancels_a_stream_is_found_once_it_is_whole_however_it_comes() {
        let quiet = [PREFACE, &frame(4, &[]), &frame(1, &[RST_STREAM; 700]), &frame(0, &[0; 70_000])].concat();
        let reset = frame(RST_STREAM, &[0, 0, 0, 8]);
        let all = [&quiet[..], &reset, &frame(6, &[3; 8]), &reset, &reset].concat();
        let ends = [quiet.len() + 13, quiet.len() + 13 + 17 + 13, quiet.len() + 13 + 17 + 26];
        for size in [1, 3, 9, 13, 1000, 70_000, usize::MAX] {
            let (mut reader, mut read) = (Reader::default(), 0);
            for part in all.chunks(size) {
                let ends_here = ends.iter().any(|end| (read + 1..=read + part.len()).contains(end));
                read += part.len();
                assert_eq!(reader.read(part), ends_here, "{size}, up to {read}");
            }
        }
    }
}
