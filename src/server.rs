//! The wiring: what is started, in which order, and how it ends.

mod archiver;
mod check;
mod inherited;
mod listen;
mod reload;
mod start_error;
mod stop;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix_server::{Server as Listener, ServerHandle};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::app::{Backups, CertificateEnd, Events, Health, MqttSessions, MqttStats, Phase, Services, Shares};
use crate::central::{Central, Rate};
use crate::clock::Clock;
use crate::config::{Config, Live};
use crate::error::Error;
use crate::events::{Hub, Retention, Rules, StreamId, keep_up};
use crate::identity::{Channels, Identity, MqttTokens, RootKey, Settings, index_names, index_names_when_possible};
use crate::store::{OpenError, Store};
use crate::transports::http::{self, Sockets};
use crate::writer::{self, Failure, Writer};

use archiver::Archiver;
use listen::{Listening, listen, listen_to_scrapes};
use reload::Running;
use stop::{Signals, drain, notify};

pub use check::{check, log_filter};
pub use inherited::Inherited;
pub use reload::Reload;
pub use start_error::StartError;

/// How long the writer may take to end after its last commit. A running checkpoint is cut off.
const WRITER_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// The parts of the server that are stopped one after the other. Transports reach them only through [`Services`].
struct Core {
    writer: Writer,
    hub: Hub,
    store: Store,
    sockets: Sockets,
}

/// A server that listens.
pub struct Server {
    http: Listener,
    /// What serves the metrics, if they are served.
    metrics: Option<Listener>,
    core: Core,
    archiver: Archiver,
    services: Services,
    failure: Failure,
    background: Vec<JoinHandle<()>>,
    signals: Signals,
    /// Over which time streams are ended when the server is asked to stop.
    drain_for: Duration,
    /// Whether connections wait for the next server once this one accepts none.
    keeps_waiting: bool,
}

impl Server {
    /// Checks that the settings fit together, opens the database, starts the writer, and listens: on the sockets that the process was
    /// started with, and where there are none on its own.
    ///
    /// # Errors
    /// [`StartError`]. Its message says what is wrong.
    pub async fn start(config: Config, reload: Reload, inherited: Inherited) -> Result<Self, StartError> {
        check(&config).map_err(StartError::Config)?;
        if config.callers.only_this_machine {
            inherited.check_loopback().map_err(StartError::Config)?;
        }
        let keeps_waiting = inherited.is_some();
        // The handlers come before what takes long, so that a signal during the start is not lost. SIGHUP makes the server read
        // its configuration again (`reload`), and certificates (`tls`).
        let signals = Signals::new();
        let hangup = signal(SignalKind::hangup());
        let running = Running::of(&config);
        // A write beyond a file size limit must fail with an error, and not end the process silently.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
        if config.callers.only_this_machine {
            tracing::warn!("admin_token, jwt_secret or auth_key is the default or short: only this machine is served");
        }
        if !config.idle.is_empty() {
            let flags = config.idle.join(", ");
            tracing::warn!(flags, "these do nothing as secure and auto_cert are: see HTTPS in docs/operations.md");
        }
        let (store, committer) = Store::open(&config.db, config.journal_bytes).map_err(StartError::Store)?;
        let db = config.db.clone();
        let archive = Backups::open_archive(&store, config.archiving.as_ref())
            .map_err(|why| StartError::Archive(why.to_string()))?;
        let core = |error| match error {
            Error::StorageFull => StartError::Store(OpenError::Full(db.clone())),
            other => StartError::Core(other),
        };
        let newest = store.unless_damaged(store.newest_timestamp()).map_err(&core)?.flatten();
        let clock = Clock::measured_by(newest, config.accept_clock_step);
        let rules =
            Rules { authorize: config.authorize, streams_per_user: Rules::streams(config.limits.streams_per_user) };
        let hub = Hub::new(store.clone(), rules);
        // All connections were this server's, and ended with it.
        hub.recall_streams(|_| false).map_err(&core)?;
        let publisher = hub.clone();
        let registry = hub.registry().clone();
        let decided_by = Live::new(writer::Rules {
            authorize: config.authorize,
            limits: config.limits,
            mqtt_sessions: config.mqtt.as_ref().map_or(0, |mqtt| mqtt.sessions),
            sign_ins: config.sign_ins.clone(),
            passwords: config.passwords.clone(),
            deletions: config.deletions,
            default_scopes: config.default_scopes.clone(),
            has_stream: Arc::new(move |username, stream| registry.has_stream(username, StreamId::new(stream))),
        });
        let publish = move |committed| publisher.publish(committed);
        let (writer, failure) =
            Writer::start(committer, clock.clone(), decided_by.clone(), publish).map_err(StartError::Threads)?;
        // On a full disk, or without descriptors for now, the server still starts and serves reads.
        let is_indexed = match index_names(&store, &writer).await {
            Err(error) if error.passes() => false,
            indexed => indexed.map(|()| true).map_err(&core)?,
        };
        if let Some(tenant) = config.sign_ups.tenant.as_ref().filter(|_| is_indexed) {
            let looks_like = |error| StartError::Config(format!("signup_tenant {:?}: {error}", tenant.as_str()));
            store.check_tenant(tenant).map_err(looks_like)?;
        }
        let root = RootKey::load(&store, &writer).await.map_err(&core)?;
        let channels = match config.channels {
            Some(settings) => Some(Channels::load(settings, &store, &writer).await.map_err(&core)?),
            None => None,
        };
        let mqtt_guests = config.mqtt.as_ref().and_then(|mqtt| mqtt.guests.clone());
        let mqtt_tokens = mqtt_guests.map(MqttTokens::new).transpose().map_err(StartError::Config)?;
        let settings = Settings {
            admin_token: config.admin_token,
            jwt_secret: config.jwt_secret,
            sign_ins: config.sign_ins,
            sign_ups: config.sign_ups,
            passwords: config.passwords,
            default_scopes: config.default_scopes,
            notiflux: config.notiflux,
            channels,
            mqtt_tokens,
            mqtt_anonymous: config.mqtt.as_ref().and_then(|mqtt| mqtt.anonymous.clone()),
        };
        let central = Central::alone();
        let identity = Identity::new(store.clone(), writer.clone(), clock.clone(), root, central.clone(), settings)
            .map_err(StartError::Threads)?;
        identity.warn_of_anonymous().map_err(&core)?;
        let retention = Retention { age: config.retained.retain_for, events: config.retained.retain_events };
        let events =
            Events::new(identity.clone(), writer.clone(), hub.clone(), central.clone(), clock.clone(), decided_by);
        let maintenance = keep_up(hub.clone(), writer.clone(), clock.clone(), retention);
        let settled = clock.clone();
        // It waits for the clock, because events that expire by a wrong clock are lost.
        let maintenance = async move {
            settled.settled().await;
            maintenance.await;
        };
        let backups = Backups::new(store.clone(), writer.clone(), clock.clone());
        let archiver = Archiver::start(&backups, archive, config.archiving);
        let core = Core { writer, hub, store, sockets: http::sockets() };
        central.set_rate(Rate::MqttConnects, config.mqtt.as_ref().map_or(0, |mqtt| mqtt.connect_rate), 0);
        let services = Services {
            identity,
            events,
            backups,
            callers: Live::new(config.callers),
            trusted_proxies: config.trusted_proxies.into(),
            base_path: config.base_path,
            settings: running.settings(),
            mqtt: config.mqtt.map(Arc::new),
            mqtt_sessions: MqttSessions::default(),
            mqtt_stats: MqttStats::default(),
            shares: Shares::default(),
            health: Health::default(),
            certificate: CertificateEnd::default(),
            central,
        };

        let Listening { addresses, http, certificate } =
            listen(&config.listen, config.host, services.clone(), core.sockets.clone(), inherited)?;
        let (metrics, metrics_address) = match config.metrics {
            Some(wanted) => {
                listen_to_scrapes(wanted, services.clone()).map(|(metrics, url)| (Some(metrics), Some(url)))?
            }
            None => (None, None),
        };
        let mut background =
            vec![tokio::task::spawn_local(clock.follow(config.ntp_servers)), tokio::task::spawn_local(maintenance)];
        background.push(tokio::task::spawn_local(core.sockets.clone().keep_time()));
        if !is_indexed {
            let noting = index_names_when_possible(core.store.clone(), core.writer.clone());
            background.push(tokio::task::spawn_local(noting));
        }
        let identity = services.identity.clone();
        background.push(tokio::task::spawn_local(async move {
            if let Err(error) = identity.forget_work().await {
                tracing::warn!(%error, "checks of passwords may take longer than they need to until the next start");
            }
        }));
        background.extend(certificate.map(tokio::task::spawn_local));
        // Without a handler, the signal ends the process at once.
        background.extend(
            hangup.ok().map(|hangup| tokio::task::spawn_local(running.follow(hangup, reload, services.clone()))),
        );
        tracing::info!(
            url = addresses.http,
            mqtt = addresses.mqtt,
            mqtts = addresses.mqtts,
            metrics = metrics_address,
            database = %core.store.path().display(),
            "listening"
        );
        let drain_for = config.drain_for;
        Ok(Self { http, metrics, core, archiver, services, failure, background, signals, drain_for, keeps_waiting })
    }

    /// Serves until SIGTERM or SIGINT. Then it drains, if it has time for that, ends the streams, finishes the running requests, and
    /// closes the database. Another signal ends the draining.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database failed, so that no further commit can be promised; [`Error::Internal`] if the
    /// listener ended by itself.
    pub async fn run(self) -> Result<(), Error> {
        let Self { http, metrics, core, archiver, services, mut failure, mut background, mut signals, .. } = self;
        let (drain_for, keeps_waiting) = (self.drain_for, self.keeps_waiting);
        let handle = http.handle();
        let metrics = metrics.map(|metrics| (metrics.handle(), tokio::task::spawn_local(metrics)));
        let mut serving = tokio::task::spawn_local(http);
        notify(&[NotifyState::Ready]);
        background.extend(watchdog(core.writer.clone()));

        let asked = async {
            signals.next().await;
            if !drain_for.is_zero() {
                tokio::select! {
                    () = drain(&services.health, &core.hub, drain_for) => {}
                    () = signals.next() => tracing::info!("asked once more to stop"),
                }
            }
        };
        let ended = tokio::select! {
            () = asked => Ok(()),
            fault = failure.reason() => {
                tracing::error!(error = %fault, "the database failed: stopping, so that a restart finds what is on disk");
                Err(fault.into())
            }
            ended = &mut serving => Err(Error::Internal(format!("the listener ended: {ended:?}"))),
        };
        services.health.enter(Phase::Stopping);
        if drain_for.is_zero() || ended.is_err() {
            notify(&[NotifyState::Stopping]);
        }
        background.iter().for_each(JoinHandle::abort);
        if keeps_waiting && ended.is_ok() {
            // What has been accepted still comes to its answer. Whoever comes now waits for the next server.
            handle.pause().await;
            tokio::time::sleep(ACCEPTED_SERVED_WITHIN).await;
        }
        stop(&core, archiver, handle).await;
        if let Some((handle, metrics)) = metrics {
            handle.stop(false).await;
            // It holds the database open.
            let _ = metrics.await;
        }
        // The writer's end of the store is dropped before ours.
        let _ = tokio::time::timeout(WRITER_ENDS_WITHIN, failure.ended()).await;
        ended.and(close((core, services)))
    }
}

/// Drops everything that holds the database open. sled panics if its last writes cannot be synced; no acknowledged
/// change depends on them.
fn close(services: (Core, Services)) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(|| drop(services))).map_err(|_| Error::Storage("it cannot be closed".to_owned()))
}

/// How long the request of a connection that was just accepted may take to come.
const ACCEPTED_SERVED_WITHIN: Duration = Duration::from_millis(200);

async fn stop(core: &Core, archiver: Archiver, handle: ServerHandle) {
    tracing::info!("stopping");
    // The streams end first, or the server would wait for them.
    core.hub.close().await;
    core.sockets.stop();
    handle.stop(true).await;
    archiver.stop().await;
    core.writer.stop().await;
    tracing::info!("stopped");
}

/// Tells systemd that the server works, as long as the writer does.
fn watchdog(writer: Writer) -> Option<JoinHandle<()>> {
    let every = sd_notify::watchdog_enabled()? / 2;
    Some(tokio::task::spawn_local(async move {
        while writer.ping().await.is_ok() {
            notify(&[NotifyState::Watchdog]);
            tokio::time::sleep(every).await;
        }
    }))
}
