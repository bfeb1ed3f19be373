//! What a client is given of shared subscriptions.

use std::task::{Context, Poll};

use super::{Client, End};
use crate::app::{EventsAt, Item};
use crate::domain::Timestamp;
use crate::transports::mqtt::outbound::Outbound;
use crate::transports::mqtt::reading::read;
use crate::transports::mqtt::reasons;
use crate::transports::mqtt::record::Record;
use crate::transports::mqtt::shares::Reading;
use crate::transports::mqtt::sink::PACKETS_AT_ONCE;
use crate::transports::ws::yield_turn;

/// How many messages a share may have on the way to a client that it has not seen. With few of them, members have their turns in small
/// steps, and little has to be given back.
const AT_ONCE: usize = 16;

/// Messages that are given, and those that are not taken.
struct Giving<'a> {
    outbound: &'a mut Outbound,
    now: Timestamp,
    out: Vec<u8>,
    back: Vec<(u32, Item)>,
}

impl Client {
    /// Sends what shares have for the client. Returns why the connection ends, if it does.
    pub(super) fn give_shared(&mut self, context: &mut Context<'_>) -> Option<End> {
        let shared = std::rc::Rc::clone(&self.streaming.shared);
        let mut outbound = shared.outbound.borrow_mut();
        // A SUBACK goes before the messages that it is for. This is polled again once it has gone.
        if outbound.shares.is_none() || self.is_subscribing() {
            return None;
        }
        let has_room = shared.way_out.poll_ready(context).is_ready();
        let (items, ended) = outbound.shares_mut().take(context.waker());
        if let Some(ending) = ended {
            return Some(End::Told(reasons::of_end(ending.why), None));
        }
        let has_taken = !items.is_empty();
        let now = self.app.events.clock().now();
        let mut giving = Giving { outbound: &mut outbound, now, out: Vec::new(), back: Vec::new() };
        for (slot, item) in items {
            let being_read = giving.outbound.shares_mut().being_read();
            match &item.record {
                _ if !has_room => giving.back.push((slot, item)),
                Some(bytes) if being_read == 0 && !giving.is_full() => {
                    let bytes = bytes.clone();
                    giving.give(slot, item, Record::first(&bytes).map(|(record, _)| record));
                }
                // It comes after those before it, and when it can be sent.
                _ => giving.outbound.shares_mut().to_read.push((slot, Item { record: None, ..item })),
            }
        }
        let end = if has_room { self.give_read(&mut giving, context) } else { None };
        let Giving { out, back, .. } = giving;
        // Also if the connection ends: what is made counts as sent.
        if !out.is_empty() {
            shared.way_out.send(&out);
        }
        if end.is_some() {
            outbound.shares_mut().give_back(back);
            return end;
        }
        let window = outbound.room_for_shared().min(AT_ONCE);
        let shares = outbound.shares_mut();
        if !back.is_empty() {
            // First, so that they are not given to this client again.
            shares.offer(0, true);
        }
        shares.give_back(back);
        let room = if has_room { window.saturating_sub(shares.being_read()) } else { 0 };
        shares.offer(room, has_taken);
        None
    }

    /// Gives what was given to others before, once it is read.
    fn give_read(&self, giving: &mut Giving<'_>, context: &mut Context<'_>) -> Option<End> {
        loop {
            if giving.is_full() {
                // It goes on when that is sent.
                yield_turn(context);
                return None;
            }
            let shares = giving.outbound.shares_mut();
            if shares.reading.is_none() && !shares.to_read.is_empty() {
                let items = std::mem::take(&mut shares.to_read);
                let positions = items.iter().map(|(_, item)| item.position).collect();
                let records = read(&self.app, &self.principal, positions);
                shares.reading = Some(Reading { items, records });
            }
            let reading = shares.reading.as_mut()?;
            let Poll::Ready(read) = reading.records.as_mut().poll(context) else { return None };
            // Another member may be able to.
            let Ok(EventsAt { written: records, looked_at, .. }) = read else {
                return read.err().map(|error| End::Told(reasons::of_failure(&error), None));
            };
            let (mut items, mut rest) = (std::mem::take(&mut reading.items), &records[..]);
            shares.reading = None;
            shares.to_read.splice(0..0, items.split_off(looked_at));
            for (slot, item) in items {
                // It may be gone.
                let record = Record::first(rest).filter(|(record, _)| record.position == item.position);
                rest = record.map_or(rest, |(_, length)| &rest[length..]);
                giving.give(slot, item, record.map(|(record, _)| record));
            }
        }
    }
}

impl Giving<'_> {
    /// Whether so much is given that it is to be sent first.
    fn is_full(&self) -> bool {
        self.out.len() >= PACKETS_AT_ONCE
    }

    /// Gives a message, if there is still one. Rights are looked at again: a member that may not see it any more gives it back.
    fn give(&mut self, slot: u32, item: Item, record: Option<Record<'_>>) {
        let options = self.outbound.shares_mut().options(slot, &item.topic);
        let is_given = match (options, record) {
            (Some(options), Some(record)) => self.outbound.take_shared(slot, &record, options, self.now, &mut self.out),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if !is_given {
            self.back.push((slot, item));
        }
    }
}
