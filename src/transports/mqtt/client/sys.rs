//! What a handler is told of the server.

use std::task::Context;

use super::Client;
use crate::transports::mqtt::doing::Doing;

impl Client {
    /// Sends what is due of it.
    pub(super) fn give_sys(&mut self, context: &mut Context<'_>) {
        let mut outbound = self.streaming.shared.outbound.borrow_mut();
        // A SUBACK goes before the messages that it is for, and a client that takes nothing is told nothing.
        let is_later = || self.doing.iter().any(|(doing, _)| matches!(doing, Doing::Subscribe { .. }));
        if outbound.sys.is_none() || is_later() || self.streaming.shared.way_out.poll_ready(context).is_pending() {
            return;
        }
        let (app, tenant) = (&self.app, &self.principal.account.tenant);
        let mut out = Vec::new();
        let topics = |client: &_| app.mqtt_stats.topics(&app.events, tenant, client);
        outbound.give_sys(context, app.events.clock().now(), topics, &mut out);
        if !out.is_empty() {
            self.streaming.shared.way_out.send(&out);
        }
    }
}
