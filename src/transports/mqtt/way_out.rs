//! The one way out for messages to a client. Whatever makes their packets, they go in the order in which they were made: an alias is
//! known to the client by then, and no message overtakes another.

use std::cell::RefCell;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};

use crate::transports::ws::{Opcode, Outlet, StreamOutlet, Written, put_frame};

/// Where packets of messages go. None may be made before it is [ready](WayOut::poll_ready), so that they wait with their events and not
/// in memory.
pub struct WayOut {
    outlet: StreamOutlet,
    has_frames: bool,
    /// Packets, some of which have been sent. Nothing else may come before the rest. In a box, since few clients have any.
    rest: RefCell<Option<Box<Bytes>>>,
}

impl WayOut {
    /// That of a connection. What is queued already goes first.
    pub fn new(outlet: &Outlet) -> Self {
        Self { outlet: outlet.stream(), has_frames: outlet.has_frames(), rest: RefCell::default() }
    }

    /// Sends packets, of which there are some, when nothing of others is left. Returns whether more can be sent; `None` if nothing can
    /// ever again.
    pub fn send(&self, packets: &[u8]) -> Option<bool> {
        let framed;
        let bytes = if self.has_frames {
            let mut frame = Vec::with_capacity(packets.len() + 16);
            put_frame(&mut frame, Opcode::Binary, |frame| frame.extend_from_slice(packets));
            framed = frame;
            &framed
        } else {
            packets
        };
        match self.outlet.write(bytes) {
            Written::All => Some(true),
            Written::Part(sent) => {
                *self.rest.borrow_mut() = Some(Box::new(Bytes::copy_from_slice(&bytes[sent..])));
                Some(false)
            }
            Written::Gone => None,
        }
    }

    /// Sends the rest of what was begun. Returns whether nothing of it is left; `None` if nothing can be sent ever again.
    pub fn send_rest(&self) -> Option<bool> {
        let mut place = self.rest.borrow_mut();
        let Some(rest) = place.as_mut().filter(|rest| !rest.is_empty()) else { return Some(true) };
        match self.outlet.write(rest) {
            Written::All => {
                *place = None;
                Some(true)
            }
            Written::Part(sent) => {
                rest.advance(sent);
                Some(false)
            }
            Written::Gone => None,
        }
    }

    /// Becomes ready when nothing of what was begun is left, or nothing can be sent ever again. Wakes as a future does.
    pub fn poll_sent(&self, context: &mut Context<'_>) -> Poll<()> {
        while self.send_rest() == Some(false) {
            if self.outlet.poll_ready(context).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Becomes ready when more can be sent, or nothing ever again. Wakes as a future does.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        std::task::ready!(self.poll_sent(context));
        self.outlet.poll_ready(context)
    }

    /// Becomes ready when nothing can be sent any more. Wakes as a future does.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.outlet.poll_gone(context)
    }
}
