//! Messages that wait behind others, and are read again when it is their turn.

use std::task::{Context, Poll};

use super::Client;
use crate::transports::mqtt::record::Records;

impl Client {
    /// Sends messages that waited behind others that are acknowledged by now.
    pub(super) fn send_waiting(&mut self, context: &mut Context<'_>) {
        loop {
            if self.reading.is_none() {
                let due = self.streaming.shared.outbound.borrow().due();
                if due.is_empty() {
                    return;
                }
                let (events, principal) = (self.app.events.clone(), self.principal.clone());
                let positions = due.iter().map(|message| message.position).collect();
                self.reading = Some(Box::pin(async move {
                    let read = events.at(principal, positions, &Records).await;
                    (due, read)
                }));
            }
            let Some(reading) = &mut self.reading else { return };
            let Poll::Ready((due, read)) = reading.as_mut().poll(context) else { return };
            self.reading = None;
            // If the rights have ended, the stream ends, too.
            let Ok(records) = read else { return };
            let mut out = Vec::new();
            let now = self.app.events.clock().now();
            self.streaming.shared.outbound.borrow_mut().send_due(&due, &records, now, &mut out);
            if !out.is_empty() {
                self.connection.outlet.send_binary(&out);
            }
            self.streaming.shared.wake();
        }
    }
}
