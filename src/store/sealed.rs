//! A commit that is decided and not made yet: a [`Record`]. What was decided is in it, not the wish, so whoever has it needs no rule to
//! make it. The journal has the same, and each copy of the database is made of it.

use std::collections::HashMap;
use std::sync::Arc;

use super::activity::Due;
use super::codec::{self, Decoded};
use super::damage::damaged;
use super::keys;
use super::lineage::LINEAGE_SETTING;
use super::overlay::Write;
use super::progress::Progress;
use super::record;
use super::rows::{Rows, event_of};
use super::tidings::Tidings;
use crate::domain::{Epoch, Event, Position, TenantName, Timestamp, Username};
use crate::error::{Error, Fault};

/// What was decided together: it becomes durable, and then can be seen, as a whole or not at all.
#[derive(Debug)]
pub struct Record {
    /// How far the database has come after it. The number of the commit is its *height*.
    pub(super) progress: Progress,
    /// The moment at which it was decided.
    pub(super) made_at: Timestamp,
    /// The rows to write.
    pub(super) writes: HashMap<Vec<u8>, Write>,
    /// What is to be done beside that.
    pub(super) tidings: Tidings,
    /// The new events in order, which are among the rows, too.
    pub(super) events: Vec<Event>,
}

/// What memory must learn of the rows of a commit, which has caches of some.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// The users whose rows have changed, or those of their sessions.
    pub users: Vec<Username>,
    /// When one of the rows is due.
    pub due: Due,
    /// The epoch that begins with this commit.
    pub epoch: Option<(Position, Epoch)>,
    /// The floors of tenants.
    pub floors: Vec<(TenantName, Position)>,
    /// The time of commits that is on disk now.
    pub time: Option<Timestamp>,
    /// Whether the database has a lineage of its own now.
    pub begins_course: bool,
}

impl Record {
    /// Whether nothing was decided. Then it has the height of the commit before.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.tidings == Tidings::default()
    }

    /// Whether it comes next after what is there.
    pub(super) fn extends(&self, before: Progress) -> bool {
        match self.is_empty() {
            true => self.progress == before,
            false => self.progress.commits == before.commits + 1 && self.progress.head >= before.head,
        }
    }

    /// How many events there are.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Its bytes, in the place of those that are there.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        record::begin_record(bytes);
        let tidings =
            if self.tidings == Tidings::default() { Vec::new() } else { codec::encode_tidings(&self.tidings) };
        record::add_head(bytes, self.made_at, &tidings);
        for (key, write) in &self.writes {
            record::add_row(bytes, key, write.value().map(|value| &**value));
        }
        record::end_record(bytes, self.progress);
    }

    /// The same record, from its bytes.
    #[cfg(debug_assertions)]
    pub(super) fn through_its_bytes(self, before: Progress) -> Result<Self, Fault> {
        if self.is_empty() || !self.extends(before) {
            return Ok(self);
        }
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        let decoded = Self::decode(&bytes, before)?;
        let is_same = |(key, write): (&Vec<u8>, &Write)| {
            decoded.writes.get(key).is_some_and(|decoded| decoded.value() == write.value())
        };
        let are_all = decoded.writes.len() == self.writes.len() && self.writes.iter().all(is_same);
        assert!(are_all, "a record has other rows in its bytes");
        assert_eq!(
            (&decoded.events, &decoded.tidings),
            (&self.events, &self.tidings),
            "a record tells less in its bytes"
        );
        Ok(decoded)
    }

    /// Reads what `Record::encode` wrote. `before` is how far the database has come without it.
    ///
    /// # Errors
    /// [`Fault`] if it is not that, or does not extend what is there.
    pub fn decode(bytes: &[u8], before: Progress) -> Result<Self, Fault> {
        let damaged = |why: &str| Fault::Storage(format!("the record of commit {}: {why}", before.commits + 1));
        let Some((progress, body, [])) = record::next_record(bytes) else {
            return Err(damaged("it differs from what was written"));
        };
        if progress.commits != before.commits + 1 || progress.head < before.head {
            return Err(damaged("it does not extend what is there"));
        }
        let (head, rows) = record::read_head(body).ok_or_else(|| damaged("its head is cut short"))?;
        let tidings = match head.tidings {
            [] => Tidings::default(),
            tidings => codec::decode_tidings(tidings).map_err(damaged)?,
        };
        let mut writes = HashMap::new();
        let mut is_whole = true;
        let is_read = record::read_body(rows, &mut |key, value| {
            let write = match value {
                Some(value) if is_new(key, before.head) => Write::PutNew(value.into()),
                Some(value) => Write::Put(value.into()),
                None => Write::Remove,
            };
            is_whole &= writes.insert(key.to_vec(), write).is_none();
        });
        if !is_whole || !is_read {
            return Err(damaged("a key is in it twice, or a row is cut short"));
        }
        let (made_at, events) = (head.made_at, Vec::new());
        let mut decoded = Self { progress, made_at, writes, tidings, events };
        decoded.events = decoded.new_events(before.head).map_err(|why| damaged(&why.to_string()))?;
        Ok(decoded)
    }

    /// The events that begin after a position, in order, from their rows.
    fn new_events(&self, after: Position) -> Result<Vec<Event>, Error> {
        let mut keys: Vec<_> =
            self.writes.keys().filter(|key| key.starts_with(b"e") && is_new(key, after)).map(|key| &key[..]).collect();
        keys.sort_by_key(|key| keys::position(key));
        let count = self.progress.head.get() - after.get();
        let are_all =
            keys.iter().zip(after.get() + 1..).all(|(key, number)| keys::position(key) == Some(Position::new(number)));
        if keys.len() as u64 != count || !are_all {
            return Err(Error::Damaged(format!("of the {count} events after {} some are missing", after.get())));
        }
        let event = |key: &[u8]| {
            event_of(self, key)?.map(|(event, _)| event).ok_or_else(|| damaged(key, "a new event has no data"))
        };
        keys.into_iter().map(event).collect()
    }

    /// What memory must learn of its rows.
    pub(super) fn learned(&self) -> Decoded<Learned> {
        let mut learned = Learned::default();
        for (key, write) in &self.writes {
            let (Some(kind), value) = (key.first(), write.value()) else { continue };
            match (*kind, value) {
                (b'u' | b'm', _) => {
                    let name = std::str::from_utf8(&key[1..]).map_err(|_| "a user's key is not UTF-8")?;
                    learned.users.push(Username::from_stored(name).map_err(|_| "a user's key is none")?);
                }
                (keys::EXPIRY, Some(_)) => learned.due.expiry = learned.due.expiry.min(moment(key)?),
                (keys::ANSWER_DUE, Some(_)) => learned.due.answer = learned.due.answer.min(moment(key)?),
                (b'd', Some(value)) => {
                    let epoch = <[u8; 4]>::try_from(&value[..]).map_err(|_| "an epoch is no number")?;
                    let first = keys::of_epoch(key).ok_or("an epoch's key is none")?;
                    learned.epoch = Some((first, Epoch::new(u32::from_be_bytes(epoch))));
                }
                (b'f', Some(value)) => {
                    let tenant = keys::of_tenant_key(key).ok_or("a floor's key is none")?;
                    learned.floors.push((tenant, codec::decode_position(value)?));
                }
                (b's', Some(value)) if key[1..] == *keys::TIME_SETTING.as_bytes() => {
                    learned.time = Some(codec::decode_moment(value)?);
                }
                (b's', Some(_)) if key[1..] == *LINEAGE_SETTING.as_bytes() => learned.begins_course = true,
                _ => {}
            }
        }
        Ok(learned)
    }
}

impl Rows for Record {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error> {
        Ok(self.writes.get(key).and_then(|write| write.value().cloned()))
    }
}

/// The number after the first byte of a key.
fn number(key: &[u8]) -> Option<u64> {
    key.get(1..)?.first_chunk().map(|number| u64::from_be_bytes(*number))
}

fn moment(key: &[u8]) -> Decoded<Timestamp> {
    number(key).map(Timestamp::from_millis).ok_or("a key is cut short before its moment")
}

/// Whether a row is one that no earlier commit can have had: its key has the position of an event after this one.
fn is_new(key: &[u8], after: Position) -> bool {
    let position = match key.first() {
        Some(b'e') | Some(&keys::EXPIRY) => keys::position(key),
        Some(b'p') => number(key).map(Position::new),
        _ => None,
    };
    position.is_some_and(|position| position > after)
}
