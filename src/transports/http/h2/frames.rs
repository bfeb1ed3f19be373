//! Observes the frames of a connection, which `h2` does not expose. The library keeps an incomplete header list for
//! as long as the rest takes, and a record for each unread piece of a body. For tiny pieces that record is a hundred
//! times larger than their share of the flow-control window, and for empty pieces no window applies.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The client's connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame header: payload length in three bytes, type, flags and stream (RFC 9113, section 4.1).
const HEADER: usize = 9;
/// Frame types: body data, and the first and the following parts of a header list.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// Flags of these frames.
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
/// Body pieces shorter than this count as small; a padded frame up to this length may carry no data at all. Flow
/// control bounds the number of larger ones.
pub const SMALL: usize = 256;
/// Small unread body pieces allowed on a connection. The last piece of each body is not counted, since there is only
/// one. Empty pieces stay counted after they are read: they serve no purpose.
const MAX_SMALL: u32 = 1_000;

/// The observed state of a connection.
#[derive(Default)]
pub struct Frames {
    reader: RefCell<Reader>,
    /// When the unfinished header list began.
    unfinished: Cell<Option<Instant>>,
    /// Small body pieces that arrived and were not read.
    small: Cell<u32>,
}

impl Frames {
    /// Wraps a connection so that its frames are observed.
    pub fn watch<T>(self: &Rc<Self>, stream: T) -> Watched<T> {
        Watched { stream, frames: Rc::clone(self) }
    }

    /// A body piece of this length was read, or its body was dropped.
    pub fn read(&self, bytes: usize) {
        if (1..SMALL).contains(&bytes) {
            self.small.set(self.small.get().saturating_sub(1));
        }
    }

    /// No body is waiting any more.
    pub fn none_waits(&self) {
        self.small.set(0);
    }

    /// Resolves when a header list was not finished `within` this time, or too many small body pieces wait. Must be
    /// polled after each read.
    pub async fn abused(&self, within: Duration) {
        let mut timer: Option<(Instant, Pin<Box<Sleep>>)> = None;
        poll_fn(|context| {
            if self.small.get() > MAX_SMALL {
                return Poll::Ready(());
            }
            let Some(since) = self.unfinished.get() else { return Poll::Pending };
            let timer = match &mut timer {
                Some((of, timer)) if *of == since => timer,
                other => &mut other.insert((since, Box::pin(sleep_until(since + within)))).1,
            };
            timer.as_mut().poll(context)
        })
        .await;
    }

    fn look_at(&self, bytes: &[u8]) {
        let mut reader = self.reader.borrow_mut();
        reader.read(bytes);
        if !reader.is_in_headers {
            self.unfinished.set(None);
        } else if reader.has_begun || self.unfinished.get().is_none() {
            self.unfinished.set(Some(Instant::now()));
        }
        self.small.set(self.small.get().saturating_add(std::mem::take(&mut reader.small)));
    }
}

/// The parser state within a connection's frames.
struct Reader {
    /// Bytes to skip before the next frame header.
    skip: usize,
    header: [u8; HEADER],
    /// How many bytes of the header have arrived.
    have: usize,
    /// Whether a header list has begun and not ended.
    is_in_headers: bool,
    /// Whether it began in the bytes read last.
    has_begun: bool,
    /// New small body pieces, except the last of a body.
    small: u32,
}

impl Default for Reader {
    fn default() -> Self {
        let (header, have) = ([0; HEADER], 0);
        Self { skip: PREFACE.len(), header, have, is_in_headers: false, has_begun: false, small: 0 }
    }
}

impl Reader {
    fn read(&mut self, mut bytes: &[u8]) {
        self.has_begun = false;
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - passed, &bytes[passed..]);
            if passed > 0 && self.skip == 0 {
                self.end();
            }
            if self.skip > 0 {
                break;
            }
            let taken = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            (self.have, bytes) = (self.have + taken, &bytes[taken..]);
            if self.have == HEADER {
                self.have = 0;
                self.begin();
            }
        }
    }

    /// A frame header is complete.
    fn begin(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
        let is_small = self.skip < SMALL || flags & PADDED != 0 && self.skip <= SMALL;
        if kind == DATA && is_small && flags & END_STREAM == 0 {
            self.small += 1;
        }
        if kind == HEADERS {
            (self.is_in_headers, self.has_begun) = (true, true);
        }
        if self.skip == 0 {
            self.end();
        }
    }

    /// A frame is complete.
    fn end(&mut self) {
        let [_, _, _, kind, flags, ..] = self.header;
        if (kind == HEADERS || kind == CONTINUATION) && flags & END_HEADERS != 0 {
            self.is_in_headers = false;
        }
    }
}

/// A connection whose frames are observed as they are read.
pub struct Watched<T> {
    stream: T,
    frames: Rc<Frames>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.frames.look_at(&buffer.filled()[before..]);
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len() as u32;
        [&length.to_be_bytes()[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn a_list_of_headers_is_unfinished_from_its_first_frame_to_the_end_of_its_last_however_they_come() {
        let quiet = [PREFACE, &frame(4, 0, &[]), &frame(DATA, 0, &[HEADERS; 70_000])].concat();
        let list = [
            frame(HEADERS, END_STREAM, &[CONTINUATION; 700]),
            frame(CONTINUATION, 0, &[]),
            frame(CONTINUATION, END_HEADERS, &[0; 20]),
        ]
        .concat();
        let all =
            [&quiet[..], &list, &frame(6, END_HEADERS, &[1; 8]), &frame(HEADERS, END_HEADERS, &[]), &list].concat();
        let within = [quiet.len() + HEADER..quiet.len() + list.len(), all.len() - list.len() + HEADER..all.len()];
        for size in [1, 3, 9, 13, 1000, 70_000, usize::MAX] {
            let (mut reader, mut read) = (Reader::default(), 0);
            for part in all.chunks(size) {
                reader.read(part);
                read += part.len();
                assert_eq!(
                    reader.is_in_headers,
                    within.iter().any(|list| list.contains(&read)),
                    "{size}, up to {read}"
                );
            }
        }
    }

    #[test]
    fn small_pieces_of_bodies_are_counted_until_they_are_read_and_empty_ones_for_good() {
        let all = [
            PREFACE,
            &frame(DATA, 0, &[]),
            &frame(DATA, END_STREAM, &[]),
            &frame(DATA, 0, b"x"),
            &frame(DATA, END_STREAM, b"x"),
            &frame(DATA, PADDED, &[0]),
            &frame(HEADERS, END_HEADERS, &[]),
            &frame(DATA, PADDED, &[0; 1000]),
            &frame(DATA, 0, &[0; SMALL]),
            &frame(DATA, 0, &[0; SMALL - 1]),
        ]
        .concat();
        let frames = Frames::default();
        frames.look_at(&all);
        assert_eq!(frames.small.get(), 4);
        for (bytes, left) in [(0, 4), (1, 3), (SMALL, 3), (SMALL - 1, 2)] {
            frames.read(bytes);
            assert_eq!(frames.small.get(), left, "{bytes}");
        }
        frames.none_waits();
        assert_eq!(frames.small.get(), 0);
    }

    #[tokio::test]
    async fn a_list_of_headers_that_is_not_finished_in_time_is_told_and_one_that_is_is_not() {
        const WITHIN: Duration = Duration::from_millis(100);
        let frames = Frames::default();
        let mut abused = std::pin::pin!(frames.abused(WITHIN));
        frames.look_at(&[PREFACE, &frame(HEADERS, 0, b"x")].concat());
        assert!(futures_util::poll!(abused.as_mut()).is_pending());
        frames.look_at(&frame(CONTINUATION, END_HEADERS, b"x"));
        assert!(tokio::time::timeout(2 * WITHIN, abused.as_mut()).await.is_err());
        // One ends, and the next begins at once.
        frames.look_at(&frame(HEADERS, 0, b"x"));
        tokio::time::sleep(2 * WITHIN).await;
        frames.look_at(&[frame(CONTINUATION, END_HEADERS, b"x"), frame(HEADERS, 0, b"x")].concat());
        let since = Instant::now();
        frames.look_at(&frame(CONTINUATION, 0, b"x"));
        abused.await;
        assert!(since.elapsed() >= WITHIN);
    }
}
