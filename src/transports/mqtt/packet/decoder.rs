//! From bytes to packets.

use bytes::Bytes;

use super::ack::Ack;
use super::connect::{Connect, read_version};
use super::disconnect::{Auth, Disconnect};
use super::fields::{Fields, check_minimal};
use super::header::{Header, Kind, MAX_HEADER};
use super::publish::Publish;
use super::reason::{OF_PUBACK, OF_PUBREL};
use super::subscribe::{Subscribe, Unsubscribe};
use super::version::Version;
use super::violation::Violation;

/// Makes packets of the bytes of a client, however they are cut. It does no I/O, and keeps nothing but a packet that has come in part: at
/// most twice what has come of it, and never more than a packet may have.
///
/// The first packet must be a CONNECT, from which it learns the version of all others; it must be the only one.
#[derive(Debug)]
pub struct Decoder {
    max_packet_bytes: usize,
    /// Without one, no CONNECT has come.
    version: Option<Version>,
    /// The beginning of a packet, with its header.
    begun: Vec<u8>,
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Begins the connection: the first packet and no other.
    Connect(Box<Connect>),
    /// A message.
    Publish(Publish),
    /// Acknowledges a message of QoS 1.
    PubAck(Ack),
    /// Acknowledges a message of QoS 2, first step.
    PubRec(Ack),
    /// Releases a message of QoS 2, second step.
    PubRel(Ack),
    /// Completes a message of QoS 2, third step.
    PubComp(Ack),
    /// Asks for messages.
    Subscribe(Subscribe),
    /// Asks for no more of them.
    Unsubscribe(Unsubscribe),
    /// Asks whether the server is there.
    PingReq,
    /// Ends the connection.
    Disconnect(Disconnect),
    /// Authenticates further; in MQTT 5 alone.
    Auth(Auth),
}

impl Decoder {
    /// For packets of at most so many bytes, with their fixed headers.
    pub fn new(max_packet_bytes: usize) -> Self {
        Self { max_packet_bytes, version: None, begun: Vec::new() }
    }

    /// Changes how large a packet may be, in bytes.
    pub fn set_max_packet_bytes(&mut self, bytes: usize) {
        self.max_packet_bytes = bytes;
    }

    /// The version that the client has connected with; `None` until it has.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// How much memory a packet takes that has come in part, in bytes.
    pub fn held(&self) -> usize {
        self.begun.capacity()
    }

    /// Takes bytes from the beginning of `input` until a packet is complete. Without one, all of them were taken.
    ///
    /// # Errors
    /// [`Violation`]. Nothing more can be decoded then.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Packet>, Violation> {
        let Some((header, packet)) = self.take(input)? else { return Ok(None) };
        let fields = Fields::new(&packet[header.length..]);
        let packet = match self.version {
            None => {
                let connect = read_connect(header, fields)?;
                self.version = Some(connect.version);
                Packet::Connect(Box::new(connect))
            }
            Some(version) => Packet::read(header, &packet, fields, version)?,
        };
        Ok(Some(packet))
    }

    /// The next packet with its header, once it has come whole.
    fn take(&mut self, input: &mut Bytes) -> Result<Option<(Header, Bytes)>, Violation> {
        if self.begun.is_empty()
            && let Some(header) = self.header(input)?
            && header.packet_length() <= input.len()
        {
            // Nearly always.
            return Ok(Some((header, input.split_to(header.packet_length()))));
        }
        loop {
            let header = self.header(&self.begun)?;
            let needed = match header {
                Some(header) if header.packet_length() == self.begun.len() => {
                    return Ok(Some((header, std::mem::take(&mut self.begun).into())));
                }
                Some(header) => header.packet_length(),
                None => self.begun.len() + 1,
            };
            if input.is_empty() {
                return Ok(None);
            }
            let piece = input.split_to(input.len().min(needed - self.begun.len()));
            self.push(&piece, needed);
        }
    }

    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, Violation> {
        Header::read(bytes, self.version, self.max_packet_bytes)
    }

    /// Adds a piece to a packet that has come in part, of which so many bytes are needed at least.
    fn push(&mut self, piece: &[u8], needed: usize) {
        let (before, after) = (self.begun.len(), self.begun.len() + piece.len());
        if after > self.begun.capacity() {
            // Doubled, to avoid moving it with each piece; but to no more than can come. What is announced costs the client nothing.
            let doubled = (2 * self.begun.capacity()).min(needed).max(after).max(MAX_HEADER);
            self.begun.reserve_exact(doubled - before);
        }
        self.begun.extend_from_slice(piece);
    }
}

fn read_connect(header: Header, mut fields: Fields<'_>) -> Result<Connect, Violation> {
    let version = read_version(&mut fields)?;
    let read = || {
        if version.has_properties() {
            // The header was read before the version was known.
            check_minimal(header.remaining_length, header.length - 1)?;
        }
        Connect::read(fields, version)
    };
    read().map_err(|violation| violation.in_connect(version))
}

impl Packet {
    fn read(header: Header, packet: &Bytes, fields: Fields<'_>, version: Version) -> Result<Self, Violation> {
        Ok(match header.kind {
            Kind::Publish => Self::Publish(Publish::read(header.flags, packet, fields, version)?),
            Kind::PubAck => Self::PubAck(Ack::read(fields, version, OF_PUBACK)?),
            Kind::PubRec => Self::PubRec(Ack::read(fields, version, OF_PUBACK)?),
            Kind::PubRel => Self::PubRel(Ack::read(fields, version, OF_PUBREL)?),
            Kind::PubComp => Self::PubComp(Ack::read(fields, version, OF_PUBREL)?),
            Kind::Subscribe => Self::Subscribe(Subscribe::read(fields, version)?),
            Kind::Unsubscribe => Self::Unsubscribe(Unsubscribe::read(fields, version)?),
            Kind::Disconnect => Self::Disconnect(Disconnect::read(fields, version)?),
            Kind::Auth => Self::Auth(Auth::read(fields)?),
            Kind::PingReq => {
                fields.finish()?;
                Self::PingReq
            }
            // The header has been refused already.
            Kind::Connect => return Err(Violation::protocol("a second CONNECT")),
        })
    }
}
