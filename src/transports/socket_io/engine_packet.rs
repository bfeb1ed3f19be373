//! Packets of Engine.IO 4, and the payloads of long polling that they are joined to.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

/// What stands between the packets of a payload.
pub const SEPARATOR: char = '\x1e';
/// Ends the session; a client that gets it connects anew.
pub const CLOSE: &str = "1";
/// Asks the client whether it is still there.
pub const PING: &str = "2";
/// What a client pings a WebSocket with before it upgrades to it.
pub const PROBE: &str = "probe";
/// Answers the ping by which a client tries a WebSocket before it upgrades to it.
pub const PROBED: &str = "3probe";
/// Says nothing, so that a poll ends.
pub const NOOP: &str = "6";

/// Node takes base64 with padding or without, so both kinds of clients exist.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A packet as a client sends it.
#[derive(Debug, PartialEq, Eq)]
pub enum EnginePacket<'a> {
    /// `1`: the session ends.
    Close,
    /// `2` with this text. In this version only the server pings, except for the `probe` before an upgrade.
    Ping(&'a str),
    /// `3`: the answer to a ping.
    Pong,
    /// `4` with this text: a text for the layer above.
    Message(&'a str),
    /// Bytes for the layer above.
    Binary(Bytes),
    /// `5`: the upgrade is complete.
    Upgrade,
    /// `0` and `6`, which mean nothing from a client.
    Nothing,
}

impl<'a> EnginePacket<'a> {
    /// Reads a packet in its text form: a text frame of a WebSocket, or a part of a payload. `None` if it is not one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut chars = text.chars();
        let packet = match chars.next()? {
            '0' | '6' => Self::Nothing,
            '1' => Self::Close,
            '2' => Self::Ping(chars.as_str()),
            '3' => Self::Pong,
            '4' => Self::Message(chars.as_str()),
            '5' => Self::Upgrade,
            'b' => Self::Binary(BASE64.decode(chars.as_str()).ok()?.into()),
            _ => return None,
        };
        Some(packet)
    }
}

/// Appends bytes in the form that they have in a payload.
pub fn write_binary(bytes: &[u8], payload: &mut String) {
    payload.push('b');
    BASE64.encode_string(bytes, payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_type_is_known_by_its_first_character() {
        let cases = [
            ("0", Some(EnginePacket::Nothing)),
            ("1", Some(EnginePacket::Close)),
            ("2", Some(EnginePacket::Ping(""))),
            ("2probe", Some(EnginePacket::Ping("probe"))),
            ("3", Some(EnginePacket::Pong)),
            ("4", Some(EnginePacket::Message(""))),
            ("4hello", Some(EnginePacket::Message("hello"))),
            ("4grün", Some(EnginePacket::Message("grün"))),
            ("bAQIDBA==", Some(EnginePacket::Binary(Bytes::from_static(&[1, 2, 3, 4])))),
            ("bAQIDBA", Some(EnginePacket::Binary(Bytes::from_static(&[1, 2, 3, 4])))),
            ("b", Some(EnginePacket::Binary(Bytes::new()))),
            ("5", Some(EnginePacket::Upgrade)),
            ("6", Some(EnginePacket::Nothing)),
            ("", None),
            ("7", None),
            ("abc", None),
            ("bAQ*DBA==", None),
            ("ü", None),
        ];
        for (text, packet) in cases {
            assert_eq!(EnginePacket::parse(text), packet, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive_a_payload(bytes: Vec<u8>) {
            let mut payload = String::new();
            write_binary(&bytes, &mut payload);
            prop_assert!(!payload.contains(SEPARATOR));
            prop_assert_eq!(EnginePacket::parse(&payload), Some(EnginePacket::Binary(bytes.into())));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = EnginePacket::parse(&text);
        }
    }
}
