//! CONNECT (MQTT 5.0, 3.1).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use super::connect_flags as flags;
use super::fields::Fields;
use super::property::{FOREIGN, Properties, Property};
use super::publish::PublishProperties;
use super::qos::Qos;
use super::reason::Reason;
use super::version::Version;
use super::violation::Violation;

/// How long a client identifier may be in MQTT 3.1.
const MAX_CLIENT_ID_V31: usize = 23;

/// A CONNECT packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The version of the protocol.
    pub version: Version,
    /// Clean Start, or Clean Session: discard an existing session.
    pub clean_start: bool,
    /// Keep alive, in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// The client identifier. It may be empty.
    pub client_id: String,
    /// Whether the specification has the server refuse the client identifier ([`Reason::ClientIdNotValid`]): in MQTT 3.1 if it is empty
    /// or has more than 23 bytes, in 3.1.1 if it is empty without Clean Session.
    pub must_refuse_client_id: bool,
    /// The user name.
    pub username: Option<String>,
    /// The password. In MQTT 5 it may come without a user name.
    pub password: Option<Secret>,
    /// The will.
    pub will: Option<Will>,
    /// Session expiry interval, in seconds; with [`u32::MAX`] the session never expires. In MQTT 3 it is 0 with Clean Session, and
    /// [`u32::MAX`] without.
    pub session_expiry: u32,
    /// Receive maximum: how many messages of QoS 1 and 2 may be unacknowledged at a time.
    pub receive_maximum: NonZeroU16,
    /// Maximum size of a packet to the client, in bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest topic alias that the client accepts.
    pub topic_alias_maximum: u16,
    /// Request response information. A server may ignore it.
    pub wants_response_information: bool,
    /// Request problem information: the client accepts reason strings and user properties in all packets.
    pub wants_problem_information: bool,
    /// Enhanced authentication, if the client asks for it.
    pub authentication: Option<Authentication>,
}

/// A will: the message that the server publishes when the connection ends without a normal DISCONNECT (MQTT 5.0, 3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The topic name, not empty and without wildcards.
    pub topic: String,
    /// The payload, at most 65,535 bytes.
    pub payload: Bytes,
    /// The QoS.
    pub qos: Qos,
    /// The RETAIN flag.
    pub retain: bool,
    /// Will delay interval, in seconds.
    pub delay: u32,
    /// The properties, without a topic alias.
    pub properties: PublishProperties,
}

/// Enhanced authentication (MQTT 5.0, 4.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// The authentication method.
    pub method: String,
    /// The authentication data.
    pub data: Option<Secret>,
}

/// Bytes that `Debug` does not show, so that no log has them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl Secret {
    pub(super) fn copy(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Reads the protocol name and the protocol level.
///
/// # Errors
/// [`Violation`]. An unknown level is answered with a CONNACK of MQTT 3.1.1: bridges try levels of their own first (0x83, 0x84), and
/// fall back to a standard one only after that answer.
pub fn read_version(fields: &mut Fields<'_>) -> Result<Version, Violation> {
    let unsupported = |connack, what| Violation { reason: Reason::UnsupportedVersion, connack, what };
    let name = fields.text()?;
    if !matches!(name, "MQTT" | "MQIsdp") {
        return Err(unsupported(None, "a protocol that is not MQTT"));
    }
    let protocol = (name, fields.u8()?);
    let version = [Version::V31, Version::V311, Version::V5].into_iter().find(|one| one.protocol() == protocol);
    version.ok_or(unsupported(Some(Version::V311), "a version of MQTT that is unknown"))
}

impl Connect {
    /// Whether it says nothing of who the client is.
    pub fn shows_nothing(&self) -> bool {
        let has_name = self.username.as_ref().is_some_and(|username| !username.is_empty());
        !has_name && self.password.is_none() && self.authentication.is_none()
    }

    /// Reads what follows the version.
    pub(super) fn read(mut fields: Fields<'_>, version: Version) -> Result<Self, Violation> {
        let flags = fields.u8()?;
        check_flags(flags, version)?;
        let clean_start = flags & flags::CLEAN_START != 0;
        let mut connect = Self::new(version, clean_start, fields.u16()?);
        if version.has_properties() {
            connect.read_properties(&mut fields)?;
        }
        connect.client_id = fields.text()?.to_owned();
        connect.must_refuse_client_id = match version {
            Version::V31 => !(1..=MAX_CLIENT_ID_V31).contains(&connect.client_id.len()),
            Version::V311 => connect.client_id.is_empty() && !clean_start,
            Version::V5 => false,
        };
        if flags & flags::WILL != 0 {
            connect.will = Some(Will::read(flags, &mut fields, version)?);
        }
        // In MQTT 3.1 the remaining length takes precedence over these flags: the fields may be missing (MQTT 3.1, CONNECT).
        let is_there = |flag, fields: &Fields<'_>| flags & flag != 0 && !(version == Version::V31 && fields.is_empty());
        if is_there(flags::USER_NAME, &fields) {
            connect.username = Some(fields.text()?.to_owned());
        }
        if is_there(flags::PASSWORD, &fields) {
            connect.password = Some(Secret::copy(fields.binary()?));
        }
        fields.finish()?;
        Ok(connect)
    }

    /// A CONNECT without its optional parts.
    pub(super) fn new(version: Version, clean_start: bool, keep_alive: u16) -> Self {
        Self {
            version,
            clean_start,
            keep_alive,
            client_id: String::new(),
            must_refuse_client_id: false,
            username: None,
            password: None,
            will: None,
            session_expiry: if version.has_properties() || clean_start { 0 } else { u32::MAX },
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            wants_response_information: false,
            wants_problem_information: true,
            authentication: None,
        }
    }

    fn read_properties(&mut self, fields: &mut Fields<'_>) -> Result<(), Violation> {
        let (mut method, mut data) = (None, None);
        let mut properties = Properties::read(fields)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => self.session_expiry = seconds,
                Property::ReceiveMaximum(most) => self.receive_maximum = most,
                Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
                Property::TopicAliasMaximum(most) => self.topic_alias_maximum = most,
                Property::RequestResponseInformation(wants) => self.wants_response_information = wants,
                Property::RequestProblemInformation(wants) => self.wants_problem_information = wants,
                // Nobody reads them, and before it is known who sends them they must not take memory.
                Property::UserProperty(..) => {}
                Property::AuthenticationMethod(text) => method = Some(text.to_owned()),
                Property::AuthenticationData(bytes) => data = Some(Secret::copy(bytes)),
                _ => return Err(FOREIGN),
            }
        }
        if method.is_none() && data.is_some() {
            return Err(Violation::protocol("authentication data without a method"));
        }
        self.authentication = method.map(|method| Authentication { method, data });
        Ok(())
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), Violation> {
    if flags & flags::RESERVED != 0 {
        return Err(Violation::malformed("the reserved flag of CONNECT"));
    }
    if flags & flags::WILL == 0 && flags & (flags::WILL_QOS | flags::WILL_RETAIN) != 0 {
        return Err(Violation::malformed("flags of a will without one"));
    }
    let has_password_alone = flags & (flags::USER_NAME | flags::PASSWORD) == flags::PASSWORD;
    if has_password_alone && !version.has_properties() {
        return Err(Violation::malformed("a password without a user name"));
    }
    Ok(())
}

impl Will {
    fn read(flags: u8, fields: &mut Fields<'_>, version: Version) -> Result<Self, Violation> {
        let qos = Qos::of((flags & flags::WILL_QOS) >> 3).ok_or(Violation::malformed("a will of QoS 3"))?;
        let (mut delay, mut properties) = (0, PublishProperties::default());
        if version.has_properties() {
            let mut read = Properties::read(fields)?;
            while let Some(property) = read.next()? {
                match property {
                    Property::WillDelayInterval(seconds) => delay = seconds,
                    Property::TopicAlias(_) => return Err(FOREIGN),
                    property => properties.take(property)?,
                }
            }
        }
        let topic = fields.topic()?.to_owned();
        if topic.is_empty() {
            return Err(Violation::malformed("a will without a topic"));
        }
        let payload = Bytes::copy_from_slice(fields.binary()?);
        Ok(Self { topic, payload, qos, retain: flags & flags::WILL_RETAIN != 0, delay, properties })
    }
}
