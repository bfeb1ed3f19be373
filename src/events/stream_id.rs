use serde::{Deserialize, Serialize};
use std::fmt;

/// A stream's name for its user, who gives it to change the stream, to resume it or to bind events to it. It is of no use to
/// anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId(u64);

impl StreamId {
    /// An id that no other stream has.
    pub fn random() -> Self {
        Self(u64::from_be_bytes(crate::random::bytes()))
    }

    /// The id with a number that was stored.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the id.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Reads what its `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hexadecimal = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hexadecimal.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of one connection's subscription. A stream keeps its id if its client reconnects, and gets another serial: a command
/// for the old connection does not reach the new one. A later connection has a higher serial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(u64);

impl Serial {
    /// The next higher one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
