//! What the parts of the server know of themselves, as the metrics tell it.

use std::time::Duration;

use super::Services;
use crate::clock::{ClockState, TimeSource};
use crate::domain::Timestamp;
use crate::metrics::{Metrics, Process, Readings};
use crate::store::Figures;

/// How long the clock counts as synchronized after an answer of a time server: two rounds of questions may come to nothing.
const SYNCHRONIZED_FOR: Duration = Duration::from_secs(1800);

impl Services {
    /// What is counted as it happens.
    pub fn metrics(&self) -> &Metrics {
        self.events.store().metrics()
    }

    /// What is read now. It asks the operating system for the sizes of a few files, so call it on a thread that may wait.
    pub fn readings(&self) -> Readings {
        let (changes, bytes) = self.events.writer.waiting();
        let store = self.events.store();
        // What cannot be read is left out.
        let figures = store.figures().ok();
        let files = figures.map(|Figures { data, journal, kept, reserve, .. }| {
            vec![("data", data), ("journal", journal), ("kept", kept), ("reserve", reserve)]
        });
        let ClockState { source, heard, offset_millis, .. } = self.events.clock.state();
        Readings {
            writer_queue_changes: changes as u64,
            writer_queue_bytes: bytes as u64,
            overlay_bytes: store.overlay_bytes() as u64,
            store_files: files.unwrap_or_default(),
            disk_free_bytes: figures.map(|figures| figures.free),
            disk_full: figures.is_some_and(|figures| figures.is_full),
            password_queue: self.identity.passwords_waiting() as u64,
            throttled: self.identity.throttled().collect(),
            clock_offset_seconds: offset_millis as f64 / 1000.0,
            clock_synchronized: (source != TimeSource::Local)
                .then(|| heard.is_some_and(|heard| heard <= SYNCHRONIZED_FOR)),
            certificate_not_after: self.certificate.get().map(|at: Timestamp| at.as_millis() as f64 / 1000.0),
            mqtt: self.mqtt.is_some().then(|| self.mqtt_stats.of_all()),
            process: Process::read(),
        }
    }
}
