//! The queue of a session of MQTT: events that it still needs and that the tail has lost. An event is kept once for all sessions that
//! need it, beside the events of the tail, with the number of those sessions; its chunks stay where they are.

use crate::domain::{
    KeptSubscription, MqttSession, MqttSessionHead, MqttSessionId, Position, PublisherId, Qos, TenantName,
};
use crate::error::Error;
use crate::store::codec::{self, StoredData};
use crate::store::damage::damaged;
use crate::store::database::Store;
use crate::store::keys::{self, MqttPart};
use crate::store::rows::Rows;
use crate::store::transaction::Transaction;

/// How many events a session may have in its queue. One that needs more ends.
pub const MAX_QUEUED: u64 = 1000;

/// What became of events that were to be put in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// They are there.
    Yes,
    /// There is no such session any more.
    Forgotten,
    /// There is no room for them.
    TooMany,
}

/// An event that is about to leave the tail, as sessions look at it.
#[derive(Clone, Debug)]
pub struct LeavingEvent {
    position: Position,
    name: Box<str>,
    publisher: Option<PublisherId>,
    /// How many bytes its row has.
    pub bytes: usize,
}

impl LeavingEvent {
    /// Its position.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether a session needs it, and would be given it with QoS 1 or 2.
    fn is_needed(&self, session: &MqttSession) -> bool {
        let is_own = self.publisher == Some(session.head.publisher);
        let wants = |subscription: &KeptSubscription| {
            self.position > subscription.since
                && subscription.qos > Qos::AtMostOnce
                && !(is_own && subscription.no_local)
                && subscription.topics().is_some_and(|topics| topics.matches(&self.name))
        };
        let progress = &session.progress;
        // One that is on its way is needed whatever the subscriptions say now.
        progress.names(self.position) || (self.position > progress.position && session.subscriptions.iter().any(wants))
    }
}

impl Store {
    /// Of the events at some positions those that a client of MQTT could be given with QoS 1 or 2. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn leaving(&self, tenant: &TenantName, positions: Vec<Position>) -> Result<Vec<LeavingEvent>, Error> {
        let read = |position| self.unless_damaged(self.leaving_event(tenant, position)).map(Option::flatten);
        positions.into_iter().filter_map(|position| read(position).transpose()).collect()
    }

    fn leaving_event(&self, tenant: &TenantName, position: Position) -> Result<Option<LeavingEvent>, Error> {
        let key = keys::event(tenant, position);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let parts = codec::event_parts(&value).map_err(|why| damaged(&key, why))?;
        let published = parts.published.map(|head| head.qos_and_publisher()).transpose();
        let published = published.map_err(|why| damaged(&key, why))?;
        // What came by another way is as sure as can be.
        let qos = published.map_or(Qos::ExactlyOnce, |(qos, _)| qos);
        if parts.data == StoredData::Expired || parts.by_expiry || qos == Qos::AtMostOnce {
            return Ok(None);
        }
        let publisher = published.map(|(_, publisher)| publisher);
        Ok(Some(LeavingEvent { position, name: parts.name.into(), publisher, bytes: value.len() }))
    }

    /// Which of some events a session needs. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn needed_by_mqtt(&self, id: MqttSessionId, events: &[LeavingEvent]) -> Result<Vec<Position>, Error> {
        let Some(session) = self.unless_damaged(self.mqtt_session(id))?.flatten() else { return Ok(Vec::new()) };
        // What a connected client has acknowledged is not in the database yet.
        let cursor = self.mqtt_cursors.of(&session.head.tenant, id);
        let done_up_to = cursor.map_or(Position::START, |cursor| cursor.position());
        let needed = events.iter().filter(|event| event.position > done_up_to && event.is_needed(&session));
        Ok(needed.map(|event| event.position).collect())
    }

    /// The positions in the queue of a session, in order.
    pub(super) fn mqtt_queue(
        &self,
        id: MqttSessionId,
        from: Position,
        until: Position,
    ) -> Result<Vec<Position>, Error> {
        let key = |position| keys::mqtt_part(id, &MqttPart::Queued(position));
        let mut positions = Vec::new();
        self.scan(&key(from), &keys::after(&key(until)), &mut |key, _| {
            match keys::of_mqtt_part(key) {
                Some(MqttPart::Queued(position)) => positions.push(position),
                _ => return Err(damaged(key, "a place in a queue is none")),
            }
            Ok(true)
        })?;
        Ok(positions)
    }
}

impl Transaction<'_> {
    /// Puts events in the queue of a session, of those that are still there. If there is no room for all, the change has to
    /// forget the session, which takes those away that were put there.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn queue_for_mqtt(&mut self, id: MqttSessionId, positions: &[Position]) -> Result<Queued, Error> {
        let Some(MqttSessionHead { tenant, .. }) = self.mqtt_head(id)? else { return Ok(Queued::Forgotten) };
        let mut length = self.queue_length(id)?;
        if length + positions.len() as u64 > MAX_QUEUED {
            // Those of a connected client may be done by now.
            let cursor = self.committer.store.mqtt_cursors.of(&tenant, id);
            let done_up_to = cursor.map_or(Position::START, |cursor| cursor.position());
            length = self.prune_mqtt_queue(id, &tenant, |position| position > done_up_to)?;
        }
        for position in positions {
            let key = keys::mqtt_part(id, &MqttPart::Queued(*position));
            if self.get(&key)?.is_some() {
                continue;
            }
            if length >= MAX_QUEUED {
                return Ok(Queued::TooMany);
            }
            if self.keep_event(&tenant, *position)? {
                length += 1;
                self.put(key, Vec::new());
            }
        }
        self.put_queue_length(id, length);
        Ok(Queued::Yes)
    }

    /// Takes events out of the queue of a session that it does not need any more. Returns how many are left.
    pub(super) fn prune_mqtt_queue(
        &mut self,
        id: MqttSessionId,
        tenant: &TenantName,
        is_needed: impl Fn(Position) -> bool,
    ) -> Result<u64, Error> {
        let before = self.queue_length(id)?;
        if before == 0 {
            return Ok(0);
        }
        let mut length = before;
        // Those that are put there in this very commit stay until the next time.
        let positions = self.committer.store.mqtt_queue(id, Position::START, Position::END)?;
        for position in positions.into_iter().filter(|position| !is_needed(*position)) {
            let key = keys::mqtt_part(id, &MqttPart::Queued(position));
            if self.get(&key)?.is_some() {
                self.remove(key);
                self.let_go_of_event(tenant, position)?;
                length = length.saturating_sub(1);
            }
        }
        if length != before {
            self.put_queue_length(id, length);
        }
        Ok(length)
    }

    fn queue_length(&self, id: MqttSessionId) -> Result<u64, Error> {
        Ok(self.decoded(&keys::mqtt_part(id, &MqttPart::QueueLength), codec::decode_count)?.unwrap_or(0))
    }

    fn put_queue_length(&mut self, id: MqttSessionId, length: u64) {
        let key = keys::mqtt_part(id, &MqttPart::QueueLength);
        if length == 0 {
            self.remove(key);
        } else {
            self.put(key, codec::encode_count(length));
        }
    }

    /// Keeps an event for one more session. Returns whether it is there.
    fn keep_event(&mut self, tenant: &TenantName, position: Position) -> Result<bool, Error> {
        let (count, kept) = (keys::keepers(tenant, position), keys::kept_event(tenant, position));
        let keepers = self.decoded(&count, codec::decode_count)?.unwrap_or(0);
        if keepers == 0 {
            let Some(row) = self.get(&keys::event(tenant, position))? else { return Ok(false) };
            self.put(kept, row.to_vec());
        }
        self.put(count, codec::encode_count(keepers + 1));
        Ok(true)
    }

    /// One session less needs an event. The last one takes it away.
    pub(super) fn let_go_of_event(&mut self, tenant: &TenantName, position: Position) -> Result<(), Error> {
        let count = keys::keepers(tenant, position);
        match self.decoded(&count, codec::decode_count)?.unwrap_or(0) {
            // It was erased.
            0 => Ok(()),
            1 => self.remove_kept_event(tenant, position),
            keepers => {
                self.put(count, codec::encode_count(keepers - 1));
                Ok(())
            }
        }
    }

    /// Takes an event away that is kept for sessions, whoever needs it.
    pub(in crate::store) fn remove_kept_event(&mut self, tenant: &TenantName, position: Position) -> Result<(), Error> {
        let kept = keys::kept_event(tenant, position);
        let chunks_of = |row: Option<std::sync::Arc<[u8]>>| {
            // A damaged one has no such number, and its chunks stay.
            row.and_then(|row| codec::event_parts(&row).ok().map(|parts| parts.chunks())).unwrap_or(0)
        };
        // They are those of the event in the tail, too, or of the latest of its name, as long as that is there.
        let (chunks, others) = (chunks_of(self.get(&kept)?), chunks_of(self.get(&keys::event(tenant, position))?));
        if others == 0 {
            for number in 0..chunks {
                self.remove(keys::chunk(position, number));
            }
        }
        self.remove(kept);
        self.remove(keys::keepers(tenant, position));
        Ok(())
    }
}
