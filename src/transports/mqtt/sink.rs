//! Where the stream of a connection writes: packets are made of its records, as far as the client takes them.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use super::outbound::{Outbound, Taken};
use super::packet::Qos;
use super::record::Record;
use super::records::Records;
use super::way_out::WayOut;
use crate::clock::Clock;
use crate::domain::{MqttSessionId, Position, Timestamp};
use crate::events::{Asked, Ending, Format, Sink, Written};
use crate::transports::ws::{Outlet, WakerSlot};

/// How many bytes of packets are made before they are written.
pub const PACKETS_AT_ONCE: usize = 64 << 10;

/// What a connection and its sink share.
pub struct Shared {
    /// What goes out to the client.
    pub outbound: RefCell<Outbound>,
    /// Where all messages to it go.
    pub way_out: WayOut,
    /// How the stream has ended, once it has.
    pub ended: Cell<Option<Ending>>,
    /// The task of the stream, which waits until the client acknowledges something.
    waits: WakerSlot,
    /// The task of the connection, which looks how long the client acknowledges nothing.
    client: WakerSlot,
}

impl Shared {
    /// For a client to which nothing was sent yet.
    pub fn new(outbound: Outbound, outlet: &Outlet) -> Rc<Self> {
        Rc::new(Self {
            outbound: outbound.into(),
            way_out: WayOut::new(outlet),
            ended: Cell::default(),
            waits: WakerSlot::default(),
            client: WakerSlot::default(),
        })
    }

    /// Has this task woken when the client must acknowledge something before it gets more.
    pub fn keep(&self, client: &Waker) {
        self.client.keep(client);
    }

    /// The client takes more than before.
    pub fn wake(&self) {
        self.waits.wake();
    }
}

/// The sink of a connection.
pub struct PacketSink {
    shared: Rc<Shared>,
    clock: Clock,
    /// The session, if it outlives the connection.
    session: Option<MqttSessionId>,
}

thread_local! {
    /// Where packets are made, so that none of thousands of connections has memory for that.
    static PACKETS: RefCell<(Vec<u8>, Vec<NonZeroU32>)> = RefCell::default();
}

impl PacketSink {
    /// For a connection.
    pub fn new(shared: &Rc<Shared>, clock: Clock, session: Option<MqttSessionId>) -> Self {
        Self { shared: Rc::clone(shared), clock, session }
    }

    /// Makes packets of records, until there are many or the client must acknowledge some. Returns how many bytes of records were taken.
    fn make(&self, records: &[u8], packets: &mut Vec<u8>, ids: &mut Vec<NonZeroU32>) -> usize {
        let mut outbound = self.shared.outbound.borrow_mut();
        let mut taken = 0;
        while let Some((record, length)) = Record::first(&records[taken..]) {
            if packets.len() >= PACKETS_AT_ONCE {
                return taken;
            }
            // It costs more than to look at the record, and counts only for what expires.
            let now = record.expires_at.map_or(Timestamp::from_millis(0), |_| self.clock.now());
            if outbound.take(&record, now, ids, packets) == Taken::No {
                self.shared.client.wake();
                return taken;
            }
            taken += length;
        }
        if outbound.has_unnoted() {
            self.shared.client.wake();
        }
        records.len()
    }
}

impl Sink for PacketSink {
    fn format(&self) -> &'static dyn Format {
        &Records
    }

    fn session(&self) -> Option<MqttSessionId> {
        self.session
    }

    /// A session that outlives its connection has a queue of what is gone, and of QoS 0 messages may be lost.
    fn needs_all(&self) -> bool {
        self.session.is_none() && self.shared.outbound.borrow().filters.iter().any(|one| one.qos > Qos::AtMostOnce)
    }

    fn asked_before(&self) -> Vec<Asked> {
        self.shared.outbound.borrow_mut().take_asked_before()
    }

    fn begin_asked(&self, asked: &Asked) {
        self.shared.outbound.borrow_mut().begin_asked(asked);
    }

    fn end_asked(&self, asked: &Asked) {
        self.shared.outbound.borrow_mut().end_asked(asked.number);
        // It is to be saved.
        self.shared.client.wake();
    }

    fn write(&self, records: &Bytes) -> Written {
        if records.is_empty() {
            return Written::All;
        }
        let Some(is_sent) = self.shared.way_out.send_rest() else { return Written::Gone };
        if !is_sent {
            return Written::Whole(0);
        }
        PACKETS.with_borrow_mut(|(packets, ids)| {
            let mut taken = 0;
            loop {
                packets.clear();
                taken += self.make(&records[taken..], packets, ids);
                if packets.is_empty() {
                    // The client is to get none of the rest, or none yet.
                    return if taken == records.len() { Written::All } else { Written::Whole(taken) };
                }
                let sent = self.shared.way_out.send(packets);
                if packets.capacity() > 2 * PACKETS_AT_ONCE {
                    packets.shrink_to(2 * PACKETS_AT_ONCE);
                }
                match sent {
                    None => return Written::Gone,
                    Some(false) => return Written::Whole(taken),
                    Some(true) if taken == records.len() => return Written::All,
                    Some(true) => {}
                }
            }
        })
    }

    /// The session is to come as far, though its client is given nothing for long.
    fn passed(&self, position: Position) {
        if self.session.is_some() && self.shared.outbound.borrow().is_before(position) {
            self.shared.client.wake();
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.shared.way_out.poll_sent(context));
        if self.shared.outbound.borrow().takes_any() {
            return self.shared.way_out.poll_ready(context);
        }
        self.shared.waits.keep(context.waker());
        // Or the connection ends.
        self.shared.way_out.poll_gone(context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.shared.way_out.poll_gone(context)
    }

    fn finish(&self, ending: Ending) {
        self.shared.ended.set(Some(ending));
    }
}

#[cfg(test)]
mod tests;
