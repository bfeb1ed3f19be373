//! Writing sessions of MQTT.

use std::num::NonZeroU16;

use super::MqttRows;
use crate::domain::{
    KeptSubscription, KeptWill, MqttAsk, MqttAsked, MqttProgress, MqttSessionHead, MqttSessionId, MqttSessionKey,
    Outgoing, OutgoingState, Position, TenantName, Timestamp, Username,
};
use crate::error::Error;
use crate::store::chunks::CHUNK_BYTES;
use crate::store::codec::{self, CURSOR_BYTES, MqttSessionRow};
use crate::store::keys::{self, MqttPart};
use crate::store::mqtt_cursors::{CursorChange, CursorState};
use crate::store::rows::Rows;
use crate::store::transaction::Transaction;

impl Transaction<'_> {
    /// The number of a session and what is known of it, with every change that was decided before. One that cannot be read is not there.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn mqtt_session_of(
        &self,
        key: &MqttSessionKey,
    ) -> Result<Option<(MqttSessionId, Option<MqttSessionHead>)>, Error> {
        let id = self.committer.store.unless_damaged(self.mqtt_number(key))?.flatten();
        id.map(|id| Ok((id, self.mqtt_head_if_whole(id)?))).transpose()
    }

    /// What is known of a session, with every change that was decided before; `None` if it was forgotten.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn mqtt_head(&self, id: MqttSessionId) -> Result<Option<MqttSessionHead>, Error> {
        Ok(self.mqtt_row(id)?.map(|row| row.head))
    }

    /// The same; one that cannot be read is not there.
    ///
    /// # Errors
    /// As [`Transaction::mqtt_session_of`].
    pub fn mqtt_head_if_whole(&self, id: MqttSessionId) -> Result<Option<MqttSessionHead>, Error> {
        Ok(self.committer.store.unless_damaged(self.mqtt_head(id))?.flatten())
    }

    /// The will of a session, with every change that was decided before. One that cannot be read is not there.
    ///
    /// # Errors
    /// As [`Transaction::mqtt_session_of`].
    pub fn mqtt_will(&self, id: MqttSessionId) -> Result<Option<KeptWill>, Error> {
        Ok(self.committer.store.unless_damaged(self.stored_will(id))?.flatten())
    }

    /// The sessions of a user that outlive their connections. If they cannot be read, there are none.
    ///
    /// # Errors
    /// As [`Transaction::mqtt_session_of`].
    pub fn mqtt_sessions_of(&self, username: &Username) -> Result<Vec<MqttSessionId>, Error> {
        Ok(self.committer.store.unless_damaged(self.mqtt_numbers(username))?.unwrap_or_default())
    }

    /// Begins a session, which has everything up to now. One that ends with its connection does not count for its user.
    ///
    /// # Errors
    /// As [`Transaction::mqtt_session_of`].
    pub fn add_mqtt_session(&mut self, head: MqttSessionHead) -> Result<MqttSessionId, Error> {
        let id = loop {
            let id = MqttSessionId(u64::from_be_bytes(crate::random::bytes()));
            if self.get(&keys::mqtt_session(id))?.is_none() {
                break id;
            }
        };
        self.put(keys::mqtt_session_name(&head.key), codec::encode_mqtt_number(id));
        if head.expiry > 0 {
            let mut ids = self.mqtt_sessions_of(&head.key.username)?;
            ids.push(id);
            self.put(keys::mqtt_sessions_of(&head.key.username), codec::encode_mqtt_numbers(&ids));
            self.note_cursor(&head.tenant, id, CursorState::DoneUpTo(head.began.1));
        }
        let progress = MqttProgress::at(head.began.1);
        self.put(keys::mqtt_progress(id), codec::encode_mqtt_progress(&progress));
        self.put(keys::mqtt_session(id), codec::encode_mqtt_session(&MqttSessionRow { head, due_at: None }));
        Ok(id)
    }

    /// Writes what is known of a session. If its connection has ended, maintenance finds it when its will or its end is due.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn put_mqtt_head(&mut self, id: MqttSessionId, head: MqttSessionHead) -> Result<(), Error> {
        let known = self.mqtt_row(id)?.and_then(|row| row.due_at);
        self.note_cursor(&head.tenant, id, CursorState::Away(head.ended_at.is_some()));
        let next = self.next_due(id, &head)?;
        // A client that comes and goes leaves one row: maintenance finds the session by that, and looks when it is due then.
        let due_at = match (known, next) {
            (Some(known), Some(next)) if next < known => {
                self.remove(keys::mqtt_due(known, id));
                Some(next)
            }
            (known, next) => known.or(next),
        };
        self.put_due(id, MqttSessionRow { head, due_at });
        Ok(())
    }

    fn note_cursor(&mut self, tenant: &TenantName, id: MqttSessionId, now: CursorState) {
        self.count(CURSOR_BYTES + tenant.as_str().len());
        self.tidings.cursors.push(CursorChange { tenant: tenant.clone(), id, now });
    }

    fn put_due(&mut self, id: MqttSessionId, row: MqttSessionRow) {
        if let Some(due_at) = row.due_at {
            self.put(keys::mqtt_due(due_at, id), Vec::new());
        }
        self.put(keys::mqtt_session(id), codec::encode_mqtt_session(&row));
    }

    /// When the next thing of a session is due whose connection has ended.
    fn next_due(&self, id: MqttSessionId, head: &MqttSessionHead) -> Result<Option<Timestamp>, Error> {
        let will_at = self.mqtt_will(id)?.and_then(|will| head.will_due_at(&will));
        Ok(will_at.into_iter().chain(head.expires_at()).min())
    }

    /// The row of a moment is done with: the session is found again when the next thing of it is due.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn pass_mqtt_due(&mut self, at: Timestamp, id: MqttSessionId) -> Result<(), Error> {
        self.remove(keys::mqtt_due(at, id));
        let Some(row) = self.mqtt_row(id)?.filter(|row| row.due_at == Some(at)) else { return Ok(()) };
        let due_at = self.next_due(id, &row.head)?;
        self.put_due(id, MqttSessionRow { due_at, ..row });
        Ok(())
    }

    /// Gives a session a will, or takes it away.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn put_mqtt_will(&mut self, id: MqttSessionId, will: Option<&KeptWill>) -> Result<(), Error> {
        let value = will.map(codec::encode_mqtt_will).unwrap_or_default();
        let mut pieces = value.chunks(CHUNK_BYTES);
        for number in 0..=u8::MAX {
            let key = keys::mqtt_part(id, &MqttPart::Will(number));
            match pieces.next() {
                Some(piece) => self.put(key, piece.to_vec()),
                None if self.get(&key)?.is_some() => self.remove(key),
                None => break,
            }
        }
        Ok(())
    }

    /// Adds subscriptions to a session, which begin now. One that has the same filter as another takes its place, and begins when that
    /// did.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn put_mqtt_subscriptions(
        &mut self,
        id: MqttSessionId,
        subscriptions: Vec<KeptSubscription>,
    ) -> Result<(), Error> {
        if self.mqtt_row(id)?.is_none() {
            return Ok(());
        }
        for subscription in subscriptions {
            let filter = subscription.filter.clone();
            let key = keys::mqtt_part(id, &MqttPart::Subscription(filter.clone()));
            let before = self.decoded(&key, |value| codec::decode_mqtt_subscription(filter, value));
            let before = self.committer.store.unless_damaged(before)?.flatten();
            // Not before any event that a reader may have found by now. Retention, which has read the sessions without this subscription,
            // removes none that it wants.
            let now = self.head();
            let asked = match subscription.asked {
                MqttAsk { number: 0, .. } => subscription.asked,
                MqttAsk { number, until } => MqttAsk { number, until: until.max(now) },
            };
            let (since, asked) = match before {
                Some(before) => (before.since, asked.max(before.asked)),
                None => (subscription.since.max(now), asked),
            };
            self.put(key, codec::encode_mqtt_subscription(&KeptSubscription { since, asked, ..subscription }));
        }
        Ok(())
    }

    /// Takes subscriptions out of a session.
    pub fn remove_mqtt_subscriptions(&mut self, id: MqttSessionId, filters: Vec<Box<str>>) {
        for filter in filters {
            self.remove(keys::mqtt_part(id, &MqttPart::Subscription(filter)));
        }
    }

    /// Writes how far a session has come, and notes messages of QoS 2 that have not been. What its queue has of events that are done goes.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn save_mqtt_progress(&mut self, id: MqttSessionId, progress: &MqttProgress) -> Result<(), Error> {
        let Some(row) = self.mqtt_row(id)? else { return Ok(()) };
        self.remove_if_there(keys::mqtt_part(id, &MqttPart::ExactPosition))?;
        self.put(keys::mqtt_progress(id), codec::encode_mqtt_progress(progress));
        for message in progress.outgoing.iter().filter(|message| message.state != OutgoingState::Sent) {
            let key = keys::mqtt_part(id, &MqttPart::Outgoing(message.id));
            let known = self.decoded(&key, |value| codec::decode_mqtt_outgoing(message.id, value));
            let known = self.committer.store.unless_damaged(known)?.flatten();
            if known.is_none_or(|known| known.event != message.event) {
                self.put(key, codec::encode_mqtt_outgoing(message));
            }
        }
        let (tenant, done_up_to) = (row.head.tenant, progress.done_up_to());
        self.prune_mqtt_queue(id, &tenant, |position| progress.needs(position))?;
        if row.head.expiry > 0 {
            self.note_cursor(&tenant, id, CursorState::DoneUpTo(done_up_to));
        }
        Ok(())
    }

    /// Notes messages of QoS 2, before they are sent to the client; and that all up to a position have been noted.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn note_mqtt_outgoing(
        &mut self,
        id: MqttSessionId,
        messages: Vec<Outgoing>,
        exact: (Position, MqttAsked),
    ) -> Result<(), Error> {
        let Some(row) = self.mqtt_row(id)? else { return Ok(()) };
        // One of a share may come from before everything that the session itself has done.
        if let Some(first) = messages.iter().map(|message| message.event.position).min() {
            self.note_cursor(&row.head.tenant, id, CursorState::NotDone(first));
        }
        let mut saved = self.stored_progress(id)?;
        let waited = saved.waiting.len();
        for message in &messages {
            // An event may wait more than once, if it is retained and was asked for as often.
            if let Some(at) = saved.waiting.iter().position(|event| *event == message.event) {
                saved.waiting.remove(at);
            }
        }
        // One that waited when this was saved is on its way now, and must not be sent by another packet identifier as well.
        if saved.waiting.len() != waited {
            self.put(keys::mqtt_progress(id), codec::encode_mqtt_progress(&saved));
        }
        for message in messages {
            self.put(keys::mqtt_part(id, &MqttPart::Outgoing(message.id)), codec::encode_mqtt_outgoing(&message));
        }
        let key = keys::mqtt_part(id, &MqttPart::ExactPosition);
        let known = self.decoded(&key, codec::decode_mqtt_exact)?.unwrap_or_default();
        let known = (known.0.max(saved.exact_position), known.1.max(saved.exact_asked));
        let exact = (exact.0.max(known.0), exact.1.max(known.1));
        if exact != known {
            self.put(key, codec::encode_mqtt_exact(exact));
        }
        Ok(())
    }

    /// Notes that messages of QoS 2 have been received, before the client is told to release them.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn release_mqtt_outgoing(&mut self, id: MqttSessionId, packets: Vec<NonZeroU16>) -> Result<(), Error> {
        for packet in packets {
            let key = keys::mqtt_part(id, &MqttPart::Outgoing(packet));
            let known = self.decoded(&key, |value| codec::decode_mqtt_outgoing(packet, value))?;
            if let Some(message) = known {
                let released = Outgoing { state: OutgoingState::Released, ..message };
                self.put(key, codec::encode_mqtt_outgoing(&released));
            }
        }
        Ok(())
    }

    /// Notes that messages of QoS 2 are done.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn forget_mqtt_outgoing(&mut self, id: MqttSessionId, packets: Vec<NonZeroU16>) -> Result<(), Error> {
        for packet in packets {
            self.remove_if_there(keys::mqtt_part(id, &MqttPart::Outgoing(packet)))?;
        }
        Ok(())
    }

    /// Where and when a message of QoS 2 of the client was inserted, if it was and is not released.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn mqtt_unreleased(
        &self,
        id: MqttSessionId,
        packet: NonZeroU16,
    ) -> Result<Option<(Position, Timestamp)>, Error> {
        self.decoded(&keys::mqtt_part(id, &MqttPart::Unreleased(packet)), codec::decode_mqtt_unreleased)
    }

    /// Notes that a message of QoS 2 of the client is inserted at a position.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn note_mqtt_unreleased(
        &mut self,
        id: MqttSessionId,
        packet: NonZeroU16,
        position: Position,
    ) -> Result<(), Error> {
        if self.mqtt_row(id)?.is_some() {
            let value = codec::encode_mqtt_unreleased(position, self.now());
            self.put(keys::mqtt_part(id, &MqttPart::Unreleased(packet)), value);
        }
        Ok(())
    }

    /// The client has released a message of QoS 2. Returns whether one was known by this packet identifier.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn release_mqtt_unreleased(&mut self, id: MqttSessionId, packet: NonZeroU16) -> Result<bool, Error> {
        self.remove_if_there(keys::mqtt_part(id, &MqttPart::Unreleased(packet)))
    }

    /// Removes a row if there is one. Returns whether there was.
    fn remove_if_there(&mut self, key: Vec<u8>) -> Result<bool, Error> {
        let is_there = self.get(&key)?.is_some();
        if is_there {
            self.remove(key);
        }
        Ok(is_there)
    }

    /// Forgets a session. Most of its rows go later.
    ///
    /// # Errors
    /// As [`Transaction::mqtt_session_of`].
    pub fn forget_mqtt_session(&mut self, id: MqttSessionId, key: &MqttSessionKey) -> Result<(), Error> {
        // Begun anew, it has another number.
        if self.committer.store.unless_damaged(self.mqtt_number(key))?.flatten() == Some(id) {
            self.remove(keys::mqtt_session_name(key));
        }
        let mut ids = self.mqtt_sessions_of(&key.username)?;
        if let Some(at) = ids.iter().position(|known| *known == id) {
            ids.remove(at);
            let of_user = keys::mqtt_sessions_of(&key.username);
            if ids.is_empty() {
                self.remove(of_user);
            } else {
                self.put(of_user, codec::encode_mqtt_numbers(&ids));
            }
        }
        self.forget_rows(id)
    }

    /// Forgets what there is of a session but its name, and its place among those of its user.
    fn forget_rows(&mut self, id: MqttSessionId) -> Result<(), Error> {
        let row = self.committer.store.unless_damaged(self.mqtt_row(id))?.flatten();
        if let Some(due_at) = row.as_ref().and_then(|row| row.due_at) {
            self.remove(keys::mqtt_due(due_at, id));
        }
        // Of one that cannot be read, retention knows it if it could be read at the start.
        let tenant = row.map(|row| row.head.tenant).or_else(|| self.committer.store.mqtt_cursors.tenant_of(id));
        self.remove(keys::mqtt_session(id));
        self.remove(keys::mqtt_progress(id));
        let left = tenant.as_ref().map(|tenant| tenant.as_str().as_bytes().to_vec()).unwrap_or_default();
        self.put(keys::mqtt_left(self.now(), id), left);
        if let Some(tenant) = tenant {
            self.note_cursor(&tenant, id, CursorState::Forgotten);
        }
        Ok(())
    }

    /// Forgets all sessions of a user who is deleted.
    ///
    /// # Errors
    /// As [`Transaction::mqtt_session_of`].
    pub fn forget_mqtt_sessions_of(&mut self, username: &Username) -> Result<(), Error> {
        for id in self.mqtt_sessions_of(username)? {
            match self.mqtt_head_if_whole(id)? {
                Some(head) => self.forget_mqtt_session(id, &head.key)?,
                None => self.forget_rows(id)?,
            }
        }
        self.remove(keys::mqtt_sessions_of(username));
        // Those of damaged ones are left, and those of sessions that end with their connections, whose ends find them by their numbers.
        for name in self.committer.store.mqtt_names_of(username)? {
            self.remove_if_there(name)?;
        }
        Ok(())
    }
}
