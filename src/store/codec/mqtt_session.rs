//! Sessions of MQTT: numbers and lengths, and then text, since there may be very many.

use std::num::{NonZeroU16, NonZeroU32};

use super::numbers::{Decoded, encode_moment, encode_position};
use super::published::{HEAD_BYTES, PublishedHead, encode_envelope, encode_published};
use crate::domain::{
    EventName, Generation, KeptSubscription, KeptWill, MqttAsk, MqttAsked, MqttProgress, MqttSessionHead,
    MqttSessionId, MqttSessionKey, Outgoing, OutgoingEvent, OutgoingState, PayloadForm, Position, Published,
    PublisherId, Qos, SessionId, SignIn, TenantName, Timestamp, Username, WillRight,
};

const WRONG: &str = "a session of MQTT is not what was written";

/// A session, and the moment in the key of the row by which maintenance finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttSessionRow {
    pub head: MqttSessionHead,
    pub due_at: Option<Timestamp>,
}

/// What is left of a value.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes<const N: usize>(&mut self) -> Decoded<&'a [u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(WRONG)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Decoded<u8> {
        self.bytes::<1>().map(|[byte]| *byte)
    }

    fn u16(&mut self) -> Decoded<u16> {
        self.bytes().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Decoded<u32> {
        self.bytes().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn u64(&mut self) -> Decoded<u64> {
        self.bytes().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn position(&mut self) -> Decoded<Position> {
        self.u64().map(Position::new)
    }

    fn asked(&mut self) -> Decoded<MqttAsked> {
        Ok(MqttAsked { done: self.u32()?, through: self.u32()?, after: self.position()? })
    }

    fn moment(&mut self) -> Decoded<Timestamp> {
        self.u64().map(Timestamp::from_millis)
    }

    /// A field that is there if the value says so.
    fn optional<T>(&mut self, is_there: bool, field: impl FnOnce(&mut Self) -> Decoded<T>) -> Decoded<Option<T>> {
        if is_there { field(self).map(Some) } else { Ok(None) }
    }

    fn text(&mut self) -> Decoded<&'a str> {
        let length = self.u16()?;
        let (text, rest) = self.0.split_at_checked(length.into()).ok_or(WRONG)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| WRONG)
    }

    fn all<T>(self, value: T) -> Decoded<T> {
        if self.0.is_empty() { Ok(value) } else { Err(WRONG) }
    }
}

fn put_text(value: &mut Vec<u8>, text: &str) {
    value.extend_from_slice(&(text.len() as u16).to_be_bytes());
    value.extend_from_slice(text.as_bytes());
}

/// Some flags as bits, the first one the lowest.
fn bits<const N: usize>(flags: [bool; N]) -> u8 {
    flags.into_iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(flag))
}

/// The flags in some bits.
fn flags<const N: usize>(bits: u8) -> Decoded<[bool; N]> {
    if u32::from(bits) >> N == 0 { Ok(std::array::from_fn(|at| bits >> at & 1 == 1)) } else { Err(WRONG) }
}

pub fn encode_mqtt_session(MqttSessionRow { head, due_at }: &MqttSessionRow) -> Vec<u8> {
    let MqttSessionHead { key, tenant, publisher, expiry, began, ended_at } = head;
    let mut value = vec![bits([ended_at.is_some(), due_at.is_some()])];
    value.extend_from_slice(&expiry.to_be_bytes());
    value.extend_from_slice(&publisher.0.to_be_bytes());
    value.extend(encode_moment(began.0));
    value.extend(encode_position(began.1));
    value.extend([ended_at, due_at].into_iter().flatten().copied().flat_map(encode_moment));
    put_text(&mut value, tenant.as_str());
    put_text(&mut value, key.username.as_str());
    put_text(&mut value, &key.client_id);
    value
}

pub fn decode_mqtt_session(value: &[u8]) -> Decoded<MqttSessionRow> {
    let mut fields = Fields(value);
    let [has_ended, has_due] = flags(fields.byte()?)?;
    let (expiry, publisher) = (fields.u32()?, PublisherId(fields.u64()?));
    let began = (fields.moment()?, fields.position()?);
    let ended_at = fields.optional(has_ended, Fields::moment)?;
    let due_at = fields.optional(has_due, Fields::moment)?;
    let tenant = TenantName::parse(fields.text()?).map_err(|_| WRONG)?;
    let username = Username::from_stored(fields.text()?).map_err(|_| WRONG)?;
    let key = MqttSessionKey { username, client_id: fields.text()?.into() };
    let head = MqttSessionHead { key, tenant, publisher, expiry, began, ended_at };
    fields.all(MqttSessionRow { head, due_at })
}

/// The number of a session.
pub fn encode_mqtt_number(id: MqttSessionId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

pub fn decode_mqtt_number(value: &[u8]) -> Decoded<MqttSessionId> {
    let mut fields = Fields(value);
    let id = MqttSessionId(fields.u64()?);
    fields.all(id)
}

/// The numbers of the sessions of a user: eight bytes each.
pub fn encode_mqtt_numbers(ids: &[MqttSessionId]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.0.to_be_bytes()).collect()
}

pub fn decode_mqtt_numbers(value: &[u8]) -> Decoded<Vec<MqttSessionId>> {
    let (numbers, rest) = value.as_chunks::<8>();
    let ids = numbers.iter().map(|number| MqttSessionId(u64::from_be_bytes(*number))).collect();
    if rest.is_empty() { Ok(ids) } else { Err(WRONG) }
}

/// A subscription without its filter, which is in the key.
pub fn encode_mqtt_subscription(subscription: &KeptSubscription) -> Vec<u8> {
    let KeptSubscription { filter: _, qos, no_local, retain_as_published, id, since, asked } = subscription;
    let mut value = vec![qos.number() | bits([*no_local, *retain_as_published]) << 2];
    value.extend(encode_position(*since));
    value.extend_from_slice(&asked.number.to_be_bytes());
    value.extend(encode_position(asked.until));
    value.extend(id.iter().flat_map(|id| id.get().to_be_bytes()));
    value
}

pub fn decode_mqtt_subscription(filter: Box<str>, value: &[u8]) -> Decoded<KeptSubscription> {
    let mut fields = Fields(value);
    let first = fields.byte()?;
    let qos = Qos::from_number(first & 3).ok_or(WRONG)?;
    let [no_local, retain_as_published] = flags(first >> 2)?;
    let since = fields.position()?;
    let asked = MqttAsk { number: fields.u32()?, until: fields.position()? };
    let has_id = !fields.0.is_empty();
    let id = fields.optional(has_id, |fields| NonZeroU32::new(fields.u32()?).ok_or(WRONG))?;
    fields.all(KeptSubscription { filter, qos, no_local, retain_as_published, id, since, asked })
}

fn put_asked(value: &mut Vec<u8>, MqttAsked { done, through, after }: MqttAsked) {
    value.extend_from_slice(&done.to_be_bytes());
    value.extend_from_slice(&through.to_be_bytes());
    value.extend(encode_position(after));
}

/// Up to where messages of QoS 2 have been noted, and retained ones that were asked for.
pub fn encode_mqtt_exact((position, asked): (Position, MqttAsked)) -> Vec<u8> {
    let mut value = encode_position(position).to_vec();
    put_asked(&mut value, asked);
    value
}

pub fn decode_mqtt_exact(value: &[u8]) -> Decoded<(Position, MqttAsked)> {
    let mut fields = Fields(value);
    let exact = (fields.position()?, fields.asked()?);
    fields.all(exact)
}

fn put_event(value: &mut Vec<u8>, event: OutgoingEvent, state: u8) {
    value.extend(encode_position(event.position));
    value.push(state | u8::from(event.is_from_before) << 2);
}

/// An event, and the two bits beside it.
fn take_event(fields: &mut Fields<'_>) -> Decoded<(OutgoingEvent, u8)> {
    let (position, bits) = (fields.position()?, fields.byte()?);
    let [is_from_before] = flags(bits >> 2)?;
    Ok((OutgoingEvent { position, is_from_before }, bits & 3))
}

fn state_number(state: OutgoingState) -> u8 {
    match state {
        OutgoingState::Sent => 0,
        OutgoingState::SentOnce => 1,
        OutgoingState::Released => 2,
    }
}

fn state_of(number: u8) -> Decoded<OutgoingState> {
    match number {
        0 => Ok(OutgoingState::Sent),
        1 => Ok(OutgoingState::SentOnce),
        2 => Ok(OutgoingState::Released),
        _ => Err(WRONG),
    }
}

/// A message to the client without its packet identifier, which is in the key.
pub fn encode_mqtt_outgoing(message: &Outgoing) -> Vec<u8> {
    let mut value = Vec::with_capacity(9);
    put_event(&mut value, message.event, state_number(message.state));
    value
}

pub fn decode_mqtt_outgoing(id: NonZeroU16, value: &[u8]) -> Decoded<Outgoing> {
    let mut fields = Fields(value);
    let (event, state) = take_event(&mut fields)?;
    let state = state_of(state)?;
    fields.all(Outgoing { id, event, state })
}

/// How far a session has come: both positions with what was asked for, and the last packet identifier, what is in flight with its number, and then what waits.
pub fn encode_mqtt_progress(progress: &MqttProgress) -> Vec<u8> {
    let MqttProgress { position, exact_position, exact_asked, asked, outgoing, waiting, last_id } = progress;
    let mut value = Vec::with_capacity(52 + 11 * outgoing.len() + 9 * waiting.len());
    value.extend(encode_position(*position));
    put_asked(&mut value, *asked);
    value.extend(encode_mqtt_exact((*exact_position, *exact_asked)));
    value.extend_from_slice(&last_id.to_be_bytes());
    value.extend_from_slice(&(outgoing.len() as u16).to_be_bytes());
    for message in outgoing {
        value.extend_from_slice(&message.id.get().to_be_bytes());
        put_event(&mut value, message.event, state_number(message.state));
    }
    waiting.iter().for_each(|event| put_event(&mut value, *event, 0));
    value
}

pub fn decode_mqtt_progress(value: &[u8]) -> Decoded<MqttProgress> {
    let mut fields = Fields(value);
    let (position, asked) = (fields.position()?, fields.asked()?);
    let (exact_position, exact_asked) = (fields.position()?, fields.asked()?);
    let (last_id, count) = (fields.u16()?, fields.u16()?);
    let outgoing = (0..count).map(|_| {
        let id = NonZeroU16::new(fields.u16()?).ok_or(WRONG)?;
        let (event, state) = take_event(&mut fields)?;
        Ok(Outgoing { id, event, state: state_of(state)? })
    });
    let outgoing = outgoing.collect::<Decoded<_>>()?;
    let mut waiting = Vec::with_capacity(fields.0.len() / 9);
    while !fields.0.is_empty() {
        let (event, state) = take_event(&mut fields)?;
        waiting.push((state == 0).then_some(event).ok_or(WRONG)?);
    }
    Ok(MqttProgress { position, exact_position, exact_asked, asked, outgoing, waiting, last_id })
}

/// Where and when a message of the client was inserted.
pub fn encode_mqtt_unreleased(position: Position, at: Timestamp) -> Vec<u8> {
    [encode_position(position), encode_moment(at)].concat()
}

pub fn decode_mqtt_unreleased(value: &[u8]) -> Decoded<(Position, Timestamp)> {
    let mut fields = Fields(value);
    let inserted = (fields.position()?, fields.moment()?);
    fields.all(inserted)
}

/// A will: the payload and the properties are written as those of an event are.
pub fn encode_mqtt_will(will: &KeptWill) -> Vec<u8> {
    let KeptWill { topic, payload, qos, retain, properties, expires_in, delay, by } = will;
    let (is_token, by_password_alone, has_moment) = match by {
        WillRight::SignIn(sign_in) => (false, sign_in.by_password_alone, sign_in.session.is_some()),
        WillRight::Token(until) => (true, false, until.is_some()),
    };
    let mut value = vec![bits([*retain, expires_in.is_some(), is_token, by_password_alone, has_moment])];
    value.extend_from_slice(&delay.to_be_bytes());
    value.extend(expires_in.iter().flat_map(|seconds| seconds.to_be_bytes()));
    match by {
        WillRight::SignIn(SignIn { generation, session, .. }) => {
            value.extend_from_slice(&generation.0.to_be_bytes());
            value.extend(session.iter().flat_map(|session| session.get().to_be_bytes()));
        }
        WillRight::Token(until) => value.extend(until.iter().copied().flat_map(encode_moment)),
    }
    put_text(&mut value, topic.as_str());
    let (form, properties) = (PayloadForm::Raw(payload.clone()), properties.clone());
    let published = Published { form, qos: *qos, publisher: PublisherId(0), properties };
    value.extend(encode_published(&published));
    value.extend(encode_envelope(&published));
    value
}

pub fn decode_mqtt_will(value: &[u8]) -> Decoded<KeptWill> {
    let mut fields = Fields(value);
    let [retain, has_expiry, is_token, by_password_alone, has_moment] = flags(fields.byte()?)?;
    let delay = fields.u32()?;
    let expires_in = fields.optional(has_expiry, Fields::u32)?;
    let by = if is_token {
        WillRight::Token(fields.optional(has_moment, Fields::moment)?)
    } else {
        let generation = Generation(fields.u64()?);
        let session = fields.optional(has_moment, |fields| SessionId::new(fields.u64()?).ok_or(WRONG))?;
        WillRight::SignIn(SignIn { generation, by_password_alone, session })
    };
    let topic = EventName::parse(fields.text()?).map_err(|_| WRONG)?;
    let Published { form, qos, properties, .. } = PublishedHead(fields.bytes::<HEAD_BYTES>()?).decode(fields.0)?;
    let PayloadForm::Raw(payload) = form else { return Err(WRONG) };
    Ok(KeptWill { topic, payload, qos, retain, properties, expires_in, delay, by })
}

#[cfg(test)]
mod tests;
