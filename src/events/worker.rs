use std::cell::RefCell;
use std::collections::HashMap;
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
use super::stream_id::Serial;
use super::subscribe_request::SubscribeRequest;
use super::subscription::{CatchUp, Subscription};
use super::tenant_subscriptions::TenantSubscriptions;
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
    /// Every subscription of this worker. Whatever else knows one knows its serial, and finds it here.
    streams: RefCell<HashMap<Serial, Weak<Subscription>>>,
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
        hub.registry().add_worker(&mailbox);
        let worker = Rc::new(Worker {
            hub,
            clock,
            mailbox,
            tenants: RefCell::default(),
            streams: RefCell::default(),
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
        let changes = request.changes;
        let (subscription, task) = Subscription::start(worker, request, sink, first);
        let guard = &subscription.presence_guard;
        worker.streams.borrow_mut().insert(guard.serial(), Rc::downgrade(&subscription));
        guard.open(&worker.mailbox, worker.hub.rules().streams_per_user);
        // At once, so that whoever is ended before the task comes round has had an answer; and not before it is known by the
        // id that is in it.
        subscription.write_rest();
        // The user's streams may have been ended, or the server closed, before a worker had it; and the rights may have changed.
        if subscription.is_over() || worker.hub.is_closed() {
            subscription.end();
        } else if guard.user_streams().changes() != changes {
            worker.change_rights(guard.user_streams().username());
        }
        task
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.worker.hub.registry().remove_worker(&self.worker.mailbox);
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

    /// Does what the mailbox says: tells of users that have come or gone, gives the streams of users their new rights, changes filters
    /// and ends streams. Called also after events were fetched and before they are written, so that a stream that has lost the right
    /// to them in their commit gets none of them.
    pub fn drain_mailbox(self: &Rc<Self>) {
        let Post { changed, commands, presence, closing, .. } = self.mailbox.take();
        for (tenant, username) in presence {
            let subscriptions = self.tenants.borrow().get(&tenant).and_then(Weak::upgrade);
            if let Some(subscriptions) = subscriptions {
                subscriptions.tell_presence(self, &username);
            }
        }
        // After that: a stream that is moved to another tenant is no more told who has gone from this one.
        changed.iter().for_each(|username| self.change_rights(username));
        for (serial, command) in commands {
            let Some(subscription) = self.subscription(serial) else { continue };
            match command {
                Command::Filter(filter, done) => {
                    subscription.change_filter(filter);
                    // The client that asked may have gone.
                    let _ = done.send(());
                }
                Command::End => subscription.end(),
            }
        }
        if let Some(done) = closing {
            // One that ends may be dropped, and is taken out of the table then.
            let all: Vec<_> = self.streams.borrow().values().filter_map(Weak::upgrade).collect();
            all.iter().for_each(|subscription| subscription.end());
            let _ = done.send(());
        }
    }

    /// Gives the streams of a user the tenant and the rights that the user has now.
    pub fn change_rights(self: &Rc<Self>, username: &Username) {
        let subscriptions = self.subscriptions_of(username);
        let Some(first) = subscriptions.first() else { return };
        // Counted before the rights are read: those that are read are these, or later ones.
        let changes = first.presence_guard.user_streams().changes();
        let account = self.hub.store().account(username);
        for subscription in subscriptions {
            match &account {
                Ok(Some(account)) => {
                    let seen = self.hub.rules().authorize.to_see(username, &account.scopes);
                    subscription.change_rights(self, account, seen, changes);
                }
                // Without knowing them nothing more may be given.
                _ => subscription.end(),
            }
        }
    }

    /// The subscription with a serial, if it is on this worker.
    pub fn subscription(&self, serial: Serial) -> Option<Rc<Subscription>> {
        self.streams.borrow().get(&serial).and_then(Weak::upgrade)
    }

    /// The subscriptions that a user has open on this worker.
    pub fn subscriptions_of(&self, username: &Username) -> Vec<Rc<Subscription>> {
        let serials = self.hub.registry().serials_on(username, &self.mailbox);
        serials.into_iter().filter_map(|serial| self.subscription(serial)).collect()
    }

    /// Forgets a subscription that is dropped.
    pub fn forget(&self, serial: Serial) {
        self.streams.borrow_mut().remove(&serial);
    }

    /// Sends heartbeats, and ends what has expired.
    async fn keep_time(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            for (number, due) in self.wheel.tick().into_iter().enumerate() {
                if let Some(again) = self.subscription(due).and_then(|one| one.beat(self.clock.now())) {
                    self.wheel.arm(due, again);
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
    pub fn streams(&self) -> usize {
        self.streams.borrow().len()
    }
}
