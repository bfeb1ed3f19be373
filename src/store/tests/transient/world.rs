//! Every reading is compared with a list in memory, wherever the floor is and whatever has expired.

use super::*;
use crate::domain::{EventKind, Pattern};

const NAMES: [&str; 4] = ["a", "ab", "b", "c"];

/// An event of the model.
#[derive(Clone, Debug)]
struct Known {
    position: u64,
    name: &'static str,
    kind: EventKind,
    expires_at: Option<u64>,
    has_expired: bool,
    chunks: usize,
}

/// Something that is written.
#[derive(Clone, Debug)]
struct New {
    name: usize,
    kind: usize,
    expires_in: Option<u64>,
    is_large: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// One commit.
    Commit(Vec<New>),
    /// The clock goes on, and what expires by then goes.
    Expire(u64),
    /// The tail is shortened to so many events.
    Shorten(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let expires_in = prop::option::weighted(0.4, 1..40_u64);
    let new = (0..NAMES.len(), 0..8_usize, expires_in, prop::bool::weighted(0.05))
        .prop_map(|(name, kind, expires_in, is_large)| New { name, kind, expires_in, is_large });
    prop_oneof![
        6 => prop::collection::vec(new, 1..6).prop_map(Step::Commit),
        2 => (1..30_u64).prop_map(Step::Expire),
        2 => (0..12_usize).prop_map(Step::Shorten),
        1 => Just(Step::Reopen),
    ]
}

/// A database, and what it must be like.
struct World {
    directory: tempfile::TempDir,
    open: Option<(Store, Committer)>,
    events: Vec<Known>,
    floor: u64,
    now: u64,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = Some(open(directory.path()).unwrap());
        Self { directory, open, events: Vec::new(), floor: 0, now: 1 }
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().unwrap().0
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Commit(new) => self.commit(new),
            Step::Expire(after) => self.expire(after),
            Step::Shorten(keep) => {
                let (store, committer) = self.open.as_mut().unwrap();
                shorten(store, committer, "a", keep);
                let mut tail = self.events.iter().map(|event| event.position).filter(|at| *at > self.floor).rev();
                self.floor = tail.nth(keep).unwrap_or(self.floor);
            }
            Step::Reopen => {
                self.open = None;
                self.open = Some(super::open(self.directory.path()).unwrap());
            }
        }
    }

    fn commit(&mut self, new: Vec<New>) {
        let (_, committer) = self.open.as_mut().unwrap();
        let mut transaction = committer.begin(Timestamp::from_millis(self.now)).unwrap();
        for New { name, kind, expires_in, is_large } in new {
            let name = NAMES[name];
            let (of, user, event_name) = (tenant("a"), Username::parse("u").unwrap(), EventName::parse(name).unwrap());
            let bytes = if is_large { 150 << 10 } else { 1 };
            let data = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(bytes))).unwrap();
            let expires_at = expires_in.map(|after| self.now + after);
            let moment = expires_at.map(Timestamp::from_millis);
            let has_value = transaction.latest_position(&of, &event_name).unwrap().is_some();
            let draft = match kind {
                0..=2 => Draft { expires_at: moment, ..Draft::value(of, user, event_name, data) },
                3 if has_value => Draft::removal(of, user, event_name),
                _ => Draft { expires_at: moment, ..Draft::transient(of, user, event_name, data) },
            };
            let event = transaction.insert_event(draft).unwrap();
            let expires_at = expires_at.filter(|_| event.kind != EventKind::Removal);
            let chunks = if is_large && event.kind != EventKind::Removal { 3 } else { 0 };
            let (position, kind) = (event.position.get(), event.kind);
            self.events.push(Known { position, name, kind, expires_at, has_expired: false, chunks });
        }
        drop(transaction.commit().unwrap().reveal());
    }

    fn expire(&mut self, after: u64) {
        self.now += after;
        let now = Timestamp::from_millis(self.now);
        let mut search = Search::for_expired();
        loop {
            let (store, committer) = self.open.as_mut().unwrap();
            let Found { keys, is_more, rest } = store.find(&search, now, 2).unwrap();
            let mut transaction = committer.begin(now).unwrap();
            transaction.remove_expired(keys).unwrap();
            for removal in transaction.commit().unwrap().reveal() {
                let (position, name) = (removal.position.get(), removal.name);
                let name = NAMES.into_iter().find(|known| *known == name.as_str()).unwrap();
                let expired = self.latest(name).unwrap();
                assert!(expired.kind == EventKind::Value && expired.expires_at <= Some(self.now), "{expired:?}");
                let (kind, expires_at) = (EventKind::Removal, None);
                self.events.push(Known { position, name, kind, expires_at, has_expired: false, chunks: 0 });
            }
            search = rest;
            if !is_more {
                break;
            }
        }
        for event in self.events.iter_mut().filter(|event| event.kind == EventKind::Transient) {
            event.has_expired = event.expires_at.is_some_and(|at| at <= self.now);
        }
        let is_due =
            |event: &Known| event.kind == EventKind::Value && event.expires_at.is_some_and(|at| at <= self.now);
        assert!(!NAMES.iter().filter_map(|name| self.latest(name)).any(|event| is_due(&event)));
    }

    /// The value of a name, or its removal.
    fn latest(&self, name: &str) -> Option<Known> {
        self.events.iter().rfind(|event| event.name == name && event.kind != EventKind::Transient).cloned()
    }

    /// The values, in order.
    fn values(&self) -> Vec<Known> {
        let mut values: Vec<_> = NAMES.iter().filter_map(|name| self.latest(name)).collect();
        values.retain(|event| event.kind == EventKind::Value);
        values.sort_by_key(|event| event.position);
        values
    }

    /// What is kept of a name, in order.
    fn kept(&self, name: &str) -> Vec<u64> {
        let value = self.values().into_iter().find(|value| value.name == name).map(|value| value.position);
        let is_kept =
            |event: &&Known| Some(event.position) == value || (event.position > self.floor && !event.has_expired);
        self.events.iter().filter(|event| event.name == name).filter(is_kept).map(|event| event.position).collect()
    }

    fn check(&self) {
        let values: Vec<_> = self.values().iter().map(|value| value.position).collect();
        let read = |replay: Replay| numbers(&given(self.store(), replay).0);
        let snapshot = |wanted| Replay::snapshot(tenant("a"), wanted, Position::START, self.store().head());
        assert_eq!(read(snapshot(wanted("a,ab,b,c"))), values);
        assert_eq!(read(snapshot(Wanted::All)), values);
        for name in NAMES {
            let mut kept = self.kept(name);
            assert_eq!(self.history(name, true), kept, "{name}");
            kept.reverse();
            assert_eq!(self.history(name, false), kept, "{name}");
        }
        (0..=self.events.len() as u64).for_each(|after| self.check_resumption(after));
        self.check_rows();
        assert!(self.store().damage_told().is_empty(), "{:?}", self.store().damage_told());
    }

    /// A history, page by page.
    fn history(&self, name: &str, oldest_first: bool) -> Vec<u64> {
        let (after, before) = (Position::START, Position::END);
        let name = EventName::parse(name).unwrap();
        let mut query = HistoryQuery { tenant: tenant("a"), name, after, before, limit: 2, oldest_first };
        let mut positions = Vec::new();
        loop {
            let mut history = history::History::within(query.clone(), 3);
            let page = loop {
                let page = history.next(self.store(), 1, |event| {
                    positions.push(event.position.get());
                    Ok(())
                });
                match page.unwrap() {
                    Page::GoesOn => {}
                    Page::Ends(next) => break next,
                }
            };
            match page {
                None => return positions,
                Some(next) if oldest_first => query.after = next,
                Some(next) => query.before = next,
            }
            assert!(query.after < query.before);
        }
    }

    fn check_resumption(&self, after: u64) {
        for (filter, transient) in [("*", true), ("*", false), ("a*", true), ("a*", false), ("c", true)] {
            let is_wanted = |event: &&Known| {
                event.position > after
                    && Pattern::parse(filter).unwrap().matches(event.name)
                    && !(event.kind == EventKind::Transient && (event.has_expired || !transient))
            };
            let missed: Vec<_> = self.events.iter().filter(is_wanted).map(|event| event.position).collect();
            let replay = Replay::events(tenant("a"), wanted(filter), Position::new(after), self.store().head());
            let (events, has_gap) = given(self.store(), replay.with_transient(transient));
            let given = numbers(&events);
            if after >= self.floor {
                assert_eq!((&given, has_gap), (&missed, false), "after {after}: {filter} {transient}");
                continue;
            }
            // Of each name that changed, the value, or the removal if that is kept.
            let latest = NAMES.iter().filter_map(|name| self.latest(name));
            let is_kept = |event: &Known| event.kind == EventKind::Value || event.position > self.floor;
            let mut changed: Vec<_> = latest.filter(|event| is_wanted(&event) && is_kept(event)).collect();
            changed.sort_by_key(|event| event.position);
            let changed: Vec<_> = changed.iter().map(|event| event.position).collect();
            assert_eq!(given, changed, "after {after}: {filter} {transient}");
            assert!(has_gap || given == missed, "after {after}: {filter} {transient}: {given:?} of {missed:?}");
        }
    }

    /// Nothing is left behind, and everything is counted.
    fn check_rows(&self) {
        let values = self.values();
        let in_tail: Vec<_> = self.events.iter().filter(|event| event.position > self.floor).collect();
        let old_values = values.iter().filter(|value| value.position <= self.floor);
        assert_eq!(count(self.store(), b"e"), in_tail.len() + old_values.clone().count());
        let with_chunks = in_tail.iter().copied().chain(old_values).filter(|event| !event.has_expired);
        assert_eq!(count(self.store(), b"p"), with_chunks.map(|event| event.chunks).sum::<usize>());
        let names: BTreeSet<_> =
            in_tail.iter().map(|event| event.name).chain(values.iter().map(|value| value.name)).collect();
        assert_eq!(count(self.store(), b"n"), names.len());
        let counted = self.store().decoded(&keys::names(&tenant("a")), codec::decode_count).unwrap();
        assert_eq!(counted.unwrap_or(0), values.len() as u64);
        let waiting = |event: &&Known| event.expires_at.is_some() && !event.has_expired;
        let transient = in_tail.into_iter().filter(|event| event.kind == EventKind::Transient).filter(waiting);
        assert_eq!(count(self.store(), b"x"), values.iter().filter(waiting).count() + transient.count());
    }
}

/// The events of a replay, in steps of a few bytes, and whether some are missing.
fn given(store: &Store, mut replay: Replay) -> (Vec<(u64, String)>, bool) {
    let mut events = Vec::new();
    let mut each = |event: StoredEvent<'_>| {
        events.push((event.position.get(), event.name.to_owned()));
        0
    };
    while replay.next(store, 30, &mut each).unwrap() {}
    (events, replay.has_gap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_reading_equals_that_of_a_list_in_memory(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
    }
}
