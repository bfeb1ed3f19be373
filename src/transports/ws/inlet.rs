//! What an application reads from.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::message::{End, Memory, Message};
use super::shared::Shared;

/// The messages of the client, in order. Nothing is read unless a message is asked for, nor while 64 KiB of own replies wait to be
/// sent: a client that sends faster than it is served, or does not read, has to wait. Without an inlet, messages are read and dropped.
pub struct Inlet {
    shared: Rc<Shared>,
}

impl Inlet {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared }
    }

    /// The next message, or nothing if no more comes; then [`Inlet::end`] says why. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Inlet::next`]. Wakes as a future does.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.shared.poll_message(context)
    }

    /// Why no more comes; nothing while more may come.
    pub fn end(&self) -> Option<End> {
        self.shared.end()
    }

    /// Changes how large a message may be, in bytes, from the next frame on.
    pub fn set_max_message_bytes(&mut self, bytes: usize) {
        self.shared.set_max_message_bytes(bytes);
    }

    /// So many bytes of what was given out are kept, since they are unfinished for the application. They count as an unfinished message.
    pub fn hold(&mut self, bytes: usize) {
        self.shared.hold(bytes);
    }

    /// Has the memory of an unfinished message, and of replies that the client does not take, counted here from now on.
    pub fn set_memory(&mut self, memory: Box<dyn Memory>) {
        self.shared.set_memory(memory);
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.shared.drop_inlet();
    }
}
