use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;

use crate::domain::Position;
use crate::events::Ending;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many bytes of records wait for a connection at least before others are put in without theirs, and are read when it takes them.
const MAX_RECORDS_BYTES: usize = 64 << 10;

/// What a connection is given by the shares that it is a member of. Each of those puts no more in than the connection takes.
#[derive(Default)]
pub struct Inbox(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    items: VecDeque<(u32, Item)>,
    /// How many bytes their records have.
    bytes: usize,
    ended: Option<Ending>,
    waker: Option<Waker>,
}

/// An event that goes to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its position.
    pub position: Position,
    /// Its name.
    pub topic: Box<str>,
    /// It, as it is given; `None` if it is to be read, since it was given to somebody else before or much waits.
    pub record: Option<Bytes>,
}

impl Item {
    /// How many bytes its record has here.
    fn bytes(&self) -> usize {
        self.record.as_ref().map_or(0, Bytes::len)
    }
}

impl Inbox {
    /// Whether there is room for a record, of whatever size.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.0).bytes < MAX_RECORDS_BYTES
    }

    pub(super) fn put(&self, slot: u32, item: Item) {
        let waker = {
            let mut inner = lock(&self.0);
            inner.bytes += item.bytes();
            inner.items.push_back((slot, item));
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn end(&self, ending: Ending) {
        let waker = {
            let mut inner = lock(&self.0);
            inner.ended = Some(ending);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes what there is, each with the slot of its membership; and how the stream of a share has ended, if one has. Has the task woken
    /// when there is more.
    pub fn take(&self, waker: &Waker) -> (VecDeque<(u32, Item)>, Option<Ending>) {
        let mut inner = lock(&self.0);
        inner.waker = Some(waker.clone());
        inner.bytes = 0;
        (std::mem::take(&mut inner.items), inner.ended)
    }

    /// Takes what is there for one membership.
    pub fn take_of(&self, slot: u32) -> Vec<Item> {
        let mut inner = lock(&self.0);
        let (of_slot, others): (Vec<_>, _) =
            std::mem::take(&mut inner.items).into_iter().partition(|(of, _)| *of == slot);
        inner.bytes = others.iter().map(|(_, item)| item.bytes()).sum();
        inner.items = others.into();
        of_slot.into_iter().map(|(_, item)| item).collect()
    }
}
