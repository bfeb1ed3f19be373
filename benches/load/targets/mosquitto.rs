//! mosquitto: an MQTT 3.1.1 broker, in memory. It uses another transport, with less framing than HTTP.

use serde::{Deserialize, Serialize};

use super::{Answer, Greeting, Language, Publication, Running, Target, Wire, peer};
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::{Result, message};

/// The name of its wire protocol.
pub const WIRE: &str = "mosquitto";
const TOPIC: &str = "news";
/// The first byte of each packet type, with the flags in use here.
const CONNECT: u8 = 0x10;
/// See [`CONNECT`].
const CONNACK: u8 = 0x20;
/// See [`CONNECT`]. At QoS 1, which is acknowledged.
const PUBLISH: u8 = 0x32;
/// See [`CONNECT`].
const PUBACK: u8 = 0x40;
/// See [`CONNECT`].
const SUBSCRIBE: u8 = 0x82;
/// See [`CONNECT`].
const SUBACK: u8 = 0x90;

/// The peer that does not speak HTTP.
pub struct Mosquitto;

impl Target for Mosquitto {
    fn name(&self) -> &'static str {
        "mosquitto"
    }

    fn start(&self, lab: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        Ok(Running { server: peer::start(self.name(), lab, core)?, language: Language::new(WIRE, &MosquittoWire)? })
    }
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct MosquittoWire;

impl Wire for MosquittoWire {
    fn subscribe(&self, subscriber: usize, out: &mut Vec<u8>) {
        write_connect(&format!("s{subscriber}"), out);
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        let Some((kind, body)) = packet(received) else { return Ok(Greeting::Incomplete) };
        match (kind, body) {
            (CONNACK, [_, 0]) => {
                let mut subscribe = vec![0, 1];
                write_text(TOPIC, &mut subscribe);
                // QoS 0.
                subscribe.push(0);
                let mut words = Vec::new();
                write_packet(SUBSCRIBE, &subscribe, &mut words);
                Ok(Greeting::Reply(words))
            }
            (SUBACK, [0, 1, 0]) => Ok(Greeting::Ready(2 + body.len())),
            _ => Err(refused(received)),
        }
    }

    fn open(&self, publisher: usize, out: &mut Vec<u8>) {
        write_connect(&format!("p{publisher}"), out);
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        write_text(TOPIC, &mut body);
        // A packet id: any but 0, since a publisher has one publish in flight.
        body.extend_from_slice(&[0, 1]);
        message::write_payload(publication.number, &mut body);
        write_packet(PUBLISH, &body, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        let Some((kind, body)) = packet(received) else { return Ok(None) };
        match (kind, body) {
            (CONNACK, [_, 0]) | (PUBACK, [0, 1]) => Ok(Some(Answer::acknowledgement(2 + body.len()))),
            _ => Err(refused(received)),
        }
    }
}

/// The packet at the beginning: its first byte and the bytes after its length, or `None` if it is incomplete. The
/// expected packets are short, so the length is one byte.
fn packet(received: &[u8]) -> Option<(u8, &[u8])> {
    let [kind, length, rest @ ..] = received else { return None };
    Some((*kind, rest.get(..usize::from(*length))?))
}

/// Appends a packet. Its length is in groups of seven bits, the lowest first; all but the last have the top bit set.
fn write_packet(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    let mut left = body.len();
    while left > 0x7f {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out.extend_from_slice(body);
}

/// Appends a short text after its length.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, text.len() as u8]);
    out.extend_from_slice(text.as_bytes());
}

/// Appends the first packet of a connection. Each connection needs a different name, or the server closes the earlier
/// one with that name.
fn write_connect(client: &str, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    write_text("MQTT", &mut body);
    // Version 3.1.1, a clean session, no keep-alive.
    body.extend_from_slice(&[4, 2, 0, 0]);
    write_text(client, &mut body);
    write_packet(CONNECT, &body, out);
}

fn refused(received: &[u8]) -> String {
    format!("the server answered {received:02x?}")
}
