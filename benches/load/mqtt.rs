//! MQTT for clients: packets in both directions, of MQTT 3.1.1 and, without properties of the client, 5.

use crate::Result;

/// A protocol level, as a CONNECT says it.
#[derive(Clone, Copy)]
pub enum Level {
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.
    V5 = 5,
}

/// The first byte of each packet type, with the flags in use here.
const CONNECT: u8 = 0x10;
/// See [`CONNECT`].
const CONNACK: u8 = 0x20;
/// See [`CONNECT`]. The flags are QoS and RETAIN.
const PUBLISH: u8 = 0x30;
/// See [`PUBLISH`].
const RETAIN: u8 = 1;
/// See [`CONNECT`].
const PUBACK: u8 = 0x40;
/// See [`CONNECT`].
const SUBSCRIBE: u8 = 0x82;
/// See [`CONNECT`].
const SUBACK: u8 = 0x90;
/// See [`CONNECT`].
const PINGREQ: u8 = 0xc0;
/// See [`CONNECT`].
const PINGRESP: u8 = 0xd0;

/// The most bytes of a remaining length.
const LENGTH_BYTES: usize = 4;

/// A packet of the server.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    /// Its type, without flags.
    pub kind: Kind,
    /// The QoS of a message.
    pub qos: u8,
    /// What follows its fixed header.
    pub body: &'a [u8],
    /// The length of all of it.
    pub length: usize,
}

/// The types of packets that a server has a reason to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client is let in, or not.
    ConnAck,
    /// A message.
    Publish,
    /// A message is taken.
    PubAck,
    /// The client is subscribed, or not.
    SubAck,
    /// The server is there.
    PingResp,
}

/// What a client says of itself.
#[derive(Clone, Copy)]
pub struct Connect<'a> {
    /// The protocol level.
    pub level: Level,
    /// The client identifier. Each connection needs a different one, or the server closes the earlier one.
    pub client: &'a str,
    /// Username and password, if the server wants them.
    pub login: Option<(&'a str, &'a str)>,
}

/// A message of a client.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The protocol level of its client.
    pub level: Level,
    /// The topic.
    pub topic: &'a str,
    /// The packet identifier of a message of QoS 1; one of QoS 0 has none.
    pub id: Option<u16>,
    /// Whether the server is to retain it.
    pub retain: bool,
}

/// The packet at the beginning, or `None` if it is incomplete.
///
/// # Errors
/// If it is none that a server has a reason to send, or a refusal.
pub fn packet(received: &[u8]) -> Result<Option<Packet<'_>>> {
    let Some((first, rest)) = received.split_first() else { return Ok(None) };
    let (mut length, mut header) = (0, 1);
    loop {
        let Some(digit) = rest.get(header - 1) else { return Ok(None) };
        length |= usize::from(digit & 0x7f) << (7 * (header - 1));
        header += 1;
        if digit & 0x80 == 0 {
            break;
        }
        if header > LENGTH_BYTES {
            return Err(refused(received));
        }
    }
    let Some(body) = received.get(header..header + length) else { return Ok(None) };
    let kind = match first & 0xf0 {
        CONNACK => Kind::ConnAck,
        PUBLISH => Kind::Publish,
        PUBACK => Kind::PubAck,
        SUBACK => Kind::SubAck,
        PINGRESP => Kind::PingResp,
        _ => return Err(refused(received)),
    };
    // The codes stand behind flags or a packet identifier. Without a code, a PUBACK says that all is well.
    let is_refusal = match kind {
        Kind::ConnAck => body.get(1) != Some(&0),
        Kind::PubAck => body.get(2).is_some_and(|code| *code >= 0x80),
        Kind::SubAck => body.last().is_none_or(|code| *code >= 0x80),
        Kind::Publish | Kind::PingResp => false,
    };
    if is_refusal {
        return Err(refused(received));
    }
    Ok(Some(Packet { kind, qos: (first >> 1) & 3, body, length: header + length }))
}

impl Packet<'_> {
    /// Appends the acknowledgement of a message, if it has to be acknowledged.
    ///
    /// # Errors
    /// If it has no packet identifier.
    pub fn write_ack(&self, out: &mut Vec<u8>) -> Result<()> {
        if self.qos == 0 {
            return Ok(());
        }
        let topic = self.body.first_chunk().map_or(0, |length| u16::from_be_bytes(*length));
        let id = self.body.get(2 + usize::from(topic)..).and_then(<[u8]>::first_chunk::<2>);
        let id = id.ok_or("a message without a packet identifier")?;
        write_packet(PUBACK, id, out);
        Ok(())
    }
}

/// Appends a CONNECT with a clean session and no keep alive.
pub fn write_connect(Connect { level, client, login }: Connect<'_>, out: &mut Vec<u8>) {
    const CLEAN: u8 = 2;
    const WITH_LOGIN: u8 = 0xc0;
    let mut body = Vec::new();
    write_text("MQTT", &mut body);
    body.extend_from_slice(&[level as u8, CLEAN | if login.is_some() { WITH_LOGIN } else { 0 }, 0, 0]);
    write_no_properties(level, &mut body);
    write_text(client, &mut body);
    if let Some((name, password)) = login {
        write_text(name, &mut body);
        write_text(password, &mut body);
    }
    write_packet(CONNECT, &body, out);
}

/// Appends the SUBSCRIBE of a client of MQTT 3.1.1 for one filter.
pub fn write_subscribe(filter: &str, qos: u8, out: &mut Vec<u8>) {
    let mut body = vec![0, 1];
    write_text(filter, &mut body);
    body.push(qos);
    write_packet(SUBSCRIBE, &body, out);
}

/// Appends a message, whose payload `write` appends.
pub fn write_message(message: Message<'_>, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let Message { level, topic, id, retain } = message;
    let mut body = Vec::with_capacity(256);
    write_text(topic, &mut body);
    body.extend(id.iter().flat_map(|id| id.to_be_bytes()));
    write_no_properties(level, &mut body);
    write(&mut body);
    let flags = u8::from(id.is_some()) << 1 | if retain { RETAIN } else { 0 };
    write_packet(PUBLISH | flags, &body, out);
}

/// Appends a PINGREQ.
pub fn write_ping(out: &mut Vec<u8>) {
    write_packet(PINGREQ, &[], out);
}

fn write_no_properties(level: Level, out: &mut Vec<u8>) {
    if let Level::V5 = level {
        out.push(0);
    }
}

/// Appends a packet. Its length is in groups of seven bits, the lowest first; all but the last have the top bit set.
fn write_packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let mut left = body.len();
    while left > 0x7f {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out.extend_from_slice(body);
}

/// Appends a text after its length. None here is longer than that allows.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// What is said of a server that answers otherwise.
pub fn refused(received: &[u8]) -> String {
    format!("the server answered {:02x?}", &received[..received.len().min(64)])
}
