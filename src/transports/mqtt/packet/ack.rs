//! PUBACK, PUBREC, PUBREL and PUBCOMP of clients (MQTT 5.0, 3.4 to 3.7).

use std::num::NonZeroU16;

use super::fields::Fields;
use super::property::Properties;
use super::reason::Reason;
use super::version::Version;
use super::violation::Violation;

/// A PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The packet identifier of the message.
    pub packet_id: NonZeroU16,
    /// The reason code; always [`Reason::Success`] before MQTT 5.
    pub reason: Reason,
}

impl Ack {
    /// Reads one that may say these reasons. Properties, and then a success, may be left out at its end.
    pub(super) fn read(mut fields: Fields<'_>, version: Version, reasons: &[Reason]) -> Result<Self, Violation> {
        let mut ack = Self { packet_id: fields.packet_id()?, reason: Reason::Success };
        if version.has_properties() && !fields.is_empty() {
            ack.reason = fields.reason(reasons)?;
            if !fields.is_empty() {
                Properties::read(&mut fields)?.pass_over()?;
            }
        }
        fields.finish()?;
        Ok(ack)
    }
}
