use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::channel::Found;
use super::frame::{Frame, JOINED_BYTES};
use super::hub::Seat;
use super::outlet::Framing;
use super::reading::{Step, read_frames};
use super::relay::Local;
use super::subscription::Subscription;
use crate::domain::{EventFilter, Pattern, Position};
use crate::store::Replay;

/// How many connections are written to before others on the same thread get their turn: about half a millisecond.
const WRITES_IN_A_ROW: usize = 256;

/// What one worker has of a tenant: those of its subscriptions that wait for the next event, by what they want. It exists
/// while there is one.
pub struct Room {
    pub(super) seat: Seat,
    /// Up to here everybody who waits has been given everything.
    position: Cell<Position>,
    index: RefCell<Index>,
    local: Weak<Local>,
}

/// Subscriptions that get the same bytes: they want the same events in the same framing.
pub struct Class {
    pub(super) room: Rc<Room>,
    pub(super) filter: EventFilter,
    pub(super) framing: Framing,
    /// Those who have been given everything so far.
    live: RefCell<Vec<Rc<Subscription>>>,
    /// What is about to be written to them.
    frames: RefCell<Vec<Bytes>>,
}

/// The classes of a room, by which event names they want.
#[derive(Default)]
struct Index {
    classes: HashMap<(EventFilter, Framing), Weak<Class>>,
    of_all: Vec<Weak<Class>>,
    of_name: HashMap<String, Vec<Weak<Class>>>,
    of_prefix: HashMap<String, Vec<Weak<Class>>>,
    /// How many prefixes of each length there are: only those need be looked up.
    prefix_lengths: BTreeMap<usize, usize>,
}

impl Room {
    pub fn new(seat: Seat, local: Weak<Local>) -> Self {
        // Taken after the seat: what comes later is told.
        let position = Cell::new(seat.channel.end());
        Self { seat, position, index: RefCell::default(), local }
    }

    /// Up to here everybody who waits has been given everything.
    pub fn position(&self) -> Position {
        self.position.get()
    }

    /// Those who want the same.
    pub fn class(self: &Rc<Self>, filter: EventFilter, framing: Framing) -> Rc<Class> {
        let mut index = self.index.borrow_mut();
        let key = (filter.clone(), framing);
        if let Some(class) = index.classes.get(&key).and_then(Weak::upgrade) {
            return class;
        }
        let class = Rc::new(Class {
            room: Rc::clone(self),
            filter,
            framing,
            live: RefCell::default(),
            frames: RefCell::default(),
        });
        index.classes.insert(key, Rc::downgrade(&class));
        index.add(&class);
        class
    }

    /// Gives what is new to everybody who waits for it.
    pub async fn catch_up(&self, local: &Local) {
        loop {
            match self.seat.channel.between(self.position(), Position::END, JOINED_BYTES, |_| true) {
                Found::Nothing => return,
                Found::Frames(frames, until) => self.give(local, &frames, until).await,
                // More came than the channel keeps, before this worker had the time for it.
                Found::Behind => self.read_from_store(local).await,
            }
        }
    }

    /// Reads what the channel has no more, once for everybody.
    async fn read_from_store(&self, local: &Local) {
        let until = self.seat.store().head();
        let mut replay = Replay::new(self.seat.tenant().clone(), EventFilter::ALL, self.position(), until);
        loop {
            let failed = match read_frames(self.seat.store().clone(), replay).await {
                Ok(Step { replay: next, read: Ok(frames), more }) => {
                    self.give(local, &frames, next.position()).await;
                    if !more {
                        return;
                    }
                    replay = next;
                    continue;
                }
                Ok(Step { read: Err(error), .. }) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(
                tenant = %self.seat.tenant(),
                error = failed,
                "the streams of a tenant end because its events cannot be read"
            );
            self.position.set(until);
            for class in self.classes() {
                class.end();
            }
            return;
        }
    }

    async fn give(&self, local: &Local, frames: &[Frame], until: Position) {
        // Now that the events are here: sessions that ended before them have been told by now.
        local.end_sessions();
        let from = self.position.replace(until);
        for class in self.sort(frames) {
            class.serve(from, until).await;
        }
    }

    fn classes(&self) -> Vec<Rc<Class>> {
        self.index.borrow().classes.values().filter_map(Weak::upgrade).collect()
    }

    /// Hands frames to the classes that want them; those classes.
    fn sort(&self, frames: &[Frame]) -> Vec<Rc<Class>> {
        let mut wanting = Vec::new();
        let index = self.index.borrow();
        for frame in frames {
            index.each_wanting(frame.name.as_str(), &mut |class| {
                let mut of_class = class.frames.borrow_mut();
                // Two patterns of one filter may both want it.
                let is_same = |last: &Bytes| last.as_ptr() == frame.bytes.as_ptr();
                if of_class.last().is_some_and(is_same) {
                    return;
                }
                if of_class.is_empty() {
                    wanting.push(Rc::clone(&class));
                }
                of_class.push(frame.bytes.clone());
            });
        }
        wanting
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(local) = self.local.upgrade() {
            local.forget_room(self.seat.tenant());
        }
    }
}

impl Class {
    /// Adds a subscription that has been given everything up to the room's position, or a little more.
    pub fn add_live(&self, subscription: &Rc<Subscription>) {
        let mut live = self.live.borrow_mut();
        subscription.place.set(Some(live.len() as u32));
        live.push(Rc::clone(subscription));
    }

    /// Takes one out.
    pub fn remove_live(&self, subscription: &Subscription) {
        let Some(place) = subscription.place.take() else { return };
        let mut live = self.live.borrow_mut();
        let removed = live.swap_remove(place as usize);
        if let Some(moved) = live.get(place as usize) {
            moved.place.set(Some(place));
        }
        // Not to be dropped while the list is borrowed.
        drop(live);
        drop(removed);
    }

    fn end(&self) {
        let live = self.live.borrow().clone();
        live.iter().for_each(|subscription| subscription.end());
    }

    /// Writes what was collected to everybody, and lets others on this thread work in between.
    ///
    /// From the last to the first: who leaves meanwhile is replaced by the last, who has been served already and knows it;
    /// who comes meanwhile is at the end, and has read up to here by themselves.
    async fn serve(&self, from: Position, until: Position) {
        let frames = std::mem::take(&mut *self.frames.borrow_mut());
        let joined = self.framing.join(&frames);
        let mut next = self.live.borrow().len();
        let mut written = 0;
        while next > 0 {
            next -= 1;
            let subscription = self.live.borrow().get(next).cloned();
            let Some(subscription) = subscription else { continue };
            subscription.give(&joined, from, until);
            written += 1;
            if written % WRITES_IN_A_ROW == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        self.room.index.borrow_mut().remove(&self.filter, self.framing);
    }
}

impl Index {
    fn add(&mut self, class: &Rc<Class>) {
        let Some(patterns) = class.filter.patterns() else {
            return self.of_all.push(Rc::downgrade(class));
        };
        for pattern in patterns {
            let classes = match pattern {
                Pattern::Exact(name) => self.of_name.entry(name.as_str().to_owned()).or_default(),
                Pattern::Prefix(prefix) => {
                    let classes = self.of_prefix.entry(prefix.clone()).or_default();
                    if classes.is_empty() {
                        *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                    }
                    classes
                }
            };
            classes.push(Rc::downgrade(class));
        }
    }

    /// Forgets a class that is no more.
    fn remove(&mut self, filter: &EventFilter, framing: Framing) {
        let is_there = |class: &Weak<Class>| class.strong_count() > 0;
        self.classes.remove(&(filter.clone(), framing));
        let Some(patterns) = filter.patterns() else {
            return self.of_all.retain(is_there);
        };
        for pattern in patterns {
            match pattern {
                Pattern::Exact(name) => {
                    if let Some(classes) = self.of_name.get_mut(name.as_str()) {
                        classes.retain(is_there);
                        if classes.is_empty() {
                            self.of_name.remove(name.as_str());
                        }
                    }
                }
                Pattern::Prefix(prefix) => {
                    let Some(classes) = self.of_prefix.get_mut(prefix) else { continue };
                    classes.retain(is_there);
                    if classes.is_empty() {
                        self.of_prefix.remove(prefix);
                        self.forget_length(prefix.len());
                    }
                }
            }
        }
    }

    fn forget_length(&mut self, length: usize) {
        if let Some(prefixes) = self.prefix_lengths.get_mut(&length) {
            *prefixes -= 1;
            if *prefixes == 0 {
                self.prefix_lengths.remove(&length);
            }
        }
    }

    fn each_wanting(&self, name: &str, each: &mut impl FnMut(Rc<Class>)) {
        let mut offer = |classes: &[Weak<Class>]| classes.iter().filter_map(Weak::upgrade).for_each(&mut *each);
        offer(&self.of_all);
        if let Some(classes) = self.of_name.get(name) {
            offer(classes);
        }
        for length in self.prefix_lengths.keys() {
            // A prefix is whole characters, so one that ends inside a character is none.
            let Some(prefix) = name.get(..*length) else { continue };
            if let Some(classes) = self.of_prefix.get(prefix) {
                offer(classes);
            }
        }
    }
}
