//! How a server that is asked to stop comes to its end.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::app::{Health, Phase};
use crate::events::Hub;

/// For which part of the time the server serves on as before, so that proxies notice that it is not ready.
const SERVES_ON_FOR: u32 = 3;
/// And at most for this long.
const SERVES_ON: Duration = Duration::from_secs(10);
/// How long the end may take after that: requests are finished, and the database is closed.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// SIGTERM and SIGINT.
pub struct Signals([std::io::Result<Signal>; 2]);

impl Signals {
    /// Listens to them.
    pub fn new() -> Self {
        Self([SignalKind::terminate(), SignalKind::interrupt()].map(signal))
    }

    /// Resolves when one of them comes.
    pub async fn next(&mut self) {
        let [terminate, interrupt] = self.0.each_mut().map(|signal| async move {
            match signal {
                Ok(signal) => drop(signal.recv().await),
                // Without a handler, this signal ends the process at once, which loses nothing either.
                Err(_) => std::future::pending().await,
            }
        });
        tokio::select! {
            () = terminate => {}
            () = interrupt => {}
        }
    }
}

/// Has clients go elsewhere, if there is somewhere else, while the server serves on: it is not ready, its answers end their connections, and
/// its streams end one after the other.
pub async fn drain(health: &Health, hub: &Hub, within: Duration) {
    health.enter(Phase::Draining);
    let serves_on = (within / SERVES_ON_FOR).min(SERVES_ON);
    tracing::info!(
        seconds = within.as_secs(),
        "draining: streams end one after the other, another signal stops at once"
    );
    // However long it takes, the service manager waits for it.
    let patience = u32::try_from((within + ENDS_WITHIN).as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(patience)]);
    sleep(serves_on).await;
    let ends_within = within - serves_on;
    hub.drain(ends_within);
    sleep(ends_within).await;
}

/// Tells systemd, if the server runs under it.
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
