//! Faults of a client, after which a connection cannot go on.

use std::fmt;

use super::reason::Reason;
use super::version::Version;

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What the specification calls it: what a CONNACK or a DISCONNECT says.
    pub reason: Reason,
    /// The version of the CONNACK that answers, if the fault is in a CONNECT and the specification has an answer to it: MQTT 5 has one to
    /// every fault, the others only to a version that is unknown (3.1.1, 3.1.4-1). Without it a DISCONNECT of MQTT 5 answers if the
    /// client has connected with that version, and otherwise nothing does.
    pub connack: Option<Version>,
    /// What the client did.
    pub what: &'static str,
}

impl Violation {
    /// What cannot be parsed (MQTT 5.0, 4.13.1).
    pub(super) const fn malformed(what: &'static str) -> Self {
        Self { reason: Reason::MalformedPacket, connack: None, what }
    }

    /// What can be parsed and is not allowed.
    pub(super) const fn protocol(what: &'static str) -> Self {
        Self { reason: Reason::ProtocolError, connack: None, what }
    }

    /// The same in a CONNECT of this version.
    pub(super) fn in_connect(self, version: Version) -> Self {
        Self { connack: version.has_properties().then_some(version), ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Violation {}
