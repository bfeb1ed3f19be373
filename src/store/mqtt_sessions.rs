//! Sessions of MQTT as rows. What changes often is small: a session has a row for itself, one for how far it has come, and one for each
//! subscription, each message of QoS 2 on its way, and each piece of its will (`keys/mqtt_sessions.rs`).
//!
//! A session is forgotten at once and by few rows; maintenance removes its other rows then (`MQTT_LEFT`). No row is written for a
//! session that is forgotten, and its number is not used again, so these are all.
//!
//! A session of which a row is damaged is as if it were not there. The log names the key.

mod changes;
mod due;
mod queue;
mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use super::codec::{self, MqttSessionRow};
use super::damage::damaged;
use super::database::Store;
use super::keys::{self, MqttPart};
use super::mqtt_cursors::{CursorChange, CursorState};
use super::rows::Rows;
use crate::domain::{
    KeptWill, MqttAsked, MqttProgress, MqttSession, MqttSessionHead, MqttSessionId, MqttSessionKey, Outgoing,
    OutgoingState, Position, Username,
};
use crate::error::Error;

pub use queue::{LeavingEvent, MAX_QUEUED, MAX_QUEUED_BYTES, MqttNeeds, Queued};
pub use replay::MqttReplay;

/// A source of rows, from which sessions are read.
trait MqttRows: Rows {
    fn mqtt_number(&self, key: &MqttSessionKey) -> Result<Option<MqttSessionId>, Error> {
        self.decoded(&keys::mqtt_session_name(key), codec::decode_mqtt_number)
    }

    fn mqtt_row(&self, id: MqttSessionId) -> Result<Option<MqttSessionRow>, Error> {
        self.decoded(&keys::mqtt_session(id), codec::decode_mqtt_session)
    }

    fn mqtt_numbers(&self, username: &Username) -> Result<Vec<MqttSessionId>, Error> {
        Ok(self.decoded(&keys::mqtt_sessions_of(username), codec::decode_mqtt_numbers)?.unwrap_or_default())
    }

    fn stored_progress(&self, id: MqttSessionId) -> Result<MqttProgress, Error> {
        Ok(self.decoded(&keys::mqtt_progress(id), codec::decode_mqtt_progress)?.unwrap_or_default())
    }

    fn stored_will(&self, id: MqttSessionId) -> Result<Option<KeptWill>, Error> {
        let first = keys::mqtt_part(id, &MqttPart::Will(0));
        let mut value = Vec::new();
        for number in 0..=u8::MAX {
            let Some(piece) = self.get(&keys::mqtt_part(id, &MqttPart::Will(number)))? else { break };
            value.extend_from_slice(&piece);
        }
        let will = (!value.is_empty()).then(|| codec::decode_mqtt_will(&value)).transpose();
        will.map_err(|why| damaged(&first, why))
    }
}

impl<T: Rows> MqttRows for T {}

/// The parts of a session that are rows of their own.
#[derive(Default)]
struct Parts {
    noted: BTreeMap<NonZeroU16, Outgoing>,
    unreleased: BTreeSet<NonZeroU16>,
    exact: (Position, MqttAsked),
    subscriptions: Vec<crate::domain::KeptSubscription>,
}

impl Parts {
    fn add(&mut self, part: MqttPart, value: &[u8]) -> codec::Decoded<()> {
        match part {
            MqttPart::Outgoing(id) => drop(self.noted.insert(id, codec::decode_mqtt_outgoing(id, value)?)),
            MqttPart::Unreleased(id) => drop(self.unreleased.insert(id)),
            MqttPart::ExactPosition => self.exact = codec::decode_mqtt_exact(value)?,
            MqttPart::Subscription(filter) => {
                self.subscriptions.push(codec::decode_mqtt_subscription(filter, value)?);
            }
            // The will is read whole, and the queue event by event.
            MqttPart::Will(_) | MqttPart::Queued(_) | MqttPart::QueueSize => {}
        }
        Ok(())
    }

    /// How far the session has come, from what was saved last and what was noted since.
    fn progress(&mut self, saved: MqttProgress) -> MqttProgress {
        let MqttProgress { outgoing: sent, waiting, .. } = saved;
        let (mut outgoing, mut again) = (Vec::new(), Vec::new());
        for message in sent {
            match (message.state, self.noted.remove(&message.id)) {
                (OutgoingState::Sent, None) => outgoing.push(message),
                // It was acknowledged since, or else it is sent once more, since its packet identifier has been given to another message.
                (OutgoingState::Sent, Some(noted)) => {
                    self.noted.insert(message.id, noted);
                    again.push(message.event);
                }
                (_, Some(noted)) => outgoing.push(noted),
                // It was completed since.
                (_, None) => {}
            }
        }
        let mut since: Vec<_> = std::mem::take(&mut self.noted).into_values().collect();
        since.sort_by_key(|message| (message.event.position, message.event.is_from_before));
        outgoing.extend(since);
        again.extend(waiting);
        let exact_position = saved.exact_position.max(self.exact.0);
        let exact_asked = saved.exact_asked.max(self.exact.1);
        MqttProgress { exact_position, exact_asked, outgoing, waiting: again, ..saved }
    }
}

impl Store {
    /// The number of a session.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn mqtt_session_id(&self, key: &MqttSessionKey) -> Result<Option<MqttSessionId>, Error> {
        self.mqtt_number(key)
    }

    /// A whole session; `None` if it was forgotten. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Store::mqtt_session_id`].
    pub fn mqtt_session(&self, id: MqttSessionId) -> Result<Option<MqttSession>, Error> {
        let Some(MqttSessionRow { head, .. }) = self.mqtt_row(id)? else { return Ok(None) };
        let saved = self.stored_progress(id)?;
        let mut parts = Parts::default();
        self.scan_prefix(&keys::mqtt_parts(id), &mut |key, value| {
            let part = keys::of_mqtt_part(key).ok_or("a part of a session of MQTT is none");
            part.and_then(|part| parts.add(part, value)).map_err(|why| damaged(key, why))?;
            Ok(true)
        })?;
        let progress = parts.progress(saved);
        let Parts { subscriptions, unreleased, .. } = parts;
        Ok(Some(MqttSession { head, subscriptions, progress, unreleased, will: self.stored_will(id)? }))
    }

    /// The sessions of a user that outlive their connections.
    ///
    /// # Errors
    /// As [`Store::mqtt_session_id`].
    pub fn mqtt_sessions_of(&self, username: &Username) -> Result<Vec<MqttSessionId>, Error> {
        self.mqtt_numbers(username)
    }

    /// The keys by which the sessions of a user are found, of those that are committed.
    fn mqtt_names_of(&self, username: &Username) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = Vec::new();
        self.scan_prefix(&keys::mqtt_session_names(username), &mut |key, _| {
            names.push(key.to_vec());
            Ok(true)
        })?;
        Ok(names)
    }

    /// Notes how far all sessions have come, and which lost their connections with a server that stopped without ending them: those that
    /// are not ended, and that no connection holds. Called before the first client can come. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Store::mqtt_sessions_of`].
    pub fn recall_mqtt_sessions(&self, is_held: impl Fn(MqttSessionId) -> bool) -> Result<(), Error> {
        let (mut cursors, mut lost) = (Vec::new(), BTreeSet::new());
        self.scan_prefix(keys::MQTT_SESSIONS, &mut |key, value| {
            let read = || {
                let id = keys::of_mqtt_session(key).ok_or_else(|| damaged(key, "a session's number is none"))?;
                let MqttSessionRow { head, .. } = codec::decode_mqtt_session(value).map_err(|why| damaged(key, why))?;
                Ok((id, head, self.stored_progress(id)?))
            };
            if let Some((id, MqttSessionHead { tenant, ended_at, expiry, .. }, progress)) =
                self.unless_damaged(read())?
            {
                if ended_at.is_none() && !is_held(id) {
                    lost.insert(id);
                }
                if expiry > 0 {
                    let is_away = CursorState::Away(ended_at.is_some());
                    let states = [CursorState::DoneUpTo(progress.done_up_to()), is_away];
                    cursors.extend(states.map(|now| CursorChange { tenant: tenant.clone(), id, now }));
                }
            }
            Ok(true)
        })?;
        self.mqtt_cursors.apply(cursors);
        self.mqtt_cursors.set_lost(lost);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
