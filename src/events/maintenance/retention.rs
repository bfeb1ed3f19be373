use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::away::Away;
use super::leaving::Leaving;
use super::rounds::{Desk, Round, step};
use super::waiting::{Waiting, in_turn};
use crate::domain::{Position, TenantName, Timestamp};
use crate::error::Error;
use crate::store::{Excess, Oldest, Store, TailCount};
use crate::writer::{Batch, Change, Here};

/// How many tenants are looked at in a row for events that are too old.
const TENANTS_AT_ONCE: usize = 256;
/// How long a look at long tails takes at most before it goes on in the next round: tails that are too long wait meanwhile.
const LOOK_WITHIN: Duration = Duration::from_millis(50);
/// How long tails are shortened before the next round begins, which sees what was inserted meanwhile.
const SHORTEN_WITHIN: Duration = Duration::from_millis(200);
/// How much longer than such a look the pause after it is, so that it takes a twentieth of a core at most.
const PAUSE: u32 = 19;
/// How long there is at most between two looks at every tenant.
const MAX_BETWEEN_LOOKS: Duration = Duration::from_secs(600);
/// For how many tenants the length of the tail is remembered. If there are more, the shorter half is forgotten: such a tail is soon
/// counted again.
const TAILS_REMEMBERED: usize = 65_536;
/// How many tails are counted in one round at most, so that those that are too long do not wait for it.
const COUNTED_A_ROUND: usize = 16;

/// How long events are kept in exact order. Of older ones only the latest of each name is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Their age at most.
    pub age: Duration,
    /// How many of each tenant at most.
    pub events: usize,
}

impl Retention {
    /// How long the pause is between two looks at all tenants for events that are too old. Such events stay for a hundredth of their time
    /// too long at most, and a server with a million tenants has little to do.
    fn between_looks(self) -> Duration {
        (self.age / 100).min(MAX_BETWEEN_LOOKS)
    }

    /// The moment before which an event is too old.
    fn before(self, now: Timestamp) -> Timestamp {
        let age = u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX);
        // With no age at all every event is too old, also one that was inserted in this millisecond.
        let age = if age == 0 { return Timestamp::from_millis(now.as_millis() + 1) } else { age };
        Timestamp::from_millis(now.as_millis().saturating_sub(age))
    }
}

/// The tails of all tenants, and which of them are too long.
pub struct Tails {
    desk: Desk,
    retention: Retention,
    /// The tails of tenants that inserted something lately.
    known: HashMap<TenantName, Tail>,
    /// Tenants that inserted something and are to be counted.
    uncounted: Waiting,
    /// The first of these, as far as it has been counted.
    counting: Option<TailCount>,
    /// Tenants with tails that may be too long.
    long: BTreeSet<TenantName>,
    /// What is to leave those of them of which many sessions of MQTT may need it.
    leaving: HashMap<TenantName, Leaving>,
    /// What sessions of MQTT need whose clients are away.
    away: Away,
    /// The tenant among these that was shortened last.
    last: Option<TenantName>,
    /// The tenant after which the search for old events goes on.
    next: Option<TenantName>,
    /// Whether every tenant has been looked at since the start: before the start, more may have been retained than now.
    all_seen: bool,
    pause_until: Option<Instant>,
}

/// How many events of a tenant are kept in exact order.
#[derive(Clone, Copy)]
struct Tail {
    events: usize,
    /// Up to here they were counted from the disk.
    counted_to: Position,
    /// How many were inserted since some were removed.
    came: usize,
}

impl Tails {
    pub fn new(desk: Desk, retention: Retention) -> Self {
        Self {
            desk,
            retention,
            known: HashMap::new(),
            uncounted: Waiting::new(TAILS_REMEMBERED),
            counting: None,
            long: BTreeSet::new(),
            leaving: HashMap::new(),
            away: Away::default(),
            last: None,
            next: None,
            all_seen: false,
            pause_until: None,
        }
    }

    /// Takes one step for each tenant with a tail that is too long, or for some of them in turn, and looks at some more tenants.
    pub async fn round(&mut self) -> Result<Round, Error> {
        self.note_what_came();
        let counted = self.count_some().await;
        // None waits for another that fails.
        let looked = self.look_at_some().await;
        let (mut shortened, began) = (Ok(()), Instant::now());
        for tenant in in_turn(&self.long, self.last.as_ref()) {
            if began.elapsed() > SHORTEN_WITHIN {
                break;
            }
            let step = self.shorten(&tenant).await;
            // A tail that is damaged, for example its floor, stays as it is.
            match self.desk.store.unless_damaged(step).map(|is_all| is_all.unwrap_or(true)) {
                Ok(true) => {
                    self.long.remove(&tenant);
                }
                Ok(false) => {}
                Err(error) => shortened = Err(error),
            }
            self.last = Some(tenant);
        }
        shortened.and(counted).and(looked)?;
        Ok(if self.long.is_empty() && self.uncounted.is_empty() { Round::Done } else { Round::Goes })
    }

    fn note_what_came(&mut self) {
        for (tenant, positions) in self.desk.store.activity().take() {
            let Some(tail) = self.known.get_mut(&tenant) else {
                // Its positions are on the disk by now, so it is counted from there; if too many wait, in the next look.
                self.all_seen &= self.uncounted.push(tenant);
                continue;
            };
            // Events up to there have been counted already.
            let came = positions.iter().filter(|position| **position > tail.counted_to).count();
            tail.events += came;
            tail.came += came;
            if tail.events > self.retention.events {
                self.long.insert(tenant);
            }
        }
    }

    /// Counts the tails of some tenants that inserted something and are not known, in steps: the longest takes many rounds.
    async fn count_some(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        for number in 0..COUNTED_A_ROUND {
            if number > 0 && began.elapsed() > LOOK_WITHIN {
                break;
            }
            let Some(tenant) = self.uncounted.first() else { break };
            let (of, counting) = (tenant.clone(), self.counting.take());
            let read = move |store: &Store| store.unless_damaged(count_on(store, of, counting));
            match self.desk.read(read).await? {
                Some(Counted::SoFar(counting)) => self.counting = Some(counting),
                Some(Counted::All(tail)) => self.learn(tenant, tail),
                // If this is damaged, nothing can be inserted there.
                None => self.learn(tenant, Tail { events: 0, counted_to: Position::END, came: 0 }),
            }
        }
        Ok(())
    }

    fn learn(&mut self, tenant: TenantName, tail: Tail) {
        if self.known.len() >= TAILS_REMEMBERED {
            let forgotten = forget_shorter_half(&mut self.known);
            let long = forgotten.into_iter().filter(|(_, tail)| tail.events > self.retention.events);
            for (tenant, _) in long {
                self.all_seen &= self.uncounted.push(tenant);
            }
        }
        self.uncounted.remove(&tenant);
        if tail.events > self.retention.events {
            self.long.insert(tenant.clone());
        }
        self.known.insert(tenant, tail);
    }

    /// Looks at some more tenants for events that are too old.
    async fn look_at_some(&mut self) -> Result<(), Error> {
        let is_busy = self.long.len() >= TAILS_REMEMBERED;
        if is_busy || self.pause_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let began = Instant::now();
        let (after, now) = (self.next.clone(), self.desk.clock.now());
        let old = Excess { surplus: 0, before: self.retention.before(now), now, at_most: 1 };
        let at_most = (!self.all_seen).then_some(self.retention.events);
        let look = move |store: &Store| tenants_with_too_much(store, after, old, at_most, LOOK_WITHIN);
        let (excess, last) = self.desk.read(look).await?;
        self.all_seen |= last.is_none();
        self.next = last;
        for (tenant, tail) in excess {
            match tail {
                Length::TooLong(tail) if !self.known.contains_key(&tenant) => self.learn(tenant, tail),
                Length::NotCounted if !self.known.contains_key(&tenant) => {
                    self.all_seen &= self.uncounted.push(tenant);
                }
                // Events that were inserted since it was noted are counted in both.
                _ => drop(self.long.insert(tenant)),
            }
        }
        let pause = if self.next.is_some() { began.elapsed() * PAUSE } else { self.retention.between_looks() };
        self.pause_until = Some(Instant::now() + pause);
        Ok(())
    }

    /// Shortens a tail by one step. Returns whether that is all.
    async fn shorten(&mut self, tenant: &TenantName) -> Result<bool, Error> {
        let mut leaving = match self.leaving.remove(tenant) {
            Some(leaving) => leaving,
            None => Leaving::new(self.oldest(tenant).await?),
        };
        if !leaving.keep(&self.desk, tenant, &mut self.away, SHORTEN_WITHIN).await? {
            self.leaving.insert(tenant.clone(), leaving);
            return Ok(false);
        }
        let Leaving { oldest, .. } = leaving;
        let is_all = oldest.is_all;
        if !oldest.is_empty() {
            let by = self.desk.writer.submit(Shorten(oldest)).await?;
            if let Some(tail) = self.known.get_mut(tenant) {
                tail.events = tail.events.saturating_sub(by);
                tail.came = 0;
            }
        }
        Ok(is_all)
    }

    /// The events of a tail that are to go next.
    async fn oldest(&self, tenant: &TenantName) -> Result<Oldest, Error> {
        let tail = self.known.get(tenant);
        let surplus = tail.map_or(0, |tail| tail.events.saturating_sub(self.retention.events));
        let now = self.desk.clock.now();
        let at_most = step(tail.map_or(0, |tail| tail.came));
        let excess = Excess { surplus, before: self.retention.before(now), now, at_most };
        let of = tenant.clone();
        self.desk.read(move |store| store.oldest(&of, excess)).await
    }
}

/// Keeps the longer half. Returns what was forgotten.
fn forget_shorter_half(known: &mut HashMap<TenantName, Tail>) -> HashMap<TenantName, Tail> {
    let mut lengths: Vec<_> = known.values().map(|tail| tail.events).collect();
    if lengths.is_empty() {
        return HashMap::new();
    }
    let middle = lengths.len() / 2;
    let (_, median, _) = lengths.select_nth_unstable(middle);
    known.extract_if(|_, tail| tail.events <= *median).collect()
}

/// How far a tail has been counted.
enum Counted {
    SoFar(TailCount),
    All(Tail),
}

/// Counts the next part of a tail, from its beginning unless it was begun.
fn count_on(store: &Store, tenant: TenantName, begun: Option<TailCount>) -> Result<Counted, Error> {
    let mut counting = begun.map_or_else(|| TailCount::new(store, tenant), Ok)?;
    Ok(match counting.step(store)? {
        Some((events, counted_to)) => Counted::All(Tail { events, counted_to, came: 0 }),
        None => Counted::SoFar(counting),
    })
}

/// A tenant with a tail that is too long, or may be.
type Found = (TenantName, Length);

/// How long its tail is.
enum Length {
    /// Known, and too long.
    TooLong(Tail),
    /// It has events that are too old.
    TooOld,
    /// Unknown: too long to be counted in passing.
    NotCounted,
}

/// The next tenants that have old events, or more events than a number if one is given; and the tenant after which the search goes on,
/// `None` at the end. It ends after a while, but not before the first tenant.
fn tenants_with_too_much(
    store: &Store,
    mut after: Option<TenantName>,
    old: Excess,
    at_most: Option<usize>,
    within: Duration,
) -> Result<(Vec<Found>, Option<TenantName>), Error> {
    let (mut excess, began) = (Vec::new(), Instant::now());
    for number in 0..TENANTS_AT_ONCE {
        if number > 0 && began.elapsed() > within {
            break;
        }
        let Some(tenant) = store.next_tenant(after.as_ref())? else { return Ok((excess, None)) };
        let found = store.unless_damaged(has_too_much(store, &tenant, old, at_most))?;
        excess.extend(found.into_iter().flatten().map(|length| (tenant.clone(), length)));
        after = Some(tenant);
    }
    Ok((excess, after))
}

fn has_too_much(store: &Store, tenant: &TenantName, old: Excess, at_most: Option<usize>) -> Result<Vec<Length>, Error> {
    let mut found = Vec::new();
    if let Some(at_most) = at_most {
        match count_on(store, tenant.clone(), None)? {
            Counted::All(tail) if tail.events > at_most => return Ok(vec![Length::TooLong(tail)]),
            Counted::All(_) => {}
            Counted::SoFar(_) => found.push(Length::NotCounted),
        }
    }
    if !store.oldest(tenant, old)?.is_empty() {
        found.push(Length::TooOld);
    }
    Ok(found)
}

/// Raises the floor of a tenant over its oldest events. The outcome is over how many.
struct Shorten(Oldest);

impl Change for Shorten {
    type Outcome = usize;
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<usize, Error> {
        batch.shorten(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventName, Payload, Username};
    use crate::store::Draft;

    #[test]
    fn a_look_at_tails_that_take_long_ends_and_goes_on_with_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        let (user, event) = (Username::parse("u").unwrap(), EventName::parse("x").unwrap());
        let tenants: Vec<_> = (0..3).map(|number| TenantName::parse(&format!("t{number}")).unwrap()).collect();
        for tenant in &tenants {
            transaction
                .insert_event(Draft::value(tenant.clone(), user.clone(), event.clone(), Payload::null()))
                .unwrap();
        }
        drop(transaction.commit().unwrap().reveal());
        let (before, now) = (Timestamp::from_millis(1), Timestamp::from_millis(1));
        let old = Excess { surplus: 0, before, now, at_most: 1 };
        let look = |after, within| tenants_with_too_much(&store, after, old, Some(0), within).unwrap();
        let (found, mut next) = look(None, Duration::from_secs(3600));
        assert_eq!((found.len(), &next), (3, &None));
        for tenant in &tenants {
            let found;
            (found, next) = look(next, Duration::ZERO);
            assert_eq!((found.len(), &found[0].0, next.as_ref()), (1, tenant, Some(tenant)));
        }
    }

    #[test]
    fn of_very_many_tails_the_shorter_half_is_forgotten() {
        let tail = |events| Tail { events, counted_to: Position::START, came: 0 };
        let name = |number: usize| TenantName::parse(&format!("t{number}")).unwrap();
        let mut known: HashMap<_, _> = (0..1001).map(|number| (name(number), tail(number))).collect();
        assert_eq!(forget_shorter_half(&mut known).len(), 501);
        assert!(known.len() == 500 && known.values().all(|tail| tail.events > 500));
        // Also if all are alike.
        let mut known: HashMap<_, _> = (0..10).map(|number| (name(number), tail(3))).collect();
        assert_eq!((forget_shorter_half(&mut known).len(), known.len()), (10, 0));
    }
}
