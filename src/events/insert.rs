pub(super) mod rules;

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::num::NonZeroU16;

use aws_lc_rs::digest;

use super::new_event::NewEvent;
use super::stream_id::StreamId;
use crate::domain::{
    Account, AuthContext, Authorize, Event, EventId, EventName, MqttSessionId, Payload, Position, TenantName,
    Timestamp, Username,
};
use crate::error::Error;
use crate::store::{self, NewAnswer};
use crate::writer::{Anywhere, Batch, Change};

/// How many events one request may insert.
pub const MAX_EVENTS_AT_ONCE: usize = 1000;
/// How many bytes the data of these events may have in total. A transport accepts no larger request.
pub const MAX_BYTES_AT_ONCE: usize = 2 << 20;
// The largest insert fits into one change, whatever its names and expiries.
const _: () = assert!(store::bytes_of_insert(MAX_EVENTS_AT_ONCE, MAX_BYTES_AT_ONCE) <= store::MAX_CHANGE_BYTES);
/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// The precondition of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// There is none.
    None,
    /// There is no event of the name (`if-none-match: *`).
    IsNew,
    /// The latest event of the name has this id (`if-match`), which may be one of another database.
    IsAt(EventId),
}

/// The key by which the second of two equal requests is known as a repetition (the `idempotency-key` header).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct IdempotencyKey(String);

impl TryFrom<String> for IdempotencyKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(text.as_bytes())
    }
}

impl IdempotencyKey {
    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// # Errors
    /// [`Error::IdempotencyKeyInvalid`] for anything but 1 to 255 visible characters of ASCII.
    pub fn parse(header: &[u8]) -> Result<Self, Error> {
        let is_visible = header.iter().all(u8::is_ascii_graphic);
        match std::str::from_utf8(header) {
            Ok(text) if is_visible && (1..=MAX_KEY_BYTES).contains(&text.len()) => Ok(Self(text.to_owned())),
            _ => Err(Error::IdempotencyKeyInvalid),
        }
    }
}

/// Inserts events into the tenant that their user has when the writer decides, in order and all of them or none. Each becomes the latest
/// event of its name, unless it is transient.
#[derive(Serialize, Deserialize)]
pub struct Insert {
    /// The user or guest who inserts them.
    pub username: Username,
    /// What their right to do so rests on.
    pub auth_context: AuthContext,
    /// The events; at least one.
    pub events: Vec<NewEvent>,
    /// Whether they came as an array: an array of one is another request than one alone.
    pub is_array: bool,
    /// The precondition, of the first event's name.
    pub condition: Condition,
    /// The key by which a repetition is known.
    pub key: Option<IdempotencyKey>,
    /// The stream that events are bound to.
    pub stream: Option<StreamId>,
    /// The session of MQTT and the packet identifier by which a message of QoS 2 is known until it is released: the session notes it in
    /// the same commit, and what it has noted is not inserted again.
    pub packet: Option<(MqttSessionId, NonZeroU16)>,
}

/// Where and when events were committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inserted {
    /// The position of the first; the others follow it.
    pub first: Position,
    /// How many there are.
    pub count: u64,
    /// When they were committed.
    pub timestamp: Timestamp,
    /// Whether an earlier request with the same idempotency key inserted them, or the same packet of MQTT.
    pub is_replayed: bool,
}

impl Change for Insert {
    type Outcome = Inserted;
    type Reach = Anywhere;

    fn bytes(&self) -> usize {
        self.events.iter().map(NewEvent::bytes).sum()
    }

    fn decide(self, batch: &mut Batch<'_>) -> Result<Inserted, Error> {
        // Checked once more here: an insert that is decided after a revocation was answered does not get through.
        let account = batch.account(&self.username, &self.auth_context)?;
        if let Some((session, packet)) = self.packet
            && let Some((first, timestamp)) = batch.mqtt_unreleased(session, packet)?
        {
            return Ok(Inserted { first, count: 1, timestamp, is_replayed: true });
        }
        self.check_rights(batch, &account)?;
        let fingerprint = self.key.as_ref().map(|_| self.fingerprint(self.position(batch)));
        if let Some(inserted) = self.inserted_before(batch, &account, fingerprint)? {
            return Ok(inserted);
        }
        self.check(batch, &account)?;
        self.write(batch, &account, fingerprint)
    }
}

/// What tells one request from another.
type Fingerprint = [u8; 32];

impl Insert {
    /// Inserts the events into this tenant, as another change that goes on if that is refused, or if something is damaged where they
    /// are to go; then nothing is inserted.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn or_nothing(self, batch: &mut Batch<'_>, tenant: &TenantName) -> Result<(), Error> {
        let before = batch.mark();
        let inserted = batch.account(&self.username, &self.auth_context).and_then(|account| {
            self.check_rights(batch, &account)?;
            self.check(batch, &account)?;
            if account.tenant == *tenant {
                self.write(batch, &account, None)?;
            }
            Ok(())
        });
        match inserted {
            Err(error @ (Error::Storage(_) | Error::Internal(_))) => Err(error),
            Err(_) => {
                batch.undo_since(before);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The position of the event that must be the latest, if there must be one and this database has given its id out.
    fn position(&self, batch: &Batch<'_>) -> Option<Position> {
        match self.condition {
            Condition::None | Condition::IsNew => None,
            Condition::IsAt(id) => batch.position_of(id),
        }
    }

    fn check_rights(&self, batch: &Batch<'_>, account: &Account) -> Result<(), Error> {
        let may_insert = account.scopes.to_insert(batch.rules().authorize, &self.username);
        if let Some(NewEvent { name, .. }) = self.events.iter().find(|event| !may_insert.allows(&event.name)) {
            return Err(Error::MissingScope(Authorize::scope_to_insert(name)));
        }
        Ok(())
    }

    /// What an earlier request with the same key inserted.
    fn inserted_before(
        &self,
        batch: &Batch<'_>,
        account: &Account,
        fingerprint: Option<Fingerprint>,
    ) -> Result<Option<Inserted>, Error> {
        let Some((IdempotencyKey(key), fingerprint)) = self.key.as_ref().zip(fingerprint) else { return Ok(None) };
        let Some(answered) = batch.answered(&self.username, key)? else { return Ok(None) };
        if answered.fingerprint != fingerprint {
            return Err(Error::IdempotencyKeyReused);
        }
        // The events are not in the tenant where the user is now. If the stored answer does not say in which tenant they are, its
        // position tells.
        let is_here = match &answered.place {
            Some((_, tenant)) => *tenant == account.tenant,
            None => answered.first > account.tenant_since,
        };
        if !is_here {
            return Err(Error::TenantChanged);
        }
        let (first, count, timestamp) = (answered.first, answered.count, answered.timestamp);
        Ok(Some(Inserted { first, count, timestamp, is_replayed: true }))
    }

    /// Writes the events, after everything was checked.
    fn write(
        self,
        batch: &mut Batch<'_>,
        account: &Account,
        fingerprint: Option<Fingerprint>,
    ) -> Result<Inserted, Error> {
        let Self { username, events, key, packet, stream, .. } = self;
        let (first, count, timestamp) = (batch.head().next(), events.len() as u64, batch.now());
        rules::write(batch, &account.tenant, &username, events, stream)?;
        if let Some((IdempotencyKey(key), fingerprint)) = key.as_ref().zip(fingerprint) {
            let tenant = &account.tenant;
            let new = NewAnswer { username: &username, tenant, idempotency_key: key, fingerprint, first, count };
            let at_most = batch.rules().quotas().keys;
            batch.remember_answer(new, at_most)?;
        }
        if let Some((session, packet)) = packet {
            batch.note_mqtt_unreleased(session, packet, first)?;
        }
        Ok(Inserted { first, count, timestamp, is_replayed: false })
    }

    /// Checks everything that could refuse the insert, before anything of it is written.
    fn check(&self, batch: &mut Batch<'_>, account: &Account) -> Result<(), Error> {
        let condition =
            |batch: &mut Batch<'_>, name: &EventName, latest| self.check_condition(batch, account, name, latest);
        rules::check(batch, (&account.tenant, &self.username), &self.events, condition)?;
        // In the writer: events that are bound before the stream has gone for good are found and removed (`maintenance/due.rs`), and
        // after that none is bound to it.
        if self.stream.is_some_and(|stream| !(batch.rules().has_stream)(&self.username, stream.get())) {
            return Err(Error::StreamUnknown);
        }
        Ok(())
    }

    /// Checks the precondition of a name whose latest event is at this position.
    fn check_condition(
        &self,
        batch: &mut Batch<'_>,
        account: &Account,
        name: &EventName,
        latest: Option<Position>,
    ) -> Result<(), Error> {
        let holds = match self.condition {
            Condition::None => true,
            Condition::IsNew => latest.is_none(),
            Condition::IsAt(_) => latest.is_some() && latest == self.position(batch),
        };
        if holds {
            return Ok(());
        }
        // A user who may insert an event but may not see it is not shown it here.
        let (rights, own) = account.scopes.to_see(batch.rules().authorize, &self.username);
        let is_seen = rights.allow(name.as_str()) || own.allows(name.as_str());
        let latest = latest.filter(|_| is_seen);
        let current = latest.map(|latest| batch.event(&account.tenant, latest)).transpose()?.flatten();
        Err(Error::PreconditionFailed(current.map(Box::<Event>::new)))
    }

    /// Tells one request from another: SHA-256 of everything that it asks for. It is kept for a day, over restarts and new releases, so
    /// the bytes that are hashed must stay the same: another encoding needs another version of answers (`store/codec.rs`).
    fn fingerprint(&self, position: Option<Position>) -> Fingerprint {
        let mut context = digest::Context::new(&digest::SHA256);
        let condition = match (self.condition, position) {
            (Condition::None, _) => Cow::Borrowed("None"),
            (Condition::IsNew, _) => "IsNew".into(),
            (Condition::IsAt(_), None) => "IsAt(None)".into(),
            (Condition::IsAt(_), Some(position)) => format!("IsAt(Some(Position({})))", position.get()).into(),
        };
        context.update(condition.as_bytes());
        context.update(if self.is_array { b" true" } else { b" false" });
        // What is published over MQTT has no key.
        for NewEvent { name, data, expires_in, while_connected, transient, .. } in &self.events {
            let data = data.as_ref().map(Payload::as_str);
            // Each with its length, so that no two requests give the same bytes.
            for part in [Some(name.as_str()), data] {
                let length = part.map_or(u64::MAX, |part| part.len() as u64);
                context.update(&length.to_be_bytes());
                context.update(part.unwrap_or_default().as_bytes());
            }
            context.update(&expires_in.unwrap_or_default().to_be_bytes());
            // Earlier versions know no transient event, and one never is bound to a stream.
            context.update(&[if *transient { 2 } else { u8::from(*while_connected) }]);
        }
        let mut fingerprint = [0; 32];
        // SHA-256 is 32 bytes.
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }
}

#[cfg(test)]
mod tests;
