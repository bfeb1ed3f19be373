//! What the handlers of every transport share.

mod backups;
mod certificate;
pub mod changes;
mod claims;
mod event_object;
mod events;
mod export;
mod health;
mod import;
mod last_seen;
mod listing;
mod mqtt;
mod mqtt_sessions;
mod mqtt_stats;
mod reader;
mod readings;
mod rows;
mod server_export;
mod shares;
mod status;

use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;

use crate::central::Central;
use crate::config::{Callers, Live, Mqtt, Setting};
use crate::domain::{BasePath, TrustedProxies, Username};
use crate::error::Error;
use crate::events::{CatchUp, Sink, SubscribeRequest, WorkerHandle};
use crate::identity::{Admin, Identity, UserQuery};

pub use backups::Backups;
pub use certificate::CertificateEnd;
pub use claims::{Claims, Held};
pub use event_object::{properties, write_event};
pub use events::{Events, HistoryPage, InsertOptions, Inserting, StreamQuery};
pub use health::{Health, Phase};
pub use import::{Import, ImportItem, Imported, MAX_REFUSED, Refused};
pub use last_seen::LastSeen;
pub use listing::{Listing, STEP_BYTES};
pub use mqtt::{EventsAt, Readable};
pub use mqtt_sessions::{BegunSession, ConnectingClient, Keeping, KeptSession};
pub use mqtt_stats::{CountedClient, MqttStats};
pub use server_export::ExportQuery;
pub use shares::{Inbox, Item, Membership, Share, Shares};
pub use status::Status;

use listing::Form;
use reader::AdminReader;
use server_export::ServerExport;

/// The services of the whole server: a cheap clone that may go to any thread.
#[derive(Clone)]
pub struct Services {
    /// The entry point to accounts and sign-in.
    pub identity: Identity,
    /// The entry point to events.
    pub events: Events,
    /// Backups of the database.
    pub backups: Backups,
    /// The origins and hosts that requests may come from.
    pub callers: Live<Callers>,
    /// The proxies that are believed about the address of a client.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// The path below which browsers see the server.
    pub base_path: BasePath,
    /// The flags by which the server runs, without the values of secrets.
    pub settings: Live<Vec<Setting>>,
    /// Settings of MQTT; `None` without it.
    pub mqtt: Option<Arc<Mqtt>>,
    /// Which sessions of MQTT have a connection.
    pub mqtt_sessions: MqttSessions,
    /// What is counted of the clients of MQTT.
    pub mqtt_stats: MqttStats,
    /// The shared subscriptions of MQTT.
    pub shares: Shares,
    /// Whether the server works, and whether it wants more clients.
    pub health: Health,
    /// When the certificate ends.
    pub certificate: CertificateEnd,
    /// What is counted in one place, such as how often a user connects over MQTT.
    pub central: Central,
}

/// The sessions of MQTT that have a connection: by the user and the client identifier.
pub type MqttSessions = Claims<(Username, Box<str>)>;

/// Such a session, while a connection has it.
pub type HeldSession = Held<(Username, Box<str>)>;

/// The services on one worker: a cheap clone that stays on its thread.
#[derive(Clone)]
pub struct App(Rc<OnWorker>);

/// The services on a worker, as long as somebody else has them.
#[derive(Default)]
pub struct WeakApp(Weak<OnWorker>);

impl WeakApp {
    /// The services, if somebody has them.
    pub fn upgrade(&self) -> Option<App> {
        self.0.upgrade().map(App)
    }
}

struct OnWorker {
    services: Services,
    worker: WorkerHandle,
}

impl std::ops::Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0.services
    }
}

impl App {
    /// The services on this thread, which must be a worker's.
    pub fn on_worker(services: Services) -> Self {
        let worker = services.events.start_worker();
        Self(Rc::new(OnWorker { services, worker }))
    }

    /// The same, for as long as somebody else has it.
    pub fn downgrade(&self) -> WeakApp {
        WeakApp(Rc::downgrade(&self.0))
    }

    /// Opens a stream on this worker, and writes `first` before its events. The stream goes on for as long as the returned task
    /// is run.
    pub fn open(&self, request: SubscribeRequest, sink: impl Sink + 'static, first: Bytes) -> CatchUp {
        self.0.worker.open(request, sink, first)
    }

    /// Lists users for an admin.
    ///
    /// # Errors
    /// Those of [`Identity::list_users`]; [`Error::Storage`]; [`Error::Overloaded`].
    pub async fn list_users(&self, admin: &Admin, query: UserQuery) -> Result<Listing, Error> {
        let users = self.identity.list_users(admin, query)?;
        let form = if users.is_page() { Form::Page("users") } else { Form::Array };
        listing::read_as_admin(AdminReader::new(admin, self.events.store().clone()), form, users).await
    }

    /// Exports users and events for an admin, each as a line.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] if nothing is wanted; [`Error::TenantNameInvalid`]; [`Error::Storage`]; [`Error::Overloaded`].
    pub async fn export(&self, admin: &Admin, query: ExportQuery) -> Result<Listing, Error> {
        let begun = async {
            let rows = ServerExport::new(query)?;
            listing::read_as_admin(AdminReader::new(admin, self.events.store().clone()), Form::Lines, rows).await
        };
        admin.logged("export", begun.await)
    }
}
