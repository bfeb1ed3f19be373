use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::inbox::{Inbox, Item};
use crate::domain::Position;
use crate::events::Ending;

/// How many events are set aside at most for members that alone may see them and take no more for now. Others are given the events that
/// follow meanwhile. Only their positions and names are kept.
const MAX_ASIDE: usize = 100;
/// How many of the events that wait for a member are looked at for one that takes more.
const LOOKED_AT: usize = 1000;

/// Says whether a member may see events of a name, as it is now.
pub type MaySee = Box<dyn FnMut(&str) -> bool + Send>;

/// The members of a share, and what waits for them.
#[derive(Default)]
pub struct State {
    members: HashMap<u64, Member>,
    last: u64,
    /// Those that take more, by when it is their turn.
    ready: BTreeMap<u64, u64>,
    last_turn: u64,
    /// What waits for a member that may see it: what others have not taken or not acknowledged, and what was set aside.
    waiting: BTreeMap<Position, Box<str>>,
    /// Whether the stream waits.
    is_blocked: bool,
    has_ended: bool,
    stream: Option<Waker>,
}

struct Member {
    inbox: Arc<Inbox>,
    slot: u32,
    may_see: MaySee,
    room: usize,
    turn: Option<u64>,
}

impl State {
    pub fn join(&mut self, inbox: Arc<Inbox>, slot: u32, may_see: MaySee) -> u64 {
        self.last += 1;
        self.members.insert(self.last, Member { inbox, slot, may_see, room: 0, turn: None });
        self.last
    }

    /// Takes a member out. Returns whether it was the last one.
    pub fn leave(&mut self, member: u64) -> bool {
        if let Some(turn) = self.members.remove(&member).and_then(|member| member.turn) {
            self.ready.remove(&turn);
        }
        if self.members.is_empty() {
            self.waiting.clear();
            self.has_ended = true;
        } else {
            self.forget_unseen();
        }
        self.unblock();
        self.members.is_empty()
    }

    /// What a member may see is said by this from now on.
    pub fn renew(&mut self, member: u64, may_see: MaySee) {
        if let Some(member) = self.members.get_mut(&member) {
            member.may_see = may_see;
        }
        self.forget_unseen();
        self.unblock();
    }

    /// What waits and nobody may see any more is for nobody.
    fn forget_unseen(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|_, topic| self.may_any_see(topic));
        self.waiting = waiting;
    }

    fn unblock(&mut self) {
        self.is_blocked = false;
        if let Some(stream) = self.stream.take() {
            stream.wake();
        }
    }

    pub fn may_see(&mut self, member: u64, topic: &str) -> bool {
        self.members.get_mut(&member).is_some_and(|member| (member.may_see)(topic))
    }

    fn may_any_see(&mut self, topic: &str) -> bool {
        self.members.values_mut().any(|member| (member.may_see)(topic))
    }

    /// The next member in turn that takes more and may see an event. It takes one less then, and the others have their turn before it.
    fn next_for(&mut self, topic: &str) -> Option<&Member> {
        let Self { members, ready, last_turn, .. } = self;
        let may_see = |member: &u64| members.get_mut(member).is_some_and(|member| (member.may_see)(topic));
        let (turn, id) = ready.iter().map(|(turn, id)| (*turn, *id)).find({
            let mut may_see = may_see;
            move |(_, id)| may_see(id)
        })?;
        ready.remove(&turn);
        let member = members.get_mut(&id)?;
        member.room -= 1;
        member.turn = (member.room > 0).then(|| {
            *last_turn += 1;
            ready.insert(*last_turn, id);
            *last_turn
        });
        Some(member)
    }

    /// Gives an event to a member. Returns whether it is done with; if not, the stream waits.
    pub fn take(&mut self, position: Position, topic: &str, record: impl FnOnce() -> Bytes) -> bool {
        if self.ready.is_empty() && !self.members.is_empty() {
            self.is_blocked = true;
            return false;
        }
        if let Some(member) = self.next_for(topic) {
            let record = member.inbox.has_room().then(record);
            member.inbox.put(member.slot, Item { position, topic: topic.into(), record });
            return true;
        }
        if !self.may_any_see(topic) {
            return true;
        }
        self.is_blocked = self.waiting.len() >= MAX_ASIDE;
        if !self.is_blocked {
            self.waiting.insert(position, topic.into());
        }
        !self.is_blocked
    }

    /// A member takes so many events more than it has been given.
    pub fn offer(&mut self, member: u64, room: usize) {
        let Self { members, ready, waiting, last_turn, .. } = self;
        let (Some(of), id) = (members.get_mut(&member), member) else { return };
        of.room = room;
        if room > 0 {
            let mut may_see = |topic: &str| (of.may_see)(topic);
            let given: Vec<_> = waiting.iter().take(LOOKED_AT).filter(|(_, topic)| may_see(topic)).take(room).collect();
            let given: Vec<_> = given.into_iter().map(|(position, _)| *position).collect();
            for position in given {
                let Some(topic) = waiting.remove(&position) else { continue };
                of.room -= 1;
                of.inbox.put(of.slot, Item { position, topic, record: None });
            }
        }
        match of.turn {
            Some(turn) if of.room == 0 => {
                ready.remove(&turn);
                of.turn = None;
            }
            None if of.room > 0 => {
                *last_turn += 1;
                ready.insert(*last_turn, id);
                of.turn = Some(*last_turn);
            }
            _ => {}
        }
        if self.is_blocked && !self.ready.is_empty() {
            self.unblock();
        }
    }

    /// Gives to others what a member has not taken or not acknowledged.
    pub fn give_back(&mut self, items: Vec<Item>) {
        for Item { position, topic, .. } in items {
            if let Some(member) = self.next_for(&topic) {
                member.inbox.put(member.slot, Item { position, topic, record: None });
            } else if self.may_any_see(&topic) {
                self.waiting.insert(position, topic);
            }
        }
    }

    /// Whether its stream has ended, or nobody is there.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub fn end(&mut self, ending: Ending) {
        self.has_ended = true;
        self.members.values().for_each(|member| member.inbox.end(ending));
    }

    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_blocked && !self.has_ended {
            self.stream = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.stream = Some(context.waker().clone());
        if self.has_ended { Poll::Ready(()) } else { Poll::Pending }
    }
}
