//! The queue of a session of MQTT: events that it still needs and that the tail has lost. An event is kept once for all sessions that
//! need it, beside the events of the tail, with the number of those sessions; its chunks stay where they are.

use crate::domain::{
    KeptSubscription, MqttSession, MqttSessionHead, MqttSessionId, Position, PublisherId, Qos, TenantName, TopicFilter,
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
/// How many bytes these may have together, before the last one.
pub const MAX_QUEUED_BYTES: u64 = 16 << 20;

/// How many events are in a queue, and how many bytes they have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueSize {
    events: u64,
    bytes: u64,
}

impl QueueSize {
    fn is_full(self) -> bool {
        self.events >= MAX_QUEUED || self.bytes >= MAX_QUEUED_BYTES
    }
}

/// What became of events that were to be put in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// They are there.
    Yes,
    /// They are there, after the queue was full and all of it was looked through.
    Pruned,
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

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a session needs of events: those that it would be given with QoS 1 or 2.
#[derive(Clone, Debug)]
pub struct MqttNeeds {
    publisher: PublisherId,
    /// Everything up to here is done, also of events that are named.
    done_up_to: Position,
    /// Everything up to here is done, or named.
    position: Position,
    /// Events that are on their way, or wait, in order.
    named: Box<[Position]>,
    subscriptions: Box<[Needed]>,
}

#[derive(Clone, Debug)]
struct Needed {
    topics: TopicFilter,
    since: Position,
    no_local: bool,
}

impl From<&MqttSession> for MqttNeeds {
    fn from(MqttSession { head, subscriptions, progress, .. }: &MqttSession) -> Self {
        let needed = |kept: &KeptSubscription| {
            let topics = kept.topics().filter(|_| kept.qos > Qos::AtMostOnce)?;
            Some(Needed { topics, since: kept.since, no_local: kept.no_local })
        };
        Self {
            publisher: head.publisher,
            done_up_to: progress.done_up_to(),
            position: progress.position,
            named: progress.named().collect(),
            subscriptions: subscriptions.iter().filter_map(needed).collect(),
        }
    }
}

impl MqttNeeds {
    /// Whether an event is needed.
    pub fn needs(&self, event: &LeavingEvent) -> bool {
        let is_own = event.publisher == Some(self.publisher);
        let wants =
            |one: &Needed| event.position > one.since && !(is_own && one.no_local) && one.topics.matches(&event.name);
        // One that is on its way is needed whatever the subscriptions say now.
        let is_named = || self.named.binary_search(&event.position).is_ok();
        let is_wanted = || event.position > self.position && self.subscriptions.iter().any(wants);
        event.position > self.done_up_to && (is_named() || is_wanted())
    }

    /// The events that are needed by their positions, in order.
    pub fn named(&self) -> &[Position] {
        &self.named
    }

    /// The topics of which events are needed.
    pub fn topics(&self) -> impl Iterator<Item = &TopicFilter> {
        self.subscriptions.iter().map(|needed| &needed.topics)
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

    /// What a session needs; `None` if it was forgotten. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn mqtt_needs(&self, id: MqttSessionId) -> Result<Option<MqttNeeds>, Error> {
        let Some(session) = self.unless_damaged(self.mqtt_session(id))?.flatten() else { return Ok(None) };
        let needs = MqttNeeds::from(&session);
        // What a connected client has acknowledged is not in the database yet.
        let cursor = self.mqtt_cursors.of(&session.head.tenant, id).map(|cursor| cursor.position());
        Ok(Some(MqttNeeds { done_up_to: cursor.unwrap_or(needs.done_up_to).max(needs.done_up_to), ..needs }))
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
    /// Puts events in the queue of a session, of those that are still there. If there is no room for all, the session has to be
    /// forgotten, which takes those away that were put there.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn queue_for_mqtt(&mut self, id: MqttSessionId, positions: &[Position]) -> Result<Queued, Error> {
        let Some(MqttSessionHead { tenant, .. }) = self.mqtt_head(id)? else { return Ok(Queued::Forgotten) };
        let (mut size, mut is_pruned) = (self.queue_size(id)?, false);
        for position in positions {
            let key = keys::mqtt_part(id, &MqttPart::Queued(*position));
            if self.get(&key)?.is_some() {
                continue;
            }
            if size.is_full() && !is_pruned {
                // Those of a connected client may be done by now.
                let cursor = self.committer.store.mqtt_cursors.of(&tenant, id);
                let done_up_to = cursor.map_or(Position::START, |cursor| cursor.position());
                self.put_queue_size(id, size);
                size = self.prune_mqtt_queue(id, &tenant, |position| position > done_up_to)?;
                is_pruned = true;
            }
            if size.is_full() {
                self.put_queue_size(id, size);
                return Ok(Queued::TooMany);
            }
            if let Some(bytes) = self.keep_event(&tenant, *position)? {
                size = QueueSize { events: size.events + 1, bytes: size.bytes + bytes };
                self.put(key, codec::encode_count(bytes));
            }
        }
        self.put_queue_size(id, size);
        Ok(if is_pruned { Queued::Pruned } else { Queued::Yes })
    }

    /// Takes events out of the queue of a session that it does not need any more. Returns how many are left.
    pub(super) fn prune_mqtt_queue(
        &mut self,
        id: MqttSessionId,
        tenant: &TenantName,
        is_needed: impl Fn(Position) -> bool,
    ) -> Result<QueueSize, Error> {
        let before = self.queue_size(id)?;
        if before == QueueSize::default() {
            return Ok(before);
        }
        let mut size = before;
        // Those that are put there in this very commit stay until the next time.
        let positions = self.committer.store.mqtt_queue(id, Position::START, Position::END)?;
        for position in positions.into_iter().filter(|position| !is_needed(*position)) {
            let key = keys::mqtt_part(id, &MqttPart::Queued(position));
            if self.get(&key)?.is_some() {
                let bytes = self.committer.store.unless_damaged(self.decoded(&key, codec::decode_count))?;
                let bytes = bytes.flatten().unwrap_or(0);
                self.remove(key);
                self.let_go_of_event(tenant, position)?;
                size = QueueSize { events: size.events.saturating_sub(1), bytes: size.bytes.saturating_sub(bytes) };
            }
        }
        if size != before {
            self.put_queue_size(id, size);
        }
        Ok(size)
    }

    fn queue_size(&self, id: MqttSessionId) -> Result<QueueSize, Error> {
        let size = self.decoded(&keys::mqtt_part(id, &MqttPart::QueueSize), codec::decode_size);
        if let Some(size) = self.committer.store.unless_damaged(size)? {
            return Ok(size.map_or(QueueSize::default(), |(events, bytes)| QueueSize { events, bytes }));
        }
        let events = self.committer.store.mqtt_queue(id, Position::START, Position::END)?.len() as u64;
        Ok(QueueSize { events, bytes: 0 })
    }

    fn put_queue_size(&mut self, id: MqttSessionId, QueueSize { events, bytes }: QueueSize) {
        let key = keys::mqtt_part(id, &MqttPart::QueueSize);
        if events == 0 {
            self.remove(key);
        } else {
            self.put(key, codec::encode_size((events, bytes)));
        }
    }

    /// Keeps an event for one more session. Returns how many bytes it has, if it is there.
    fn keep_event(&mut self, tenant: &TenantName, position: Position) -> Result<Option<u64>, Error> {
        let (count, kept) = (keys::keepers(tenant, position), keys::kept_event(tenant, position));
        let keepers = self.number_of_keepers(&count)?;
        let key = if keepers == Some(0) { keys::event(tenant, position) } else { kept.clone() };
        let Some(row) = self.get(&key)? else { return Ok(None) };
        let bytes = codec::event_parts(&row).map_err(|why| damaged(&key, why))?.bytes as u64;
        if keepers == Some(0) {
            self.put(kept, row.to_vec());
        }
        if let Some(keepers) = keepers {
            self.put(count, codec::encode_count(keepers + 1));
        }
        Ok(Some(bytes))
    }

    /// By how many sessions an event is needed; `None` if the number is damaged. Then the event stays: some session may need it.
    fn number_of_keepers(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        let keepers = self.committer.store.unless_damaged(self.decoded(key, codec::decode_count))?;
        Ok(keepers.map(Option::unwrap_or_default))
    }

    /// One session less needs an event. The last one takes it away.
    pub(super) fn let_go_of_event(&mut self, tenant: &TenantName, position: Position) -> Result<(), Error> {
        let count = keys::keepers(tenant, position);
        match self.number_of_keepers(&count)? {
            // It was erased, or stays.
            Some(0) | None => Ok(()),
            Some(1) => self.remove_kept_event(tenant, position),
            Some(keepers) => {
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
