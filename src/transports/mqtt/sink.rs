//! Where the stream of a connection writes: packets are made of its records, as far as the client takes them.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use super::outbound::{Outbound, Taken};
use super::record::{Record, Records};
use crate::clock::Clock;
use crate::domain::{MqttSessionId, Timestamp};
use crate::events::{Ending, Format, Sink, Written};
use crate::transports::ws::{Opcode, Outlet, StreamOutlet, WakerSlot, Written as Sent, put_frame};

/// How many bytes of packets are made before they are written.
const PACKETS_AT_ONCE: usize = 64 << 10;

/// What a connection and its sink share.
pub struct Shared {
    /// What goes out to the client.
    pub outbound: RefCell<Outbound>,
    /// How the stream has ended, once it has.
    pub ended: Cell<Option<Ending>>,
    /// The task of the stream, which waits until the client acknowledges something.
    waits: WakerSlot,
    /// The task of the connection, which looks how long the client acknowledges nothing.
    client: WakerSlot,
}

impl Shared {
    /// For a client to which nothing was sent yet.
    pub fn new(outbound: Outbound) -> Rc<Self> {
        Rc::new(Self {
            outbound: outbound.into(),
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
    outlet: StreamOutlet,
    has_frames: bool,
    clock: Clock,
    /// The session, if it outlives the connection.
    session: Option<MqttSessionId>,
    /// Packets, some of which have been sent. Nothing else may come before the rest.
    rest: RefCell<Bytes>,
}

thread_local! {
    /// Where packets are made, so that none of thousands of connections has memory for that.
    static PACKETS: RefCell<(Vec<u8>, Vec<NonZeroU32>)> = RefCell::default();
}

impl PacketSink {
    /// For a connection.
    pub fn new(shared: &Rc<Shared>, outlet: &Outlet, clock: Clock, session: Option<MqttSessionId>) -> Self {
        let (outlet, has_frames) = (outlet.stream(), outlet.has_frames());
        Self { shared: Rc::clone(shared), outlet, has_frames, clock, session, rest: RefCell::default() }
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

    /// Sends packets. Returns whether more can be sent; `None` if nothing can ever again.
    fn send(&self, packets: &[u8]) -> Option<bool> {
        let framed;
        let bytes = if self.has_frames && !packets.is_empty() {
            let mut frame = Vec::with_capacity(packets.len() + 16);
            put_frame(&mut frame, Opcode::Binary, |frame| frame.extend_from_slice(packets));
            framed = frame;
            &framed
        } else {
            packets
        };
        match self.outlet.write(bytes) {
            Sent::All => Some(true),
            Sent::Part(sent) => {
                *self.rest.borrow_mut() = Bytes::copy_from_slice(&bytes[sent..]);
                Some(false)
            }
            Sent::Gone => None,
        }
    }

    /// Sends the rest of what was begun. Returns whether nothing of it is left; `None` if nothing can be sent ever again.
    fn send_rest(&self) -> Option<bool> {
        let mut rest = self.rest.borrow_mut();
        if rest.is_empty() {
            return Some(true);
        }
        match self.outlet.write(&rest) {
            Sent::All => {
                *rest = Bytes::new();
                Some(true)
            }
            Sent::Part(sent) => {
                rest.advance(sent);
                Some(false)
            }
            Sent::Gone => None,
        }
    }
}

impl Sink for PacketSink {
    fn format(&self) -> &'static dyn Format {
        &Records
    }

    fn session(&self) -> Option<MqttSessionId> {
        self.session
    }

    fn write(&self, records: &Bytes) -> Written {
        if records.is_empty() {
            return Written::All;
        }
        let Some(is_sent) = self.send_rest() else { return Written::Gone };
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
                let sent = self.send(packets);
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

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.send_rest() {
                None => return Poll::Ready(()),
                Some(false) => {
                    if self.outlet.poll_ready(context).is_pending() {
                        return Poll::Pending;
                    }
                }
                Some(true) => break,
            }
        }
        if self.shared.outbound.borrow().takes_any() {
            return self.outlet.poll_ready(context);
        }
        self.shared.waits.keep(context.waker());
        // Or the connection ends.
        self.outlet.poll_gone(context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.outlet.poll_gone(context)
    }

    fn finish(&self, ending: Ending) {
        self.shared.ended.set(Some(ending));
    }
}
