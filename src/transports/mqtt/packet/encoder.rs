//! Encoding the packets of a server.

use std::num::NonZeroU16;

use super::connect::Connect;
use super::property::{Property, put_properties};
use super::publish::Publish;
use super::qos::Qos;
use super::reason::Reason;
use super::version::Version;
use super::write::{put_packet, remaining_length};

const CONNACK: u8 = 0x20;
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xB0;
const PINGRESP: u8 = 0xD0;
const DISCONNECT: u8 = 0xE0;
const AUTH: u8 = 0xF0;
/// What a SUBACK of MQTT 3.1.1 says of a subscription that is refused (3.9.3).
const FAILURE_V3: u8 = 0x80;

/// Appends packets for one client. It leaves out a reason string if the client does not want problem information, or if the packet would
/// exceed the client's maximum packet size. A CONNACK, an acknowledgement or a DISCONNECT that exceeds it nevertheless is left out itself
/// (MQTT 5.0, 3.1.2-24); whether a SUBACK or UNSUBACK does, [`Encoder::takes_codes`] says before there is one.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    version: Version,
    sends_reason_strings: bool,
    max_packet_bytes: usize,
}

/// The packets that acknowledge a message of QoS 1 or 2, by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AckKind {
    /// QoS 1.
    PubAck = 0x40,
    /// QoS 2, first step.
    PubRec = 0x50,
    /// QoS 2, second step.
    PubRel = 0x62,
    /// QoS 2, third step.
    PubComp = 0x70,
}

impl Encoder {
    /// An encoder for a client whose version alone is known.
    pub fn new(version: Version) -> Self {
        Self { version, sends_reason_strings: true, max_packet_bytes: usize::MAX }
    }

    /// An encoder for the client that sent this CONNECT.
    pub fn of(connect: &Connect) -> Self {
        let max_packet_bytes = connect.maximum_packet_size.map_or(usize::MAX, |bytes| bytes.get() as usize);
        Self { version: connect.version, sends_reason_strings: connect.wants_problem_information, max_packet_bytes }
    }

    /// Appends a CONNACK (MQTT 5.0, 3.2). Session Present is 0 if the reason is a failure, and in MQTT 3.1. Reason string and properties
    /// are left out before MQTT 5.
    pub fn connack(
        self,
        buffer: &mut Vec<u8>,
        is_session_present: bool,
        reason: Reason,
        reason_string: Option<&str>,
        properties: &[Property<'_>],
    ) {
        let is_present = is_session_present && !reason.is_failure() && self.version != Version::V31;
        self.put(buffer, CONNACK, reason_string, |buffer, reason_string| {
            buffer.push(is_present.into());
            if self.version.has_properties() {
                buffer.push(reason.code());
                put_properties(buffer, reason_string.into_iter().chain(properties.iter().copied()));
            } else {
                buffer.push(reason.connack_code_v3());
            }
        });
    }

    /// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5.0, 3.4 to 3.7) in its shortest form. Before MQTT 5 it has no
    /// reason code, so that the client takes a failure for a success.
    pub fn ack(
        self,
        buffer: &mut Vec<u8>,
        kind: AckKind,
        packet_id: NonZeroU16,
        reason: Reason,
        reason_string: Option<&str>,
    ) {
        self.put(buffer, kind as u8, reason_string, |buffer, reason_string| {
            buffer.extend(packet_id.get().to_be_bytes());
            self.put_reason(buffer, reason, reason_string);
        });
    }

    /// Appends a SUBACK (MQTT 5.0, 3.9): for each filter the granted QoS, or the reason code of the refusal, which is 0x80 before MQTT 5.
    pub fn suback(self, buffer: &mut Vec<u8>, packet_id: NonZeroU16, results: &[Result<Qos, Reason>]) {
        let has_reasons = self.version.has_properties();
        let code = |result: &Result<Qos, Reason>| match result {
            Ok(qos) => *qos as u8,
            Err(reason) if has_reasons => reason.code(),
            Err(_) => FAILURE_V3,
        };
        put_packet(buffer, SUBACK, |buffer| {
            buffer.extend(packet_id.get().to_be_bytes());
            if has_reasons {
                put_properties(buffer, []);
            }
            buffer.extend(results.iter().map(code));
        });
    }

    /// Appends an UNSUBACK (MQTT 5.0, 3.11): a reason code for each filter, none before MQTT 5.
    pub fn unsuback(self, buffer: &mut Vec<u8>, packet_id: NonZeroU16, reasons: &[Reason]) {
        put_packet(buffer, UNSUBACK, |buffer| {
            buffer.extend(packet_id.get().to_be_bytes());
            if self.version.has_properties() {
                put_properties(buffer, []);
                buffer.extend(reasons.iter().map(|reason| reason.code()));
            }
        });
    }

    /// Whether the client takes a SUBACK or UNSUBACK with so many codes.
    pub fn takes_codes(self, codes: usize) -> bool {
        // The packet identifier, and no properties.
        let rest = 2 + usize::from(self.version.has_properties()) + codes;
        1 + remaining_length(rest).1 + rest <= self.max_packet_bytes
    }

    /// Appends a PINGRESP (MQTT 5.0, 3.13).
    pub fn pingresp(self, buffer: &mut Vec<u8>) {
        buffer.extend([PINGRESP, 0]);
    }

    /// Appends a DISCONNECT (MQTT 5.0, 3.14); nothing before MQTT 5, in which only clients send it.
    pub fn disconnect(self, buffer: &mut Vec<u8>, reason: Reason, reason_string: Option<&str>) {
        if self.version.has_properties() {
            self.put(buffer, DISCONNECT, reason_string, |buffer, reason_string| {
                self.put_reason(buffer, reason, reason_string);
            });
        }
    }

    /// Appends an AUTH (MQTT 5.0, 3.15); nothing before MQTT 5.
    pub fn auth(self, buffer: &mut Vec<u8>, reason: Reason, properties: &[Property<'_>]) {
        if self.version.has_properties() {
            put_packet(buffer, AUTH, |buffer| {
                buffer.push(reason.code());
                put_properties(buffer, properties.iter().copied());
            });
        }
    }

    /// Appends a PUBLISH (MQTT 5.0, 3.3). Properties are left out before MQTT 5.
    pub fn publish(self, buffer: &mut Vec<u8>, publish: &Publish) {
        publish.put(buffer, self.version);
    }

    /// Appends a packet, of which `write` appends what follows the fixed header, with the reason string if it may have one.
    fn put(
        self,
        buffer: &mut Vec<u8>,
        first: u8,
        reason_string: Option<&str>,
        write: impl Fn(&mut Vec<u8>, Option<Property<'_>>),
    ) {
        let begin = buffer.len();
        let reason_string = reason_string.filter(|_| self.sends_reason_strings).map(Property::ReasonString);
        put_packet(buffer, first, |buffer| write(buffer, reason_string));
        if reason_string.is_some() && buffer.len() - begin > self.max_packet_bytes {
            buffer.truncate(begin);
            put_packet(buffer, first, |buffer| write(buffer, None));
        }
        if buffer.len() - begin > self.max_packet_bytes {
            buffer.truncate(begin);
        }
    }

    /// Appends reason code and properties, each only if needed.
    fn put_reason(self, buffer: &mut Vec<u8>, reason: Reason, reason_string: Option<Property<'_>>) {
        if !self.version.has_properties() || reason == Reason::Success && reason_string.is_none() {
            return;
        }
        buffer.push(reason.code());
        if reason_string.is_some() {
            put_properties(buffer, reason_string);
        }
    }
}
