//! Whether the server works, and whether it wants more clients.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::error::Error;

/// How long the writer may take to come round. A commit on a slow disk takes far less.
const ROUND_WITHIN: Duration = Duration::from_secs(10);
/// For how long an answer of the writer counts. So however many ask, the writer has one more change a second.
const COUNTS_FOR: Duration = Duration::from_secs(1);

/// What the server is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It serves on, but is about to stop: new clients had better go elsewhere.
    Draining,
    /// It stops, because somebody asked for it or because the database failed.
    Stopping,
}

/// The health of the server: a cheap clone, shared by all workers.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    since: Instant,
    phase: watch::Sender<Phase>,
    /// When the writer was asked last, and whether it came round. Who asks meanwhile waits for that answer.
    round: Mutex<Option<(Instant, Result<(), Error>)>>,
}

impl Default for Health {
    fn default() -> Self {
        let (since, phase, round) = (Instant::now(), watch::Sender::new(Phase::Serving), Mutex::default());
        Self(Arc::new(Inner { since, phase, round }))
    }
}

impl Health {
    /// For how long the server has served.
    pub fn uptime(&self) -> Duration {
        self.0.since.elapsed()
    }

    /// The server goes over to another phase.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.send_replace(phase);
    }

    /// What the server is about to do.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Resolves once the server is about to stop.
    pub async fn leaving(&self) {
        // The sender is in `self`, so it exists.
        let _ = self.0.phase.subscribe().wait_for(|phase| *phase != Phase::Serving).await;
    }

    /// Whether new clients are welcome. A full disk is no reason to send them away: reads work.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] if the server drains or stops, or the database has failed.
    pub fn ready(&self) -> Result<(), Error> {
        if self.phase() == Phase::Serving { Ok(()) } else { Err(Error::ShuttingDown) }
    }

    /// Whether the writer comes round. `ping` asks it, unless it was asked a moment ago.
    ///
    /// # Errors
    /// [`Error::Stalled`] if it does not in time; [`Error::ShuttingDown`] if it has ended.
    pub async fn works(&self, ping: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let mut round = self.0.round.lock().await;
        if let Some((at, outcome)) = &*round
            && at.elapsed() < COUNTS_FOR
        {
            return outcome.clone();
        }
        let outcome = timeout(ROUND_WITHIN, ping).await.unwrap_or(Err(Error::Stalled));
        *round = Some((Instant::now(), outcome.clone()));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::atomic::{AtomicU8, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_the_writer_is_asked_once() {
        let (health, asked) = (Health::default(), AtomicU8::new(0));
        let ping = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(())
        };
        let answers = join_all((0..100).map(|_| health.works(ping()))).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_does_not_come_round_is_told_to_all_that_wait_for_it() {
        let health = Health::default();
        let answers = join_all((0..3).map(|_| health.works(pending()))).await;
        assert_eq!(answers, [Err(Error::Stalled), Err(Error::Stalled), Err(Error::Stalled)]);
        // Whoever gives up meanwhile leaves nothing behind.
        assert!(timeout(Duration::from_millis(1), health.works(pending())).await.is_ok(), "the last answer counts");
        std::thread::sleep(COUNTS_FOR);
        assert!(timeout(Duration::from_millis(1), health.works(pending())).await.is_err());
        assert_eq!(health.works(ready(Ok(()))).await, Ok(()));
    }

    #[test]
    fn only_a_server_that_serves_is_ready() {
        let health = Health::default();
        assert_eq!(health.ready(), Ok(()));
        for phase in [Phase::Draining, Phase::Stopping] {
            health.enter(phase);
            assert_eq!((health.phase(), health.ready()), (phase, Err(Error::ShuttingDown)));
        }
    }
}
