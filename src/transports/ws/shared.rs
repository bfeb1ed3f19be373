//! What the task of a connection, its application and its streams have in common.

mod incoming;
mod memory;
mod timing;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::close::Close;
use super::code;
use super::decoder::Decoder;
use super::duplex::Duplex;
use super::extension::Compression;
use super::frame::{Opcode, append};
use super::message::{End, Memory};
use super::reader::Reader;
use super::settings::{MAX_QUEUED_BYTES, MAX_REPLY_BYTES, Settings, Times};
use super::streams::Streams;
use super::waker::{TaskWaker, WakerSlot};
use super::writer::{Serial, Writer, Written};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Messages come and go.
    Open,
    /// A close frame is the last of what is to be sent.
    Closing,
    /// It has been sent, and the client's is awaited.
    Closed,
    /// Neither side sends more, and the client may close the connection.
    Lingering,
    /// There is no connection any more.
    Ended,
}

/// A connection.
///
/// The fields that the write of a stream needs stand first, in as few lines of the processor's cache as possible: an event that goes to
/// thousands of connections waits for memory more than for anything else of this.
#[repr(C)]
pub struct Shared {
    phase: Cell<Phase>,
    /// Whether the task is being polled, so that it need not be woken.
    is_polled: Cell<bool>,
    /// Whether no close frame of the client is awaited: it has come, or what it sends cannot be understood.
    is_client_done: Cell<bool>,
    /// Whether the end of this side has been sent.
    is_shut: Cell<bool>,
    /// Whether the server stops, so that the application is given no more messages.
    is_stopping: Cell<bool>,
    /// Whether the application takes messages.
    has_inlet: Cell<bool>,
    /// Whether it is the client that is waited for, and not the application.
    is_awaited: Cell<bool>,
    /// Whether nothing is read because too many own replies wait.
    lacks_room: Cell<bool>,
    socket: RefCell<Option<Box<dyn Duplex>>>,
    writer: RefCell<Writer>,
    task: TaskWaker,
    streams: Streams,
    inlet: WakerSlot,
    room: WakerSlot,
    reader: RefCell<Reader>,
    /// When the next ping is due; in a later phase, by when that must be over.
    due: Cell<Instant>,
    /// In a box, since it is there for a moment only.
    end: Cell<Option<Box<End>>>,
    compression: Compression,
    /// Whether the memory of own replies is counted here.
    counts_replies: Cell<bool>,
    /// Whether there were some to be counted.
    had_stuck: Cell<bool>,
    /// How many bytes of messages the application was given since others had their turn.
    given: Cell<u32>,
    /// If they are not those that every connection has.
    times: Option<Box<Times>>,
}

impl Shared {
    pub fn new(socket: Box<dyn Duplex>, head: Vec<u8>, received: Bytes, settings: Settings) -> Self {
        let Settings { max_message_bytes, compression, times, has_frames } = settings;
        let decoder = match has_frames {
            true => Decoder::new(max_message_bytes, compression.inflates),
            false => Decoder::without_frames(),
        };
        Self {
            socket: RefCell::new(Some(socket)),
            reader: RefCell::new(Reader::new(decoder, received)),
            writer: RefCell::new(Writer::new(head, has_frames)),
            phase: Cell::new(Phase::Open),
            due: Cell::new(Instant::now() + times.ping_every),
            end: Cell::default(),
            is_client_done: Cell::default(),
            is_shut: Cell::default(),
            is_stopping: Cell::default(),
            has_inlet: Cell::new(true),
            is_awaited: Cell::default(),
            lacks_room: Cell::default(),
            counts_replies: Cell::new(true),
            had_stuck: Cell::default(),
            given: Cell::default(),
            task: TaskWaker::default(),
            is_polled: Cell::default(),
            inlet: WakerSlot::default(),
            room: WakerSlot::default(),
            streams: Streams::default(),
            compression,
            times: (times != Times::USUAL).then(|| Box::new(times)),
        }
    }

    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The application keeps so many bytes of unfinished messages of its own.
    pub fn hold(&self, bytes: usize) {
        self.reader.borrow_mut().keep(bytes);
    }

    /// Whether there are frames.
    pub fn has_frames(&self) -> bool {
        self.writer.borrow().has_frames()
    }

    fn times(&self) -> &Times {
        self.times.as_deref().unwrap_or(&Times::USUAL)
    }

    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub fn end(&self) -> Option<End> {
        let end = self.end.take();
        let why = end.as_deref().cloned();
        self.end.set(end);
        why.or_else(|| self.is_stopping.get().then_some(End::Ours))
    }

    pub fn set_max_message_bytes(&self, bytes: usize) {
        self.reader.borrow_mut().set_max_message_bytes(bytes);
    }

    pub fn set_memory(&self, memory: Box<dyn Memory>) {
        self.reader.borrow_mut().set_memory(memory);
    }

    /// The application takes no messages any more.
    pub fn drop_inlet(&self) {
        self.has_inlet.set(false);
        self.reader.borrow_mut().skip_messages();
        self.wake_task();
    }

    /// Appends to own replies.
    pub fn send(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.phase.get() != Phase::Open {
            return;
        }
        if self.writer.borrow().waiting() > MAX_QUEUED_BYTES {
            return self.end_now();
        }
        write(self.writer.borrow_mut().queue());
        self.wake_task();
    }

    /// Whether more own replies should be sent; true as well when none can be.
    pub fn has_room(&self) -> bool {
        self.phase.get() != Phase::Open || self.writer.borrow().waiting() < MAX_REPLY_BYTES
    }

    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.room.keep(context.waker());
        Poll::Pending
    }

    /// Gives the application no more messages, so that it comes to its end.
    pub fn stop(&self) {
        self.is_stopping.set(true);
        self.inlet.wake();
        self.wake_task();
    }

    /// Closes because the application has returned.
    pub fn close_after_application(&self) {
        self.counts_replies.set(true);
        self.close(&match self.is_stopping.get() {
            true => Close::new(code::RESTART, "the server stops"),
            false => Close::new(code::NORMAL, ""),
        });
    }

    /// Closes, after everything that is queued.
    pub fn close(&self, close: &Close) {
        self.begin_close(&close.payload(), End::Ours);
    }

    fn begin_close(&self, payload: &[u8], end: End) {
        if self.phase.get() != Phase::Open {
            return;
        }
        if self.has_frames() {
            append(self.writer.borrow_mut().queue(), Opcode::Close, false, payload);
        } else {
            self.is_client_done.set(true);
        }
        self.end.set(Some(Box::new(end)));
        // The application gets no more.
        self.reader.borrow_mut().skip_messages();
        self.enter(Phase::Closing, self.times().close_within);
        self.wake_all();
    }

    /// The connection ends, whatever is on its way.
    pub fn end_now(&self) {
        if self.phase.replace(Phase::Ended) == Phase::Ended {
            return;
        }
        let end = self.end.take().unwrap_or_else(|| Box::new(End::Lost));
        self.end.set(Some(end));
        drop(self.socket.take());
        self.wake_all();
    }

    fn enter(&self, phase: Phase, within: Duration) {
        self.phase.set(phase);
        self.due.set(Instant::now() + within);
    }

    fn wake_task(&self) {
        if !self.is_polled.get() {
            self.task.wake();
        }
    }

    fn wake_all(&self) {
        self.streams.wake_all();
        self.inlet.wake();
        self.room.wake();
        self.wake_task();
    }

    /// A new stream. What it writes comes after the own replies that are queued already.
    pub fn add_stream(&self) -> Serial {
        self.writer.borrow_mut().own_replies_first();
        self.streams.add()
    }

    /// What is queued goes before whatever a stream writes next.
    pub fn own_replies_first(&self) {
        self.writer.borrow_mut().own_replies_first();
    }

    /// A stream may begin no more writes.
    pub fn end_stream(&self, serial: Serial) {
        self.streams.end(serial);
    }

    /// A stream is dropped. If it has begun a write, nothing can be sent after that.
    pub fn drop_stream(&self, serial: Serial) {
        self.streams.remove(serial);
        if self.writer.borrow().within() == Some(serial) {
            self.end_now();
        }
    }

    /// Whether a stream can write nothing any more.
    fn is_over_for(&self, serial: Serial) -> bool {
        match self.phase.get() {
            Phase::Open if !self.streams.has_ended(serial) => false,
            Phase::Open | Phase::Closing => self.writer.borrow().within() != Some(serial),
            Phase::Closed | Phase::Lingering | Phase::Ended => true,
        }
    }

    pub fn write_stream(&self, serial: Serial, bytes: &[u8]) -> Written {
        if self.is_over_for(serial) {
            return Written::Gone;
        }
        let mut writer = self.writer.borrow_mut();
        let was_within = writer.within().is_some();
        let written = match &mut *self.socket.borrow_mut() {
            Some(socket) => self.task.poll(|context| writer.write_stream(&mut **socket, context, serial, bytes)),
            None => return Written::Gone,
        };
        let (waiting, within) = (writer.waiting(), writer.within());
        drop(writer);
        let Ok(written) = written else {
            self.end_now();
            return Written::Gone;
        };
        if was_within && within.is_none() {
            // Everything else had to wait for that.
            self.streams.wake_all();
        }
        // It sends what waits, or counts it.
        if waiting > 0 {
            self.wake_task();
        }
        written
    }

    pub fn poll_stream_ready(&self, serial: Serial, context: &mut Context<'_>) -> Poll<()> {
        if self.is_over_for(serial) || self.writer.borrow().is_ready(serial) {
            return Poll::Ready(());
        }
        self.writer.borrow_mut().wait();
        self.streams.keep_ready(serial, context.waker());
        Poll::Pending
    }

    pub fn poll_stream_gone(&self, serial: Serial, context: &mut Context<'_>) -> Poll<()> {
        if self.is_over_for(serial) {
            return Poll::Ready(());
        }
        self.streams.keep_gone(serial, context.waker());
        Poll::Pending
    }

    /// A poll of the task begins, or ends.
    pub fn set_polled(&self, is_polled: bool, context: &Context<'_>) {
        self.is_polled.set(is_polled);
        self.task.keep(context.waker());
    }

    /// Sends what may be sent.
    pub fn advance(&self, context: &mut Context<'_>) {
        let advanced = match (&mut *self.socket.borrow_mut(), self.phase.get()) {
            (None, _) => return,
            (Some(_), Phase::Lingering) if self.is_shut.get() => return,
            (Some(socket), Phase::Lingering) => Pin::new(&mut **socket).poll_shutdown(context).map_ok(|()| {
                self.is_shut.set(true);
                false
            }),
            (Some(socket), _) => Poll::Ready(self.writer.borrow_mut().advance(&mut **socket, context)),
        };
        match advanced {
            Poll::Ready(Ok(may_streams_write)) => self.advanced(may_streams_write, context),
            Poll::Ready(Err(_)) => self.end_now(),
            Poll::Pending => {}
        }
    }

    fn advanced(&self, may_streams_write: bool, context: &Context<'_>) {
        if self.writer.borrow_mut().has_drained() {
            self.reader.borrow_mut().excuse();
        }
        let writer = self.writer.borrow();
        if may_streams_write {
            self.streams.wake_ready(writer.within());
            if writer.waiting() > 0 && writer.within().is_none() {
                // After the streams have had their turn.
                context.waker().wake_by_ref();
            }
        }
        if writer.waiting() < MAX_REPLY_BYTES {
            self.room.wake();
            if self.lacks_room.take() {
                self.inlet.wake();
            }
        }
        if self.phase.get() == Phase::Closing && writer.is_done() {
            let times = self.times();
            match self.is_client_done.get() {
                true => self.enter(Phase::Lingering, times.linger),
                false => self.enter(Phase::Closed, times.answer_within),
            }
        }
    }
}
