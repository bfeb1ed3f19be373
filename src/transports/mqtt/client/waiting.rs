//! Messages that do not go out at once: those that are sent again, those that waited behind others, and those that the session must
//! know of first.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::{Client, End, Read};
use crate::domain::Position;
use crate::events::MqttSessionChange;
use crate::transports::mqtt::keeping::note;
use crate::transports::mqtt::outbound::State;
use crate::transports::mqtt::packet::{AckKind, Reason};
use crate::transports::mqtt::record::Records;

impl Client {
    /// Sends what was in flight when the session went on, and messages that waited behind others that are acknowledged by now.
    pub(super) fn send_waiting(&mut self, context: &mut Context<'_>) {
        loop {
            if self.reading.is_none() {
                let Some((read, positions)) = self.to_read() else { return };
                let (events, principal) = (self.app.events.clone(), self.principal.clone());
                self.reading = Some(Box::pin(async move {
                    let records = events.at(principal, positions, &Records).await;
                    (read, records)
                }));
            }
            let Some(reading) = &mut self.reading else { return };
            let Poll::Ready((read, records)) = reading.as_mut().poll(context) else { return };
            self.reading = None;
            // If the rights have ended, the stream ends, too.
            let Ok(records) = records else { return };
            let (now, encoder, mut out) = (self.app.events.clock().now(), self.encoder, Vec::new());
            let mut outbound = self.streaming.shared.outbound.borrow_mut();
            match read {
                Read::Waiting(due) => outbound.send_due(&due, &records, now, &mut out),
                Read::InFlight => {
                    let gone = outbound.resend(&records, now, &mut out, |id, out| {
                        encoder.ack(out, AckKind::PubRel, id, Reason::Success, None);
                    });
                    if !gone.is_empty() {
                        self.streaming.keeper.change_later(MqttSessionChange::ForgetOutgoing(gone));
                    }
                }
            }
            drop(outbound);
            if !out.is_empty() {
                self.connection.outlet.send_binary(&out);
            }
            self.streaming.shared.wake();
        }
    }

    /// What is to be read now, and where it is.
    fn to_read(&self) -> Option<(Read, Vec<Position>)> {
        let outbound = self.streaming.shared.outbound.borrow();
        let in_flight = outbound.to_resend();
        if !in_flight.is_empty() {
            let sent = in_flight.iter().filter(|message| message.state != State::Released);
            return Some((Read::InFlight, sent.map(|message| message.message.position).collect()));
        }
        let due = outbound.due();
        let positions = due.iter().map(|message| message.position).collect();
        (!due.is_empty()).then_some((Read::Waiting(due), positions))
    }

    /// Notes messages of QoS 2 of a session that is kept, and sends those that have been noted.
    pub(super) fn send_noted(&mut self, context: &mut Context<'_>) -> Option<End> {
        let (unnoted, exact_position) = self.streaming.shared.outbound.borrow_mut().take_unnoted();
        if !unnoted.is_empty() {
            match self.streaming.keeper.change(note(&unnoted, exact_position)) {
                Ok(None) => {}
                keeping => self.noting.push_back((unnoted, keeping.ok().flatten())),
            }
        }
        let mut out = Vec::new();
        while let Some((unnoted, keeping)) = self.noting.front_mut() {
            let noted = keeping.as_mut().map(|keeping| Pin::new(keeping).poll(context));
            match noted {
                Some(Poll::Pending) => break,
                Some(Poll::Ready(Ok(true))) => {
                    let now = self.app.events.clock().now();
                    let not_sent = self.streaming.shared.outbound.borrow_mut().send_noted(unnoted, now, &mut out);
                    if !not_sent.is_empty() {
                        self.streaming.keeper.change_later(MqttSessionChange::ForgetOutgoing(not_sent));
                        self.streaming.shared.wake();
                    }
                    self.noting.pop_front();
                }
                // The session was forgotten.
                Some(Poll::Ready(Ok(false))) => return Some(End::Told(Reason::QuotaExceeded, None)),
                // Nothing can be written now. Those that follow may be refused as well.
                None | Some(Poll::Ready(Err(_))) => {
                    *keeping = None;
                    for (_, keeping) in self.noting.iter_mut().skip(1) {
                        keeping.take_if(|keeping| matches!(Pin::new(keeping).poll(context), Poll::Ready(Err(_))));
                    }
                    return Some(End::Told(Reason::ServerBusy, None));
                }
            }
        }
        if !out.is_empty() {
            self.connection.outlet.send_binary(&out);
        }
        None
    }

    /// Saves the session if that is due. Returns when it is due next, if it has come further.
    pub(super) fn save_at(&mut self, now: Instant) -> Option<Instant> {
        let keeper = &mut self.streaming.keeper;
        keeper.session()?;
        let mut outbound = self.streaming.shared.outbound.borrow_mut();
        // At once: retention has nothing to do for a client that acknowledges as fast as it is sent.
        keeper.raise(outbound.done_up_to());
        keeper.kept()?;
        if !outbound.has_changed() {
            self.save_at = None;
            return None;
        }
        let save_at = *self.save_at.get_or_insert(now + keeper.saves_after());
        if now < save_at {
            return Some(save_at);
        }
        if keeper.is_saving() {
            // The disk is slow.
            self.save_at = Some(now + keeper.saves_after());
            return self.save_at;
        }
        self.save_at = None;
        outbound.set_saved();
        keeper.save(outbound.progress());
        None
    }
}
