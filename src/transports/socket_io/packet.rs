//! Packets of Socket.IO 5: the text inside a message of Engine.IO.

use std::fmt;
use std::fmt::Write;

use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::attachments;
use super::malformed::Malformed;

/// An argument of an event or an answer: JSON as it was written, so that no digit or key of it changes.
pub type Json = Box<RawValue>;

/// Maximum length of the name of a namespace, in bytes.
const MAX_NAMESPACE_BYTES: usize = 128;
/// Maximum length of what a client says of itself to join a namespace, in bytes. Nobody has admitted it by then.
pub const MAX_AUTH_BYTES: usize = 16 << 10;
/// What that takes at most in memory, for each of its bytes.
const AUTH_COST: usize = 96;
/// What an argument costs beside its bytes.
const ARGUMENT_BYTES: usize = 32;
/// Maximum number of attachments of a packet: as many as socket.io-parser takes.
pub const MAX_ATTACHMENTS: usize = 10;
/// Maximum number of arguments. Each takes more memory than the two bytes that announce it.
const MAX_ARGUMENTS: usize = 256;
/// Names that have a meaning of their own in the libraries. No event of these names is taken, and none must be sent: a client would take
/// it for the thing itself, such as the end of its connection.
pub const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A packet as a client sends it.
#[derive(Debug)]
pub struct Packet {
    /// The namespace that it is for; `/` is the main one.
    pub namespace: String,
    /// What it says.
    pub content: Content,
    /// The length of its text, in bytes.
    length: usize,
}

/// What a packet says.
#[derive(Debug)]
pub enum Content {
    /// The client wants to join the namespace, and says this of itself; `None` if it says more than [`MAX_AUTH_BYTES`].
    Connect(Option<Map<String, Value>>),
    /// The client leaves the namespace.
    Disconnect,
    /// An event.
    Event {
        /// What the client knows the answer by, if it wants one.
        id: Option<u64>,
        name: String,
        args: Vec<Json>,
        /// How many attachments follow.
        attachments: usize,
    },
    /// The answer to an event.
    Ack { id: u64, args: Vec<Json>, attachments: usize },
}

impl Packet {
    /// How many attachments follow.
    pub fn attachments(&self) -> usize {
        match &self.content {
            Content::Event { attachments, .. } | Content::Ack { attachments, .. } => *attachments,
            Content::Connect(_) | Content::Disconnect => 0,
        }
    }

    /// How much memory it takes at most, in bytes.
    pub fn cost(&self) -> usize {
        match &self.content {
            Content::Connect(None) | Content::Disconnect => 0,
            Content::Connect(Some(_)) => self.length * AUTH_COST,
            Content::Event { args, .. } | Content::Ack { args, .. } => self.length + args.len() * ARGUMENT_BYTES,
        }
    }

    /// Reads `<type>[<attachments>-][<namespace>,][<id>][<JSON>]`.
    ///
    /// # Errors
    /// [`Malformed`], also for packets that only servers send.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut rest = Rest(text);
        let kind = rest.take_char().ok_or(Malformed)?;
        let attachments = if matches!(kind, '5' | '6') { Some(rest.take_attachments()?) } else { None };
        let namespace = rest.take_namespace()?.to_owned();
        let (id, json) = (rest.take_id()?, rest.0);
        let content = match kind {
            '0' if id.is_none() && json.len() > MAX_AUTH_BYTES => Content::Connect(None),
            '0' if id.is_none() => Content::Connect(Some(if json.is_empty() { Map::new() } else { parse(json)? })),
            '1' if id.is_none() && json.is_empty() => Content::Disconnect,
            '2' | '5' => {
                let mut args = arguments(json, attachments)?;
                let name = event_name(&args.first().ok_or(Malformed)?.clone())?;
                args.remove(0);
                Content::Event { id, name, args, attachments: attachments.unwrap_or_default() }
            }
            '3' | '6' => {
                let args = arguments(json, attachments)?;
                Content::Ack { id: id.ok_or(Malformed)?, args, attachments: attachments.unwrap_or_default() }
            }
            _ => return Err(Malformed),
        };
        Ok(Self { namespace, content, length: text.len() })
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Malformed> {
    serde_json::from_str(json).map_err(|_| Malformed)
}

fn arguments(json: &str, attachments: Option<usize>) -> Result<Vec<Json>, Malformed> {
    // `RawValue` alone would take any depth.
    attachments::check(json, attachments)?;
    let Arguments(args) = parse(json)?;
    Ok(args)
}

/// A name is a text, or a number, which JavaScript takes for one.
fn event_name(json: &RawValue) -> Result<String, Malformed> {
    if json.get().starts_with(['[', '{']) {
        // Its values would take many times its length.
        return Err(Malformed);
    }
    match parse(json.get())? {
        Value::String(name) if !RESERVED.contains(&name.as_str()) => Ok(name),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Malformed),
    }
}

/// What of a packet was not read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take_char(&mut self) -> Option<char> {
        let mut chars = self.0.chars();
        let char = chars.next()?;
        self.0 = chars.as_str();
        Some(char)
    }

    fn take_digits(&mut self) -> &'a str {
        let (digits, rest) = self.0.split_at(self.0.bytes().take_while(u8::is_ascii_digit).count());
        self.0 = rest;
        digits
    }

    fn take_attachments(&mut self) -> Result<usize, Malformed> {
        let count: usize = self.take_digits().parse().map_err(|_| Malformed)?;
        let is_right = self.take_char() == Some('-') && count <= MAX_ATTACHMENTS;
        if is_right { Ok(count) } else { Err(Malformed) }
    }

    fn take_namespace(&mut self) -> Result<&'a str, Malformed> {
        if !self.0.starts_with('/') {
            return Ok("/");
        }
        let (namespace, rest) = self.0.split_once(',').unwrap_or((self.0, ""));
        self.0 = rest;
        if namespace.len() <= MAX_NAMESPACE_BYTES { Ok(namespace) } else { Err(Malformed) }
    }

    fn take_id(&mut self) -> Result<Option<u64>, Malformed> {
        match self.take_digits() {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| Malformed),
        }
    }
}

/// An array of at most [`MAX_ARGUMENTS`] values.
struct Arguments(Vec<Json>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Arguments;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "an array of at most {MAX_ARGUMENTS} values")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut values: S) -> Result<Arguments, S::Error> {
                let mut args = Vec::new();
                while let Some(value) = values.next_element()? {
                    if args.len() == MAX_ARGUMENTS {
                        return Err(serde::de::Error::invalid_length(args.len() + 1, &self));
                    }
                    args.push(value);
                }
                Ok(Arguments(args))
            }
        }
        deserializer.deserialize_seq(Each)
    }
}

/// Writes packets for the client, with the `4` before them that makes a message of Engine.IO of them.
pub struct Writer(String);

impl Writer {
    /// Begins a packet of this type.
    fn new(kind: char, namespace: &str) -> Self {
        Self::with_attachments(kind, kind, 0, namespace)
    }

    /// Begins a packet of one type, or of another if it has attachments.
    fn with_attachments(plain: char, binary: char, attachments: usize, namespace: &str) -> Self {
        let mut text = String::from("4");
        if attachments == 0 {
            text.push(plain);
        } else {
            text.push(binary);
            // Writing to memory cannot fail, here and below.
            let _ = write!(text, "{attachments}-");
        }
        if namespace != "/" {
            text.push_str(namespace);
            text.push(',');
        }
        Self(text)
    }

    fn arguments<'a>(mut self, args: impl Iterator<Item = &'a str>) -> String {
        self.0.push('[');
        for (number, json) in args.enumerate() {
            if number > 0 {
                self.0.push(',');
            }
            self.0.push_str(json);
        }
        self.0.push(']');
        self.0
    }

    /// The client has joined a namespace. `pid` is what it can be recovered by.
    pub fn connect(namespace: &str, sid: &str, pid: Option<&str>) -> String {
        let Self(mut text) = Self::new('0', namespace);
        let _ = write!(text, r#"{{"sid":{}"#, quoted(sid));
        if let Some(pid) = pid {
            let _ = write!(text, r#","pid":{}"#, quoted(pid));
        }
        text.push('}');
        text
    }

    /// The client may not join a namespace, for this reason.
    pub fn connect_error(namespace: &str, message: &str, data: Option<&RawValue>) -> String {
        let Self(mut text) = Self::new('4', namespace);
        let _ = write!(text, r#"{{"message":{}"#, quoted(message));
        if let Some(data) = data {
            let _ = write!(text, r#","data":{data}"#);
        }
        text.push('}');
        text
    }

    /// The client has to leave a namespace.
    pub fn disconnect(namespace: &str) -> String {
        Self::new('1', namespace).0
    }

    /// An event. With an id, the client answers it.
    pub fn event(namespace: &str, id: Option<u64>, name: &str, args: &[Json], attachments: usize) -> String {
        let name = quoted(name);
        let mut writer = Self::with_attachments('2', '5', attachments, namespace);
        if let Some(id) = id {
            let _ = write!(writer.0, "{id}");
        }
        writer.arguments(std::iter::once(name.as_str()).chain(args.iter().map(|json| json.get())))
    }

    /// The answer to an event of the client's.
    pub fn ack(namespace: &str, id: u64, args: &[Json], attachments: usize) -> String {
        let mut writer = Self::with_attachments('3', '6', attachments, namespace);
        let _ = write!(writer.0, "{id}");
        writer.arguments(args.iter().map(|json| json.get()))
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Appends an event with these arguments, which are JSON, and its offset as a last one if the client is to be recovered by that. This is the packet that
/// a text frame of a WebSocket holds, for [`Outlet::WebSocket`](super::Outlet); packets for [`Outlet::Polling`](super::Outlet) have
/// a [`SEPARATOR`](super::SEPARATOR) between them. Returns where the first argument stands.
pub fn write_event<const N: usize>(
    buffer: &mut Vec<u8>,
    namespace: &str,
    name: &str,
    args: [&str; N],
    offset: Option<&str>,
) -> std::ops::Range<usize> {
    let Writer(head) = Writer::new('2', namespace);
    buffer.extend_from_slice(head.as_bytes());
    buffer.extend_from_slice(b"[");
    buffer.extend_from_slice(quoted(name).as_bytes());
    let begin = buffer.len() + 1;
    let end = begin + args.first().map_or(0, |first| first.len());
    for argument in args {
        buffer.extend_from_slice(b",");
        buffer.extend_from_slice(argument.as_bytes());
    }
    if let Some(offset) = offset {
        buffer.extend_from_slice(b",");
        buffer.extend_from_slice(quoted(offset).as_bytes());
    }
    buffer.extend_from_slice(b"]");
    begin..end
}

#[cfg(test)]
mod tests;
