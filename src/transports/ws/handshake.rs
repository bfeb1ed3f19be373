//! The opening handshake (RFC 6455, section 4.2).

use std::fmt;

/// A request to switch to WebSocket that may be accepted.
#[derive(Clone, Debug)]
pub struct Handshake {
    key: String,
    protocols: Vec<String>,
}

/// What the answer to an accepted request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// `Sec-WebSocket-Accept`.
    pub accept: String,
    /// `Sec-WebSocket-Protocol`, if one was chosen.
    pub protocol: Option<&'static str>,
    /// `Sec-WebSocket-Extensions`, if there are any.
    pub extensions: Option<String>,
}

/// Why a request is no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not ask for WebSocket at all: 426 with `Upgrade: websocket`.
    NotAsked,
    /// It asks for another version: 426 with `Sec-WebSocket-Version: 13`.
    Version,
    /// It is malformed: 400. The text says what is wrong.
    Malformed(&'static str),
}

impl Handshake {
    /// Checks the headers of a `GET` of HTTP/1.1. `header` gives every value of a header; names are asked for in lower case.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn read<'a, V: Iterator<Item = &'a [u8]>>(header: impl Fn(&str) -> V) -> Result<Self, Refusal> {
        let key = header("sec-websocket-key").next().ok_or(Refusal::NotAsked)?;
        Ok(Self { key: String::from_utf8_lossy(key).into_owned(), protocols: Vec::new() })
    }

    /// The first of the client's subprotocols, which come in its order of preference, that is one of ours.
    pub fn choose(&self, ours: &[&'static str]) -> Option<&'static str> {
        self.protocols.iter().find_map(|offered| ours.iter().find(|one| *one == offered).copied())
    }

    /// The answer's headers, and what was agreed upon for the connection.
    pub fn accept(&self, protocol: Option<&'static str>) -> Accepted {
        Accepted { accept: self.key.clone(), protocol, extensions: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAsked => "this is no request to switch to WebSocket",
            Self::Version => "only version 13 of WebSocket is spoken here",
            Self::Malformed(why) => why,
        })
    }
}

impl std::error::Error for Refusal {}
