//! What is to be done without anybody asking: what has expired is removed, and what is too old is forgotten. In the background,
//! in small steps through the writer, so that inserts do not wait.
//!
//! What is `due` and the `retention` of what was superseded have a loop each, so that neither waits for the other. What is to go
//! is looked for outside the writer, which is given it to remove. A step is [`STEP`] events, or twice as many as were inserted
//! since the one before: so an insert seldom waits for more than a few of them, and what is to go does not grow however
//! much is inserted.

mod due;
mod retention;

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use self::due::Due;
use self::retention::Tails;
use super::hub::Hub;
use crate::clock::Clock;
use crate::error::Error;
use crate::store::{Lane, Store};
use crate::writer::{Change, Writer};

pub use self::retention::Retention;

/// How often it is looked for something to do, where there was nothing.
const EVERY: Duration = Duration::from_millis(200);
/// How many events one step removes at most, where fewer than half as many have been inserted since the one before.
const STEP: usize = 256;

/// How many events one step may remove, where so many have been inserted since the one before.
fn step(inserted: usize) -> usize {
    STEP.max(inserted.saturating_mul(2))
}

/// What there is to do after a round.
enum Round {
    /// Nothing, for now.
    Done,
    /// There is more of it.
    Goes,
}

/// Does what is due, for as long as the server lives.
pub async fn keep_up(hub: Hub, writer: Writer, clock: Clock, retention: Retention) {
    let desk = Desk { store: hub.store().clone(), writer, clock };
    let (mut due, mut tails) = (Due::new(hub, desk.clone()), Tails::new(desk, retention));
    let due = async {
        let mut pace = Pace::new();
        while pace.goes_on(due.round().await).await {}
    };
    let retention = async {
        let mut pace = Pace::new();
        while pace.goes_on(tails.round().await).await {}
    };
    tokio::join!(due, retention);
}

/// What both loops work with.
#[derive(Clone)]
struct Desk {
    store: Store,
    writer: Writer,
    clock: Clock,
}

impl Desk {
    /// Runs something that blocks on the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.store.read_on(&Lane::MAINTENANCE, read).await?
    }

    /// Has the writer do something with some rows: what the changes came to. It is done once with all of them; where one of them
    /// needs a value that is damaged, with parts of them, until that one alone is left over.
    async fn with_each<C: Change>(
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
}

/// When the next round is.
struct Pace(Interval);

impl Pace {
    fn new() -> Self {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(ticks)
    }

    /// Waits for it; whether there is one.
    async fn goes_on(&mut self, round: Result<Round, Error>) -> bool {
        match round {
            // At once: each round waited for a commit.
            Ok(Round::Goes) => return true,
            Ok(Round::Done) => {}
            // Tried again soon.
            Err(Error::Overloaded | Error::StorageFull) => {}
            Err(Error::ShuttingDown) => return false,
            Err(error) => tracing::error!(%error, "old events cannot be removed"),
        }
        self.0.tick().await;
        true
    }
}

#[cfg(test)]
mod tests;
