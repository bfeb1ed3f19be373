//! The task that keeps the archive up to date, while the server runs.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use crate::app::Backups;
use crate::config::Archiving;
use crate::store::Archive;

/// How long it may take for the last changes when the server stops.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// The task, if there is an archive.
pub struct Archiver {
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Archiver {
    /// Starts it.
    pub fn start(backups: &Backups, archive: Option<Archive>, settings: Option<Archiving>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let task = archive
            .zip(settings)
            .map(|(archive, settings)| spawn_local(backups.clone().archive(archive, settings, stopping)));
        Self { stop, task }
    }

    /// Archives the last changes.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        if let Some(task) = self.task {
            let _ = timeout(ENDS_WITHIN, task).await;
        }
    }
}
