//! mosquitto over WebSocket: the packets of [`super::mosquitto`], one in each message.

use serde::{Deserialize, Serialize};

use super::mosquitto::MosquittoWire;
use super::{Answer, Greeting, Language, Publication, Running, Target, Wire, peer};
use crate::Result;
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::websocket::{self, BINARY};

/// The name of its wire protocol.
pub const WIRE: &str = "mosquitto-websocket";
const PACKAGE: &str = "mosquitto";

/// The peer that is written in C.
pub struct MosquittoWebSocket;

impl Target for MosquittoWebSocket {
    fn name(&self) -> &'static str {
        "mosquitto over WebSocket"
    }

    fn package(&self) -> &'static str {
        PACKAGE
    }

    fn rate_goals(&self) -> Option<[f64; 2]> {
        Some([2.0; 2])
    }

    fn start(&self, lab: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        let server = peer::start_as(PACKAGE, Some("websockets"), lab, core)?;
        Ok(Running { server, language: Language::new(WIRE, &MosquittoWebSocketWire)? })
    }
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct MosquittoWebSocketWire;

/// The state of a client: first it switches, then it speaks MQTT.
fn greeted(received: &[u8], connect: &[u8], speak: impl Fn(&[u8]) -> Result<Greeting>) -> Result<Greeting> {
    if received.starts_with(b"HTTP/") {
        let switched = websocket::switched(received)?;
        return Ok(switched.map_or(Greeting::Incomplete, |_| Greeting::Reply(framed(connect))));
    }
    let Some(frame) = websocket::frame(received)? else { return Ok(Greeting::Incomplete) };
    Ok(match speak(frame.payload)? {
        Greeting::Reply(words) => Greeting::Reply(framed(&words)),
        Greeting::Ready(_) => Greeting::Ready(frame.length),
        other => other,
    })
}

fn framed(packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::write_frame(BINARY, packet, &mut out);
    out
}

fn packet(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn write_handshake(out: &mut Vec<u8>) {
    websocket::write_handshake("/mqtt", "sec-websocket-protocol: mqtt\r\n", out);
}

impl Wire for MosquittoWebSocketWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        write_handshake(out);
    }

    fn greeted(&self, subscriber: usize, received: &[u8]) -> Result<Greeting> {
        let connect = packet(|out| MosquittoWire.subscribe(subscriber, out));
        greeted(received, &connect, |packet| MosquittoWire.greeted(subscriber, packet))
    }

    fn open(&self, _: usize, out: &mut Vec<u8>) {
        write_handshake(out);
    }

    fn opened(&self, publisher: usize, received: &[u8]) -> Result<Greeting> {
        let connect = packet(|out| MosquittoWire.open(publisher, out));
        greeted(received, &connect, |packet| MosquittoWire.opened(publisher, packet))
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        let publish = packet(|out| MosquittoWire.publish(publication, out));
        websocket::write_frame(BINARY, &publish, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        let Some(frame) = websocket::frame(received)? else { return Ok(None) };
        let answer = MosquittoWire.acknowledged(frame.payload)?;
        Ok(answer.map(|answer| Answer { length: frame.length, ..answer }))
    }
}
