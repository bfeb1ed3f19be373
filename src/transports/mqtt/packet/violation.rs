//! Errors of a client that end its connection.

use std::fmt;

use super::reason::Reason;
use super::version::Version;

/// A client broke a rule of the specification. Its connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The reason code for the CONNACK or DISCONNECT.
    pub reason: Reason,
    /// `Some` if a CONNACK of this version answers the error: in MQTT 5 every error within a CONNECT, before only an unknown protocol
    /// level (MQTT 3.1.1, 3.1.2-2 and 3.1.4-1). With `None`, send a DISCONNECT if the client has connected with MQTT 5, else nothing.
    pub connack: Option<Version>,
    /// A short description in English: it can be a reason string.
    pub what: &'static str,
}

impl Violation {
    /// A malformed packet (MQTT 5.0, 4.13.1).
    pub(super) const fn malformed(what: &'static str) -> Self {
        Self { reason: Reason::MalformedPacket, connack: None, what }
    }

    /// A protocol error (MQTT 5.0, 4.13.1).
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
