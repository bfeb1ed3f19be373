//! What the server says of itself below `$SYS/`, to clients that may know and ask for it.

use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Outbound;
use super::types::{Head, Sys, is_sys};
use crate::app::CountedClient;
use crate::domain::{Position, Timestamp, TopicFilter};
use crate::transports::mqtt::packet::Qos;
use crate::transports::mqtt::record::Record;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(10);

impl Outbound {
    /// The client counts from now on, with the subscriptions that its session has.
    pub fn count(&mut self, client: CountedClient) {
        self.counted = Some(client);
        self.count_subscriptions();
        if self.filters.iter().any(|wanted| is_sys(&wanted.filter)) {
            self.begin_sys(None);
        }
    }

    /// A message came from the client.
    pub fn count_received(&self) {
        if let Some(client) = &self.counted {
            client.received();
        }
    }

    /// How many subscriptions there are has changed.
    pub fn count_subscriptions(&mut self) {
        let shared = self.shares.as_ref().map_or(0, |shares| shares.len());
        if let Some(client) = &mut self.counted {
            client.set_subscriptions(self.filters.len() + shared);
        }
    }

    /// There is a subscription below `$SYS/`. This one is given what there is.
    pub fn begin_sys(&mut self, given: Option<TopicFilter>) {
        let next = || Box::pin(sleep_until(Instant::now() + EVERY));
        let sys = self.sys.get_or_insert_with(|| Box::new(Sys { given: Vec::new(), next: next() }));
        sys.given.extend(given);
    }

    /// Appends what is due of what the server says of itself: these are its topics.
    pub fn give_sys(
        &mut self,
        context: &mut Context<'_>,
        now: Timestamp,
        topics: impl FnOnce(&CountedClient) -> Vec<(&'static str, String)>,
        out: &mut Vec<u8>,
    ) {
        let (Some(sys), Some(client)) = (&mut self.sys, &self.counted) else { return };
        let mut is_time = false;
        while sys.next.as_mut().poll(context).is_ready() {
            is_time = true;
            sys.next.as_mut().reset(Instant::now() + EVERY);
        }
        let given = std::mem::take(&mut sys.given);
        if !is_time && given.is_empty() {
            return;
        }
        if !self.filters.iter().any(|wanted| is_sys(&wanted.filter)) {
            self.sys = None;
            return;
        }
        for (topic, value) in topics(client) {
            let is_new = given.iter().any(|filter| filter.matches(topic));
            if is_new || is_time {
                self.put_sys(topic, value.as_bytes(), is_new, now, out);
            }
        }
    }

    fn put_sys(&mut self, topic: &str, payload: &[u8], is_new: bool, now: Timestamp, out: &mut Vec<u8>) {
        let record = Record {
            bytes: &[],
            // It is no event: it stands in no order, and is not acknowledged.
            position: Position::START,
            qos: Qos::AtMostOnce,
            is_retained: true,
            is_from_before: true,
            expires_at: None,
            publisher: None,
            topic,
            properties: &[],
            payload,
        };
        let mut ids = Vec::new();
        if let Some(delivery) = self.filters.deliver(&record, false, None, &mut ids) {
            let retain = is_new || delivery.retain_as_published;
            self.put(&record, now, Head { qos: Qos::AtMostOnce, retain, dup: false, id: None }, &ids, out);
        }
    }
}
