//! The tasks that wait for the streams on a connection.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use super::waker::WakerSlot;
use super::writer::Serial;

/// The streams on a connection: seldom more than one.
#[derive(Default)]
pub struct Streams {
    streams: RefCell<Vec<Stream>>,
    next: Cell<Serial>,
}

struct Stream {
    serial: Serial,
    /// Waits until it may write.
    ready: WakerSlot,
    /// Waits until it can never write again.
    gone: WakerSlot,
    /// Whether it may begin no more writes.
    has_ended: bool,
}

impl Streams {
    pub fn add(&self) -> Serial {
        let serial = self.next.get();
        self.next.set(serial.wrapping_add(1));
        let (ready, gone) = (WakerSlot::default(), WakerSlot::default());
        let mut streams = self.streams.borrow_mut();
        // Not for four, as a list grows by itself.
        streams.reserve_exact(1);
        streams.push(Stream { serial, ready, gone, has_ended: false });
        serial
    }

    pub fn remove(&self, serial: Serial) {
        let mut streams = self.streams.borrow_mut();
        streams.retain(|stream| stream.serial != serial);
        if streams.is_empty() {
            *streams = Vec::new();
        }
    }

    /// Lets one begin no more writes, and wakes it.
    pub fn end(&self, serial: Serial) {
        if let Some(stream) = self.streams.borrow_mut().iter_mut().find(|stream| stream.serial == serial)
            && !std::mem::replace(&mut stream.has_ended, true)
        {
            stream.ready.wake();
            stream.gone.wake();
        }
    }

    /// Whether one may begin no more writes.
    pub fn has_ended(&self, serial: Serial) -> bool {
        self.streams.borrow().iter().any(|stream| stream.serial == serial && stream.has_ended)
    }

    pub fn keep_ready(&self, serial: Serial, waker: &Waker) {
        self.of(serial, |stream| stream.ready.keep(waker));
    }

    pub fn keep_gone(&self, serial: Serial, waker: &Waker) {
        self.of(serial, |stream| stream.gone.keep(waker));
    }

    fn of(&self, serial: Serial, keep: impl FnOnce(&Stream)) {
        if let Some(stream) = self.streams.borrow().iter().find(|stream| stream.serial == serial) {
            keep(stream);
        }
    }

    /// Wakes those that wait to write: `only` this one if there is one.
    pub fn wake_ready(&self, only: Option<Serial>) {
        let streams = self.streams.borrow();
        streams
            .iter()
            .filter(|stream| only.is_none_or(|only| only == stream.serial))
            .for_each(|stream| stream.ready.wake());
    }

    /// Wakes all that wait for anything.
    pub fn wake_all(&self) {
        self.streams.borrow().iter().for_each(|stream| {
            stream.ready.wake();
            stream.gone.wake();
        });
    }
}
