use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::ending::End;
use super::gate::Gate;
use super::lock::lock;
use super::stream_id::Serial;
use super::survey::Survey;
use crate::domain::{FilterChange, Own, Rights, TenantName, Timestamp, Username};
use crate::error::Error;

/// The number of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerId(u32);

impl WorkerId {
    /// The next higher one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What other threads tell a worker about its subscriptions.
pub struct Mailbox {
    id: WorkerId,
    post: Mutex<Post>,
    filled: Notify,
    /// Holds the worker before it looks into channels, in tests.
    pub(super) before_dispatch: Gate,
}

/// What has come since the worker looked last.
#[derive(Default)]
pub struct Post {
    /// Channels with new events. Each at most once, so this stays as short as the list of channels.
    filled: Vec<Arc<WorkerNotifier>>,
    /// Users that may see other events than before.
    pub(super) changed: Vec<Username>,
    /// Users for whom every stream of before has been ended.
    pub(super) ended: Vec<Username>,
    pub(super) commands: Vec<(Serial, Command)>,
    /// Users that have come to a tenant, or have gone from it.
    pub(super) presence: Vec<(TenantName, Username)>,
    /// Within how many milliseconds of each other the clients come back, and who waits for the end.
    pub(super) closing: Option<(u32, oneshot::Sender<()>)>,
    /// Within which time the streams are to end, one after the other.
    pub(super) drain: Option<Duration>,
    /// Whoever wants to know what its streams do.
    pub(super) surveys: Vec<oneshot::Sender<Survey>>,
}

/// What one stream is told to do.
pub enum Command {
    /// Change its filter, and its rights if there are some, and answer with the number of the change.
    Filter(FilterChange, Option<(Rights, Own)>, oneshot::Sender<Result<u32, Error>>),
    /// Go on until then, if that is later than what was said before.
    Renew(Timestamp),
    /// End, for this reason.
    End(End),
}

/// A worker's entry in a channel, by which the channel says that it has new events.
pub struct WorkerNotifier {
    /// The tenant of the channel.
    pub tenant: TenantName,
    mailbox: Arc<Mailbox>,
    /// Whether the mailbox knows already.
    queued: AtomicBool,
}

impl Mailbox {
    /// An empty one, of a worker with a number.
    pub fn new(id: WorkerId) -> Self {
        Self { id, post: Mutex::default(), filled: Notify::new(), before_dispatch: Gate::default() }
    }

    /// The number of its worker.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Adds what is to be noted, and wakes the worker.
    fn note(&self, note: impl FnOnce(&mut Post)) {
        note(&mut lock(&self.post));
        self.filled.notify_one();
    }

    /// A user may see other events than before.
    pub fn post_change(&self, username: &Username) {
        self.note(|post| post.changed.push(username.clone()));
    }

    /// Every stream that a user has had up to now has been ended.
    pub fn post_end(&self, username: &Username) {
        self.note(|post| post.ended.push(username.clone()));
    }

    /// A stream is to do something. If it has ended by then, nothing is done, and a sender in the command is dropped.
    pub fn post_command(&self, stream: Serial, command: Command) {
        self.note(|post| post.commands.push((stream, command)));
    }

    /// A user has come to a tenant, or has gone from it.
    pub fn post_presence(&self, tenant: &TenantName, username: &Username) {
        self.note(|post| post.presence.push((tenant.clone(), username.clone())));
    }

    /// The users that have come to a tenant or gone from it since the worker looked last.
    pub fn pending(&self, tenant: &TenantName) -> Vec<Username> {
        let of_tenant = |(of, username): &(TenantName, Username)| (of == tenant).then(|| username.clone());
        lock(&self.post).presence.iter().filter_map(of_tenant).collect()
    }

    /// Every stream that there is now is to end, one after the other within this time.
    pub fn post_drain(&self, within: Duration) {
        self.note(|post| post.drain = Some(within));
    }

    /// Every stream is to end, and its client to come back within so many milliseconds of the others. The receiver resolves when the worker has told its clients so.
    pub fn post_closing(&self, spread: u32) -> oneshot::Receiver<()> {
        let (done, closing) = oneshot::channel();
        self.note(|post| post.closing = Some((spread, done)));
        closing
    }

    /// Somebody wants to know what the streams do.
    pub fn post_survey(&self) -> oneshot::Receiver<Survey> {
        let (done, survey) = oneshot::channel();
        self.note(|post| post.surveys.push(done));
        survey
    }

    /// Waits until something has come.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Whether a channel has new events.
    pub fn has_filled(&self) -> bool {
        !lock(&self.post).filled.is_empty()
    }

    /// The tenants whose channels have new events.
    pub fn filled_tenants(&self) -> Vec<TenantName> {
        lock(&self.post).filled.iter().map(|notifier| notifier.tenant.clone()).collect()
    }

    /// Takes the channels with new events.
    pub fn take_filled(&self) -> Vec<Arc<WorkerNotifier>> {
        std::mem::take(&mut lock(&self.post).filled)
    }

    /// Takes everything but the channels: a caller is about to look into those.
    pub fn take(&self) -> Post {
        let mut post = lock(&self.post);
        let filled = std::mem::take(&mut post.filled);
        std::mem::replace(&mut *post, Post { filled, ..Post::default() })
    }
}

impl WorkerNotifier {
    /// A worker's entry in the channel of a tenant.
    pub fn new(tenant: TenantName, mailbox: &Arc<Mailbox>) -> Self {
        Self { tenant, mailbox: Arc::clone(mailbox), queued: AtomicBool::new(false) }
    }

    /// Has the worker look into the channel, if it is not about to.
    pub fn tell(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.mailbox.note(|post| post.filled.push(Arc::clone(self)));
        }
    }

    /// The worker is about to look: events that come from now on are told anew.
    pub fn heard(&self) {
        self.queued.store(false, Ordering::Release);
    }
}
