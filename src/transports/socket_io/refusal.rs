use std::fmt;

/// Why a request of Engine.IO is not carried out, by the codes that its clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `transport` is neither `polling` nor `websocket`.
    UnknownTransport,
    /// There is no session of this id, or no more.
    UnknownSid,
    /// The method is not one for this request.
    BadMethod,
    /// The request does not fit the session: another transport, a second poll at once, a malformed packet.
    BadRequest,
    /// The version of the protocol is not 4.
    UnsupportedVersion,
    /// The page that the request comes from may not make it.
    Forbidden,
    /// There are too many sessions, of this client or altogether, or the server stops.
    Overloaded,
}

impl Refusal {
    /// The status of the HTTP answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::Overloaded => 503,
            _ => 400,
        }
    }

    /// The body of the HTTP answer, of the type `application/json`.
    pub fn body(self) -> String {
        format!(r#"{{"code":{},"message":"{self}"}}"#, self.code())
    }

    fn code(self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSid => 1,
            Self::BadMethod => 2,
            // The protocol has no code of its own for the last one.
            Self::BadRequest | Self::Overloaded => 3,
            Self::Forbidden => 4,
            Self::UnsupportedVersion => 5,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::Forbidden => "Forbidden",
            Self::Overloaded => "Too many sessions",
        })
    }
}
