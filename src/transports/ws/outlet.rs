//! What an application, and a stream on the connection, write to.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::close::Close;
use super::deflate::append_compressed;
use super::frame::{Opcode, append};
use super::shared::{Phase, Shared};
use super::writer::{Serial, Written};

/// Own replies on a connection: a cheap clone, which stays on its thread. Once the connection closes, everything does nothing.
///
/// What is sent is queued, and goes out together when the task of the connection is polled next. Nothing more is read while 64 KiB are
/// queued, so replies need not wait if each takes a bounded number of bytes. Whoever sends unasked must wait for
/// [room](Outlet::poll_room): a connection for which more than 1 MiB is queued already is cut.
#[derive(Clone)]
pub struct Outlet {
    shared: Rc<Shared>,
}

impl Outlet {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared }
    }

    /// Queues a text.
    pub fn send_text(&self, text: &str) {
        self.send_message(Opcode::Text, text.as_bytes());
    }

    /// Queues a binary message.
    pub fn send_binary(&self, bytes: &[u8]) {
        self.send_message(Opcode::Binary, bytes);
    }

    fn send_message(&self, opcode: Opcode, bytes: &[u8]) {
        self.send_messages([(opcode, bytes)]);
    }

    /// Queues messages between which no stream writes. However long they are together, they are taken if the queue has room now.
    pub fn send_messages<'a>(&self, messages: impl IntoIterator<Item = (Opcode, &'a [u8])>) {
        let (has_frames, is_compressed) = (self.has_frames(), self.compresses());
        self.shared.send(|queue| {
            for (opcode, bytes) in messages {
                match is_compressed {
                    _ if !has_frames => queue.extend_from_slice(bytes),
                    true => append_compressed(queue, opcode, bytes),
                    false => append(queue, opcode, false, bytes),
                }
            }
        });
    }

    /// Queues whole frames that were encoded elsewhere.
    pub fn send(&self, frames: &[u8]) {
        self.shared.send(|queue| queue.extend_from_slice(frames));
    }

    /// Has what is queued go before whatever a stream writes next.
    pub fn go_first(&self) {
        self.shared.own_replies_first();
    }

    /// How much memory the queue takes of a client that does not take it, in steps of 4 KiB; 0 for any other.
    pub fn stuck(&self) -> usize {
        self.shared.stuck()
    }

    /// Leaves it to the application to count that memory: it is polled whenever [`Outlet::stuck`] has changed.
    pub fn leave_uncounted(&self) {
        self.shared.leave_replies_uncounted();
    }

    /// Whether less than 64 KiB are queued, or the connection closes.
    pub fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    /// Becomes ready when it [has room](Outlet::has_room). One task can wait. Wakes as a future does.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_room(context)
    }

    /// Whether messages have frames: see [`Settings`](super::Settings). Without, whole frames are bytes as they are.
    pub fn has_frames(&self) -> bool {
        self.shared.has_frames()
    }

    /// Whether the client takes compressed frames, so that [`compressed_frame`](super::compressed_frame) may be used.
    pub fn compresses(&self) -> bool {
        self.shared.compression().compresses
    }

    /// Whether the connection closes or has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.phase() != Phase::Open
    }

    /// Closes with this code and the beginning of this reason, after everything queued and the rest of what a stream has begun. If that
    /// takes longer than 30 s, the connection is cut. A second call changes nothing.
    pub fn close(&self, code: u16, reason: &str) {
        self.shared.close(&Close::new(code, reason));
    }

    /// Has the inlet give no more messages, because the server stops. The application may still answer what it was asked, and closes the
    /// connection with 1012 by returning.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Ends the connection now, and drops what is queued: for a connection whose memory others need.
    pub fn cut(&self) {
        self.shared.end_now();
    }

    /// Ends a stream: it writes the rest of what it has begun, and then nothing more can be written to its outlet.
    pub fn end_stream(&self, stream: Serial) {
        self.shared.end_stream(stream);
    }

    /// Where a stream writes. What it writes comes after what is queued already.
    pub fn stream(&self) -> StreamOutlet {
        StreamOutlet { serial: self.shared.add_stream(), shared: Rc::clone(&self.shared) }
    }
}

/// Where a stream on a connection writes whole frames, without a queue: what does not fit now is refused. Own replies and control frames
/// go between two whole writes, and each has its turn. The end of the stream is its drop; in the middle of a write, that cuts the
/// connection.
pub struct StreamOutlet {
    shared: Rc<Shared>,
    serial: Serial,
}

impl StreamOutlet {
    /// What [`Outlet::end_stream`] knows it by.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// Takes what fits now, without waiting.
    pub fn write(&self, frames: &[u8]) -> Written {
        self.shared.write_stream(self.serial, frames)
    }

    /// Becomes ready when more may fit, or when nothing ever will. Wakes as a future does.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_stream_ready(self.serial, context)
    }

    /// Becomes ready when nothing can be written any more: the client has gone, or the connection closes or the stream was ended,
    /// and no write has been begun. Wakes as a future does.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_stream_gone(self.serial, context)
    }
}

impl Drop for StreamOutlet {
    fn drop(&mut self) {
        self.shared.drop_stream(self.serial);
    }
}
