//! What a client publishes.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use super::keeping::kept_qos;
use super::packet;
use super::packet::{AckKind, Publish, PublishProperties, Qos, Reason, Violation};
use crate::app::App;
use crate::domain::{
    EventName, KeptWill, MAX_EXPIRES_IN, PayloadForm, PayloadFormat, Properties, Published, PublisherId, WillRight,
};
use crate::error::Error;
use crate::events::{Lifetime, NewEvent};
use crate::identity::Principal;

/// How many messages of QoS 1 and 2 a client of MQTT 5 may have unacknowledged.
pub const RECEIVE_MAXIMUM: u16 = 64;
/// How many messages of QoS 2 may be taken and not released. More than [`RECEIVE_MAXIMUM`], since clients of MQTT 3 know no such limit,
/// and some of MQTT 5 do not keep it: mqtt.js sends everything at once.
const MAX_UNRELEASED: usize = 1000;
/// The greatest topic alias that a client may use.
pub const MAX_ALIASES: u16 = 32;
/// What a packet has beside the event in it, at most: properties count as parts of the event.
const AROUND_BYTES: usize = 1 << 10;

/// How large a packet may be, in bytes.
pub fn max_packet_bytes(app: &App) -> usize {
    app.events.max_event_bytes() + AROUND_BYTES
}

/// What is known of the messages of one client.
#[derive(Default)]
pub struct Inbound {
    /// Topics by alias, from 1; an empty one, which none is, for those that no event can be called by.
    aliases: Vec<Option<Box<str>>>,
    /// The identifiers of messages of QoS 2 that were taken and not released.
    unreleased: BTreeSet<NonZeroU16>,
}

/// What is to be done with a message.
pub enum Take {
    /// It is inserted, and acknowledged like this.
    Insert(Result<NewEvent, Error>, Option<(AckKind, NonZeroU16)>),
    /// It has expired before anybody can be given it, and is acknowledged like this (MQTT 5.0, 3.3.2.3.3).
    Expired(Option<(AckKind, NonZeroU16)>),
    /// It has been taken before, and is acknowledged again.
    Again(NonZeroU16),
}

impl Inbound {
    /// Takes a message of a client with this number.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn take(&mut self, app: &App, publish: Publish, publisher: u64) -> Result<Take, Violation> {
        let topic = self.topic(&publish)?;
        let answer = match (publish.qos, publish.packet_id) {
            (Qos::AtMostOnce, _) | (_, None) => None,
            (Qos::AtLeastOnce, Some(id)) => Some((AckKind::PubAck, id)),
            (Qos::ExactlyOnce, Some(id)) => {
                if self.unreleased.contains(&id) {
                    return Ok(Take::Again(id));
                }
                if self.unreleased.len() >= MAX_UNRELEASED {
                    return Err(violation(Reason::ReceiveMaximumExceeded, "too many messages that are not released"));
                }
                self.unreleased.insert(id);
                Some((AckKind::PubRec, id))
            }
        };
        let Publish { qos, retain, properties, payload, .. } = publish;
        let event = new_event(app, &topic, (qos, retain), &properties, &payload, publisher);
        Ok(match properties.message_expiry {
            Some(0) if event.is_ok() => Take::Expired(answer),
            _ => Take::Insert(event, answer),
        })
    }

    /// The topic of a message (MQTT 5.0, 3.3.2.3.4).
    fn topic(&mut self, publish: &Publish) -> Result<Box<str>, Violation> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(publish.topic.as_str().into()) };
        if alias.get() > MAX_ALIASES {
            return Err(violation(Reason::TopicAliasInvalid, "a topic alias beyond the maximum"));
        }
        let at = usize::from(alias.get()) - 1;
        if self.aliases.len() <= at {
            self.aliases.resize(at + 1, None);
        }
        if !publish.topic.is_empty() {
            // A client must not have memory for its whole life by texts that are no topics. They are refused by their alias, too.
            let topic = EventName::parse(&publish.topic).map_or("", |_| &publish.topic);
            self.aliases[at] = Some(topic.into());
        }
        self.aliases[at].clone().ok_or(violation(Reason::ProtocolError, "a topic alias that stands for nothing"))
    }

    /// Of a client that comes back: the identifiers of messages that were taken and not released.
    pub fn resumed(unreleased: BTreeSet<NonZeroU16>) -> Self {
        Self { aliases: Vec::new(), unreleased }
    }

    /// A message is released, or was not taken. Returns whether one had this identifier.
    pub fn release(&mut self, id: NonZeroU16) -> bool {
        self.unreleased.remove(&id)
    }
}

fn violation(reason: Reason, what: &'static str) -> Violation {
    Violation { reason, connack: None, what }
}

/// The event that a message is.
fn new_event(
    app: &App,
    topic: &str,
    (qos, retain): (Qos, bool),
    properties: &PublishProperties,
    payload: &[u8],
    publisher: u64,
) -> Result<NewEvent, Error> {
    // Those belong to the server (MQTT 5.0, 4.7.2).
    if topic.starts_with('$') {
        return Err(Error::EventNameReserved);
    }
    let name = EventName::parse(topic)?;
    let (data, form) = PayloadForm::read(payload);
    let published =
        Published { form, qos: kept_qos(qos), publisher: PublisherId(publisher), properties: forwarded(properties) };
    let expires_in = properties.message_expiry.map(|seconds| u64::from(seconds).clamp(1, MAX_EXPIRES_IN));
    let lifetime = Lifetime { expires_in, transient: !retain, ..Lifetime::default() };
    app.events.published_event(name, (data, published), lifetime)
}

/// The properties that subscribers get.
fn forwarded(properties: &PublishProperties) -> Properties {
    let PublishProperties { is_utf8, response_topic, correlation_data, user_properties, content_type, .. } = properties;
    Properties {
        payload_format: is_utf8.then_some(PayloadFormat::Text),
        content_type: content_type.clone(),
        response_topic: response_topic.clone(),
        correlation_data: correlation_data.as_ref().map(|data| data.to_vec()),
        user_properties: user_properties.clone(),
    }
}

/// The will of a CONNECT, as its session keeps it.
///
/// # Errors
/// If its message would not be taken.
pub fn will(app: &App, principal: &Principal, will: &packet::Will, publisher: u64) -> Result<KeptWill, Error> {
    let packet::Will { topic, payload, qos, retain, delay, properties } = will;
    new_event(app, topic, (*qos, *retain), properties, payload, publisher)?;
    Ok(KeptWill {
        topic: EventName::parse(topic)?,
        payload: payload.to_vec().into(),
        qos: kept_qos(*qos),
        retain: *retain,
        properties: forwarded(properties),
        expires_in: properties.message_expiry,
        delay: *delay,
        by: WillRight::from(&principal.auth_context),
    })
}

#[cfg(test)]
mod tests;
