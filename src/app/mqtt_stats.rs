//! What is counted of the clients of MQTT of each tenant, since the start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::events::Events;
use crate::domain::TenantName;
use crate::metrics::MqttReadings;

/// The counts of all tenants: a cheap clone.
#[derive(Clone)]
pub struct MqttStats(Arc<Inner>);

struct Inner {
    since: Instant,
    tenants: Mutex<HashMap<TenantName, Arc<TenantStats>>>,
}

#[derive(Debug, Default)]
struct TenantStats {
    clients: AtomicU64,
    subscriptions: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// A client that counts, until this is dropped.
#[derive(Debug)]
pub struct CountedClient {
    of: Arc<TenantStats>,
    subscriptions: u64,
}

impl Default for MqttStats {
    fn default() -> Self {
        Self(Arc::new(Inner { since: Instant::now(), tenants: Mutex::default() }))
    }
}

impl MqttStats {
    /// A client of a tenant is connected.
    pub fn count_client(&self, tenant: &TenantName) -> CountedClient {
        let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Arc::clone(tenants.entry(tenant.clone()).or_default());
        of.clients.fetch_add(1, Ordering::Relaxed);
        CountedClient { of, subscriptions: 0 }
    }

    /// What is counted of the clients of all tenants together.
    pub fn of_all(&self) -> MqttReadings {
        let tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        tenants.values().fold(MqttReadings::default(), |all, tenant| MqttReadings {
            clients: all.clients + number(&tenant.clients),
            subscriptions: all.subscriptions + number(&tenant.subscriptions),
            received: all.received + number(&tenant.received),
            sent: all.sent + number(&tenant.sent),
        })
    }

    /// What a tenant is told of itself: names below `$SYS/`, and their values.
    pub fn topics(&self, events: &Events, tenant: &TenantName, client: &CountedClient) -> Vec<(&'static str, String)> {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed).to_string();
        let mut topics = vec![
            ("$SYS/broker/version", concat!("Broker ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("$SYS/broker/uptime", format!("{} seconds", self.0.since.elapsed().as_secs())),
            ("$SYS/broker/clients/connected", number(&client.of.clients)),
            ("$SYS/broker/subscriptions/count", number(&client.of.subscriptions)),
            ("$SYS/broker/messages/received", number(&client.of.received)),
            ("$SYS/broker/messages/sent", number(&client.of.sent)),
        ];
        // If it cannot be read for now, it is told the next time.
        topics.extend(events.names(tenant).map(|names| ("$SYS/broker/retained messages/count", names.to_string())));
        topics
    }
}

impl CountedClient {
    /// A message came from the client.
    pub fn received(&self) {
        self.of.received.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was sent to it.
    pub fn sent(&self) {
        self.of.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// It has so many subscriptions.
    pub fn set_subscriptions(&mut self, subscriptions: usize) {
        let before = std::mem::replace(&mut self.subscriptions, subscriptions as u64);
        // Wraps if there are less than before, as it should.
        self.of.subscriptions.fetch_add(self.subscriptions.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for CountedClient {
    fn drop(&mut self) {
        self.set_subscriptions(0);
        self.of.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
