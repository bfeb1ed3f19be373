//! The shared subscriptions of one client (MQTT 5.0, 4.8.2).

mod sink;

use std::collections::HashMap;
use std::future::Future;
use std::num::{NonZeroU16, NonZeroU32};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use super::packet::Qos;
use crate::app::{App, EventsAt, Inbox, Item, Membership, Share};
use crate::domain::{Position, SharedFilter};
use crate::error::Error;
use crate::events::Ending;
use crate::identity::Principal;

use sink::ShareSink;

/// How a client is given what it shares.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// With which QoS at most.
    pub qos: Qos,
    /// Whether a message says what its publisher said of RETAIN.
    pub retain_as_published: bool,
    /// What the client knows the subscription by.
    pub id: Option<NonZeroU32>,
}

/// The shared subscriptions of a client, and what of them is on its way to it. When this is dropped, other members are given what the
/// client has not acknowledged, but for messages of QoS 2: nobody else may be given those (MQTT 5.0, 4.8.2-5).
#[derive(Default)]
pub struct Memberships {
    inbox: Arc<Inbox>,
    of_client: Vec<OfClient>,
    /// Of which shares the client is no member any more, while events of theirs are being read.
    left: Vec<(u32, Arc<Share>)>,
    last_slot: u32,
    /// What was sent and is not acknowledged, or not wholly.
    sent: HashMap<NonZeroU16, Sent>,
    /// What was given to others before, and is to be read.
    pub to_read: Vec<(u32, Item)>,
    /// What is being read.
    pub reading: Option<Reading>,
    /// How many messages more the client takes, as its shares know it.
    room: usize,
}

struct OfClient {
    slot: u32,
    shared: SharedFilter,
    options: Options,
    member: Membership,
}

struct Sent {
    share: Arc<Share>,
    position: Position,
    topic: Box<str>,
    qos: Qos,
}

/// Events that are read for a client.
pub struct Reading {
    /// What is read, each with the slot of its membership.
    pub items: Vec<(u32, Item)>,
    /// Reads the records of the first ones, of those that are there.
    pub records: Pin<Box<dyn Future<Output = Result<EventsAt, Error>>>>,
}

impl std::fmt::Debug for Memberships {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memberships").field("sent", &self.sent.len()).finish_non_exhaustive()
    }
}

impl Memberships {
    /// Those of a session that goes on; `None` if it has none.
    ///
    /// # Errors
    /// Those of [`App::join_share`].
    pub fn of(
        app: &App,
        principal: &Principal,
        shares: Vec<(SharedFilter, Options)>,
    ) -> Result<Option<Box<Self>>, Error> {
        let mut memberships = Self::default();
        for (shared, options) in shares {
            memberships.put(app, principal, shared, options)?;
        }
        Ok((memberships.len() > 0).then(|| Box::new(memberships)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of_client.len()
    }

    /// Whether there is one of this share.
    pub fn contains(&self, shared: &SharedFilter) -> bool {
        self.of_client.iter().any(|one| one.shared == *shared)
    }

    /// Becomes a member, or one with other options. Returns whether it was none.
    ///
    /// # Errors
    /// Those of [`App::join_share`].
    pub fn put(
        &mut self,
        app: &App,
        principal: &Principal,
        shared: SharedFilter,
        options: Options,
    ) -> Result<bool, Error> {
        if let Some(known) = self.of_client.iter_mut().find(|one| one.shared == shared) {
            known.options = options;
            return Ok(false);
        }
        self.last_slot = self.last_slot.wrapping_add(1);
        let slot = self.last_slot;
        let member = app.join_share(principal, &shared, (&self.inbox, slot), ShareSink::new)?;
        member.offer(self.room);
        self.of_client.push(OfClient { slot, shared, options, member });
        Ok(true)
    }

    /// Is no member any more. What was sent stays with the client, which may still acknowledge it (MQTT 5.0, 3.10.4-3). Returns whether it
    /// was one.
    pub fn remove(&mut self, shared: &SharedFilter) -> bool {
        let Some(at) = self.of_client.iter().position(|one| one.shared == *shared) else { return false };
        let OfClient { slot, member, .. } = self.of_client.swap_remove(at);
        let share = Arc::clone(member.share());
        // First, so that nothing more is given to it.
        drop(member);
        let to_read = self.to_read.extract_if(.., |(of, _)| *of == slot).map(|(_, item)| item);
        share.give_back(self.inbox.take_of(slot).into_iter().chain(to_read).collect());
        if self.reading.as_ref().is_some_and(|reading| reading.items.iter().any(|(of, _)| *of == slot)) {
            self.left.push((slot, share));
        }
        true
    }

    /// The share whose events come, or came, under a slot.
    fn share(&self, slot: u32) -> Option<&Arc<Share>> {
        let of_client = self.of_client.iter().map(|one| (one.slot, one.member.share()));
        let left = self.left.iter().map(|(slot, share)| (*slot, share));
        of_client.chain(left).find(|(of, _)| *of == slot).map(|(_, share)| share)
    }

    /// The client has authenticated again. The token of a guest may permit less than the one before, or more.
    pub fn renew(&self, app: &App, principal: &Principal) {
        self.of_client.iter().for_each(|one| app.renew_membership(principal, &one.member));
    }

    /// Takes what is for the client; and how the stream of a share has ended, if one has. Has the task woken when there is more.
    pub fn take(&mut self, waker: &Waker) -> (Vec<(u32, Item)>, Option<Ending>) {
        let (items, ended) = self.inbox.take(waker);
        (items.into(), ended)
    }

    /// How a client is given what comes under a slot, if it may see it, as it is now.
    pub fn options(&self, slot: u32, topic: &str) -> Option<Options> {
        let one = self.of_client.iter().find(|one| one.slot == slot)?;
        one.member.may_see(topic).then_some(one.options)
    }

    /// Gives to others what the client does not take.
    pub fn give_back(&mut self, items: impl IntoIterator<Item = (u32, Item)>) {
        for (slot, item) in items {
            if let Some(share) = self.share(slot) {
                share.give_back(vec![item]);
            }
        }
        if self.reading.is_none() {
            self.left.clear();
        }
    }

    /// The client takes so many messages more. `has_taken` says that it was given some meanwhile.
    pub fn offer(&mut self, room: usize, has_taken: bool) {
        if room != self.room || has_taken {
            self.room = room;
            self.of_client.iter().for_each(|one| one.member.offer(room));
        }
    }

    /// A message that came under a slot is on its way.
    pub fn sent(&mut self, slot: u32, id: NonZeroU16, (position, topic): (Position, &str), qos: Qos) {
        if let Some(share) = self.share(slot).cloned() {
            self.sent.insert(id, Sent { share, position, topic: topic.into(), qos });
        }
    }

    /// Whether a message on its way goes to nobody else: it does not with QoS 2.
    pub fn set_qos(&mut self, id: NonZeroU16, qos: Qos) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.qos = qos;
        }
    }

    /// Whether a message on its way goes to another member when the connection ends.
    pub fn goes_on(&self, id: NonZeroU16) -> bool {
        self.sent.get(&id).is_some_and(|sent| sent.qos == Qos::AtLeastOnce)
    }

    /// Whether a message on its way is of a share.
    pub fn has_sent(&self, id: NonZeroU16) -> bool {
        self.sent.contains_key(&id)
    }

    /// A message is acknowledged.
    pub fn done(&mut self, id: NonZeroU16) {
        self.sent.remove(&id);
    }

    /// How many events are being read, or are to be.
    pub fn being_read(&self) -> usize {
        self.to_read.len() + self.reading.as_ref().map_or(0, |reading| reading.items.len())
    }
}

impl Drop for Memberships {
    fn drop(&mut self) {
        let mut back: Vec<(Arc<Share>, Vec<Item>)> = Vec::new();
        let mut give = |share: Arc<Share>, item: Item| match back.iter_mut().find(|(of, _)| Arc::ptr_eq(of, &share)) {
            Some((_, items)) => items.push(item),
            None => back.push((share, vec![item])),
        };
        for Sent { share, position, topic, qos } in std::mem::take(&mut self.sent).into_values() {
            if qos == Qos::AtLeastOnce {
                give(share, Item { position, topic, record: None });
            }
        }
        let being_read = self.reading.take().map(|reading| reading.items).unwrap_or_default();
        for (slot, item) in being_read.into_iter().chain(std::mem::take(&mut self.to_read)) {
            if let Some(share) = self.share(slot) {
                give(Arc::clone(share), item);
            }
        }
        for OfClient { slot, member, .. } in std::mem::take(&mut self.of_client) {
            let share = Arc::clone(member.share());
            // First, so that nothing is given back to it.
            drop(member);
            self.inbox.take_of(slot).into_iter().for_each(|item| give(Arc::clone(&share), item));
        }
        for (share, mut items) in back {
            // Each gets them in their order (MQTT 5.0, 4.6.0).
            items.sort_unstable_by_key(|item| item.position);
            share.give_back(items);
        }
    }
}
