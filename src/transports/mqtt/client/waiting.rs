//! Messages that do not go out at once: those that are sent again, those that waited behind others, and those that the session must
//! know of first.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::{Client, End};
use crate::app::EventsAt;
use crate::events::MqttSessionChange;
use crate::transports::mqtt::keeping::note;
use crate::transports::mqtt::outbound::{Due, Message};
use crate::transports::mqtt::packet::{AckKind, Reason};
use crate::transports::mqtt::reading::read;
use crate::transports::mqtt::reasons;

impl Client {
    /// Sends what was in flight when the session went on, and messages that waited behind others that are acknowledged by now. Returns
    /// why the connection ends, if it does.
    pub(super) fn send_waiting(&mut self, context: &mut Context<'_>) -> Option<End> {
        let (shared, encoder) = (Rc::clone(&self.streaming.shared), self.encoder);
        let release = |id, out: &mut Vec<u8>| encoder.ack(out, AckKind::PubRel, id, Reason::Success, None);
        loop {
            if !shared.outbound.borrow().has_due() || shared.way_out.poll_ready(context).is_pending() {
                return None;
            }
            let mut out = Vec::new();
            if self.reading.is_none() {
                let mut outbound = shared.outbound.borrow_mut();
                outbound.release_again(&mut out, release);
                if !out.is_empty() {
                    // Nothing may be left that the stream has to wait for.
                    shared.wake();
                }
                self.reading = outbound.due().map(|due| {
                    let reading = read(&self.app, &self.principal, due.positions());
                    Box::new((due, reading))
                });
            } else if let Some(reading) = &mut self.reading {
                let (due, reading) = &mut **reading;
                let Poll::Ready(read) = reading.as_mut().poll(context) else { return None };
                let EventsAt { written: records, looked_at, floor } = match read {
                    Ok(read) => read,
                    Err(error) => return Some(End::Told(reasons::of_failure(&error), None)),
                };
                let (now, mut outbound) = (self.app.events.clock().now(), shared.outbound.borrow_mut());
                match due {
                    Due::Waiting(due) => {
                        let gone = outbound.send_due(&due[..looked_at], &records, now, &mut out);
                        let is_lost = |message: &Message| !message.is_from_before && message.position <= floor;
                        if self.streaming.keeper.kept().is_none() && gone.iter().any(is_lost) {
                            return Some(End::Told(Reason::QuotaExceeded, Some("too far behind")));
                        }
                    }
                    Due::Again(due) => {
                        let gone = outbound.resend(&due[..looked_at], &records, now, &mut out, release);
                        if !gone.is_empty() {
                            self.streaming.keeper.change_later(MqttSessionChange::ForgetOutgoing(gone));
                        }
                    }
                }
                drop(outbound);
                self.reading = None;
                shared.wake();
            }
            if !out.is_empty() {
                shared.way_out.send(&out);
            } else if self.reading.is_none() && shared.outbound.borrow().due().is_none() {
                // The client is to acknowledge something first.
                return None;
            }
        }
    }

    /// Notes messages of QoS 2 of a session that is kept, and sends those that have been noted. One note at a time: otherwise a later one
    /// could say that all have been noted, though an earlier one was refused.
    pub(super) fn send_noted(&mut self, context: &mut Context<'_>) -> Option<End> {
        let shared = Rc::clone(&self.streaming.shared);
        loop {
            if self.noting.is_none() && shared.outbound.borrow().has_unnoted() {
                let (unnoted, exact) = shared.outbound.borrow_mut().take_unnoted();
                let keeping = self.streaming.keeper.change(note(&unnoted, exact));
                self.noting = Some((unnoted, keeping.ok().flatten()));
            }
            let (unnoted, keeping) = self.noting.as_mut()?;
            if shared.way_out.poll_ready(context).is_pending() {
                return None;
            }
            let noted = match keeping {
                Some(keeping) => Pin::new(keeping).poll(context).map(Result::ok),
                None => Poll::Ready(None),
            };
            match noted {
                Poll::Pending => return None,
                Poll::Ready(Some(true)) => {}
                Poll::Ready(other) => {
                    *keeping = None;
                    // The session was forgotten, or nothing can be written now.
                    let why = if other.is_some() { Reason::QuotaExceeded } else { Reason::ServerBusy };
                    return Some(End::Told(why, None));
                }
            }
            let (now, mut out) = (self.app.events.clock().now(), Vec::new());
            let mut outbound = shared.outbound.borrow_mut();
            let not_sent = outbound.send_noted(unnoted, now, &mut out);
            let has_due = outbound.has_due();
            drop(outbound);
            if !not_sent.is_empty() {
                self.streaming.keeper.change_later(MqttSessionChange::ForgetOutgoing(not_sent));
            }
            self.noting = None;
            if !out.is_empty() {
                shared.way_out.send(&out);
            }
            // There is room for others.
            shared.wake();
            if has_due {
                context.waker().wake_by_ref();
            }
        }
    }

    /// Saves the session if that is due. Returns when it is due next, if it has come further.
    pub(super) fn save_at(&mut self, now: Instant) -> Option<Instant> {
        let keeper = &mut self.streaming.keeper;
        keeper.kept()?;
        let mut outbound = self.streaming.shared.outbound.borrow_mut();
        // A SUBSCRIBE that is under way is on disk, and the stream may not know of it yet: it has passed what that is for.
        if self.doing.is_empty()
            && let Some(position) = self.streaming.catch_up.stands_at()
        {
            outbound.pass(position);
        }
        // At once: retention has nothing to do for a client that acknowledges as fast as it is sent.
        keeper.raise(outbound.done_up_to());
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
