//! A client of MQTT that writes its packets itself, so that a test can send what no other client would.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use super::{TestServer, send_all, within};

/// Identifiers of properties (MQTT 5.0, 2.2.2.2).
pub mod property {
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const USER: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
}

/// A connection.
pub struct Mqtt<S = TcpStream> {
    pub socket: S,
    received: Vec<u8>,
    /// Packets that came while others were awaited.
    early: VecDeque<Packet>,
    /// The level of the protocol: 3, 4 or 5.
    pub level: u8,
    next_id: u16,
}

/// What a CONNECT says.
#[derive(Clone, Default)]
pub struct Connect<'a> {
    pub level: u8,
    pub client_id: &'a str,
    pub login: Option<(&'a str, &'a str)>,
    pub keep_alive: u16,
    pub keeps_session: bool,
    /// Encoded properties, for level 5.
    pub properties: Vec<u8>,
    /// Topic, payload, QoS and RETAIN.
    pub will: Option<(&'a str, &'a [u8], u8, bool)>,
    pub will_properties: Vec<u8>,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub first: u8,
    pub body: Vec<u8>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub id: Option<u16>,
    pub properties: Vec<Property>,
}

/// A property: its identifier, and its value as it stands in the packet.
pub type Property = (u8, Vec<u8>);

pub fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

pub fn binary(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        bytes.push((length & 0x7f) as u8);
        length >>= 7;
        if length == 0 {
            return bytes;
        }
        *bytes.last_mut().unwrap() |= 0x80;
    }
}

fn read_length(bytes: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn take_u16(bytes: &mut &[u8]) -> u16 {
    u16::from_be_bytes(take(bytes, 2).try_into().unwrap())
}

/// A whole packet.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &length(body.len()), body].concat()
}

/// The properties of a packet, each as a pair.
fn properties(bytes: &mut &[u8]) -> Vec<Property> {
    let length = read_length(bytes);
    let mut rest = take(bytes, length);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let id = take(&mut rest, 1)[0];
        let before = rest;
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => drop(take(&mut rest, 1)),
            0x13 | 0x21..=0x23 => drop(take(&mut rest, 2)),
            0x02 | 0x11 | 0x18 | 0x27 => drop(take(&mut rest, 4)),
            0x0B => drop(read_length(&mut rest)),
            0x26 => (0..2).for_each(|_| {
                let length = take_u16(&mut rest);
                take(&mut rest, length.into());
            }),
            _ => {
                let length = take_u16(&mut rest);
                take(&mut rest, length.into());
            }
        }
        found.push((id, before[..before.len() - rest.len()].to_vec()));
    }
    found
}

impl Packet {
    /// The properties of a CONNACK of level 5.
    pub fn properties(&self) -> Vec<Property> {
        properties(&mut &self.body[2..])
    }
}

impl Connect<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut flags = if self.keeps_session { 0 } else { 0b10 };
        let mut payload = text(self.client_id);
        if let Some((topic, message, qos, retain)) = self.will {
            flags |= 0b100 | qos << 3 | u8::from(retain) << 5;
            if self.level == 5 {
                payload.extend([length(self.will_properties.len()), self.will_properties.clone()].concat());
            }
            payload.extend([text(topic), binary(message)].concat());
        }
        if let Some((username, password)) = self.login {
            flags |= 0b1100_0000;
            payload.extend([text(username), text(password)].concat());
        }
        let name = if self.level == 3 { "MQIsdp" } else { "MQTT" };
        let mut body = [&text(name)[..], &[self.level, flags], &self.keep_alive.to_be_bytes()].concat();
        if self.level == 5 {
            body.extend([length(self.properties.len()), self.properties.clone()].concat());
        }
        packet(0x10, &[body, payload].concat())
    }
}

impl Mqtt {
    /// Connects to the port of a server, and says nothing yet.
    pub async fn dial(server: &TestServer, level: u8) -> Self {
        let socket = within("a connection", TcpStream::connect(server.mqtt())).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(socket, level)
    }

    /// Connects and says this. Returns the CONNACK, too.
    pub async fn open(server: &TestServer, connect: &Connect<'_>) -> (Self, Packet) {
        let mut mqtt = Self::dial(server, connect.level).await;
        mqtt.send(&connect.bytes()).await;
        let connack = mqtt.packet().await.expect("a CONNACK");
        assert_eq!(connack.first, 0x20);
        (mqtt, connack)
    }

    /// A client with a token that is let in.
    pub async fn signed_in(server: &TestServer, level: u8, client_id: &str, token: &str) -> Self {
        let connect = Connect { level, client_id, login: Some(("JWT", token)), ..Connect::default() };
        let (mqtt, connack) = Self::open(server, &connect).await;
        assert_eq!(connack.body[..2], [0, 0], "{connack:?}");
        mqtt
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Mqtt<S> {
    /// Over a connection that was made elsewhere.
    pub fn over(socket: S, level: u8) -> Self {
        Self { socket, received: Vec::new(), early: VecDeque::new(), level, next_id: 0 }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("the server to read", send_all(&mut self.socket, bytes)).await.unwrap();
    }

    /// The next packet; `None` at the end of the connection.
    pub async fn packet(&mut self) -> Option<Packet> {
        if let Some(early) = self.early.pop_front() {
            return Some(early);
        }
        self.next().await
    }

    /// The next packet of a kind. Messages that come before are kept.
    async fn answer(&mut self, first: u8) -> Packet {
        loop {
            let packet = self.next().await.expect("an answer");
            if packet.first == first {
                return packet;
            }
            // A message of QoS 2 that was begun may go on.
            assert!(matches!(packet.first & 0xF0, 0x30 | 0x60), "{packet:?}");
            self.early.push_back(packet);
        }
    }

    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.take_packet() {
                return Some(packet);
            }
            let mut bytes = [0; 4096];
            match within("a packet", self.socket.read(&mut bytes)).await {
                Ok(0) | Err(_) => {
                    assert!(self.received.is_empty(), "the connection ended in a packet");
                    return None;
                }
                Ok(read) => self.received.extend_from_slice(&bytes[..read]),
            }
        }
    }

    /// The packets that had come when the connection ended. The last one may have been cut off.
    pub async fn rest(&mut self) -> Vec<Packet> {
        // A connection that was reset may not tell of all that came on it.
        let _ = within("the end", self.socket.read_to_end(&mut self.received)).await;
        let mut rest: Vec<_> = self.early.drain(..).collect();
        rest.extend(std::iter::from_fn(|| self.take_packet()));
        rest
    }

    fn take_packet(&mut self) -> Option<Packet> {
        let end_of_length = self.received.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0)? + 2;
        let length = read_length(&mut &self.received[1..end_of_length]);
        if self.received.len() < end_of_length + length {
            return None;
        }
        let whole: Vec<_> = self.received.drain(..end_of_length + length).collect();
        Some(Packet { first: whole[0], body: whole[end_of_length..].to_vec() })
    }

    pub fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// A PUBLISH with encoded properties.
    pub fn publish_bytes(&self, (topic, payload): (&str, &[u8]), qos: u8, retain: bool, id: u16, of: &[u8]) -> Vec<u8> {
        let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
        let of = if self.level == 5 { [length(of.len()), of.to_vec()].concat() } else { Vec::new() };
        packet(0x30 | qos << 1 | u8::from(retain), &[text(topic), id, of, payload.to_vec()].concat())
    }

    /// Publishes with QoS 1, and awaits the PUBACK. Returns its reason.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> u8 {
        self.publish_with(topic, payload, retain, &[]).await
    }

    /// The same, with encoded properties.
    pub async fn publish_with(&mut self, topic: &str, payload: &[u8], retain: bool, of: &[u8]) -> u8 {
        let id = self.id();
        let publish = self.publish_bytes((topic, payload), 1, retain, id, of);
        self.send(&publish).await;
        let puback = self.answer(0x40).await;
        assert_eq!(puback.body[..2], id.to_be_bytes(), "{puback:?}");
        puback.body.get(2).copied().unwrap_or_default()
    }

    /// Subscribes to filters with options. Returns the codes of the SUBACK.
    pub async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.subscribe_with(filters, &[]).await
    }

    /// The same, with encoded properties.
    pub async fn subscribe_with(&mut self, filters: &[(&str, u8)], of: &[u8]) -> Vec<u8> {
        let id = self.id();
        let of = if self.level == 5 { [length(of.len()), of.to_vec()].concat() } else { Vec::new() };
        let filters = filters.iter().flat_map(|(filter, options)| [text(filter), vec![*options]].concat());
        let body = [id.to_be_bytes().to_vec(), of, filters.collect()].concat();
        self.send(&packet(0x82, &body)).await;
        let suback = self.answer(0x90).await;
        assert_eq!(suback.body[..2], id.to_be_bytes(), "{suback:?}");
        let mut rest = &suback.body[2..];
        if self.level == 5 {
            properties(&mut rest);
        }
        rest.to_vec()
    }

    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.id();
        let of = if self.level == 5 { vec![0] } else { Vec::new() };
        let filters: Vec<u8> = filters.iter().flat_map(|filter| text(filter)).collect();
        self.send(&packet(0xA2, &[id.to_be_bytes().to_vec(), of, filters].concat())).await;
        let unsuback = self.answer(0xB0).await;
        assert_eq!(unsuback.body[..2], id.to_be_bytes(), "{unsuback:?}");
        unsuback.body[2..].to_vec()
    }

    /// The next packet, which must be a message.
    pub async fn message(&mut self) -> Message {
        let packet = self.packet().await.expect("a message");
        self.as_message(&packet).unwrap_or_else(|| panic!("no message: {packet:?}"))
    }

    /// A packet as a message, if it is one.
    pub fn as_message(&self, Packet { first, body }: &Packet) -> Option<Message> {
        if first & 0xF0 != 0x30 {
            return None;
        }
        let (qos, mut rest) = (first >> 1 & 0b11, &body[..]);
        let length = take_u16(&mut rest);
        let topic = String::from_utf8(take(&mut rest, length.into()).to_vec()).unwrap();
        let id = (qos > 0).then(|| take_u16(&mut rest));
        let properties = if self.level == 5 { properties(&mut rest) } else { Vec::new() };
        let (retain, dup) = (first & 1 != 0, first & 0b1000 != 0);
        Some(Message { topic, payload: rest.to_vec(), qos, retain, dup, id, properties })
    }

    pub async fn acknowledge(&mut self, id: u16) {
        self.send(&packet(0x40, &id.to_be_bytes())).await;
    }

    /// Awaits that everything that was sent before has been looked at, and that nothing came meanwhile.
    pub async fn nothing_comes(&mut self) {
        self.send(&[0xC0, 0]).await;
        let packet = self.packet().await.expect("a PINGRESP");
        assert_eq!(packet.first, 0xD0, "{packet:?}");
    }

    /// Awaits that the server ends the connection. Returns the reason of its DISCONNECT, if there is one.
    pub async fn ended(&mut self) -> Option<u8> {
        let packet = self.packet().await?;
        assert_eq!(packet.first, 0xE0, "{packet:?}");
        assert_eq!(self.packet().await, None);
        Some(packet.body.first().copied().unwrap_or_default())
    }
}

impl Message {
    /// What a client with plain needs looks at.
    pub fn brief(&self) -> (&str, &str, u8, bool) {
        (&self.topic, std::str::from_utf8(&self.payload).unwrap(), self.qos, self.retain)
    }

    /// The values of a property.
    pub fn property(&self, id: u8) -> Vec<&[u8]> {
        self.properties.iter().filter(|(of, _)| *of == id).map(|(_, value)| &value[..]).collect()
    }
}
