//! Properties (MQTT 5.0, 2.2.2).

use std::num::{NonZeroU16, NonZeroU32};

use super::fields::Fields;
use super::reason::Reason;
use super::violation::Violation;
use super::write::{put_after_length, put_binary, put_length, put_text};

/// A property of a packet of MQTT 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// Whether the payload is declared as UTF-8.
    PayloadFormatIndicator(bool),
    /// When a message expires, in seconds from now.
    MessageExpiryInterval(u32),
    /// The content type; any text.
    ContentType(&'a str),
    /// The topic for a response.
    ResponseTopic(&'a str),
    /// Data that relates a response to its request.
    CorrelationData(&'a [u8]),
    /// The identifier of a subscription.
    SubscriptionIdentifier(NonZeroU32),
    /// When a session expires, in seconds after its connection; never with [`u32::MAX`].
    SessionExpiryInterval(u32),
    /// The client identifier that the server assigned.
    AssignedClientIdentifier(&'a str),
    /// The keep alive that the client must use, in seconds.
    ServerKeepAlive(u16),
    /// The method of enhanced authentication.
    AuthenticationMethod(&'a str),
    /// The data of enhanced authentication.
    AuthenticationData(&'a [u8]),
    /// Whether the client wants reason strings.
    RequestProblemInformation(bool),
    /// The delay of a will, in seconds.
    WillDelayInterval(u32),
    /// Whether the client wants response information.
    RequestResponseInformation(bool),
    /// A reason for humans to read.
    ReasonString(&'a str),
    /// How many messages of QoS 1 and 2 may be unacknowledged at a time.
    ReceiveMaximum(NonZeroU16),
    /// The highest topic alias that is accepted.
    TopicAliasMaximum(u16),
    /// A number that stands for a topic name.
    TopicAlias(NonZeroU16),
    /// A name and a value for applications.
    UserProperty(&'a str, &'a str),
    /// The maximum packet size, in bytes.
    MaximumPacketSize(NonZeroU32),
    /// Whether the server supports wildcards.
    WildcardSubscriptionAvailable(bool),
    /// Whether the server supports subscription identifiers.
    SubscriptionIdentifierAvailable(bool),
    /// Whether the server supports shared subscriptions.
    SharedSubscriptionAvailable(bool),
}

/// The properties of a packet of a client, one at a time.
pub struct Properties<'a> {
    fields: Fields<'a>,
    /// A bit for each identifier that was read.
    seen: u64,
}

/// A property that is known and does not belong to its packet (MQTT 5.0, 2.2.2.2).
pub const FOREIGN: Violation = Violation::malformed("a property that does not belong to the packet");

const ALIAS_0: Violation = Violation { reason: Reason::TopicAliasInvalid, connack: None, what: "the topic alias 0" };

/// The identifier of user properties, which may come more than once.
const USER_PROPERTY: u8 = 0x26;

impl<'a> Properties<'a> {
    /// The properties that are next in a packet, after their length.
    pub fn read(fields: &mut Fields<'a>) -> Result<Self, Violation> {
        Ok(Self { fields: fields.section()?, seen: 0 })
    }

    /// The next one, if there is one.
    ///
    /// # Errors
    /// [`Violation`], also for a property that only servers send, and for a second one of a kind that may come once.
    pub fn next(&mut self) -> Result<Option<Property<'a>>, Violation> {
        if self.fields.is_empty() {
            return Ok(None);
        }
        let id = self.fields.u8()?;
        let property = Property::read(id, &mut self.fields)?;
        let bit = 1 << (id & 63);
        if self.seen & bit != 0 && id != USER_PROPERTY {
            return Err(Violation::protocol("a property that comes twice"));
        }
        self.seen |= bit;
        Ok(Some(property))
    }

    /// Skips reason strings and user properties.
    ///
    /// # Errors
    /// [`Violation`], also for anything else.
    pub fn pass_over(mut self) -> Result<(), Violation> {
        while let Some(property) = self.next()? {
            let (Property::ReasonString(_) | Property::UserProperty(..)) = property else { return Err(FOREIGN) };
        }
        Ok(())
    }
}

fn flag(fields: &mut Fields<'_>) -> Result<bool, Violation> {
    match fields.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Violation::protocol("a property of 0 or 1 with another value")),
    }
}

fn above_zero<T>(value: Option<T>) -> Result<T, Violation> {
    value.ok_or(Violation::protocol("a property of 0 that must be greater"))
}

impl<'a> Property<'a> {
    /// Reads what follows an identifier. An identifier is an integer of variable length, but none has more than one byte.
    fn read(id: u8, fields: &mut Fields<'a>) -> Result<Self, Violation> {
        Ok(match id {
            0x01 => Self::PayloadFormatIndicator(flag(fields)?),
            0x02 => Self::MessageExpiryInterval(fields.u32()?),
            0x03 => Self::ContentType(fields.text()?),
            0x08 => Self::ResponseTopic(fields.topic()?),
            0x09 => Self::CorrelationData(fields.binary()?),
            0x0B => Self::SubscriptionIdentifier(above_zero(NonZeroU32::new(fields.length()?))?),
            0x11 => Self::SessionExpiryInterval(fields.u32()?),
            0x15 => Self::AuthenticationMethod(fields.text()?),
            0x16 => Self::AuthenticationData(fields.binary()?),
            0x17 => Self::RequestProblemInformation(flag(fields)?),
            0x18 => Self::WillDelayInterval(fields.u32()?),
            0x19 => Self::RequestResponseInformation(flag(fields)?),
            0x1F => Self::ReasonString(fields.text()?),
            0x21 => Self::ReceiveMaximum(above_zero(NonZeroU16::new(fields.u16()?))?),
            0x22 => Self::TopicAliasMaximum(fields.u16()?),
            0x23 => Self::TopicAlias(NonZeroU16::new(fields.u16()?).ok_or(ALIAS_0)?),
            USER_PROPERTY => Self::UserProperty(fields.text()?, fields.text()?),
            0x27 => Self::MaximumPacketSize(above_zero(NonZeroU32::new(fields.u32()?))?),
            0x12 | 0x13 | 0x1A | 0x1C | 0x24 | 0x25 | 0x28..=0x2A => return Err(FOREIGN),
            _ => return Err(Violation::malformed("an unknown property")),
        })
    }

    fn id(&self) -> u8 {
        match self {
            Self::PayloadFormatIndicator(_) => 0x01,
            Self::MessageExpiryInterval(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionIdentifier(_) => 0x0B,
            Self::SessionExpiryInterval(_) => 0x11,
            Self::AssignedClientIdentifier(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelayInterval(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ReasonString(_) => 0x1F,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::UserProperty(..) => USER_PROPERTY,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardSubscriptionAvailable(_) => 0x28,
            Self::SubscriptionIdentifierAvailable(_) => 0x29,
            Self::SharedSubscriptionAvailable(_) => 0x2A,
        }
    }

    /// Appends it, with its identifier.
    pub fn put(&self, buffer: &mut Vec<u8>) {
        buffer.push(self.id());
        match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => buffer.push(value.into()),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value) => {
                buffer.extend(value.to_be_bytes());
            }
            Self::MaximumPacketSize(value) => buffer.extend(value.get().to_be_bytes()),
            Self::SubscriptionIdentifier(value) => put_length(buffer, value.get() as usize),
            Self::ServerKeepAlive(value) | Self::TopicAliasMaximum(value) => buffer.extend(value.to_be_bytes()),
            Self::ReceiveMaximum(value) | Self::TopicAlias(value) => buffer.extend(value.get().to_be_bytes()),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ReasonString(text) => put_text(buffer, text),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => put_binary(buffer, bytes),
            Self::UserProperty(name, value) => {
                put_text(buffer, name);
                put_text(buffer, value);
            }
        }
    }
}

/// Appends properties, after their length (MQTT 5.0, 2.2.2).
pub fn put_properties<'a>(buffer: &mut Vec<u8>, properties: impl IntoIterator<Item = Property<'a>>) {
    put_after_length(buffer, |buffer| properties.into_iter().for_each(|property| property.put(buffer)));
}
