//! What is to be done without anybody asking: what has expired is removed, and what is too old is forgotten. In the background,
//! in small steps through the writer, so that inserts do not wait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::hub::Hub;
use super::insert::RemoveOf;
use crate::clock::Clock;
use crate::domain::{Position, TenantName, Timestamp};
use crate::error::Error;
use crate::store::{Shortened, Store};
use crate::writer::{Batch, Change, Writer};

/// How often it is looked for something to do.
const EVERY: Duration = Duration::from_millis(200);
/// How many events one step removes at most.
const STEP: usize = 64;
/// How many tenants are looked at in a row for events that are too old.
const TENANTS_AT_ONCE: usize = 256;
/// How much longer than such a look the pause after it is: a twentieth of a core is enough.
const PAUSE: u32 = 19;

/// How long there is at most between two looks at everybody.
const MAX_BETWEEN_LOOKS: Duration = Duration::from_secs(600);

/// How long events are kept in exact order; beyond, the latest of each name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For so long.
    pub age: Duration,
    /// So many of each tenant.
    pub events: usize,
}

impl Retention {
    /// How long after all tenants have been looked at for events that are too old they are looked at again: such events are
    /// there for a hundredth of their time too long at most, and a server with a million tenants has little to do.
    fn between_looks(self) -> Duration {
        (self.age / 100).min(MAX_BETWEEN_LOOKS)
    }

    /// Before which moment an event is too old.
    fn before(self, now: Timestamp) -> Timestamp {
        let age = u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX);
        // With no age at all everything is too old, also what was inserted in this millisecond.
        let age = if age == 0 { return Timestamp::from_millis(now.as_millis() + 1) } else { age };
        Timestamp::from_millis(now.as_millis().saturating_sub(age))
    }
}

/// Does what is due, for as long as the server lives.
pub async fn keep_up(hub: Hub, writer: Writer, clock: Clock, retention: Retention) {
    let mut upkeep = Upkeep {
        store: hub.store().clone(),
        hub,
        gone: Vec::new(),
        writer,
        clock,
        retention,
        tails: HashMap::new(),
        next: None,
        all_seen: false,
        pause_until: None,
    };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for done in [
            upkeep.remove_gone().await,
            upkeep.remove_due().await,
            upkeep.shorten_active().await,
            upkeep.shorten_old().await,
        ] {
            match done {
                Ok(()) => {}
                // Tried again soon.
                Err(Error::Overloaded | Error::StorageFull) => {}
                Err(Error::ShuttingDown) => return,
                Err(error) => tracing::error!(%error, "old events cannot be removed"),
            }
        }
    }
}

struct Upkeep {
    store: Store,
    hub: Hub,
    writer: Writer,
    clock: Clock,
    retention: Retention,
    /// Of those tenants that inserted something since the start.
    tails: HashMap<TenantName, Tail>,
    /// After which tenant the search for old events goes on.
    next: Option<TenantName>,
    /// What may yet have to go, with streams that have gone for good.
    gone: Vec<RemoveOf>,
    /// Whether every tenant has been looked at since the start: before it, more may have been kept than now.
    all_seen: bool,
    pause_until: Option<Instant>,
}

/// How many events of a tenant are kept in exact order.
struct Tail {
    events: usize,
    /// Up to here they were counted from the disk.
    counted_to: Position,
}

impl Upkeep {
    /// Runs something that blocks on the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.store.clone();
        spawn_blocking(move || read(&store)).await.map_err(|error| Error::Internal(error.to_string()))?
    }

    /// Takes those whose grace is over for gone, and removes what was to last while they were connected.
    async fn remove_gone(&mut self) -> Result<(), Error> {
        self.gone.extend(self.hub.take_gone());
        while let Some(removal) = self.gone.last().cloned() {
            let stream = removal.stream.get();
            if self.read(move |store| store.has_bound(stream)).await? {
                self.writer.submit(removal).await?;
            }
            // Not before it is done: what fails now is tried again.
            self.gone.pop();
        }
        Ok(())
    }

    async fn remove_due(&self) -> Result<(), Error> {
        let now = self.clock.now();
        if self.read(move |store| store.has_due(now)).await? {
            while self.writer.submit(RemoveDue).await? {}
        }
        Ok(())
    }

    /// Keeps the tails of those who insert within their number.
    async fn shorten_active(&mut self) -> Result<(), Error> {
        for (tenant, positions) in self.store.activity().take() {
            if !self.tails.contains_key(&tenant) {
                let of = tenant.clone();
                let (events, counted_to) = self.read(move |store| store.tail_length(&of)).await?;
                self.tails.insert(tenant.clone(), Tail { events, counted_to });
            }
            if let Some(tail) = self.tails.get_mut(&tenant) {
                // Those up to there have been counted already.
                tail.events += positions.iter().filter(|position| **position > tail.counted_to).count();
            }
        }
        let is_too_long = |tail: &Tail| tail.events > self.retention.events;
        let too_long: Vec<_> =
            self.tails.iter().filter(|(_, tail)| is_too_long(tail)).map(|(tenant, _)| tenant.clone()).collect();
        for tenant in too_long {
            self.shorten(&tenant).await?;
        }
        Ok(())
    }

    /// Looks at some more tenants for events that are too old.
    async fn shorten_old(&mut self) -> Result<(), Error> {
        if self.pause_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let began = Instant::now();
        let (after, before) = (self.next.take(), self.retention.before(self.clock.now()));
        let at_most = (!self.all_seen).then_some(self.retention.events);
        let (long, last) = self.read(move |store| tenants_with_too_much(store, after, before, at_most)).await?;
        self.all_seen |= last.is_none();
        self.next = last;
        for (tenant, tail) in long {
            if let Some(tail) = tail {
                self.tails.entry(tenant.clone()).or_insert(tail);
            }
            self.shorten(&tenant).await?;
        }
        let pause = if self.next.is_some() { began.elapsed() * PAUSE } else { self.retention.between_looks() };
        self.pause_until = Some(Instant::now() + pause);
        Ok(())
    }

    async fn shorten(&mut self, tenant: &TenantName) -> Result<(), Error> {
        loop {
            let events = self.tails.get(tenant).map_or(0, |tail| tail.events);
            let surplus = events.saturating_sub(self.retention.events);
            let change = Shorten { tenant: tenant.clone(), surplus, retention: self.retention };
            let Shortened { by, is_done } = self.writer.submit(change).await?;
            if let Some(tail) = self.tails.get_mut(tenant) {
                tail.events = tail.events.saturating_sub(by);
            }
            if is_done {
                return Ok(());
            }
        }
    }
}

/// A tenant that has too much, and how long its tail is where it was counted.
type TooMuch = (TenantName, Option<Tail>);

/// The next tenants that have events from before a moment, or more than a number where one is given; and after which tenant
/// the search goes on, `None` at the end.
fn tenants_with_too_much(
    store: &Store,
    mut after: Option<TenantName>,
    before: Timestamp,
    at_most: Option<usize>,
) -> Result<(Vec<TooMuch>, Option<TenantName>), Error> {
    let mut too_much = Vec::new();
    for _ in 0..TENANTS_AT_ONCE {
        let Some(tenant) = store.next_tenant(after.as_ref())? else { return Ok((too_much, None)) };
        let counted = at_most.map(|at_most| Ok((store.tail_length(&tenant)?, at_most))).transpose()?;
        match counted {
            Some(((events, counted_to), at_most)) if events > at_most => {
                too_much.push((tenant.clone(), Some(Tail { events, counted_to })));
            }
            _ if store.has_events_from_before(&tenant, before)? => too_much.push((tenant.clone(), None)),
            _ => {}
        }
        after = Some(tenant);
    }
    Ok((too_much, after))
}

/// Removes what has expired, and forgets answers that nobody will ask for again; whether there is more.
struct RemoveDue;

impl Change for RemoveDue {
    type Outcome = bool;

    fn decide(self, batch: &mut Batch<'_>) -> Result<bool, Error> {
        let expired = batch.remove_expired(STEP)?;
        let answers = batch.forget_answers(STEP)?;
        Ok(expired || answers)
    }
}

struct Shorten {
    tenant: TenantName,
    surplus: usize,
    retention: Retention,
}

impl Change for Shorten {
    type Outcome = Shortened;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Shortened, Error> {
        let before = self.retention.before(batch.now());
        batch.shorten(&self.tenant, self.surplus, before, STEP)
    }
}
