//! The server, and every client of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Step;
use super::expected::{Access, Latest, Tenant};
use super::source::{open, read_to_the_end};
use super::subscriber::{Connection, Entry, Subscriber};
use super::tables::{CLERKS, FILTERS, NAMES, SCOPES, SUBSCRIBERS, TENANTS, USERS, has_scope, query, sees, wants};
use crate::support::{Answer, Client, TestServer, User, until, within};

/// The server and its clients.
pub struct Simulation {
    /// Only while it is started again there is none.
    server: Option<TestServer>,
    client: Client,
    /// What each user signs in by, and their access.
    users: Vec<(String, Access)>,
    clerks: Vec<String>,
    tenants: [Tenant; 2],
    subscribers: Vec<Subscriber>,
    /// How many data there were, so that no two are alike.
    count: usize,
}

impl Simulation {
    pub async fn new() -> Self {
        // So few events are kept that some come back too late for what they missed, and kills meet checkpoints.
        let flags = ["--authorize=scopes", "--retain_events=25", "--journal_bytes=65536"];
        let server = TestServer::start_with(&flags).await;
        let client = server.client();
        let (mut users, mut clerks) = (Vec::new(), Vec::new());
        for (number, (username, tenant)) in USERS.into_iter().enumerate() {
            let scopes = number % 4;
            client.create_user_with(username, TENANTS[tenant], json!({ "scopes": SCOPES[scopes] })).await.ok();
            users.push((client.sign_in(username).await.authorization, Access { tenant, scopes }));
        }
        for (username, tenant) in CLERKS.into_iter().zip(TENANTS) {
            client.create_user_with(username, tenant, json!({ "scopes": ["*:get", "*:post"] })).await.ok();
            clerks.push(client.sign_in(username).await.authorization);
        }
        let subscribers = SUBSCRIBERS.into_iter().enumerate().map(|(number, user)| Subscriber::new(number, user));
        let subscribers = subscribers.collect();
        let tenants = Default::default();
        let mut simulation = Self { server: Some(server), client, users, clerks, tenants, subscribers, count: 0 };
        for number in 0..SUBSCRIBERS.len() {
            simulation.connect(number).await;
        }
        simulation
    }

    fn user(&self, user: usize) -> User {
        self.client.with_authorization(&self.users[user].0)
    }

    fn clerk(&self, tenant: usize) -> User {
        self.client.with_authorization(&self.clerks[tenant])
    }

    fn data(&mut self, tenant: usize) -> Value {
        self.count += 1;
        json!(format!("{} {}", TENANTS[tenant], self.count))
    }

    pub async fn take(&mut self, step: Step) {
        match step {
            Step::Insert { user, names } => self.insert(user, &names).await,
            Step::Expire { user, name } => self.expire(user, NAMES[name]).await,
            Step::Remove { user, name } => self.remove(user, NAMES[name]).await,
            Step::Rescope { user, scopes, meanwhile } => {
                let access = self.users[user].1;
                self.change(user, Access { scopes, ..access }, meanwhile).await;
            }
            Step::Move { user, scopes, meanwhile } => {
                let access = self.users[user].1;
                let scopes = scopes.unwrap_or(access.scopes);
                self.change(user, Access { tenant: 1 - access.tenant, scopes }, meanwhile).await;
            }
            Step::Refilter { subscriber, filter } => self.refilter(subscriber, filter).await,
            Step::Disconnect { subscriber } => self.subscribers[subscriber].leave(true).await,
            Step::Resume { subscriber } => self.connect(subscriber).await,
            Step::Pause { subscriber } => {
                let subscriber = &self.subscribers[subscriber];
                subscriber.paused.send_replace(subscriber.connection.is_some());
            }
            Step::GoOn { subscriber } => {
                self.subscribers[subscriber].paused.send_replace(false);
            }
            Step::Settle => self.settle().await,
            Step::Kill { name, after_micros } => self.kill(name, after_micros).await,
        }
    }

    async fn insert(&mut self, user: usize, names: &[(usize, bool)]) {
        let (username, Access { tenant, scopes }) = (USERS[user].0, self.users[user].1);
        let mut event = |(name, transient): &(usize, bool)| {
            let data = self.data(tenant);
            let data = if *transient { json!(format!("~{}", data.as_str().unwrap())) } else { data };
            (NAMES[*name], data, *transient)
        };
        let events: Vec<_> = names.iter().map(&mut event).collect();
        let body =
            events.iter().map(|(name, data, transient)| json!({ "event": name, "data": data, "transient": transient }));
        let body: Vec<_> = body.collect();
        let answer = self.user(user).insert_raw(json!(body).to_string()).await;
        if !events.iter().all(|(name, ..)| has_scope(scopes, "post", username, name)) {
            return missing_scope(&answer);
        }
        if !events.iter().all(|(name, ..)| self.has_reader(tenant, name)) {
            return drop(answer.refused(404, "inbox_unknown"));
        }
        let receipts = answer.ok().json();
        let receipts = receipts.as_array().unwrap();
        assert_eq!(receipts.len(), events.len());
        for (receipt, (name, data, transient)) in receipts.iter().zip(events) {
            let (tenant, id) = (&mut self.tenants[tenant], receipt["id"].as_str().unwrap());
            let commit = if transient { Tenant::commit_transient } else { Tenant::commit };
            commit(tenant, id, name, &data.to_string(), username);
        }
    }

    /// Whether a name is no inbox, or that of somebody in a tenant.
    fn has_reader(&self, tenant: usize, name: &str) -> bool {
        let owner = name.strip_prefix('@').and_then(|rest| rest.split_once('/')).map(|(owner, _)| owner);
        owner.is_none_or(|owner| {
            let users = USERS.iter().zip(&self.users).map(|((username, _), user)| (*username, user.1.tenant));
            users.chain(CLERKS.into_iter().zip([0, 1])).any(|(username, of)| username == owner && of == tenant)
        })
    }

    async fn expire(&mut self, user: usize, name: &str) {
        let (username, Access { tenant, scopes }) = (USERS[user].0, self.users[user].1);
        let data = self.data(tenant);
        let body = json!({ "event": name, "data": data, "expires_in": 1 });
        let answer = self.user(user).insert_raw(body.to_string()).await;
        if !has_scope(scopes, "post", username, name) {
            return missing_scope(&answer);
        }
        if !self.has_reader(tenant, name) {
            return drop(answer.refused(404, "inbox_unknown"));
        }
        let receipt = answer.ok().json();
        let tenant = &mut self.tenants[tenant];
        tenant.commit(receipt["id"].as_str().unwrap(), name, &data.to_string(), username);
        tenant.expiring.insert(name.to_owned());
        tenant.may_expire.insert(name.to_owned());
    }

    async fn remove(&mut self, user: usize, name: &str) {
        let (username, Access { tenant, scopes }) = (USERS[user].0, self.users[user].1);
        let user = self.user(user);
        let answer = user.remove(name).await;
        if !has_scope(scopes, "post", username, name) {
            // Whether there is such a name or not may be looked at first.
            assert!([403, 404].contains(&answer.status), "{answer:?}");
            return;
        }
        let tenant = &mut self.tenants[tenant];
        if answer.status == 200 {
            assert!(tenant.latest.contains_key(name), "{name} was removed, which was not there");
            tenant.commit(answer.json()["id"].as_str().unwrap(), name, "null", username);
        } else {
            assert_eq!((answer.status, answer.code().as_str()), (404, "event_unknown"), "{answer:?}");
            let is_there = tenant.latest.contains_key(name) && !tenant.expiring.contains(name);
            assert!(!is_there, "{name} was not removed, which was there");
            // It may have expired sooner than it was removed.
            tenant.expiring.remove(name);
            tenant.latest.remove(name);
        }
    }

    /// Gives a user other access, by one request.
    async fn change(&mut self, user: usize, access: Access, meanwhile: Option<usize>) {
        let (username, before) = (USERS[user].0, self.users[user].1);
        if before == access {
            return;
        }
        let is_moved = before.tenant != access.tenant;
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.user == user) {
            subscriber.must_begin_anew |= !is_moved;
            // Before the change, since what it opens may come sooner than the answer.
            if subscriber.connection.is_some() {
                subscriber.wire.note(Entry::Changed(access));
            }
        }
        let mut body = json!({ "username": username });
        if is_moved {
            body["tenant_name"] = json!(TENANTS[access.tenant]);
        }
        if before.scopes != access.scopes {
            body["scopes"] = json!(SCOPES[access.scopes]);
        }
        let event = meanwhile.map(|name| (NAMES[name], self.data(before.tenant)));
        let clerk = self.clerk(before.tenant);
        let change = self.client.admin("/update_user", body);
        let insert = async {
            match &event {
                Some((name, data)) => Some(clerk.try_insert(name, data.clone()).await),
                None => None,
            }
        };
        let (changed, inserted) = tokio::join!(change, insert);
        changed.ok();
        // The inbox of a moved user exists before the move and not after it.
        let could_be_read = event.as_ref().is_none_or(|(name, _)| self.has_reader(before.tenant, name));
        self.users[user].1 = access;
        let can_be_read = event.as_ref().is_none_or(|(name, _)| self.has_reader(before.tenant, name));
        let inserted = match inserted {
            Some(answer) if answer.status == 404 && !can_be_read => {
                answer.refused(404, "inbox_unknown");
                None
            }
            Some(answer) => {
                assert!(could_be_read, "{answer:?}");
                Some(answer.ok().json()["id"].as_str().unwrap().to_owned())
            }
            None => None,
        };
        if let Some((id, (name, data))) = inserted.zip(event) {
            self.tenants[before.tenant].commit(&id, name, &data.to_string(), CLERKS[before.tenant]);
        }
        // With that one among what is known: nobody can tell which of the two was first.
        let last = self.last_id();
        for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.user == user) {
            if subscriber.connection.is_some() {
                subscriber.wire.note(Entry::Answered(last.clone()));
            }
        }
    }

    /// The highest id that was given out, but for those that nobody was told. Before the first it is less than any.
    fn last_id(&self) -> String {
        let of_each = self.tenants.iter().filter_map(|tenant| tenant.committed.keys().next_back());
        of_each.max().cloned().unwrap_or_default()
    }

    async fn refilter(&mut self, number: usize, filter: usize) {
        if self.subscribers[number].filter == filter {
            return;
        }
        // Who reads slowly and changes to and fro could not tell which of the filters something was sent for: a name
        // that was let go and removed meanwhile would come back. So everything of the last change is read before the
        // next.
        self.subscribers[number].paused.send_replace(false);
        if self.subscribers[number].is_reading() && self.subscribers[number].must_begin_anew {
            self.settle().await;
        }
        let user = self.user(self.subscribers[number].user);
        let subscriber = &mut self.subscribers[number];
        subscriber.filter = filter;
        subscriber.must_begin_anew = true;
        let Some(Connection { id, .. }) = &subscriber.connection else { return };
        // Before the change, since what is new to the filter may come sooner than the answer.
        subscriber.wire.note(Entry::Refiltered(filter));
        let (events, except) = FILTERS[filter];
        let mut body = json!({ "stream": id });
        for (name, list) in [("events", events), ("except", except)] {
            if let Some(list) = list {
                body[name] = json!(list);
            }
        }
        user.post("/subscription", body).await.ok();
    }

    /// Opens a stream after what it saw last, or anew where it must.
    async fn connect(&mut self, number: usize) {
        let user = self.user(self.subscribers[number].user);
        let subscriber = &mut self.subscribers[number];
        if subscriber.connection.is_some() {
            return;
        }
        subscriber.look(&self.tenants);
        if std::mem::take(&mut subscriber.must_begin_anew) {
            subscriber.view.clear();
            subscriber.last_id = None;
            subscriber.covered_from = None;
            subscriber.transient.clear();
        }
        subscriber.wire.note(Entry::Opened(self.users[subscriber.user].1, subscriber.filter));
        let (source, id) = open(&user, subscriber).await;
        let (wire, paused) = (Arc::clone(&subscriber.wire), subscriber.paused.subscribe());
        let reading = read_to_the_end(source, wire, paused);
        subscriber.connection = Some(Connection { id, reader: tokio::spawn(reading) });
    }

    async fn kill(&mut self, name: usize, after_micros: u64) {
        // The clerk is to find it again if it was kept, which in an inbox they would not.
        let name = if sees(0, CLERKS[0], NAMES[name]) { NAMES[name] } else { "news" };
        let (data, clerk) = (self.data(0), self.clerk(0));
        let body = json!({ "event": name, "data": data }).to_string();
        let insert = tokio::spawn(async move {
            let request = clerk.client.http.post(format!("{}/insert", clerk.client.url));
            let response = request.header("authorization", &clerk.authorization).body(body).send().await.ok()?;
            assert_eq!(response.status(), 200);
            response.text().await.ok()
        });
        // Sometimes before it is there, sometimes after it was answered.
        tokio::time::sleep(Duration::from_micros(after_micros)).await;
        let mut server = self.server.take().unwrap();
        server.kill();
        let answered = within("the insert to end", insert).await.unwrap().is_some();
        let connected: Vec<_> =
            (0..SUBSCRIBERS.len()).filter(|number| self.subscribers[*number].connection.is_some()).collect();
        for number in &connected {
            let subscriber = &mut self.subscribers[*number];
            let is_paused = !subscriber.is_reading();
            subscriber.leave(is_paused).await;
        }
        let server = server.restart().await;
        self.client = server.client();
        self.server = Some(server);

        let listed = self.clerk(0).get("/events").await.ok().json();
        match listed.as_array().unwrap().iter().find(|event| event["data"] == data) {
            Some(event) => self.tenants[0].commit(event["id"].as_str().unwrap(), name, &data.to_string(), CLERKS[0]),
            None => assert!(!answered, "{name} was acknowledged and is lost"),
        }
        for number in connected {
            self.connect(number).await;
        }
    }

    /// What a user is told to be the latest.
    async fn listed(&self, user: usize, query: &str) -> Latest {
        let events = self.user(user).get(&format!("/events?{query}")).await.ok().json();
        let text = |event: &Value| (event["event"].as_str().unwrap().to_owned(), event["data"].to_string());
        events.as_array().unwrap().iter().map(text).collect()
    }

    /// Awaits that all who read have come up to now, and compares what they know with what they should.
    async fn settle(&mut self) {
        for (tenant, clerk) in CLERKS.into_iter().enumerate() {
            let data = self.data(tenant);
            let name = format!("sync/{}", self.count % 3);
            let barrier = self.clerk(tenant).insert(&name, data.clone()).await;
            self.tenants[tenant].commit(&barrier, &name, &data.to_string(), clerk);
            for number in 0..SUBSCRIBERS.len() {
                let subscriber = &self.subscribers[number];
                let access = self.users[subscriber.user].1;
                if access.tenant != tenant || !subscriber.is_reading() {
                    continue;
                }
                let (user, filter, who) = (subscriber.user, subscriber.filter, subscriber.username);
                within("what was inserted last", subscriber.wire.comes(&barrier)).await;
                let listed = self.listed(user, &query(filter)).await;
                let tenant = &self.tenants[tenant];
                let subscriber = &mut self.subscribers[number];
                subscriber.look(&self.tenants);
                let mut expected = tenant.certain(tenant.latest.clone());
                expected.retain(|name, _| sees(access.scopes, who, name) && wants(filter, name));
                assert_eq!(tenant.certain(listed), expected, "/events of {who}");
                assert_eq!(tenant.certain(subscriber.view.clone()), expected, "the stream {number} of {who}");
                subscriber.check_transient(access, tenant);
                subscriber.settle(access);
            }
        }
    }

    /// Has everybody come back and everything expire, and compares one last time, without an exception.
    pub async fn finish(&mut self) {
        for number in 0..SUBSCRIBERS.len() {
            self.subscribers[number].paused.send_replace(false);
            self.connect(number).await;
        }
        for (user, (_, access)) in self.users.iter().enumerate() {
            let expiring = &self.tenants[access.tenant].expiring;
            let are_gone = async || {
                let listed = self.listed(user, "").await;
                listed.keys().all(|name| !expiring.contains(name)).then_some(())
            };
            until("what expires to be gone", are_gone).await;
        }
        for tenant in &mut self.tenants {
            for name in std::mem::take(&mut tenant.expiring) {
                tenant.latest.remove(&name);
            }
        }
        self.settle().await;
    }
}

pub fn missing_scope(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (403, "missing_scope"), "{answer:?}");
}
