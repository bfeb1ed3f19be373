//! Guards the store: reads, writes and everything that a restart must find again.

mod backup;
mod damage;
mod large;
mod opening;
mod published;
mod reading;
mod removing;
mod replay;
mod sealed;
mod topic_filters;
mod transient;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::rows::Rows;
use super::*;
use crate::domain::{
    Authorize, Event, EventFilter, EventId, EventName, Payload, Position, TenantName, Timestamp, Username, View,
};
use crate::error::Error;

fn tenant(name: &str) -> TenantName {
    TenantName::parse(name).unwrap()
}

fn insert(committer: &mut Committer, tenant_name: &str, names: &[&str]) -> Vec<Event> {
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    for name in names {
        let (name, user) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
        let data = Payload::from_valid_json("1").unwrap();
        transaction.insert_event(Draft::value(tenant(tenant_name), user, name, data)).unwrap();
    }
    transaction.commit().unwrap().reveal()
}

/// The length of a tenant's tail, and the position up to which it was counted.
fn tail_length(store: &Store, tenant_name: &str) -> (usize, Position) {
    let mut count = TailCount::new(store, tenant(tenant_name)).unwrap();
    loop {
        if let Some(counted) = count.step(store).unwrap() {
            return counted;
        }
    }
}

/// Shortens a tenant's tail to this many events, as maintenance does.
fn shorten(store: &Store, committer: &mut Committer, tenant_name: &str, keep: usize) {
    let length = tail_length(store, tenant_name).0;
    let moment = Timestamp::from_millis(1);
    let excess = Excess { surplus: length.saturating_sub(keep), before: moment, now: moment, at_most: 64 };
    shorten_by(store, committer, tenant_name, excess);
}

fn shorten_by(store: &Store, committer: &mut Committer, tenant_name: &str, mut excess: Excess) {
    loop {
        let oldest = store.oldest(&tenant(tenant_name), excess).unwrap();
        let is_all = oldest.is_all;
        let mut transaction = committer.begin(Timestamp::from_millis(2)).unwrap();
        let by = transaction.shorten(oldest).unwrap();
        assert!(by <= excess.at_most);
        excess.surplus = excess.surplus.saturating_sub(by);
        drop(transaction.commit().unwrap().reveal());
        if is_all {
            return;
        }
    }
}

/// A journal so small that nearly every commit begins a checkpoint.
const SMALL: u64 = 1000;
/// A journal so large that no checkpoint begins.
const LARGE: u64 = 64 << 20;

fn open(path: &Path) -> Result<(Store, Committer), OpenError> {
    open_with(path, SMALL)
}

/// Opens a database that this process may have had open a moment ago: sled's threads may hold it a little longer.
fn open_with(path: &Path, journal_bytes: u64) -> Result<(Store, Committer), OpenError> {
    loop {
        match Store::open(path, journal_bytes) {
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// The view of a user that may see everything.
fn wanted(filter: &str) -> Wanted {
    let (rights, own) = Authorize::Open.to_see(&Username::parse("u").unwrap(), &[]);
    Wanted::Of(Box::new(View { filter: EventFilter::parse(filter).unwrap(), rights, own }))
}

/// All events that a subscriber after a position gets, in steps of a few bytes.
fn replay(store: &Store, tenant_name: &str, filter: &str, after: u64) -> Vec<(u64, String)> {
    let (tenant, wanted, after) = (tenant(tenant_name), wanted(filter), Position::new(after));
    let mut replay = match after {
        Position::START => Replay::snapshot(tenant, wanted, after, store.head()),
        _ => Replay::events(tenant, wanted, after, store.head()),
    };
    let mut events = Vec::new();
    let mut each = |event: StoredEvent<'_>| {
        events.push((event.position.get(), event.name.to_owned()));
        0
    };
    while replay.next(store, 100, &mut each).unwrap() {}
    events
}

fn count(store: &Store, prefix: &[u8]) -> usize {
    let mut rows = 0;
    store
        .scan_prefix(prefix, &mut |_, _| {
            rows += 1;
            Ok(true)
        })
        .unwrap();
    rows
}

/// The positions of some events.
fn numbers(events: &[(u64, String)]) -> Vec<u64> {
    events.iter().map(|(number, _)| *number).collect()
}

/// Inserts an event at a moment, and then does something with it.
fn insert_at(committer: &mut Committer, millis: u64, name: &str, then: impl FnOnce(&mut Transaction<'_>, &Event)) {
    let mut transaction = committer.begin(Timestamp::from_millis(millis)).unwrap();
    let (name, user) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
    let data = Payload::from_valid_json("1").unwrap();
    let event = transaction.insert_event(Draft::value(tenant("a"), user, name, data)).unwrap();
    then(&mut transaction, &event);
    drop(transaction.commit().unwrap().reveal());
}

/// The rows that one step of a search finds. They are not removed.
fn found(store: &Store, search: &Search, now: u64) -> Found {
    store.find(search, Timestamp::from_millis(now), 64).unwrap()
}
