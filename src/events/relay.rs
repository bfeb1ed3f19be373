use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;

use super::channel::{Listener, lock};
use super::gate::Gate;
use super::hub::Hub;
use super::opening::Opening;
use super::outlet::Outlet;
use super::room::Room;
use super::session::{Serial, Session};
use super::subscription::{CatchUp, Subscription};
use super::turns::Turns;
use super::weak_list::WeakList;
use super::wheel::{TICK, Wheel};
use crate::clock::Clock;
use crate::domain::{EventFilter, TenantName, Username};

/// How many subscriptions of a worker that catch up take a step before those who are live are given what is new.
const CATCHING_UP: usize = 8;

/// What part of the time that the last round of writes took the next one waits, from its end on, for more to write at once:
/// a publish that came alone while a thousand were written to would else go out alone again, and the others after it.
const GATHER_PART: u32 = 10;
/// How long it waits at most.
const GATHER: Duration = Duration::from_millis(2);
/// What is shorter is not waited for.
const GATHER_FROM: Duration = Duration::from_micros(100);

/// Where a worker is told what concerns its subscriptions.
#[derive(Default)]
pub struct Mailbox {
    post: Mutex<Post>,
    filled: Notify,
    /// Where the worker is about to look into channels.
    pub(super) before_dispatch: Gate,
}

#[derive(Default)]
struct Post {
    /// Channels with something new. Each at most once, so this stays as short as the list of channels.
    filled: Vec<Arc<Listener>>,
    ended: Vec<Arc<Session>>,
    /// Whose users may see something else than before.
    changed: Vec<Arc<Session>>,
    orders: Vec<(Arc<Session>, Serial, Order)>,
    /// Who has come or gone.
    presence: Vec<(TenantName, Username)>,
    closing: Option<oneshot::Sender<()>>,
}

/// What a stream is told by its user's other requests.
pub enum Order {
    /// Want something else from now on, and say when it does.
    Filter(EventFilter, oneshot::Sender<()>),
    /// End.
    End,
}

impl Mailbox {
    /// There is something new in a channel.
    pub fn post(&self, listener: Arc<Listener>) {
        lock(&self.post).filled.push(listener);
        self.filled.notify_one();
    }

    /// A session has ended.
    pub fn post_end(&self, session: &Arc<Session>) {
        lock(&self.post).ended.push(Arc::clone(session));
        self.filled.notify_one();
    }

    /// What a session's user may see has changed.
    pub fn post_change(&self, session: &Arc<Session>) {
        lock(&self.post).changed.push(Arc::clone(session));
        self.filled.notify_one();
    }

    /// Tells a stream of a session something.
    pub fn post_order(&self, session: &Arc<Session>, stream: Serial, order: Order) {
        lock(&self.post).orders.push((Arc::clone(session), stream, order));
        self.filled.notify_one();
    }

    /// Somebody has come or gone.
    pub fn post_presence(&self, tenant: &TenantName, username: &Username) {
        lock(&self.post).presence.push((tenant.clone(), username.clone()));
        self.filled.notify_one();
    }

    /// Of whom of a tenant it has yet to be told whether they are there.
    pub fn untold(&self, tenant: &TenantName) -> Vec<Username> {
        let of_tenant = |(of, username): &(TenantName, Username)| (of == tenant).then(|| username.clone());
        lock(&self.post).presence.iter().filter_map(of_tenant).collect()
    }

    /// Everything ends. What comes back resolves when the worker has said so on its streams.
    pub fn post_closing(&self) -> oneshot::Receiver<()> {
        let (done, closing) = oneshot::channel();
        lock(&self.post).closing = Some(done);
        self.filled.notify_one();
        closing
    }
}

/// One worker's end of the hub, and the home of its subscriptions. A publish wakes one task a worker, and that task writes
/// to the connections of its own thread, without a lock. To wake each of them would cost more than to write to them.
pub struct Relay {
    pub(super) local: Rc<Local>,
    pub(super) tasks: [JoinHandle<()>; 2],
}

/// The subscriptions of one worker.
pub struct Local {
    hub: Hub,
    clock: Clock,
    mailbox: Arc<Mailbox>,
    rooms: RefCell<HashMap<TenantName, Weak<Room>>>,
    /// By the address of the session that they belong to, which each of them keeps where it is.
    by_session: RefCell<HashMap<usize, WeakList<Subscription>>>,
    wheel: Wheel,
    turns: Rc<Turns<TenantName>>,
}

impl Relay {
    /// Starts it on this thread, whose subscriptions it will serve.
    ///
    /// # Panics
    /// Outside a `LocalSet`, which an actix worker is.
    pub fn start(hub: Hub, clock: Clock) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        hub.add_worker(&mailbox);
        let local = Rc::new(Local {
            hub,
            clock,
            mailbox,
            rooms: RefCell::default(),
            by_session: RefCell::default(),
            wheel: Wheel::new(),
            turns: Turns::new(CATCHING_UP),
        });
        // They yield by themselves. tokio's own budget would have a connection with TLS look as if it could not be written to.
        let tasks = [
            tokio::task::spawn_local(unconstrained(Rc::clone(&local).relay())),
            tokio::task::spawn_local(unconstrained(Rc::clone(&local).keep_time())),
        ];
        Self { local, tasks }
    }

    /// Opens a stream. `first` is written before anything else. It goes on as long as what comes back is run.
    pub fn open(&self, opening: Opening, outlet: impl Outlet + 'static, first: Bytes) -> CatchUp {
        let local = &self.local;
        let session = Arc::clone(&opening.session);
        let (id, changes) = (opening.arrival.id, opening.changes);
        let (subscription, task) = Subscription::start(local, opening, outlet, first);
        let address = Arc::as_ptr(&session).addr();
        local.by_session.borrow_mut().entry(address).or_default().push(Rc::downgrade(&subscription));
        let at_most = local.hub.rules().streams_per_user;
        for (oldest, worker) in session.add(id, subscription.serial, &local.mailbox, at_most) {
            worker.post_order(&session, oldest, Order::End);
        }
        // At once, so that whoever is ended before the task comes round has had an answer; and not before it is known by the
        // id that is in it.
        subscription.write_rest();
        // The session may have ended, or the server closed, before it was in the list; and the rights may have changed.
        if subscription.is_over() || local.hub.is_closed() {
            subscription.end();
        } else if session.changes() != changes {
            local.change_rights(&session);
        }
        task
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.local.hub.remove_worker(&self.local.mailbox);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Local {
    /// Does what the mailbox says, for ever.
    async fn relay(self: Rc<Self>) {
        let (mut gathered_at, mut began_at) = (Instant::now(), None);
        loop {
            self.mailbox.filled.notified().await;
            loop {
                self.end_sessions();
                if lock(&self.mailbox.post).filled.is_empty() {
                    began_at = None;
                    break;
                }
                while self.mailbox.before_dispatch.is_closed() {
                    self.end_sessions();
                    tokio::task::yield_now().await;
                }
                while Instant::now() < gathered_at {
                    tokio::task::yield_now().await;
                    std::thread::yield_now();
                }
                let filled = std::mem::take(&mut lock(&self.mailbox.post).filled);
                let mut is_more = false;
                let began = *began_at.get_or_insert_with(Instant::now);
                for listener in filled {
                    listener.heard();
                    let room = self.rooms.borrow().get(&listener.tenant).and_then(Weak::upgrade);
                    if let Some(room) = room
                        && room.catch_up(&self).await
                    {
                        // After the other tenants.
                        listener.tell();
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
    pub fn end_sessions(self: &Rc<Self>) {
        let Post { ended, changed, orders, presence, closing, .. } = {
            let mut post = lock(&self.mailbox.post);
            // Not what channels have: whoever asks for this is about to look there.
            let filled = std::mem::take(&mut post.filled);
            std::mem::replace(&mut *post, Post { filled, ..Post::default() })
        };
        let end = |subscriptions: WeakList<Subscription>| subscriptions.iter().for_each(|one| one.end());
        for session in ended {
            let subscriptions = self.by_session.borrow_mut().remove(&Arc::as_ptr(&session).addr());
            end(subscriptions.unwrap_or_default());
        }
        for (tenant, username) in presence {
            let room = self.rooms.borrow().get(&tenant).and_then(Weak::upgrade);
            if let Some(room) = room {
                room.tell_presence(&username);
            }
        }
        // After that: who is moved to another tenant is no more told who has gone from this one.
        changed.iter().for_each(|session| self.change_rights(session));
        for (session, serial, order) in orders {
            let of_session = self.subscriptions_of_session(&session);
            let Some(subscription) = of_session.into_iter().find(|subscription| subscription.serial == serial) else {
                continue;
            };
            match order {
                Order::Filter(filter, done) => {
                    subscription.change_filter(filter);
                    // Who asked may have gone.
                    let _ = done.send(());
                }
                Order::End => subscription.end(),
            }
        }
        if let Some(done) = closing {
            let all = std::mem::take(&mut *self.by_session.borrow_mut());
            all.into_values().for_each(end);
            let _ = done.send(());
        }
    }

    /// Gives the streams of a session the tenant and the rights that its user has now.
    pub fn change_rights(self: &Rc<Self>, session: &Arc<Session>) {
        let changes = session.changes();
        let account = self.hub.store().account(&session.username);
        for subscription in self.subscriptions_of_session(session) {
            match &account {
                Ok(Some(account)) => {
                    let seen = self.hub.rules().authorize.to_see(&session.username, &account.scopes);
                    subscription.change_rights(self, account, seen, changes);
                }
                // Without knowing them nothing more may be given.
                _ => subscription.end(),
            }
        }
    }

    fn subscriptions_of_session(&self, session: &Arc<Session>) -> Vec<Rc<Subscription>> {
        let by_session = self.by_session.borrow();
        let of_session = by_session.get(&Arc::as_ptr(session).addr());
        of_session.into_iter().flat_map(WeakList::iter).collect()
    }

    /// The subscriptions of a user, by name.
    pub fn subscriptions_of(&self, username: &str) -> Vec<Rc<Subscription>> {
        let session = Username::parse(username).ok().and_then(|username| self.hub.session_of(&username));
        session.map_or_else(Vec::new, |session| self.subscriptions_of_session(&session))
    }

    /// Sends heartbeats, and ends what has expired.
    async fn keep_time(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            for (number, due) in self.wheel.turn().iter().enumerate() {
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
    pub fn turns(&self) -> &Rc<Turns<TenantName>> {
        &self.turns
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
    pub fn room(self: &Rc<Self>, tenant: &TenantName) -> Rc<Room> {
        if let Some(room) = self.rooms.borrow().get(tenant).and_then(Weak::upgrade) {
            return room;
        }
        let seat = self.hub.seat(tenant, &self.mailbox);
        let room = Rc::new(Room::new(seat, Rc::downgrade(self)));
        self.rooms.borrow_mut().insert(tenant.clone(), Rc::downgrade(&room));
        room
    }

    pub fn forget_room(&self, tenant: &TenantName) {
        self.rooms.borrow_mut().remove(tenant);
    }

    #[cfg(test)]
    pub fn sessions(&self) -> usize {
        self.by_session.borrow().len()
    }

    /// A stream of a session is no more.
    pub fn note_gone(&self, session: &Arc<Session>) {
        let mut by_session = self.by_session.borrow_mut();
        let Entry::Occupied(mut of_session) = by_session.entry(Arc::as_ptr(session).addr()) else { return };
        of_session.get_mut().note_gone();
        if of_session.get().is_empty() {
            of_session.remove();
        }
    }
}
