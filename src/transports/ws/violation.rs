//! Faults of a client, after which a connection cannot go on.

use std::fmt;

use super::code;

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// 1002. The text says what the client did.
    Protocol(&'static str),
    /// 1007: a text, or the reason of a close frame, is not UTF-8.
    NotUtf8,
    /// 1007: what is marked as compressed cannot be inflated.
    NotDeflate,
    /// 1009: a message is larger than it may be.
    TooLarge,
    /// 1013: others need the memory that an unfinished message, or replies that the client does not take, have.
    NoMemory,
}

impl Violation {
    /// The code that the connection is closed with.
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => code::PROTOCOL,
            Self::NotUtf8 | Self::NotDeflate => code::NOT_UTF8,
            Self::TooLarge => code::TOO_LARGE,
            Self::NoMemory => code::TRY_AGAIN,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol(what) => what,
            Self::NotUtf8 => "text that is not UTF-8",
            Self::NotDeflate => "a compressed message that cannot be inflated",
            Self::TooLarge => "the message is too large",
            Self::NoMemory => "too many unfinished messages",
        })
    }
}

impl std::error::Error for Violation {}
