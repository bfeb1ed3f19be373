//! Checks the deliveries: each subscriber receives every event exactly once, and in one order if the server promises
//! that.

use super::Audience;
use crate::Result;

/// Checks each receipt against those of the other subscribers.
///
/// The server may order publishes that are in flight together as it likes. So the first subscriber in a room to
/// receive its nth event decides which event that is, and all others must receive it as their nth, or at any time if
/// the server keeps no order.
pub struct Ledger {
    keeps_order: bool,
    first_number: u32,
    others_publish: bool,
    rooms: Vec<Room>,
    /// Indexed by subscriber.
    subscribers: Vec<Progress>,
    /// Indexed by number: the room that the event was published to, until a subscriber has received it. If others
    /// publish, numbers that are not yet known follow.
    outstanding: Vec<Option<u32>>,
    /// The number of events that their whole room has received.
    pub completed: u64,
}

struct Progress {
    room: u32,
    /// How many events it has received, counted from the first in the room's order.
    heard: u32,
    /// Positions, in the room's order, of events that it received before earlier ones.
    early: Vec<usize>,
}

#[derive(Default)]
struct Room {
    members: u32,
    /// The nth event, and how many subscribers have yet to receive it.
    order: Vec<(u32, u32)>,
}

impl Room {
    /// The position of a number in the order, or the position at which it would be added.
    fn nth(&self, number: u32) -> usize {
        // Searches from the end, since it is one of the last.
        self.order.iter().rposition(|(known, _)| *known == number).unwrap_or(self.order.len())
    }
}

impl Ledger {
    /// A ledger for those subscribers of an audience that read, from the first number on. If others publish, there is
    /// one room.
    pub fn new(
        audience: &Audience,
        readers: std::ops::Range<usize>,
        first_number: u32,
        others_publish: bool,
        keeps_order: bool,
    ) -> Self {
        let mut rooms: Vec<_> = (0..audience.rooms).map(|_| Room::default()).collect();
        let subscribers = readers.map(|subscriber| {
            let room = audience.room_of(subscriber);
            rooms[room].members += 1;
            Progress { room: u32::try_from(room).unwrap_or(u32::MAX), heard: 0, early: Vec::new() }
        });
        let subscribers = subscribers.collect();
        Self { keeps_order, first_number, others_publish, rooms, subscribers, outstanding: Vec::new(), completed: 0 }
    }

    /// The number of the next publish.
    pub fn next_number(&self) -> u32 {
        self.first_number + u32::try_from(self.outstanding.len()).unwrap_or(u32::MAX)
    }

    /// Records a publish of the next number.
    pub fn published(&mut self, room: usize) {
        self.outstanding.push(u32::try_from(room).ok());
    }

    /// Records that a subscriber received a number. Returns whether the crowd itself published it.
    ///
    /// # Errors
    /// If it is not the event that must come next, or was received before.
    pub fn received(&mut self, subscriber: usize, number: u32) -> Result<bool> {
        let Some(index) = number.checked_sub(self.first_number) else { return Ok(false) };
        let progress = &mut self.subscribers[subscriber];
        let room = &mut self.rooms[progress.room as usize];
        let nth = if self.keeps_order { progress.heard as usize } else { room.nth(number) };
        if nth < progress.heard as usize || progress.early.contains(&nth) {
            return Err(format!("subscriber {subscriber} got {number} twice"));
        }
        if let Some((expected, missing)) = room.order.get_mut(nth) {
            if *expected != number {
                return Err(format!("subscriber {subscriber} got {number} as event {nth}, others got {expected}"));
            }
            *missing -= 1;
            self.completed += u64::from(*missing == 0);
        } else {
            let index = index as usize;
            if self.others_publish && index >= self.outstanding.len() {
                self.outstanding.resize(index + 1, Some(progress.room));
            }
            if self.outstanding.get_mut(index).and_then(Option::take) != Some(progress.room) {
                return Err(format!("subscriber {subscriber} got {number}, a repeat or an event for others"));
            }
            room.order.push((number, room.members - 1));
            self.completed += u64::from(room.members == 1);
        }
        if nth == progress.heard as usize {
            progress.heard += 1;
            while let Some(at) = progress.early.iter().position(|early| *early == progress.heard as usize) {
                progress.early.swap_remove(at);
                progress.heard += 1;
            }
        } else {
            progress.early.push(nth);
        }
        Ok(true)
    }

    /// Whether every subscriber has received this many events.
    pub fn all_heard(&self, count: u32) -> bool {
        self.subscribers.iter().all(|progress| progress.heard >= count)
    }

    /// A readable summary of the missing events.
    pub fn missing(&self) -> String {
        let most = |room: u32| self.rooms[room as usize].order.len();
        let behind =
            self.subscribers.iter().enumerate().filter(|(_, progress)| (progress.heard as usize) < most(progress.room));
        let first = behind.clone().next().map(|(subscriber, progress)| {
            format!("; subscriber {subscriber} has {} of {}", progress.heard, most(progress.room))
        });
        let unseen = self.outstanding.iter().filter(|room| room.is_some()).count();
        format!(
            "{} subscribers lack events, {unseen} events reached no subscriber{}",
            behind.count(),
            first.unwrap_or_default()
        )
    }
}
