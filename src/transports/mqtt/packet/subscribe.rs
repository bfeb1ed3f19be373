//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0, 3.8 and 3.10).

use std::num::{NonZeroU16, NonZeroU32};

use super::fields::Fields;
use super::property::{FOREIGN, Properties, Property};
use super::qos::Qos;
use super::version::Version;
use super::violation::Violation;

/// The bits of a filter's options that are reserved in MQTT 5, and before.
const RESERVED: u8 = 0b1100_0000;
const RESERVED_V3: u8 = 0b1111_1100;
const NO_LOCAL: u8 = 0b100;
const RETAIN_AS_PUBLISHED: u8 = 0b1000;

/// A SUBSCRIBE packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The packet identifier, which the SUBACK repeats.
    pub packet_id: NonZeroU16,
    /// The subscription identifier for all of its filters, at most 268,435,455.
    pub subscription_id: Option<NonZeroU32>,
    /// The subscriptions, at least one. The SUBACK has a reason code for each in this order.
    pub subscriptions: Vec<Subscription>,
}

/// A topic filter and its options (MQTT 5.0, 3.8.3.1). In MQTT 3 the only option is the QoS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic filter. It has not been validated, and may be empty.
    pub filter: String,
    /// The maximum QoS.
    pub qos: Qos,
    /// No Local: the client does not get its own messages. Never set on a shared subscription.
    pub no_local: bool,
    /// Retain As Published: messages keep the RETAIN flag that they were published with.
    pub retain_as_published: bool,
    /// Whether retained messages are sent at once.
    pub retain_handling: RetainHandling,
}

/// When subscribing sends retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Always = 0,
    /// If the subscription is new.
    IfNew = 1,
    /// Never.
    Never = 2,
}

/// An UNSUBSCRIBE packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The packet identifier, which the UNSUBACK repeats.
    pub packet_id: NonZeroU16,
    /// The topic filters, at least one and not validated. The UNSUBACK has a reason code for each in this order.
    pub filters: Vec<String>,
}

impl Subscribe {
    pub(super) fn read(mut fields: Fields<'_>, version: Version) -> Result<Self, Violation> {
        let (packet_id, mut subscription_id) = (fields.packet_id()?, None);
        if version.has_properties() {
            let mut properties = Properties::read(&mut fields)?;
            while let Some(property) = properties.next()? {
                match property {
                    Property::SubscriptionIdentifier(id) => subscription_id = Some(id),
                    Property::UserProperty(..) => {}
                    _ => return Err(FOREIGN),
                }
            }
        }
        let mut subscriptions = Vec::new();
        while !fields.is_empty() {
            subscriptions.push(Subscription::read(&mut fields, version)?);
        }
        if subscriptions.is_empty() {
            return Err(Violation::protocol("a SUBSCRIBE without a filter"));
        }
        Ok(Self { packet_id, subscription_id, subscriptions })
    }
}

impl Subscription {
    fn read(fields: &mut Fields<'_>, version: Version) -> Result<Self, Violation> {
        let (filter, options) = (fields.text()?.to_owned(), fields.u8()?);
        let reserved = if version.has_properties() { RESERVED } else { RESERVED_V3 };
        if options & reserved != 0 {
            return Err(Violation::malformed("a reserved bit of a subscription's options"));
        }
        let qos = Qos::of(options).ok_or(Violation::protocol("a subscription of QoS 3"))?;
        let retain_handling = match options >> 4 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(Violation::protocol("the retain handling 3")),
        };
        let no_local = options & NO_LOCAL != 0;
        if no_local && filter.starts_with("$share/") {
            return Err(Violation::protocol("a shared subscription with No Local"));
        }
        let retain_as_published = options & RETAIN_AS_PUBLISHED != 0;
        Ok(Self { filter, qos, no_local, retain_as_published, retain_handling })
    }
}

impl Unsubscribe {
    pub(super) fn read(mut fields: Fields<'_>, version: Version) -> Result<Self, Violation> {
        let packet_id = fields.packet_id()?;
        if version.has_properties() {
            let mut properties = Properties::read(&mut fields)?;
            while let Some(property) = properties.next()? {
                let Property::UserProperty(..) = property else { return Err(FOREIGN) };
            }
        }
        let mut filters = Vec::new();
        while !fields.is_empty() {
            filters.push(fields.text()?.to_owned());
        }
        if filters.is_empty() {
            return Err(Violation::protocol("an UNSUBSCRIBE without a filter"));
        }
        Ok(Self { packet_id, filters })
    }
}
