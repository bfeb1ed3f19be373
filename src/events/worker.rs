use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;

use super::hub::Hub;
use super::mailbox::{Command, Mailbox, Post};
use super::permits::Permits;
use super::sink::Sink;
use super::subscribe_request::SubscribeRequest;
use super::subscription::{CatchUp, Subscription};
use super::tenant_subscriptions::TenantSubscriptions;
use super::user_streams::UserStreams;
use super::weak_list::WeakList;
use super::wheel::{TICK, Wheel};
use crate::clock::Clock;
use crate::domain::{TenantName, Username};

/// How many subscriptions of a worker that catch up take a step before those who are live are given what is new.
const CATCHING_UP: usize = 8;

/// What part of the time that the last round of writes took the next one waits, from its end on, for more to write at once:
/// a publish that came alone while a thousand were written to would else go out alone again, and the others after it.
const GATHER_PART: u32 = 10;
/// How long it waits at most.
const GATHER: Duration = Duration::from_millis(2);
/// What is shorter is not waited for.
const GATHER_FROM: Duration = Duration::from_micros(100);

/// One worker's end of the hub, and the home of its subscriptions. A publish wakes one task a worker, and that task writes
/// to the connections of its own thread, without a lock. To wake each of them would cost more than to write to them.
pub struct WorkerHandle {
    pub(super) worker: Rc<Worker>,
    pub(super) tasks: [JoinHandle<()>; 2],
}

/// The subscriptions of one worker.
pub struct Worker {
    hub: Hub,
    clock: Clock,
    mailbox: Arc<Mailbox>,
    tenants: RefCell<HashMap<TenantName, Weak<TenantSubscriptions>>>,
    /// By the address of the session that they belong to, which each of them keeps where it is.
    by_user: RefCell<HashMap<usize, WeakList<Subscription>>>,
    wheel: Wheel,
    permits: Rc<Permits<TenantName>>,
}

impl WorkerHandle {
    /// Starts it on this thread, whose subscriptions it will serve.
    ///
    /// # Panics
    /// Outside a `LocalSet`, which an actix worker is.
    pub fn start(hub: Hub, clock: Clock) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        hub.add_worker(&mailbox);
        let worker = Rc::new(Worker {
            hub,
            clock,
            mailbox,
            tenants: RefCell::default(),
            by_user: RefCell::default(),
            wheel: Wheel::new(),
            permits: Permits::new(CATCHING_UP),
        });
        // They yield by themselves. tokio's own budget would have a connection with TLS look as if it could not be written to.
        let tasks = [
            tokio::task::spawn_local(unconstrained(Rc::clone(&worker).deliver())),
            tokio::task::spawn_local(unconstrained(Rc::clone(&worker).keep_time())),
        ];
        Self { worker, tasks }
    }

    /// Opens a stream. `first` is written before anything else. It goes on as long as what comes back is run.
    pub fn open(&self, request: SubscribeRequest, sink: impl Sink + 'static, first: Bytes) -> CatchUp {
        let worker = &self.worker;
        let user_streams = Arc::clone(&request.user_streams);
        let (id, changes) = (request.presence_guard.id, request.changes);
        let (subscription, task) = Subscription::start(worker, request, sink, first);
        let address = Arc::as_ptr(&user_streams).addr();
        worker.by_user.borrow_mut().entry(address).or_default().push(Rc::downgrade(&subscription));
        let at_most = worker.hub.rules().streams_per_user;
        for (oldest, mailbox) in user_streams.add(id, subscription.serial, &worker.mailbox, at_most) {
            mailbox.post_command(&user_streams, oldest, Command::End);
        }
        // At once, so that whoever is ended before the task comes round has had an answer; and not before it is known by the
        // id that is in it.
        subscription.write_rest();
        // The session may have ended, or the server closed, before it was in the list; and the rights may have changed.
        if subscription.is_over() || worker.hub.is_closed() {
            subscription.end();
        } else if user_streams.changes() != changes {
            worker.change_rights(&user_streams);
        }
        task
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.worker.hub.remove_worker(&self.worker.mailbox);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Worker {
    /// Does what the mailbox says, for ever.
    async fn deliver(self: Rc<Self>) {
        let (mut gathered_at, mut began_at) = (Instant::now(), None);
        loop {
            self.mailbox.filled().await;
            loop {
                self.drain_mailbox();
                if !self.mailbox.has_filled() {
                    began_at = None;
                    break;
                }
                while self.mailbox.before_dispatch.is_closed() {
                    self.drain_mailbox();
                    tokio::task::yield_now().await;
                }
                while Instant::now() < gathered_at {
                    tokio::task::yield_now().await;
                    std::thread::yield_now();
                }
                let filled = self.mailbox.take_filled();
                let mut is_more = false;
                let began = *began_at.get_or_insert_with(Instant::now);
                for notifier in filled {
                    notifier.heard();
                    let subscriptions = self.tenants.borrow().get(&notifier.tenant).and_then(Weak::upgrade);
                    if let Some(subscriptions) = subscriptions
                        && subscriptions.catch_up(&self).await
                    {
                        // After the other tenants.
                        notifier.tell();
                        is_more = true;
                    }
                }
                if is_more {
                    // What there is already need not be waited for.
                    tokio::task::yield_now().await;
                    continue;
                }
                // From when everybody had been given everything on: the longer this took, the more will come at once.
                began_at = None;
                let ended = Instant::now();
                let gather = ((ended - began) / GATHER_PART).min(GATHER);
                gathered_at = ended + if gather < GATHER_FROM { Duration::ZERO } else { gather };
            }
        }
    }

    /// Ends the streams of sessions that have ended since the last look, has those look at their rights whose rights have
    /// changed, does what streams were told, and tells of those who came or went.
    pub fn drain_mailbox(self: &Rc<Self>) {
        let Post { ended, changed, commands, presence, closing, .. } = self.mailbox.take();
        let end = |subscriptions: WeakList<Subscription>| subscriptions.iter().for_each(|one| one.end());
        for user_streams in ended {
            let subscriptions = self.by_user.borrow_mut().remove(&Arc::as_ptr(&user_streams).addr());
            end(subscriptions.unwrap_or_default());
        }
        for (tenant, username) in presence {
            let subscriptions = self.tenants.borrow().get(&tenant).and_then(Weak::upgrade);
            if let Some(subscriptions) = subscriptions {
                subscriptions.tell_presence(&username);
            }
        }
        // After that: who is moved to another tenant is no more told who has gone from this one.
        changed.iter().for_each(|user_streams| self.change_rights(user_streams));
        for (user_streams, serial, command) in commands {
            let of_session = self.subscriptions_of_user(&user_streams);
            let Some(subscription) = of_session.into_iter().find(|subscription| subscription.serial == serial) else {
                continue;
            };
            match command {
                Command::Filter(filter, done) => {
                    subscription.change_filter(filter);
                    // Who asked may have gone.
                    let _ = done.send(());
                }
                Command::End => subscription.end(),
            }
        }
        if let Some(done) = closing {
            let all = std::mem::take(&mut *self.by_user.borrow_mut());
            all.into_values().for_each(end);
            let _ = done.send(());
        }
    }

    /// Gives the streams of a session the tenant and the rights that its user has now.
    pub fn change_rights(self: &Rc<Self>, user_streams: &Arc<UserStreams>) {
        let changes = user_streams.changes();
        let account = self.hub.store().account(&user_streams.username);
        for subscription in self.subscriptions_of_user(user_streams) {
            match &account {
                Ok(Some(account)) => {
                    let seen = self.hub.rules().authorize.to_see(&user_streams.username, &account.scopes);
                    subscription.change_rights(self, account, seen, changes);
                }
                // Without knowing them nothing more may be given.
                _ => subscription.end(),
            }
        }
    }

    fn subscriptions_of_user(&self, user_streams: &Arc<UserStreams>) -> Vec<Rc<Subscription>> {
        let by_user = self.by_user.borrow();
        let of_session = by_user.get(&Arc::as_ptr(user_streams).addr());
        of_session.into_iter().flat_map(WeakList::iter).collect()
    }

    /// The subscriptions of a user, by name.
    pub fn subscriptions_of(&self, username: &str) -> Vec<Rc<Subscription>> {
        let user_streams = Username::parse(username).ok().and_then(|username| self.hub.user_streams_of(&username));
        user_streams.map_or_else(Vec::new, |user_streams| self.subscriptions_of_user(&user_streams))
    }

    /// Sends heartbeats, and ends what has expired.
    async fn keep_time(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            for (number, due) in self.wheel.permit().iter().enumerate() {
                if let Some(subscription) = due.upgrade()
                    && let Some(again) = subscription.beat(self.clock.now())
                {
                    self.wheel.arm(&subscription, again);
                }
                if number % 256 == 255 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    pub fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    /// The turns of those who catch up, for one step on this thread. So nobody waits with one for anything.
    pub fn permits(&self) -> &Rc<Permits<TenantName>> {
        &self.permits
    }

    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A tenant's room, made where there is none.
    pub fn subscriptions(self: &Rc<Self>, tenant: &TenantName) -> Rc<TenantSubscriptions> {
        if let Some(subscriptions) = self.tenants.borrow().get(tenant).and_then(Weak::upgrade) {
            return subscriptions;
        }
        let guard = self.hub.guard(tenant, &self.mailbox);
        let subscriptions = Rc::new(TenantSubscriptions::new(guard, Rc::downgrade(self)));
        self.tenants.borrow_mut().insert(tenant.clone(), Rc::downgrade(&subscriptions));
        subscriptions
    }

    pub fn forget_tenant(&self, tenant: &TenantName) {
        self.tenants.borrow_mut().remove(tenant);
    }

    #[cfg(test)]
    pub fn user_streams(&self) -> usize {
        self.by_user.borrow().len()
    }

    /// A stream of a session is no more.
    pub fn note_gone(&self, user_streams: &Arc<UserStreams>) {
        let mut by_user = self.by_user.borrow_mut();
        let Entry::Occupied(mut of_session) = by_user.entry(Arc::as_ptr(user_streams).addr()) else { return };
        of_session.get_mut().note_gone();
        if of_session.get().is_empty() {
            of_session.remove();
        }
    }
}
