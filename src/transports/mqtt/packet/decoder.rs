//! Decoding packets.

use bytes::Bytes;

use super::ack::Ack;
use super::connect::{Connect, read_version};
use super::disconnect::{Auth, Disconnect};
use super::fields::{Fields, check_minimal, read_length};
use super::header::{Header, Kind, MAX_HEADER};
use super::publish::Publish;
use super::reason::{OF_PUBACK, OF_PUBREL, Reason};
use super::subscribe::{Subscribe, Unsubscribe};
use super::version::Version;
use super::violation::Violation;

/// How long protocol name and level are, in bytes, at most: the name is that of MQTT 3.1.
const MAX_VERSION: usize = 2 + "MQIsdp".len() + 1;
/// What an incomplete packet takes at least: a fixed header, and the version of a CONNECT.
const MIN_HELD: usize = 16;
const _: () = assert!(MAX_HEADER + MAX_VERSION <= MIN_HELD);

/// Decodes the packets of one client from bytes in any pieces. It keeps only a packet that is incomplete, in at most twice the memory of
/// the bytes that have arrived, and never more than the maximum packet size. An announced length takes no memory.
///
/// The first packet must be a CONNECT, and no other may be one. It sets the version for all later packets.
#[derive(Debug)]
pub struct Decoder {
    max_packet_bytes: usize,
    /// `None` before the CONNECT.
    version: Option<Version>,
    /// The beginning of an incomplete packet, with its fixed header.
    begun: Vec<u8>,
}

/// A packet from a client. It can take up to 25 times the memory of its bytes, if it has many empty filters or user properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// CONNECT: the first packet and only the first.
    Connect(Box<Connect>),
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK: acknowledges QoS 1.
    PubAck(Ack),
    /// PUBREC: QoS 2, first step.
    PubRec(Ack),
    /// PUBREL: QoS 2, second step.
    PubRel(Ack),
    /// PUBCOMP: QoS 2, third step.
    PubComp(Ack),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect(Disconnect),
    /// AUTH: MQTT 5 only.
    Auth(Auth),
}

impl Decoder {
    /// A decoder with this maximum packet size in bytes, fixed headers included.
    pub fn new(max_packet_bytes: usize) -> Self {
        Self { max_packet_bytes, version: None, begun: Vec::new() }
    }

    /// Changes the maximum packet size, in bytes. The next packet is the first that it applies to.
    pub fn set_max_packet_bytes(&mut self, bytes: usize) {
        self.max_packet_bytes = bytes;
    }

    /// The version of the client's CONNECT; `None` before it.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The memory that an incomplete packet takes, in bytes.
    pub fn held(&self) -> usize {
        self.begun.capacity()
    }

    /// Takes bytes from the beginning of `input` until a packet is complete, and returns it. `None` means that all of `input` was taken
    /// and more is needed.
    ///
    /// # Errors
    /// [`Violation`]. Close the connection: nothing more can be decoded.
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
        match Header::read(bytes, self.version, self.max_packet_bytes) {
            Err(violation) if self.version.is_none() && violation.reason == Reason::PacketTooLarge => {
                match version_of(bytes) {
                    Some(Ok(version)) => Err(violation.in_connect(version)),
                    Some(Err(_)) => Err(violation),
                    None => Ok(None),
                }
            }
            read => read,
        }
    }

    /// Adds a piece to a packet that has come in part, of which so many bytes are needed at least.
    fn push(&mut self, piece: &[u8], needed: usize) {
        let (before, after) = (self.begun.len(), self.begun.len() + piece.len());
        if after > self.begun.capacity() {
            // Doubled, to avoid moving it with each piece; but to no more than can come. What is announced costs the client nothing.
            let doubled = (2 * self.begun.capacity()).min(needed).max(after).max(MIN_HELD);
            self.begun.reserve_exact(doubled - before);
        }
        self.begun.extend_from_slice(piece);
    }
}

/// The version of a CONNECT, of which nothing else may have come, so that one that is too large is answered; `None` before it has come.
fn version_of(connect: &[u8]) -> Option<Result<Version, Violation>> {
    let (remaining_length, length) = read_length(connect.get(1..)?).ok()??;
    let most = MAX_VERSION.min(remaining_length as usize);
    let version = connect[1 + length..].get(..most)?;
    Some(read_version(&mut Fields::new(version)))
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
