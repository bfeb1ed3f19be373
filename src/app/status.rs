//! What an operator wants to know of the server, at a glance.

use std::collections::BTreeMap;

use serde::Serialize;

use super::App;
use super::health::Phase;
use crate::clock::{ClockState, TimeSource};
use crate::config::{Setting, Source};
use crate::domain::Timestamp;
use crate::error::Error;
use crate::events::{Crowd, Survey};
use crate::identity::Admin;
use crate::store::Lane;

/// The state of the server. Times are Unix milliseconds, sizes are bytes.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    phase: &'static str,
    started_at: u64,
    uptime_seconds: u64,
    streams: Streams,
    tenants: Tenants,
    slow_readers: Vec<Slow>,
    store: Store,
    writer: Writer,
    clock: ClockFigures,
    certificate: Option<Certificate>,
    /// Those that are not their default, by their names.
    flags: BTreeMap<String, Flag>,
}

#[derive(Debug, Serialize)]
struct Streams {
    open: u64,
    by_transport: BTreeMap<&'static str, u64>,
    catching_up: u64,
    blocked: u64,
}

#[derive(Debug, Serialize)]
struct Tenants {
    online: usize,
    users_online: usize,
    largest: Vec<TenantFigures>,
}

#[derive(Debug, Serialize)]
struct TenantFigures {
    tenant_name: String,
    users_online: usize,
}

#[derive(Debug, Serialize)]
struct Slow {
    tenant_name: String,
    username: String,
    transport: &'static str,
    /// How many events of all tenants have come since the last that it was given.
    behind: u64,
}

#[derive(Debug, Serialize)]
struct Store {
    directory: String,
    last_id: String,
    data_bytes: u64,
    journal_bytes: u64,
    kept_bytes: u64,
    reserve_bytes: u64,
    disk_free_bytes: u64,
    disk_full: bool,
}

#[derive(Debug, Serialize)]
struct Writer {
    waiting_changes: usize,
    waiting_bytes: usize,
}

#[derive(Debug, Serialize)]
struct ClockFigures {
    source: &'static str,
    server: Option<String>,
    heard_at: Option<u64>,
    offset_milliseconds: i64,
}

#[derive(Debug, Serialize)]
struct Certificate {
    not_after: u64,
}

#[derive(Debug, Serialize)]
struct Flag {
    /// `None` if it is a secret.
    value: Option<String>,
    source: &'static str,
}

impl App {
    /// Whether the server works: its writer comes round.
    ///
    /// # Errors
    /// Those of [`super::Health::works`].
    pub async fn works(&self) -> Result<(), Error> {
        self.health.works(self.events.writer.ping()).await
    }

    /// The state of the server. It reads no event: it takes counts that are in memory, and the sizes of files.
    ///
    /// # Errors
    /// [`Error::Storage`] if the directory of the database cannot be read.
    pub async fn status(&self, _: &Admin) -> Result<Status, Error> {
        let events = &self.events;
        let (survey, figures) =
            futures_util::join!(events.hub.survey(), events.store().read_on(&Lane::ADMIN, |store| store.figures()));
        let (figures, head) = (figures??, events.store().head());
        let Survey { by_transport, catching_up, blocked, slowest } = survey;
        let Crowd { tenants, users, largest } = events.hub.registry().crowd();
        let (now, uptime) = (events.clock.now(), self.health.uptime());
        let (waiting_changes, waiting_bytes) = events.writer.waiting();
        let ClockState { source, server, heard, offset_millis } = events.clock.state();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            phase: match self.health.phase() {
                Phase::Serving => "serving",
                Phase::Draining => "draining",
                Phase::Stopping => "stopping",
            },
            started_at: before(now, uptime.as_millis()),
            uptime_seconds: uptime.as_secs(),
            streams: Streams { open: by_transport.values().sum(), by_transport, catching_up, blocked },
            tenants: Tenants {
                online: tenants,
                users_online: users,
                largest: largest
                    .into_iter()
                    .map(|(tenant, users_online)| TenantFigures {
                        tenant_name: tenant.as_str().to_owned(),
                        users_online,
                    })
                    .collect(),
            },
            slow_readers: slowest
                .into_iter()
                .map(|slow| Slow {
                    tenant_name: slow.tenant.as_str().to_owned(),
                    username: slow.username.as_str().to_owned(),
                    transport: slow.transport,
                    behind: head.get().saturating_sub(slow.position.get()),
                })
                .collect(),
            store: Store {
                directory: events.store().path().display().to_string(),
                last_id: events.id_at(head).to_string(),
                data_bytes: figures.data,
                journal_bytes: figures.journal,
                kept_bytes: figures.kept,
                reserve_bytes: figures.reserve,
                disk_free_bytes: figures.free,
                disk_full: figures.is_full,
            },
            writer: Writer { waiting_changes, waiting_bytes },
            clock: ClockFigures {
                source: match source {
                    TimeSource::Ntp => "ntp",
                    TimeSource::Waiting => "waiting_for_ntp",
                    TimeSource::Local => "local",
                },
                server,
                heard_at: heard.map(|heard| before(now, heard.as_millis())),
                offset_milliseconds: offset_millis,
            },
            certificate: self.certificate.get().map(|end| Certificate { not_after: end.as_millis() }),
            flags: given(&self.settings.get()),
        })
    }
}

/// The flags that somebody has set.
fn given(settings: &[Setting]) -> BTreeMap<String, Flag> {
    let given = settings.iter().filter(|setting| setting.source != Source::Default);
    given.map(|of| (of.name.clone(), Flag { value: of.value.clone(), source: of.source.as_str() })).collect()
}

/// The time so many milliseconds before another.
fn before(now: Timestamp, millis: u128) -> u64 {
    now.as_millis().saturating_sub(u64::try_from(millis).unwrap_or(u64::MAX))
}
