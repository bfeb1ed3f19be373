//! A client that keeps the latest event of each name, and checks everything that comes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::expected::{Access, Latest, Period, Tenant, is_transient};
use super::tables::{FILTERS, TENANTS, USERS, sees, wants};
use crate::support::{Event, within};

/// How a client has its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/sse`.
    Sse,
    /// `/sse` with events as objects.
    Envelope,
    /// A connection of `broker.v1`.
    Socket,
}

/// What happened on a stream, in order.
pub enum Entry {
    /// A connection was opened: the access of its user, and the filter it has.
    Opened(Access, usize),
    /// Other rights were about to be given, or another tenant.
    Changed(Access),
    /// That was answered, when this was the last id that was known.
    Answered(String),
    /// Another filter was about to be asked for.
    Refiltered(usize),
    /// What came, and who inserted it, if the stream tells that.
    Frame(Event, Option<String>),
}

/// What a reader has seen and the test has not yet looked at.
#[derive(Default)]
pub struct Wire {
    pub log: Mutex<Vec<Entry>>,
    pub grown: Notify,
}

impl Wire {
    pub fn note(&self, entry: Entry) {
        self.log.lock().unwrap().push(entry);
        self.grown.notify_one();
    }

    pub fn has_come(&self, id: &str) -> bool {
        let is_it =
            |entry: &Entry| matches!(entry, Entry::Frame(event, _) if event.id == id && !event.name.starts_with('$'));
        self.log.lock().unwrap().iter().any(is_it)
    }

    /// Awaits the event with this id.
    pub async fn comes(&self, id: &str) {
        while !self.has_come(id) {
            self.grown.notified().await;
        }
    }
}

pub struct Connection {
    /// What the server calls the stream.
    pub id: String,
    pub reader: JoinHandle<()>,
}

/// A client that keeps the latest of each name, over all of its connections.
pub struct Subscriber {
    pub user: usize,
    pub username: &'static str,
    /// How it has its stream.
    pub door: Door,
    /// Whether it asks for transient events.
    pub wants_transient: bool,
    pub filter: usize,
    pub connection: Option<Connection>,
    pub paused: watch::Sender<bool>,
    pub wire: Arc<Wire>,

    /// What it knows.
    pub view: Latest,
    pub last_id: Option<String>,
    /// After this id it was given every transient event that it may see and wants, if nothing changed since.
    pub covered_from: Option<String>,
    /// The transient events that it was given.
    pub transient: BTreeSet<String>,
    /// The access of its user when what is on its way may have been sent: the last is their access now.
    pub periods: Vec<Period>,
    /// The same of filters.
    pub filters: Vec<usize>,
    /// What comes next has a higher id than this, once it is in sync and as long as nothing changes.
    pub after: Option<String>,
    /// Something changed on this connection: what is given because of it may be old.
    pub is_switching: bool,
    /// Something changed since it was last compared. What it is then given beside the new events is lost with the
    /// connection, and `Last-Event-ID` does not say so: it has to begin anew. Not where the tenant changed: it comes
    /// back with what it has, and is told to drop that.
    pub must_begin_anew: bool,
}

impl Subscriber {
    pub fn new(number: usize, user: usize) -> Self {
        Self {
            user,
            username: USERS[user].0,
            door: [Door::Sse, Door::Envelope, Door::Socket][number % 3],
            wants_transient: number % 3 != 2,
            filter: number % FILTERS.len(),
            connection: None,
            paused: watch::Sender::new(false),
            wire: Arc::default(),
            view: Latest::new(),
            last_id: None,
            covered_from: None,
            transient: BTreeSet::new(),
            periods: Vec::new(),
            filters: Vec::new(),
            after: None,
            is_switching: false,
            must_begin_anew: false,
        }
    }

    pub fn is_reading(&self) -> bool {
        self.connection.is_some() && !*self.paused.borrow()
    }

    /// Forgets the connection: at once, or when the reader has come to its end.
    pub async fn leave(&mut self, at_once: bool) {
        let Some(Connection { reader, .. }) = self.connection.take() else { return };
        if at_once {
            reader.abort();
        }
        if let Err(error) = within("a reader to end", reader).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        self.paused.send_replace(false);
    }

    /// Looks at what has come: whether it may have, and what is known by it.
    pub fn look(&mut self, tenants: &[Tenant; 2]) {
        let entries = std::mem::take(&mut *self.wire.log.lock().unwrap());
        for entry in entries {
            match entry {
                Entry::Opened(access, filter) => {
                    (self.periods, self.filters) = (vec![Period::new(access)], vec![filter]);
                    (self.after, self.is_switching) = (None, false);
                }
                // What it knows of the old tenant stays until it is told that it has left it.
                Entry::Changed(access) => {
                    self.periods.push(Period::new(access));
                    (self.is_switching, self.covered_from) = (true, None);
                }
                Entry::Answered(last) => {
                    if let Some((_, over)) = self.periods.split_last_mut() {
                        for period in over.iter_mut().filter(|period| period.until.is_none()) {
                            period.until = Some(last.clone());
                        }
                    }
                }
                Entry::Refiltered(filter) => {
                    self.filters.push(filter);
                    (self.is_switching, self.covered_from) = (true, None);
                    self.view.retain(|name, _| wants(filter, name));
                }
                Entry::Frame(event, author) => self.look_at(&event, author.as_deref(), tenants),
            }
        }
    }

    pub fn look_at(&mut self, event: &Event, author: Option<&str>, tenants: &[Tenant; 2]) {
        let who = self.username;
        self.last_id = Some(event.id.clone());
        match event.name.as_str() {
            "$synced" => {
                assert_eq!(event.json()["id"], event.id);
                if !self.is_switching {
                    let is_behind = self.after.as_ref().is_some_and(|after| event.id < *after);
                    assert!(!is_behind, "{who} went back from {:?} to {event:?}", self.after);
                    self.after = Some(event.id.clone());
                }
            }
            "$reset" => {
                self.view.clear();
                (self.after, self.covered_from) = (None, None);
                // Who leaves before everything has come is given it again.
                self.transient.clear();
            }
            "$left" => {
                let left = event.json()["event"].as_str().unwrap().to_owned();
                assert!(self.is_switching, "{who} lost {left}, though nothing changed");
                // Not even the name of what was new after its user had lost it.
                let might_know = self.seeing(&left).any(|period| tenants[period.access.tenant].has_had(&left, period));
                assert!(might_know, "{who}, with {:?}, was told of {left}", self.periods);
                self.view.remove(&left);
            }
            // Nothing ends a stream here but the server that stops. A client that had not taken everything that was on its way comes back
            // from the beginning.
            "$end" => {
                assert_eq!(event.json()["reason"], "stopping", "{who}");
                if event.id.starts_with("0000000000000000") {
                    self.transient.clear();
                }
            }
            name => {
                assert!(!name.starts_with('$'), "{who} did not ask for {event:?}");
                self.check(event, author, tenants);
                // Else it was on its way when the filter changed.
                let is_wanted = self.filters.last().is_some_and(|filter| wants(*filter, name));
                if is_transient(&event.data) {
                    assert!(self.wants_transient, "{who} was given {event:?}");
                    assert!(self.transient.insert(event.id.clone()) || self.is_switching, "{event:?} came again");
                } else if is_wanted && event.data == "null" {
                    self.view.remove(name);
                } else if is_wanted {
                    self.view.insert(name.to_owned(), event.data.clone());
                }
            }
        }
    }

    /// When a name could be seen since it was last compared.
    pub fn seeing(&self, name: &str) -> impl Iterator<Item = &Period> {
        self.periods.iter().filter(move |period| sees(period.access.scopes, self.username, name))
    }

    /// That an event may be there.
    pub fn check(&mut self, event: &Event, author: Option<&str>, tenants: &[Tenant; 2]) {
        let (who, name) = (self.username, event.name.as_str());
        let wanted = self.filters.iter().any(|filter| wants(*filter, name));
        assert!(wanted, "{who}, who wants {:?}, was given {event:?}", self.filters);
        // No two events have one id, whatever tenant they are of.
        match tenants.iter().position(|tenant| tenant.committed.contains_key(&event.id)) {
            Some(of) => {
                let [committed, data, username] = &tenants[of].committed[&event.id];
                assert_eq!((name, event.data.as_str()), (committed.as_str(), data.as_str()), "{who}: {event:?}");
                assert!(author.is_none_or(|author| author == username), "{who}: {event:?} is of {username}");
                // Not of a tenant that its user was not of, or had left before it was inserted.
                let might_see = self.seeing(name).any(|period| period.access.tenant == of && period.reaches(&event.id));
                assert!(might_see, "{who}, with {:?}, was given {event:?} of {}", self.periods, TENANTS[of]);
            }
            None => {
                // Nobody knows of these whether they came before an answer.
                let mut seeing = self.seeing(name);
                let has_expired = event.data == "null"
                    && seeing.any(|period| tenants[period.access.tenant].may_expire.contains(name));
                assert!(has_expired, "{who}, with {:?}, was given {event:?}, which nobody inserted", self.periods);
            }
        }
        if !self.is_switching
            && let Some(after) = &mut self.after
        {
            assert!(event.id > *after, "{who} was given {event:?} after {after}");
            after.clone_from(&event.id);
        }
    }

    /// That no transient event was left out, if nothing changed since it was last compared.
    pub fn check_transient(&self, access: Access, tenant: &Tenant) {
        let Some(from) = self.covered_from.as_ref().filter(|_| self.wants_transient) else { return };
        let (who, last) = (self.username, self.last_id.as_ref());
        for (id, name) in tenant.transient_after(from).filter(|(id, _)| last.is_some_and(|last| *id < last)) {
            let is_given = sees(access.scopes, who, name) && wants(self.filter, name);
            assert!(!is_given || self.transient.contains(id), "{who} lacks {name} at {id}, after {from}");
        }
    }

    /// It was found to know what it should, with the access of its user now: from here on nothing of before is on its way.
    pub fn settle(&mut self, access: Access) {
        (self.periods, self.filters) = (vec![Period::new(access)], vec![self.filter]);
        self.after.clone_from(&self.last_id);
        self.covered_from.clone_from(&self.last_id);
        self.is_switching = false;
        self.must_begin_anew = false;
    }
}
