use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::clock::Clock;
use crate::error::Error;
use crate::store::{Found, Lane, Search, Store};
use crate::writer::{Change, Writer};

/// How often a loop looks for something to do after a round in which there was nothing.
pub const EVERY: Duration = Duration::from_millis(200);
/// How many events one step removes at most, if fewer than half as many have been inserted since the step before.
const STEP: usize = 256;

/// How many events one step may remove, if so many have been inserted since the one before. So an insert seldom waits for more than a
/// few of them, and what is to be removed does not grow however much is inserted.
pub fn step(inserted: usize) -> usize {
    STEP.max(inserted.saturating_mul(2))
}

/// Whether a round has left something to do.
pub enum Round {
    /// Nothing, for now.
    Done,
    /// There is more of it.
    Goes,
}

/// What every round works with.
#[derive(Clone)]
pub struct Desk {
    pub store: Store,
    pub writer: Writer,
    pub clock: Clock,
}

impl Desk {
    /// Runs something that blocks on the disk.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.store.read_on(&Lane::MAINTENANCE, read).await?
    }

    /// Has the writer change some rows, all of them in one change. If that needs a value that is damaged, the rows are halved until the
    /// damaged one is left alone. Returns the outcomes of the changes.
    pub async fn with_each<C: Change>(
        &self,
        rows: Vec<Vec<u8>>,
        change: impl Fn(Vec<Vec<u8>>) -> C,
    ) -> Result<Vec<C::Outcome>, Error> {
        let (mut parts, mut outcomes) = (vec![rows], Vec::new());
        while let Some(mut rows) = parts.pop() {
            let done = self.writer.submit(change(rows.clone())).await;
            let is_damaged = matches!(done, Err(Error::Damaged(_)));
            if is_damaged && rows.len() > 1 {
                let rest = rows.split_off(rows.len() / 2);
                parts.extend([rest, rows]);
            } else {
                outcomes.extend(self.store.unless_damaged(done)?);
            }
        }
        Ok(outcomes)
    }

    /// Continues a search, and has the writer change what it finds. Returns whether there is more, and the outcomes of the changes.
    pub async fn remove_found<C: Change>(
        &self,
        search: &mut Search,
        at_most: usize,
        change: impl Fn(Vec<Vec<u8>>) -> C,
    ) -> Result<(bool, Vec<C::Outcome>), Error> {
        let (from, now) = (search.clone(), self.clock.now());
        let Found { keys, is_more, rest } = self.read(move |store| store.find(&from, now, at_most)).await?;
        let outcomes = if keys.is_empty() { Vec::new() } else { self.with_each(keys, change).await? };
        // Not before it is done: a step that fails is tried again.
        *search = rest;
        Ok((is_more, outcomes))
    }
}

/// Waits between the rounds of one loop.
pub struct Pace(Interval);

impl Pace {
    /// The first round may begin at once.
    pub fn new() -> Self {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(ticks)
    }

    /// Waits until the next round may begin. Returns whether there is one.
    pub async fn goes_on(&mut self, round: Result<Round, Error>) -> bool {
        match round {
            // At once: each round waited for a commit.
            Ok(Round::Goes) => return true,
            Ok(Round::Done) => {}
            // Tried again soon.
            Err(error) if error.passes() => {}
            Err(Error::ShuttingDown) => return false,
            Err(error) => tracing::error!(%error, "old events cannot be removed"),
        }
        self.0.tick().await;
        true
    }
}
