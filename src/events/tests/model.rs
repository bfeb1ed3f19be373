//! Guards everything at once, held at any point: clients keep a state by what they are told; their filters, scopes and tenants change;
//! they stall, leave and come back, while others insert, also what is transient, and remove, and the floor rises.

mod client;
mod steps;

use std::collections::BTreeMap;

use self::client::{Client, Open};
use self::steps::step;
use super::*;
use crate::store::{Durable, Transaction};

const TENANTS: [&str; 2] = ["t", "other"];
/// Names that are always there, and names that come and go.
const NAMES: [&str; 8] = ["a/0", "a/1", "a/2", "a/3", "v/0", "v/1", "v/2", "v/3"];
const ANCHORS: usize = 4;
const USERNAMES: [&str; 3] = ["one", "two", "three"];
const FILTERS: [&str; 5] = ["*", "a*", "v*", "a/0,v/1", "a/1,v*"];
const TOPIC_FILTERS: [&str; 5] = ["#", "a/+", "+/1", "v/#", "+/+"];
const SCOPES: [&[&str]; 4] = [&["*:get"], &["a*:get"], &["a/0:get", "v*:get"], &["a/1:get", "v/0:get", "v/1:get"]];

/// The events of a tenant by name, as they are.
type State = BTreeMap<String, u64>;

struct World {
    house: House,
    users: Vec<User>,
    clients: Vec<Client>,
    truth: [State; 2],
    /// The transient events of the tenants, with their names, in order.
    transient: [Vec<(String, u64)>; 2],
    /// A commit that is on disk and not revealed.
    durable: Option<Durable>,
    publishing: Option<JoinHandle<()>>,
}

/// A change that is being decided.
struct Writing<'a, 'b> {
    transaction: &'a mut Transaction<'b>,
    truth: &'a mut [State; 2],
    transient: &'a mut [Vec<(String, u64)>; 2],
}

impl Writing<'_, '_> {
    fn insert(&mut self, tenant: usize, name: usize, size: usize) {
        let (of, user) = (TenantName::parse(TENANTS[tenant]).unwrap(), Username::parse("clerk").unwrap());
        let data = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(size))).unwrap();
        let event = self
            .transaction
            .insert_event(Draft::value(of, user, EventName::parse(NAMES[name]).unwrap(), data))
            .unwrap();
        self.truth[tenant].insert(NAMES[name].to_owned(), event.position.get());
    }

    fn insert_transient(&mut self, tenant: usize, name: usize, size: usize) {
        let (of, user) = (TenantName::parse(TENANTS[tenant]).unwrap(), Username::parse("clerk").unwrap());
        let data = Payload::from_valid_json(&format!("{TRANSIENT}{}\"", "x".repeat(size))).unwrap();
        let (name, event_name) = (NAMES[name].to_owned(), EventName::parse(NAMES[name]).unwrap());
        let event = self.transaction.insert_event(Draft::transient(of, user, event_name, data)).unwrap();
        self.transient[tenant].push((name, event.position.get()));
    }

    /// Removes a name that comes and goes, if it is there.
    fn remove(&mut self, tenant: usize, name: usize) {
        if name >= ANCHORS && self.truth[tenant].remove(NAMES[name]).is_some() {
            let (of, user) = (TenantName::parse(TENANTS[tenant]).unwrap(), Username::parse("clerk").unwrap());
            self.transaction.insert_event(Draft::removal(of, user, EventName::parse(NAMES[name]).unwrap())).unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // If a check failed, threads that are held would be waited for.
        self.open_gates();
    }
}

impl World {
    fn new() -> Self {
        let house = House::with(Authorize::Scopes);
        let users: Vec<_> = USERNAMES.iter().map(|username| user(username, SCOPES[0])).collect();
        let clients = users.iter().map(|user| Client::new(&user.username)).collect();
        let (truth, transient) = Default::default();
        let mut world = Self { house, users, clients, truth, transient, durable: None, publishing: None };
        for tenant in 0..2 {
            world.commit(|writing| (0..ANCHORS).for_each(|name| writing.insert(tenant, name, 1)));
            world.publish();
        }
        for user in 0..USERNAMES.len() {
            world.change_user(user, |_| {});
            world.publish();
        }
        world
    }

    /// Writes a change to disk that is not published, unless there is one.
    fn commit(&mut self, change: impl FnOnce(&mut Writing<'_, '_>)) -> bool {
        self.reap();
        if self.durable.is_some() || self.publishing.is_some() {
            return false;
        }
        let mut transaction = self.house.committer.begin(Timestamp::from_millis(1)).unwrap();
        change(&mut Writing { transaction: &mut transaction, truth: &mut self.truth, transient: &mut self.transient });
        self.durable = Some(transaction.commit().unwrap());
        true
    }

    /// Looks whether the thread that publishes is done.
    fn reap(&mut self) {
        if let Some(done) = self.publishing.take_if(|publishing| publishing.is_finished()) {
            done.join().unwrap();
        }
    }

    fn change_user(&mut self, number: usize, change: impl FnOnce(&mut User)) {
        let mut user = self.users[number].clone();
        change(&mut user);
        let before = &self.users[number];
        let (is_moved, has_others) = (user.tenant != before.tenant, user.scopes != before.scopes);
        let is_done = self.commit(|Writing { transaction, .. }| {
            if is_moved {
                user.tenant_since = transaction.head();
            }
            if has_others {
                user.scopes_since = transaction.head();
            }
            transaction.put_user(&user);
        });
        if !is_done {
            return;
        }
        self.clients[number].stream.iter_mut().for_each(|stream| stream.switched = true);
        self.durable.iter_mut().for_each(|durable| durable.tidings_mut().changed.push(user.username.clone()));
        self.users[number] = user;
    }

    fn publish(&mut self) {
        if let Some(committed) = self.durable.take() {
            self.publishing = Some(self.house.publish(committed));
            if !self.house.hub.before_push().is_closed() {
                self.publishing.take().unwrap().join().unwrap();
            }
        }
    }

    /// Opens a stream for a client that has none, as `/sse` does.
    fn open(&mut self, client: usize, worker: usize, room: usize) {
        let (house, client) = (&self.house, &mut self.clients[client]);
        if client.stream.is_some() {
            return;
        }
        if std::mem::take(&mut client.is_anew) {
            (client.last, client.known) = (None, State::new());
        }
        let (store, user_streams) = (house.hub.store(), house.hub.registry().user_streams(&client.username));
        let (head, changes) = (store.head(), user_streams.changes());
        let account = store.account(&client.username).unwrap().unwrap();
        let is_before = |after: u64, since: Position| since > Position::START && Position::new(after) <= since;
        let start = match client.last {
            None => Start::snapshot(None),
            Some(after) if is_before(after, account.tenant_since) => Start::snapshot(Some(Reset::OtherTenant)),
            Some(after) if is_before(after, account.scopes_since) => Start::snapshot(Some(Reset::OtherScopes)),
            Some(after) if Position::new(after) < store.floor(&account.tenant).unwrap() => {
                Start::snapshot(Some(Reset::NotKept))
            }
            Some(after) => Start::after(Position::new(after), head),
        };
        let (rights, own) = Authorize::Scopes.to_see(&client.username, &account.scopes);
        let line = Rc::new(Line::default());
        line.room.set(room);
        let request = SubscribeRequest {
            presence_guard: user_streams.arrive(&account.tenant, GoesOnFor::Last, Timestamp::from_millis(1)),
            tenant: account.tenant.clone(),
            view: View { filter: client.filter.clone(), rights, own },
            start,
            options: StreamOptions { marks: true, transient: client.wants_transient, ..StreamOptions::default() },
            changes,
            filter_changes: 0,
        };
        let id = request.presence_guard.id;
        let sink = LineSink(Rc::clone(&line), super::format::format_of(&client.username));
        tokio::task::spawn_local(house.workers[worker].open(request, sink, Bytes::new()));
        let subscriptions = house.workers[worker].worker.subscriptions(&account.tenant);
        let new_at = (start.first == First::Snapshot).then(|| subscriptions.position().get());
        // A change of rights that is on disk counts for it once it is published.
        let switched = self.durable.as_ref().is_some_and(|durable| durable.changed().contains(&client.username))
            || self.publishing.is_some();
        let covered_from = client.last.filter(|_| start.reset.is_none()).or(new_at);
        client.stream = Some(Open::new(line, id, new_at, covered_from, switched));
    }

    fn change_filter(&mut self, client: usize, change: FilterChange) {
        let client = &mut self.clients[client];
        // Of a name that it takes out and back in, it could not tell whether what comes was sent before both.
        let is_free = |stream: &&mut Open| stream.order.is_none() && !stream.is_late;
        let Some(stream) = client.stream.as_mut().filter(is_free) else { return };
        let Ok(filter) = change.clone().of(&client.filter) else { return };
        let changed = self.house.hub.change_filter(&client.username, stream.id, change, None);
        let is_done = Rc::new(Cell::new(false));
        stream.order = Some((filter, Rc::clone(&is_done)));
        stream.since.clear();
        stream.is_late = true;
        client.is_anew = true;
        // A stream that has ended changes nothing any more.
        if let Ok(changed) = changed {
            tokio::task::spawn_local(async move { is_done.set(changed.await.is_ok()) });
        }
        stream.switched = true;
    }

    /// The events of the present state that a client gets.
    fn expected(&self, client: usize) -> State {
        let (tenant, view) = self.view(client);
        self.truth[tenant].clone().into_iter().filter(|(name, _)| view.matches(name)).collect()
    }

    /// The transient events that a client gets if its view does not change.
    fn transient(&self, client: usize) -> Vec<u64> {
        let (tenant, view) = self.view(client);
        let is_given = |name: &str| self.clients[client].wants_transient && view.matches(name);
        self.transient[tenant].iter().filter(|(name, _)| is_given(name)).map(|(_, position)| *position).collect()
    }

    /// The tenant of a client, and what it gets of it.
    fn view(&self, client: usize) -> (usize, View) {
        let (user, filter) = (&self.users[client], self.clients[client].filter.clone());
        let (rights, own) = Authorize::Scopes.to_see(&user.username, user.scopes());
        (usize::from(user.tenant.as_str() == TENANTS[1]), View { filter, rights, own })
    }

    /// Has every client look at what has come.
    fn look(&mut self) {
        for client in 0..self.clients.len() {
            let (expected, transient) = (self.expected(client), self.transient(client));
            self.clients[client].look(&expected, &transient);
        }
    }

    /// Whether the writer is free.
    fn is_at_rest(&mut self) -> bool {
        self.reap();
        self.durable.is_none() && self.publishing.is_none() && !self.house.hub.before_push().is_closed()
    }

    fn open_gates(&self) {
        self.house.hub.before_push().open();
        self.house.hub.after_step().open();
        (0..2).for_each(|worker| self.gate(worker).open());
    }

    fn gate(&self, worker: usize) -> &super::gate::Gate {
        &self.house.workers[worker % 2].worker.mailbox().before_dispatch
    }

    /// Lets everything come to its end, after which every client knows the present state.
    async fn end(mut self) {
        self.open_gates();
        if let Some(publishing) = self.publishing.take() {
            publishing.join().unwrap();
        }
        self.publish();
        for client in 0..self.clients.len() {
            self.open(client, 0, 0);
            self.clients[client].stream.iter().for_each(|stream| stream.line.give_room(usize::MAX / 2));
        }
        let know_it = || {
            self.look();
            (0..self.clients.len()).all(|client| {
                let knows = self.clients[client].known_now() == self.expected(client);
                knows && self.clients[client].missing(&self.transient(client), u64::MAX).is_empty()
            })
        };
        if comes_to(know_it).await {
            return;
        }
        for client in 0..self.clients.len() {
            let came = self.clients[client].stream.as_ref().map(|stream| stream.line.came());
            let came: Vec<_> = came.iter().flatten().map(|came| (&came.name, came.position)).collect();
            assert_eq!(self.clients[client].known_now(), self.expected(client), "client {client}: {came:?}");
            let missing = self.clients[client].missing(&self.transient(client), u64::MAX);
            assert!(missing.is_empty(), "client {client} lacks {missing:?}: {came:?}");
        }
    }
}

fn scopes(number: usize) -> Vec<Scope> {
    SCOPES[number].iter().map(|scope| Scope::parse(scope).unwrap()).collect()
}

async fn rest_a_little(times: usize) {
    for _ in 0..=times {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_client_knows_the_present_state_in_the_end_wherever_the_others_were_held(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        run(async {
            let mut world = World::new();
            for step in steps {
                world.step(step).await;
            }
            world.end().await;
        });
    }
}
