//! Messages that do not go out at once: those that are sent again, those that waited behind others, and those that the session must
//! know of first.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::{Client, End, Read};
use crate::domain::Position;
use crate::events::MqttSessionChange;
use crate::transports::mqtt::keeping::note;
use crate::transports::mqtt::outbound::State;
use crate::transports::mqtt::packet::{AckKind, Reason};
use crate::transports::mqtt::record::Records;

/// How often it is written down how far a session has come. What was acknowledged since then comes again after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(10);

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
                Ok(Some(keeping)) => self.noting.push_back((unnoted, keeping)),
                Ok(None) => {}
                Err(_) => {
                    self.unnoted = unnoted;
                    return Some(End::Told(Reason::ServerBusy, None));
                }
            }
        }
        let mut out = Vec::new();
        while let Some((unnoted, keeping)) = self.noting.front_mut() {
            match Pin::new(keeping).poll(context) {
                Poll::Pending => break,
                Poll::Ready(Ok(true)) => {
                    let now = self.app.events.clock().now();
                    let not_sent = self.streaming.shared.outbound.borrow_mut().send_noted(unnoted, now, &mut out);
                    if !not_sent.is_empty() {
                        self.streaming.keeper.change_later(MqttSessionChange::ForgetOutgoing(not_sent));
                        self.streaming.shared.wake();
                    }
                    self.noting.pop_front();
                }
                // The session was forgotten, or nothing can be written any more.
                Poll::Ready(_) => return Some(End::Told(Reason::Unspecified, None)),
            }
        }
        if !out.is_empty() {
            self.connection.outlet.send_binary(&out);
        }
        None
    }

    /// Saves the session if that is due. Returns when it is due next, if it has come further.
    pub(super) fn save_at(&mut self, now: Instant) -> Option<Instant> {
        self.streaming.keeper.kept()?;
        let mut outbound = self.streaming.shared.outbound.borrow_mut();
        if !outbound.has_changed() {
            self.save_at = None;
            return None;
        }
        let save_at = *self.save_at.get_or_insert(now + SAVE_EVERY);
        if now < save_at {
            return Some(save_at);
        }
        self.save_at = None;
        outbound.set_saved();
        self.streaming.keeper.save(outbound.progress());
        None
    }
}
