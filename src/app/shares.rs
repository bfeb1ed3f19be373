//! Shared subscriptions of MQTT (MQTT 5.0, 4.8.2): one subscriber with many hands.
//!
//! A [`Share`] has one stream, which runs on the thread of its first member and goes on until its last one leaves, wherever that is. Each
//! event goes to the next member in turn that takes more and may see it. If none takes more, the stream waits at its position, as that of
//! any slow client does: nothing is queued but what members are about to take.

mod inbox;
mod open;
mod state;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::domain::{Position, SharedFilter, TenantName, Username};
use crate::error::Error;
use crate::events::Ending;

use inbox::lock;
use state::State;

pub use inbox::{Inbox, Item};
use state::MaySee;

/// What a share is known by: its tenant, its group and filter; and the owner of the inbox that the filter is in, if it is in one.
type Key = (TenantName, SharedFilter, Option<Username>);

/// The shares of a server: a cheap clone, used by all threads.
#[derive(Clone, Default)]
pub struct Shares(Arc<Mutex<HashMap<Key, Arc<Share>>>>);

/// A shared subscription, from its first member to its last one.
pub struct Share {
    state: Mutex<State>,
}

/// A member of a share, until this is dropped.
pub struct Membership {
    shares: Shares,
    key: Key,
    share: Arc<Share>,
    member: u64,
}

impl Shares {
    /// Adds a member, which is given what is for it in its inbox under this slot. `open` opens the stream of a share that has none yet.
    fn join(
        &self,
        key: Key,
        (inbox, slot): (&Arc<Inbox>, u32),
        may_see: MaySee,
        open: impl FnOnce(&Arc<Share>) -> Result<(), Error>,
    ) -> Result<Membership, Error> {
        let mut all = lock(&self.0);
        let share = match all.entry(key.clone()) {
            Entry::Occupied(entry) if !lock(&entry.get().state).has_ended() => Arc::clone(entry.get()),
            entry => {
                let share = Arc::new(Share { state: Mutex::default() });
                open(&share)?;
                Arc::clone(entry.insert_entry(share).get())
            }
        };
        let member = lock(&share.state).join(Arc::clone(inbox), slot, may_see);
        drop(all);
        Ok(Membership { shares: self.clone(), key, share, member })
    }
}

impl Share {
    /// Gives an event to a member. Returns whether it is done with: if not, the stream waits.
    pub fn take(&self, position: Position, topic: &str, record: impl FnOnce() -> Bytes) -> bool {
        lock(&self.state).take(position, topic, record)
    }

    /// Becomes ready when some member may take the event that waits. Wakes as a future does.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        lock(&self.state).poll_ready(context)
    }

    /// Becomes ready when the last member has left. Wakes as a future does.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        lock(&self.state).poll_gone(context)
    }

    /// Its stream has ended: its members are told.
    pub fn end(&self, ending: Ending) {
        lock(&self.state).end(ending);
    }

    /// Gives to other members what one has not taken, or not acknowledged.
    pub fn give_back(&self, items: Vec<Item>) {
        lock(&self.state).give_back(items);
    }
}

impl Membership {
    /// The share.
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Whether the member may see events of this name, as it is now.
    pub fn may_see(&self, topic: &str) -> bool {
        lock(&self.share.state).may_see(self.member, topic)
    }

    /// What the member may see is said by this from now on.
    fn renew(&self, may_see: MaySee) {
        lock(&self.share.state).renew(self.member, may_see);
    }

    /// The member takes so many events more, beside what is in its inbox by now.
    pub fn offer(&self, room: usize) {
        lock(&self.share.state).offer(self.member, room);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // Nobody joins a share as its last member leaves it.
        let mut all = lock(&self.shares.0);
        let is_last = lock(&self.share.state).leave(self.member);
        // Another one has its place if its stream had ended.
        if is_last && all.get(&self.key).is_some_and(|share| Arc::ptr_eq(share, &self.share)) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
