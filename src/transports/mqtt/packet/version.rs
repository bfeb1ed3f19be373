//! Versions of the protocol.

/// A version of MQTT, older ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 3.1: the protocol `MQIsdp`, level 3.
    V31,
    /// 3.1.1: the protocol `MQTT`, level 4.
    V311,
    /// 5: the protocol `MQTT`, level 5.
    V5,
}

impl Version {
    /// The name of the protocol and its level, as a CONNECT begins with them (MQTT 5.0, 3.1.2.1 and 3.1.2.2).
    pub fn protocol(self) -> (&'static str, u8) {
        match self {
            Self::V31 => ("MQIsdp", 3),
            Self::V311 => ("MQTT", 4),
            Self::V5 => ("MQTT", 5),
        }
    }

    /// Whether packets have properties, and answers have reason codes.
    pub fn has_properties(self) -> bool {
        self == Self::V5
    }
}
