//! Changes of sessions of MQTT that outlive their connections, and wills.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;

use super::insert::{Condition, Insert};
use super::new_event::{Lifetime, NewEvent};
use crate::domain::{
    AuthContext, Authorize, Guest, KeptSubscription, KeptWill, MAX_EVENT_BYTES, MAX_EXPIRES_IN, MqttAsked,
    MqttProgress, MqttSessionHead, MqttSessionId, MqttSessionKey, Outgoing, PayloadForm, Position, Published,
    PublisherId, WillRight,
};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};

/// How many sessions are forgotten to make room for one: each may publish a large will. If the limit was lowered, the surplus shrinks, too.
const FORGOTTEN_AT_ONCE: usize = 4;

/// How many sessions of a user who may exceed the limit are looked at to make room for one: there may be tens of thousands.
const LOOKED_AT: usize = 256;

/// Publishes a will, with the rights that its user has now. If there are none, it is dropped, as MQTT has it for messages that are not
/// permitted and cannot be refused. A guest had them when the connection ended, which does not outlive its token. It is dropped, too,
/// if something is damaged where it is to go: a session that did not end would never expire, and its client could not come back.
fn publish(batch: &mut Batch<'_>, head: &MqttSessionHead, will: KeptWill) -> Result<(), Error> {
    let KeptWill { topic, payload, qos, retain, properties, expires_in, by, delay: _ } = will;
    if expires_in == Some(0) {
        return Ok(());
    }
    let (username, tenant) = (head.key.username.clone(), &head.tenant);
    let auth_context = match by {
        WillRight::SignIn(sign_in) => AuthContext::User(sign_in),
        WillRight::Token(_) => AuthContext::Guest(Guest::to_insert(username.clone(), tenant.clone(), topic.clone())),
    };
    let (data, form) = PayloadForm::read(&payload);
    let published = Published { form, qos, publisher: head.publisher, properties };
    let expires_in = expires_in.map(|seconds| u64::from(seconds).min(MAX_EXPIRES_IN));
    let lifetime = Lifetime { expires_in, transient: !retain, ..Lifetime::default() };
    let Ok(event) = NewEvent::published(topic, data, published, lifetime, MAX_EVENT_BYTES) else { return Ok(()) };
    let insert = Insert {
        username,
        auth_context,
        events: vec![event],
        is_array: false,
        condition: Condition::None,
        key: None,
        stream: None,
        packet: None,
    };
    insert.or_nothing(batch, tenant)
}

/// Has the right to publish the will of a session rest on something newer.
fn renew(batch: &mut Batch<'_>, id: MqttSessionId, head: &MqttSessionHead, by: &AuthContext) -> Result<(), Error> {
    let Some(will) = batch.mqtt_will(id)? else { return Ok(()) };
    let username = &head.key.username;
    let may_insert = batch.account(username, by)?.scopes.to_insert(batch.rules().authorize, username);
    let will = may_insert.allows(&will.topic).then(|| KeptWill { by: by.into(), ..will });
    batch.put_mqtt_will(id, will.as_ref())
}

/// Publishes the will of a session, if there is one, and takes it away.
fn publish_of(batch: &mut Batch<'_>, id: MqttSessionId, head: &MqttSessionHead) -> Result<(), Error> {
    let Some(will) = batch.mqtt_will(id)? else { return Ok(()) };
    batch.put_mqtt_will(id, None)?;
    publish(batch, head, will)
}

/// The same, if that is due since the connection has ended.
fn publish_if_due(batch: &mut Batch<'_>, id: MqttSessionId, head: &MqttSessionHead) -> Result<(), Error> {
    let due_at = batch.mqtt_will(id)?.and_then(|will| head.will_due_at(&will));
    if due_at.is_some_and(|at| at <= batch.now()) { publish_of(batch, id, head) } else { Ok(()) }
}

/// Forgets a session. Its will does not wait longer than that (MQTT 5.0, 3.1.3.2.2).
pub(super) fn forget(batch: &mut Batch<'_>, id: MqttSessionId) -> Result<(), Error> {
    let Some(head) = batch.mqtt_head(id)? else { return Ok(()) };
    publish_of(batch, id, &head)?;
    batch.forget_mqtt_session(id, &head.key)
}

/// Ends the connection of a session, whose will is published now or after its delay. Without an expiry the session ends, too.
pub(super) fn end(batch: &mut Batch<'_>, id: MqttSessionId, head: MqttSessionHead) -> Result<(), Error> {
    if head.expiry == 0 {
        return forget(batch, id);
    }
    let head = MqttSessionHead { ended_at: Some(batch.now()), ..head };
    publish_if_due(batch, id, &head)?;
    batch.put_mqtt_head(id, head)
}

/// Does what is due of a session whose connection has ended.
pub(super) fn look_after(batch: &mut Batch<'_>, id: MqttSessionId) -> Result<(), Error> {
    let Some(head) = batch.mqtt_head(id)? else { return Ok(()) };
    if head.expires_at().is_some_and(|at| at <= batch.now()) {
        return forget(batch, id);
    }
    publish_if_due(batch, id, &head)
}

/// A client connects: its session goes on or begins anew, and its will is kept.
#[derive(Serialize, Deserialize)]
pub struct BeginMqttSession {
    /// What the session is known by.
    pub key: MqttSessionKey,
    /// What the rights of the client rest on.
    pub auth_context: AuthContext,
    /// Clean Start (MQTT 5.0, 3.1.2.4): what there is of the session ends.
    pub clean_start: bool,
    /// The session expiry interval, in seconds.
    pub expiry: u32,
    /// What the messages of the client are known by.
    pub publisher: PublisherId,
    /// The will.
    pub will: Option<KeptWill>,
    /// Whether the user may have more sessions than others as long as all of them are connected.
    pub may_exceed: bool,
}

/// What a session was before its client connected, which it is again if the client is not let in after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MqttSessionBefore {
    /// What was known of it.
    pub head: MqttSessionHead,
    /// The will, unless that was due.
    pub will: Option<KeptWill>,
}

/// What became of the session of a client that connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BegunMqttSession {
    /// It begins anew. Without an expiry and a will the database does not know of it.
    Anew(Option<MqttSessionId>),
    /// It goes on. With what it was before.
    Present(MqttSessionId, Box<MqttSessionBefore>),
    /// Its user has too many sessions, and all of them are connected.
    TooMany,
}

impl Change for BeginMqttSession {
    type Outcome = BegunMqttSession;
    type Reach = Anywhere;

    fn bytes(&self) -> usize {
        self.will.as_ref().map_or(0, |will| will.payload.len())
    }

    fn decide(self, batch: &mut Batch<'_>) -> Result<BegunMqttSession, Error> {
        let Self { key, auth_context, clean_start, expiry, publisher, will, may_exceed } = self;
        let account = batch.account(&key.username, &auth_context)?;
        if let Some(KeptWill { topic, .. }) = &will
            && !account.scopes.to_insert(batch.rules().authorize, &key.username).allows(topic)
        {
            return Err(Error::MissingScope(Authorize::scope_to_insert(topic)));
        }

        let mut present = None;
        match batch.mqtt_session_of(&key)? {
            None => {}
            Some((id, None)) => batch.forget_mqtt_session(id, &key)?,
            Some((id, Some(head))) => {
                // Whoever connects is alone: the connection before was lost with the server, or could not be ended.
                let has_expired = match head.ended_at {
                    None => head.expiry == 0,
                    Some(_) => head.expires_at().is_some_and(|at| at <= batch.now()),
                };
                // A session is as new in another tenant than before, or in the same one after another: its position says nothing of
                // the events of that tenant, and the rights by which it was subscribed were others.
                let is_here = head.tenant == account.tenant && head.began.1 >= account.tenant_since;
                if clean_start || has_expired || !is_here {
                    forget(batch, id)?;
                } else {
                    // It goes on before the will was due. But one without a delay was due when the connection was lost, and of others
                    // the delay may be over although nobody has looked since.
                    let (mut before, now) = (batch.mqtt_will(id)?, batch.now());
                    let is_due =
                        |will: &KeptWill| will.delay == 0 || head.will_due_at(will).is_some_and(|due_at| due_at <= now);
                    if before.take_if(|will| is_due(will)).is_some() {
                        publish_of(batch, id, &head)?;
                    }
                    present = Some((id, MqttSessionBefore { head, will: before }));
                }
            }
        }
        let (id, begun) = match present {
            Some((id, before)) => {
                let head = before.head.clone();
                batch.put_mqtt_head(id, MqttSessionHead { expiry, publisher, ended_at: None, ..head })?;
                (id, BegunMqttSession::Present(id, Box::new(before)))
            }
            None if expiry == 0 && will.is_none() => return Ok(BegunMqttSession::Anew(None)),
            None => {
                if expiry > 0 && !make_room(batch, &key, may_exceed)? {
                    return Ok(BegunMqttSession::TooMany);
                }
                let began = (batch.now(), batch.head());
                let tenant = account.tenant.clone();
                let head = MqttSessionHead { key, tenant, publisher, expiry, began, ended_at: None };
                let id = batch.add_mqtt_session(head)?;
                (id, BegunMqttSession::Anew(Some(id)))
            }
        };
        batch.put_mqtt_will(id, will.as_ref())?;
        batch.find_mqtt_session_again(id);
        Ok(begun)
    }
}

/// Forgets the sessions of a user that ended longest ago until there is room for one more, and a few more than that if there were too many
/// before. Returns whether there is room.
fn make_room(batch: &mut Batch<'_>, key: &MqttSessionKey, may_exceed: bool) -> Result<bool, Error> {
    let (ids, most) = (batch.mqtt_sessions_of(&key.username)?, batch.rules().mqtt_sessions);
    let Some(too_many) = (ids.len() + 1).checked_sub(most).filter(|too_many| *too_many > 0) else { return Ok(true) };
    let mut ended = Vec::new();
    for id in if may_exceed { some_of(ids, u64::from_be_bytes(crate::random::bytes())) } else { ids } {
        // One that cannot be read is found by its name, and forgotten, when its client comes.
        if let Some(ended_at) = batch.mqtt_head_if_whole(id)?.and_then(|head| head.ended_at) {
            ended.push((ended_at, id));
        }
    }
    ended.sort_unstable();
    let has_room = may_exceed || ended.len() >= too_many;
    for (_, id) in ended.into_iter().take(too_many.min(FORGOTTEN_AT_ONCE)).filter(|_| has_room) {
        forget(batch, id)?;
    }
    Ok(has_room)
}

/// Some of very many sessions, by a number: those that it falls on, and the ones behind.
fn some_of(mut ids: Vec<MqttSessionId>, number: u64) -> Vec<MqttSessionId> {
    if let Some(first) = number.checked_rem(ids.len() as u64) {
        ids.rotate_left(first as usize);
    }
    ids.truncate(LOOKED_AT);
    ids
}

/// What becomes of the will when a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WillFate {
    /// It is published after its delay, if the session does not go on before.
    AfterDelay,
    /// It is published now.
    Now,
    /// It is not published.
    Discarded,
}

/// A change of a session that a client has.
#[derive(Debug, Serialize, Deserialize)]
pub enum MqttSessionChange {
    /// Notes how far it has come, and those messages of QoS 2 on their way whose own notes may have been refused.
    Save(MqttProgress),
    /// Adds subscriptions; one that is there already goes on by the new options.
    Subscribe(Vec<KeptSubscription>),
    /// Takes subscriptions out, by their filters.
    Unsubscribe(Vec<Box<str>>),
    /// Notes messages of QoS 2 before they are sent, and that all up to a position have been noted, and of
    /// retained ones that were asked for.
    NoteOutgoing(Vec<Outgoing>, (Position, MqttAsked)),
    /// Notes that the client has received messages of QoS 2, before it is told to release them.
    ReleaseOutgoing(Vec<NonZeroU16>),
    /// Notes that messages of QoS 2 are done.
    ForgetOutgoing(Vec<NonZeroU16>),
    /// The client has released a message of QoS 2 of its own.
    ReleaseInbound(NonZeroU16),
    /// Puts a will in the place of the one that there is, or takes that away.
    PutWill(Option<Box<KeptWill>>),
    /// The client is not let in after all: the session is what it was before that connected.
    PutBack(Box<MqttSessionBefore>),
    /// The right to publish the will rests on this from now on. If that does not permit it, there is no will any more.
    RenewWill(AuthContext),
    /// Its connection has ended: how far it has come, as [`MqttSessionChange::Save`]; another session expiry interval if there is one, and what becomes of the will.
    End(MqttProgress, Option<u32>, WillFate),
    /// It ends, and its will is published if it still has one.
    Forget,
}

/// Changes a session.
#[derive(Serialize, Deserialize)]
pub struct ChangeMqttSession {
    /// The session.
    pub id: MqttSessionId,
    /// What changes.
    pub change: MqttSessionChange,
}

impl Change for ChangeMqttSession {
    /// Whether the session was still there; of [`MqttSessionChange::ReleaseInbound`], whether a message had that packet identifier.
    type Outcome = bool;
    type Reach = Anywhere;

    fn bytes(&self) -> usize {
        match &self.change {
            MqttSessionChange::Subscribe(subscriptions) => subscriptions.iter().map(|one| one.filter.len()).sum(),
            _ => 0,
        }
    }

    /// A connection has a few of them under way, each of no more than it holds itself. Whatever many connections have to write at once, as
    /// when an event is sent to all of them or all of them are lost, is written, and no change of others is refused for it. A client can
    /// be told that it has no new subscription.
    fn is_needed(&self) -> bool {
        !matches!(self.change, MqttSessionChange::Subscribe(_))
    }

    fn decide(self, batch: &mut Batch<'_>) -> Result<bool, Error> {
        let Self { id, change } = self;
        // One that was forgotten meanwhile writes nothing, since nothing would be removed of it any more.
        let Some(head) = batch.mqtt_head(id)? else { return Ok(false) };
        match change {
            MqttSessionChange::Save(progress) => batch.save_mqtt_progress(id, &progress)?,
            MqttSessionChange::Subscribe(subscriptions) => batch.put_mqtt_subscriptions(id, subscriptions)?,
            MqttSessionChange::Unsubscribe(filters) => batch.remove_mqtt_subscriptions(id, filters),
            MqttSessionChange::NoteOutgoing(messages, exact) => {
                batch.note_mqtt_outgoing(id, messages, exact)?;
            }
            MqttSessionChange::ReleaseOutgoing(packets) => batch.release_mqtt_outgoing(id, packets)?,
            MqttSessionChange::ForgetOutgoing(packets) => batch.forget_mqtt_outgoing(id, packets)?,
            MqttSessionChange::ReleaseInbound(packet) => return batch.release_mqtt_unreleased(id, packet),
            MqttSessionChange::PutWill(will) => batch.put_mqtt_will(id, will.as_deref())?,
            MqttSessionChange::PutBack(before) => {
                batch.put_mqtt_will(id, before.will.as_ref())?;
                batch.put_mqtt_head(id, before.head)?;
            }
            MqttSessionChange::RenewWill(by) => renew(batch, id, &head, &by)?,
            MqttSessionChange::End(progress, expiry, will) => {
                let head = MqttSessionHead { expiry: expiry.unwrap_or(head.expiry), ..head };
                match will {
                    WillFate::AfterDelay => {}
                    WillFate::Now => publish_of(batch, id, &head)?,
                    WillFate::Discarded => batch.put_mqtt_will(id, None)?,
                }
                batch.save_mqtt_progress(id, &progress)?;
                end(batch, id, head)?;
                batch.find_mqtt_session_again(id);
            }
            MqttSessionChange::Forget => forget(batch, id)?,
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
