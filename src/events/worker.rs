use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::drain::Drain;
use super::ending::End;
use super::hub::Hub;
use super::mailbox::{Command, Mailbox, Post};
use super::permits::Permits;
use super::subscriber::{ChangeView, Subscriber};
use super::survey::Survey;
use super::tenant_subscriptions::{TenantSubscriptions, Tenants};
use super::wheel::{TICK, Wheel};
use super::worker_streams::WorkerStreams;
use crate::clock::Clock;
use crate::domain::{TenantName, Username};

/// How many subscriptions of a worker that catch up take a step before the live ones are given what is new.
const CATCHING_UP: usize = 8;

/// How long the worker waits for the events that are expected, as a part of the time that the last round of writes took. An event that
/// was published alone while a thousand streams were written to would else go out alone again, and the others after it.
const GATHER_PART: u32 = 10;
/// How long it waits at most.
const GATHER: Duration = Duration::from_millis(2);
/// It does not wait for less.
const GATHER_FROM: Duration = Duration::from_micros(100);

/// Within how many milliseconds of each other the clients of streams come back that end one after the other.
const SPREAD: u32 = 1000;

/// The subscriptions of one thread, and the loops that serve them. A publish wakes one task of each worker, and that task writes to the
/// connections of its own thread without a lock. To wake each connection's task would cost more than to write to it.
pub struct Worker<S: Subscriber + ?Sized> {
    hub: Hub,
    clock: Clock,
    mailbox: Arc<Mailbox>,
    streams: Rc<WorkerStreams<S>>,
    tenants: Rc<Tenants<S>>,
    wheel: Wheel,
    permits: Rc<Permits<TenantName>>,
    /// The streams that end one after the other, while the server is about to stop.
    drain: RefCell<Option<Drain>>,
}

impl<S: ChangeView + ?Sized> Worker<S> {
    /// A worker that the hub tells of what is new.
    pub fn new(hub: Hub, clock: Clock) -> Self {
        let mailbox = hub.registry().add_worker();
        let streams = Rc::new(WorkerStreams::new(hub.store().metrics().add_worker(End::NAMES)));
        let (tenants, wheel) = (Rc::default(), Wheel::new());
        let permits = Permits::new(CATCHING_UP);
        Self { hub, clock, mailbox, streams, tenants, wheel, permits, drain: RefCell::default() }
    }

    /// Does what the mailbox says, for ever.
    pub async fn deliver(self: Rc<Self>) {
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
                // What there is already need not be waited for.
                if began_at.is_none() {
                    self.gather(gathered_at).await;
                }
                let began = *began_at.get_or_insert_with(Instant::now);
                if self.dispatch().await {
                    tokio::task::yield_now().await;
                    continue;
                }
                // The longer it took until everything had been given, the more will come at once.
                began_at = None;
                let ended = Instant::now();
                let gather = ((ended - began) / GATHER_PART).min(GATHER);
                gathered_at = ended + if gather < GATHER_FROM { Duration::ZERO } else { gather };
            }
        }
    }

    /// Waits until every channel with new events has as many as are expected, but no longer than until then.
    async fn gather(&self, until: Instant) {
        if Instant::now() >= until {
            return;
        }
        let filled: Vec<_> =
            self.mailbox.filled_tenants().iter().filter_map(|tenant| self.tenants.get(tenant)).collect();
        while Instant::now() < until && filled.iter().any(|subscriptions| subscriptions.are_more_expected()) {
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
    }

    /// Gives some of what is new in each channel to the live subscriptions. Returns whether there was more.
    async fn dispatch(self: &Rc<Self>) -> bool {
        let mut is_more = false;
        for notifier in self.mailbox.take_filled() {
            notifier.heard();
            let Some(subscriptions) = self.tenants.get(&notifier.tenant) else { continue };
            if self.catch_up(&subscriptions).await {
                // After the other tenants.
                notifier.tell();
                is_more = true;
            }
        }
        is_more
    }

    /// Gives some of what is new in a tenant to its live subscriptions. Returns whether there was more.
    pub async fn catch_up(self: &Rc<Self>, subscriptions: &Rc<TenantSubscriptions<S>>) -> bool {
        let Some(fetched) = subscriptions.fetch(self.clock.now()) else { return false };
        // After the events were fetched and before they are written: a stream that lost the right to them in their commit has been
        // told by now, and gets none of them.
        self.drain_mailbox();
        subscriptions.give(fetched, &self.clock).await
    }

    /// Does what the mailbox says apart from the channels: tells of users that have come or gone, gives the streams of users their new
    /// rights, changes filters and ends streams.
    pub fn drain_mailbox(self: &Rc<Self>) {
        let Post { changed, ended, commands, presence, closing, drain, surveys, .. } = self.mailbox.take();
        for (tenant, username) in presence {
            if let Some(subscriptions) = self.tenants.get(&tenant) {
                subscriptions.tell_presence(&username);
            }
        }
        for username in ended {
            let of_user = self.streams.of_user(&username);
            // One that was opened since goes on.
            of_user.iter().filter(|one| one.user_streams().is_ended()).for_each(|one| one.end(End::Revoked));
        }
        // After that: a stream that is moved to another tenant is no longer told of users that have gone from this one.
        changed.iter().for_each(|username| self.change_rights(username));
        for (serial, command) in commands {
            let Some(subscription) = self.streams.get(serial) else { continue };
            match command {
                Command::Filter(change, guest, done) => {
                    // The client that asked may have gone.
                    let _ = done.send(subscription.change_filter(change, guest));
                }
                Command::Renew(until) => subscription.renew(until),
                Command::End(why) => subscription.end(why),
            }
        }
        for wanted in surveys {
            let mut survey = Survey::default();
            self.streams.all().iter().for_each(|subscription| subscription.tell(&mut survey));
            // Whoever asked may have gone.
            let _ = wanted.send(survey);
        }
        if let Some(within) = drain {
            // Those of shares go on: the members are clients of their own, and end by themselves.
            let is_of_client = |one: &Rc<S>| !one.user_streams().username().is_of_shares();
            let streams = self.streams.all().into_iter().filter(is_of_client).map(|one| one.serial()).collect();
            *self.drain.borrow_mut() = Some(Drain::new(streams, Instant::now(), within));
        }
        if let Some((spread, done)) = closing {
            self.streams.all().iter().for_each(|subscription| subscription.end(End::stopping(spread)));
            let _ = done.send(());
        }
    }

    /// Gives the streams of a user the tenant and the rights that the user has now.
    pub fn change_rights(&self, username: &Username) {
        // Counted before the rights are read: those that are read are these, or later ones. Each has its own count: that of streams which
        // have been ended stands still.
        let counted = |one: Rc<S>| (one.user_streams().changes(), one);
        let of_user: Vec<_> = self.streams.of_user(username).into_iter().map(counted).collect();
        if of_user.is_empty() {
            return;
        }
        let account = self.hub.store().account(username);
        for (changes, subscription) in of_user {
            match &account {
                Ok(Some(account)) => {
                    let rights = account.scopes.to_see(self.hub.rules().authorize, username);
                    subscription.change_rights(account, rights, changes);
                }
                Ok(None) => subscription.end(End::Revoked),
                // Without knowing them nothing more may be given.
                Err(_) => subscription.end(End::Unreadable),
            }
        }
    }

    /// Sends heartbeats, and ends streams whose time is over, for ever.
    pub async fn keep_time(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            // A stream that was renewed does not end by what was said before.
            self.drain_mailbox();
            self.end_some();
            for (number, due) in self.wheel.tick().into_iter().enumerate() {
                if let Some(again) = self.streams.get(due).and_then(|one| one.beat(self.clock.now())) {
                    self.wheel.arm(due, again);
                }
                if number % 256 == 255 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Ends the streams whose turn has come, while the server is about to stop. They are few at a time, so their clients come back soon.
    fn end_some(&self) {
        let due = self.drain.borrow_mut().as_mut().map(|drain| drain.due(Instant::now())).unwrap_or_default();
        due.into_iter().filter_map(|serial| self.streams.get(serial)).for_each(|one| one.end(End::stopping(SPREAD)));
    }

    /// The timers of its subscriptions.
    pub fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    /// The permits to take a step of catching up on this thread. Nobody waits for anything while they have one.
    pub fn permits(&self) -> &Rc<Permits<TenantName>> {
        &self.permits
    }

    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// All of its subscriptions.
    pub fn streams(&self) -> &WorkerStreams<S> {
        &self.streams
    }

    /// Its subscriptions to a tenant's events.
    pub fn subscriptions(&self, tenant: &TenantName) -> Rc<TenantSubscriptions<S>> {
        self.tenants.get(tenant).unwrap_or_else(|| {
            let guard = self.hub.guard(tenant, &self.mailbox);
            let subscriptions = Rc::new(TenantSubscriptions::new(guard, &self.streams, &self.tenants));
            self.tenants.insert(tenant.clone(), &subscriptions);
            subscriptions
        })
    }
}
