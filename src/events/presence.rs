//! Who is there: the users of each tenant who have a stream open, or had one a moment ago.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::insert::RemoveOf;
use super::user_streams::StreamId;
use crate::domain::{Position, TenantName, Timestamp, Username};

/// How long somebody may be away to reconnect, before they have gone and what was to last while they were connected goes.
pub const GRACE: Duration = Duration::from_secs(5);

/// How many people are looked at in a row: meanwhile nobody can come or go, in any tenant.
pub const PEOPLE_AT_ONCE: usize = 256;

/// Which stream of its user, of those that ended a moment ago, a new one goes on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoesOnFor {
    /// The one that ended last.
    Last,
    /// This one or, where it is not among them, none: the last may be another page's.
    This(StreamId),
    /// None: what was named is no stream.
    None,
}

/// Somebody who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Who.
    #[serde(serialize_with = "as_text")]
    pub username: Username,
    /// Since when, in Unix milliseconds.
    pub since: u64,
    /// How many streams they have open; none within the grace.
    pub streams: usize,
}

fn as_text<S: Serializer>(username: &Username, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(username.as_str())
}

/// Who is there, and which streams have ended so lately that they may be taken over.
#[derive(Default)]
pub struct Presence {
    tenants: HashMap<TenantName, Tenant>,
    /// The streams that are open, or about to be. A stream leaves these and is among those below, or the other way round, under
    /// one lock: whoever looks finds it.
    open: HashMap<Username, Vec<StreamId>>,
    /// The streams that have ended within the grace.
    orphans: HashMap<Username, Vec<Orphan>>,
    /// When somebody's oldest orphan is to be looked at, in that order.
    due: VecDeque<(Instant, Username)>,
}

#[derive(Default)]
struct Tenant {
    people: BTreeMap<Username, Here>,
    /// How many streams want to know.
    watchers: usize,
}

struct Here {
    since: Timestamp,
    streams: usize,
}

/// A stream that has ended in a tenant.
struct Orphan {
    id: StreamId,
    tenant: TenantName,
    until: Instant,
    /// Where its user has gone to another tenant with it: the last position by then. What is bound to it here later was bound by
    /// who has come back. `None` where it has ended, so that another may go on for it.
    moved_at: Option<Position>,
}

/// Who has gone for good, and their streams.
#[derive(Default)]
pub struct Gone {
    /// What goes with the streams whose grace is over.
    pub streams: Vec<RemoveOf>,
    /// Those who have none left, where somebody wants to know.
    pub people: Vec<(TenantName, Username)>,
    /// Whether there are more.
    pub is_more: bool,
}

impl Presence {
    /// Somebody opens a stream: what it is called by, and whether they were not there before and somebody wants to know. It goes
    /// on for a stream of theirs that ended a moment ago, where there is the one that is asked for.
    pub fn arrive(
        &mut self,
        tenant: &TenantName,
        username: &Username,
        goes_on: GoesOnFor,
        now: Timestamp,
    ) -> (StreamId, bool) {
        let id = self.adopt(tenant, username, goes_on).unwrap_or_else(StreamId::random);
        let open = self.open.entry(username.clone()).or_default();
        if open.is_empty() {
            // Nearly everybody has one.
            open.reserve_exact(1);
        }
        open.push(id);
        (id, self.enter(tenant, username, now))
    }

    /// One more stream of somebody; whether they were not there before and somebody wants to know.
    fn enter(&mut self, tenant: &TenantName, username: &Username, now: Timestamp) -> bool {
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        let is_watched = tenant.watchers > 0;
        match tenant.people.get_mut(username) {
            Some(here) => {
                here.streams += 1;
                false
            }
            None => {
                tenant.people.insert(username.clone(), Here { since: now, streams: 1 });
                is_watched
            }
        }
    }

    /// Somebody goes to another tenant with a stream, at a position; whether they were not there before and somebody wants to know.
    pub fn move_to(
        &mut self,
        from: &TenantName,
        to: &TenantName,
        username: &Username,
        id: StreamId,
        now: (Timestamp, Instant, Position),
    ) -> bool {
        self.forsake(from, username);
        self.orphan(from, username, id, Some(now.2), now.1);
        // Where they come back with it within the grace, it was never gone.
        self.take_orphan(username, |orphan| orphan.id == id && orphan.tenant == *to);
        self.enter(to, username, now.0)
    }

    fn adopt(&mut self, tenant: &TenantName, username: &Username, goes_on: GoesOnFor) -> Option<StreamId> {
        let of_here = |orphan: &Orphan| orphan.moved_at.is_none() && orphan.tenant == *tenant;
        match goes_on {
            GoesOnFor::Last => self.take_orphan(username, of_here),
            GoesOnFor::This(id) => self.take_orphan(username, |orphan| orphan.id == id && of_here(orphan)),
            GoesOnFor::None => None,
        }
    }

    /// Takes out the last orphan of somebody for which this holds.
    fn take_orphan(&mut self, username: &Username, is_it: impl FnMut(&Orphan) -> bool) -> Option<StreamId> {
        let orphans = self.orphans.get_mut(username)?;
        let orphan = orphans.remove(orphans.iter().rposition(is_it)?);
        if orphans.is_empty() {
            self.orphans.remove(username);
        }
        Some(orphan.id)
    }

    /// A stream ends.
    pub fn leave(&mut self, tenant: &TenantName, username: &Username, id: StreamId, now: Instant) {
        self.forsake(tenant, username);
        if let Entry::Occupied(mut open) = self.open.entry(username.clone()) {
            open.get_mut().retain(|other| *other != id);
            if open.get().is_empty() {
                open.remove();
            }
        }
        self.orphan(tenant, username, id, None, now);
    }

    /// One stream less of somebody.
    fn forsake(&mut self, tenant: &TenantName, username: &Username) {
        if let Some(here) = self.tenants.get_mut(tenant).and_then(|tenant| tenant.people.get_mut(username)) {
            here.streams = here.streams.saturating_sub(1);
        }
    }

    /// A stream is in a tenant no more; `moved_at` where its user has gone to another one with it, else another may go on for it.
    pub fn orphan(
        &mut self,
        tenant: &TenantName,
        username: &Username,
        id: StreamId,
        moved_at: Option<Position>,
        now: Instant,
    ) {
        let until = now + GRACE;
        let orphan = Orphan { id, tenant: tenant.clone(), until, moved_at };
        self.orphans.entry(username.clone()).or_default().push(orphan);
        self.due.push_back((until, username.clone()));
    }

    /// Whether somebody has a stream: it is open, about to be, or ended so lately that it may be taken over.
    pub fn has_stream(&self, username: &Username, id: StreamId) -> bool {
        let is_it = |orphan: &Orphan| orphan.moved_at.is_none() && orphan.id == id;
        self.open.get(username).is_some_and(|open| open.contains(&id))
            || self.orphans.get(username).is_some_and(|orphans| orphans.iter().any(is_it))
    }

    /// Those whose grace is over, some of them at a time.
    pub fn take_gone(&mut self, now: Instant) -> Gone {
        let mut gone = Gone::default();
        for _ in 0..PEOPLE_AT_ONCE {
            let Some((_, username)) = self.due.pop_front_if(|(until, _)| *until <= now) else { break };
            let Entry::Occupied(mut orphans) = self.orphans.entry(username.clone()) else { continue };
            let over: Vec<_> = orphans.get_mut().extract_if(.., |orphan| orphan.until <= now).collect();
            let left: Vec<_> = orphans.get().iter().map(|orphan| orphan.tenant.clone()).collect();
            if orphans.get().is_empty() {
                orphans.remove();
            }
            for Orphan { id, tenant, moved_at, .. } in over {
                // What was inserted for it in another tenant, after it had ended here, goes with it too.
                gone.streams.push(RemoveOf { stream: id, only: moved_at.map(|until| (tenant.clone(), until)) });
                // Another stream of theirs may end later, or has been opened.
                if !left.contains(&tenant) && self.forget(&tenant, &username) {
                    gone.people.push((tenant, username.clone()));
                }
            }
        }
        gone.is_more = self.due.front().is_some_and(|(until, _)| *until <= now);
        gone
    }

    /// Forgets somebody without a stream; whether somebody wants to know.
    fn forget(&mut self, tenant: &TenantName, username: &Username) -> bool {
        let Entry::Occupied(mut of_tenant) = self.tenants.entry(tenant.clone()) else { return false };
        if of_tenant.get().people.get(username).is_none_or(|here| here.streams > 0) {
            return false;
        }
        of_tenant.get_mut().people.remove(username);
        let is_watched = of_tenant.get().watchers > 0;
        if of_tenant.get().people.is_empty() && !is_watched {
            of_tenant.remove();
        }
        is_watched
    }

    /// One more stream wants to know of a tenant's people.
    pub fn watch(&mut self, tenant: &TenantName) {
        self.tenants.entry(tenant.clone()).or_default().watchers += 1;
    }

    /// One stream less wants to know.
    pub fn unwatch(&mut self, tenant: &TenantName) {
        let Entry::Occupied(mut of_tenant) = self.tenants.entry(tenant.clone()) else { return };
        of_tenant.get_mut().watchers -= 1;
        if of_tenant.get().people.is_empty() && of_tenant.get().watchers == 0 {
            of_tenant.remove();
        }
    }

    /// Those of a tenant who are there, by name, from there on: so many at most.
    pub fn people(&self, tenant: &TenantName, from: Bound<&Username>, at_most: usize) -> Vec<Person> {
        let people = self.tenants.get(tenant).map(|tenant| &tenant.people);
        let rest = people.into_iter().flat_map(|people| people.range::<Username, _>((from, Bound::Unbounded)));
        rest.take(at_most).map(|(username, here)| person(username, here)).collect()
    }

    /// Somebody, if they are there.
    pub fn person(&self, tenant: &TenantName, username: &Username) -> Option<Person> {
        self.tenants.get(tenant)?.people.get(username).map(|here| person(username, here))
    }
}

fn person(username: &Username, here: &Here) -> Person {
    Person { username: username.clone(), since: here.since.as_millis(), streams: here.streams }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_all(stream: StreamId) -> RemoveOf {
        RemoveOf { stream, only: None }
    }

    fn first_of(presence: &Presence, tenant: &TenantName) -> Person {
        presence.people(tenant, Bound::Unbounded, 1).remove(0)
    }

    #[test]
    fn who_comes_back_within_the_grace_was_never_gone_and_keeps_the_stream() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let (acme, bob) = (TenantName::parse("acme").unwrap(), Username::parse("bob").unwrap());
        presence.watch(&acme);
        let (first, is_new) = presence.arrive(&acme, &bob, GoesOnFor::Last, Timestamp::from_millis(1));
        let (second, is_new_again) = presence.arrive(&acme, &bob, GoesOnFor::Last, Timestamp::from_millis(2));
        assert!(is_new && !is_new_again && first != second);
        presence.leave(&acme, &bob, first, now);
        presence.leave(&acme, &bob, second, now + Duration::from_secs(1));
        assert_eq!(first_of(&presence, &acme).streams, 0);
        assert_eq!(presence.arrive(&acme, &bob, GoesOnFor::This(first), Timestamp::from_millis(3)), (first, false));
        let gone = presence.take_gone(now + Duration::from_secs(7));
        assert_eq!((gone.streams, gone.people.len()), (vec![with_all(second)], 0));
        assert_eq!(first_of(&presence, &acme).since, 1);
        presence.leave(&acme, &bob, first, now + Duration::from_secs(7));
        assert!(presence.take_gone(now + Duration::from_secs(11)).streams.is_empty());
        let gone = presence.take_gone(now + Duration::from_secs(12));
        assert_eq!((gone.streams, gone.people), (vec![with_all(first)], vec![(acme.clone(), bob)]));
        presence.unwatch(&acme);
        assert!(
            presence.tenants.is_empty()
                && presence.open.is_empty()
                && presence.orphans.is_empty()
                && presence.due.is_empty()
        );
    }
    #[test]
    fn who_goes_to_another_tenant_with_a_stream_leaves_nothing_behind_and_may_come_back_with_it() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let [acme, other] = ["acme", "other"].map(|name| TenantName::parse(name).unwrap());
        let bob = Username::parse("bob").unwrap();
        // The position is that of the second.
        let later = |seconds| (Timestamp::from_millis(7), now + Duration::from_secs(seconds), Position::new(seconds));
        presence.watch(&acme);
        presence.watch(&other);
        let (stream, _) = presence.arrive(&acme, &bob, GoesOnFor::Last, Timestamp::from_millis(1));
        assert!(presence.move_to(&acme, &other, &bob, stream, later(0)));
        assert_eq!(first_of(&presence, &acme).streams, 0);
        assert_eq!((first_of(&presence, &other).streams, first_of(&presence, &other).since), (1, 7));
        // It is open: no other may go on for it, there or here.
        assert!(presence.has_stream(&bob, stream));
        assert_ne!(presence.arrive(&acme, &bob, GoesOnFor::This(stream), Timestamp::from_millis(2)).0, stream);

        // Back within the grace, and away again for good.
        assert!(!presence.move_to(&other, &acme, &bob, stream, later(1)));
        assert_eq!(first_of(&presence, &acme).streams, 2);
        let gone = presence.take_gone(now + Duration::from_secs(6));
        let of_other = RemoveOf { stream, only: Some((other.clone(), Position::new(1))) };
        assert_eq!((gone.streams, gone.people), (vec![of_other], vec![(other.clone(), bob.clone())]));
        presence.move_to(&acme, &other, &bob, stream, later(7));
        presence.leave(&other, &bob, stream, now + Duration::from_secs(8));
        let of_acme = RemoveOf { stream, only: Some((acme.clone(), Position::new(7))) };
        let gone = presence.take_gone(now + Duration::from_secs(12));
        assert_eq!((gone.streams, gone.people), (vec![of_acme], vec![]));
        assert!(presence.has_stream(&bob, stream));
        let gone = presence.take_gone(now + Duration::from_secs(13));
        assert!(!presence.has_stream(&bob, stream));
        assert_eq!((gone.streams, gone.people), (vec![with_all(stream)], vec![(other, bob)]));
    }

    #[test]
    fn who_names_a_stream_that_cannot_be_gone_on_for_gets_a_new_one_and_not_another_pages() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let (acme, bob) = (TenantName::parse("acme").unwrap(), Username::parse("bob").unwrap());
        let arrive =
            |presence: &mut Presence, goes_on| presence.arrive(&acme, &bob, goes_on, Timestamp::from_millis(1)).0;
        let [ended, open] = [GoesOnFor::Last; 2].map(|goes_on| arrive(&mut presence, goes_on));
        presence.leave(&acme, &bob, ended, now);
        for goes_on in [GoesOnFor::None, GoesOnFor::This(StreamId::random()), GoesOnFor::This(open)] {
            assert!(![ended, open].contains(&arrive(&mut presence, goes_on)), "{goes_on:?}");
        }
        assert_eq!(arrive(&mut presence, GoesOnFor::Last), ended);
    }

    #[test]
    fn those_who_leave_all_at_once_have_gone_in_parts() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let acme = TenantName::parse("acme").unwrap();
        presence.watch(&acme);
        for number in 0..=2 * PEOPLE_AT_ONCE {
            let username = Username::parse(&number.to_string()).unwrap();
            let (stream, _) = presence.arrive(&acme, &username, GoesOnFor::Last, Timestamp::from_millis(1));
            presence.leave(&acme, &username, stream, now);
        }
        for (count, is_more) in [(PEOPLE_AT_ONCE, true), (PEOPLE_AT_ONCE, true), (1, false)] {
            let gone = presence.take_gone(now + GRACE);
            assert_eq!((gone.streams.len(), gone.people.len(), gone.is_more), (count, count, is_more));
        }
    }
}
