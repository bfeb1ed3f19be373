//! Who has received what: everything, once, and in one order where the server promises that.

use super::Audience;
use crate::Result;

/// Checks each receipt against those of the others.
///
/// Publishes that were under way together may be ordered by the server as it likes, so the first in a room to receive
/// its nth event settles which that is, and everybody else must agree: receive it as their nth, or at some time where the
/// server keeps no order.
pub struct Ledger {
    keeps_order: bool,
    first_number: u32,
    others_publish: bool,
    rooms: Vec<Room>,
    /// By subscriber.
    seats: Vec<Seat>,
    /// By number: the room that it was published to, until somebody has received it. Where others publish, those that are
    /// not yet known follow.
    outstanding: Vec<Option<u32>>,
    /// How many have been received by all of their room.
    pub completed: u64,
}

struct Seat {
    room: u32,
    /// How many it has received, from the first in the room's order on.
    heard: u32,
    /// Where in the room's order are those that it received before others that come first there.
    early: Vec<usize>,
}

#[derive(Default)]
struct Room {
    members: u32,
    /// The nth event, and how many have yet to receive it.
    order: Vec<(u32, u32)>,
}

impl Room {
    /// Where a number is in the order, or would be added.
    fn nth(&self, number: u32) -> usize {
        // It is one of the last.
        self.order.iter().rposition(|(known, _)| *known == number).unwrap_or(self.order.len())
    }
}

impl Ledger {
    /// For those of an audience who read, from the first number on. What others publish is for one room.
    pub fn new(
        audience: &Audience,
        readers: std::ops::Range<usize>,
        first_number: u32,
        others_publish: bool,
        keeps_order: bool,
    ) -> Self {
        let mut rooms: Vec<_> = (0..audience.rooms).map(|_| Room::default()).collect();
        let seats = readers.map(|subscriber| {
            let room = audience.room_of(subscriber);
            rooms[room].members += 1;
            Seat { room: u32::try_from(room).unwrap_or(u32::MAX), heard: 0, early: Vec::new() }
        });
        let seats = seats.collect();
        Self { keeps_order, first_number, others_publish, rooms, seats, outstanding: Vec::new(), completed: 0 }
    }

    /// The number of the next publish.
    pub fn next_number(&self) -> u32 {
        self.first_number + u32::try_from(self.outstanding.len()).unwrap_or(u32::MAX)
    }

    /// Notes that it was published.
    pub fn published(&mut self, room: usize) {
        self.outstanding.push(u32::try_from(room).ok());
    }

    /// Notes that a subscriber received a number: whether it was one of ours.
    ///
    /// # Errors
    /// Where it is not the one that must come next, or has come before.
    pub fn received(&mut self, subscriber: usize, number: u32) -> Result<bool> {
        let Some(index) = number.checked_sub(self.first_number) else { return Ok(false) };
        let seat = &mut self.seats[subscriber];
        let room = &mut self.rooms[seat.room as usize];
        let nth = if self.keeps_order { seat.heard as usize } else { room.nth(number) };
        if nth < seat.heard as usize || seat.early.contains(&nth) {
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
                self.outstanding.resize(index + 1, Some(seat.room));
            }
            if self.outstanding.get_mut(index).and_then(Option::take) != Some(seat.room) {
                return Err(format!("subscriber {subscriber} got {number}, which it has had or was not sent"));
            }
            room.order.push((number, room.members - 1));
            self.completed += u64::from(room.members == 1);
        }
        if nth == seat.heard as usize {
            seat.heard += 1;
            while let Some(at) = seat.early.iter().position(|early| *early == seat.heard as usize) {
                seat.early.swap_remove(at);
                seat.heard += 1;
            }
        } else {
            seat.early.push(nth);
        }
        Ok(true)
    }

    /// Whether everybody has heard so many.
    pub fn all_heard(&self, count: u32) -> bool {
        self.seats.iter().all(|seat| seat.heard >= count)
    }

    /// Who lacks what, for a person.
    pub fn missing(&self) -> String {
        let most = |room: u32| self.rooms[room as usize].order.len();
        let behind = self.seats.iter().enumerate().filter(|(_, seat)| (seat.heard as usize) < most(seat.room));
        let first = behind
            .clone()
            .next()
            .map(|(subscriber, seat)| format!("; subscriber {subscriber} has {} of {}", seat.heard, most(seat.room)));
        let unseen = self.outstanding.iter().filter(|room| room.is_some()).count();
        format!(
            "{} subscribers lack events, {unseen} events reached nobody{}",
            behind.count(),
            first.unwrap_or_default()
        )
    }
}
