//! Socket.IO, over WebSocket and over long polling: the peer of that name, which is written in JavaScript, and Broker's
//! channels, which its clients reach as they reach the peer.

use std::cell::RefCell;
use std::collections::HashMap;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::peer::{self, JSON};
use super::{Answer, Greeting, Language, Publication, Running, Target, Wire};
use crate::crowd::Audience;
use crate::http::Http;
use crate::lab::Lab;
use crate::websocket::{self, TEXT};
use crate::{Result, http, message};

/// The name of the wire protocol over WebSocket.
pub const WEBSOCKET_WIRE: &str = "socket.io";
/// The name of the wire protocol over long polling.
pub const POLLING_WIRE: &str = "socket.io-polling";
const PACKAGE: &str = "socket.io";
/// The secret of Broker's channels.
const AUTH_KEY: &str = "the channels of a measured server";
const CHANNEL: &str = "news";

/// The peer over WebSocket.
pub struct OverWebSocket;

impl Target for OverWebSocket {
    fn name(&self) -> &'static str {
        "socket.io over WebSocket"
    }

    fn package(&self) -> &'static str {
        PACKAGE
    }

    fn rate_goals(&self) -> Option<[f64; 2]> {
        Some([4.0; 2])
    }

    fn start(&self, lab: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        let server = peer::start(PACKAGE, lab, core)?;
        Ok(Running { server, language: Language::new(WEBSOCKET_WIRE, &WebSocketWire(House::Peer))? })
    }
}

/// The peer over long polling.
pub struct Polling;

impl Target for Polling {
    fn name(&self) -> &'static str {
        "socket.io over long polling"
    }

    fn package(&self) -> &'static str {
        PACKAGE
    }

    fn start(&self, lab: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        let server = peer::start(PACKAGE, lab, core)?;
        Ok(Running { server, language: Language::new(POLLING_WIRE, &PollingWire::new(House::Peer))? })
    }
}

/// Whose application it is.
#[derive(Clone, Serialize, Deserialize)]
pub enum House {
    /// The peer's, which sends everything to everybody.
    Peer,
    /// Broker's channels.
    Broker {
        /// What admits to the channel.
        token: String,
    },
}

impl House {
    /// The flags that Broker needs for its channels.
    pub fn broker_flags(tenant: &str) -> Vec<String> {
        vec![format!("--auth_key={AUTH_KEY}"), format!("--channel_tenant={tenant}")]
    }

    /// Broker's channel, by a connection to a started server.
    pub fn broker(mut server: Http) -> Result<Self> {
        let mut request = Vec::new();
        message::write_post(&format!("/channel/{CHANNEL}"), &authorization(), b"", &mut request);
        let answer = server.ask(&request)?;
        #[derive(Deserialize)]
        struct Made {
            token: String,
        }
        let Made { token } = serde_json::from_slice(&answer).map_err(|error| format!("a channel: {error}"))?;
        Ok(Self::Broker { token })
    }

    fn publish(&self, number: u32, out: &mut Vec<u8>) {
        let mut body = br#"{"message":"#.to_vec();
        message::write_payload(number, &mut body);
        body.push(b'}');
        let headers = format!("{JSON}{}", authorization());
        message::write_post(&format!("/message/{CHANNEL}"), &headers, &body, out);
    }

    /// What a client does after packets of Socket.IO, of which there is at least one.
    fn next(&self, packets: &[&[u8]]) -> Step {
        let has = |start: &[u8]| packets.iter().any(|packet| packet.starts_with(start));
        match self {
            Self::Peer if has(b"40{") => Step::Ready,
            Self::Broker { token } if has(b"40{") => Step::Say(format!(r#"42["join_channel",{{"token":"{token}"}}]"#)),
            Self::Broker { .. } if has(br#"42["clientevent",{"data":"Connected to "#) => Step::Ready,
            _ => Step::Wait,
        }
    }
}

/// See [`House::next`].
enum Step {
    Wait,
    Say(String),
    Ready,
}

fn authorization() -> String {
    format!("authorization: {AUTH_KEY}\r\n")
}

/// The messages of clients that begin with WebSocket.
#[derive(Serialize, Deserialize)]
pub struct WebSocketWire(pub House);

impl Wire for WebSocketWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        websocket::write_handshake("/socket.io/?EIO=4&transport=websocket", "", out);
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        let mut end = match received.starts_with(b"HTTP/") {
            true => match websocket::switched(received)? {
                Some(head) => head,
                None => return Ok(Greeting::Incomplete),
            },
            false => 0,
        };
        let mut packets = Vec::new();
        while let Some(frame) = websocket::frame(&received[end..])? {
            packets.push(frame.payload);
            end += frame.length;
        }
        let say = |words: &str| {
            let mut reply = Vec::new();
            websocket::write_frame(TEXT, words.as_bytes(), &mut reply);
            Greeting::Reply(reply)
        };
        Ok(match self.0.next(&packets) {
            Step::Ready => Greeting::Ready(end),
            // What follows must not be forgotten with the reply.
            _ if end < received.len() => Greeting::Incomplete,
            Step::Say(words) => say(&words),
            Step::Wait if packets.iter().any(|packet| packet.starts_with(b"0{")) => say("40"),
            Step::Wait => Greeting::Incomplete,
        })
    }

    fn keep_alive(&self) -> Option<Vec<u8>> {
        // The answer to a ping, which may come sooner.
        let mut pong = Vec::new();
        websocket::write_frame(TEXT, b"3", &mut pong);
        Some(pong)
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        self.0.publish(publication.number, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        Ok(http::answer_length(received)?.map(Answer::acknowledgement))
    }
}

/// The messages of clients that poll: a request waits for the next packets.
#[derive(Serialize, Deserialize)]
pub struct PollingWire {
    house: House,
    /// The session of each subscriber.
    #[serde(skip)]
    sids: RefCell<HashMap<usize, String>>,
}

/// What separates the packets of an answer.
const SEPARATOR: u8 = 0x1e;
/// What answers a post.
const POSTED: &[u8] = b"ok";

impl PollingWire {
    /// The wire of a house.
    pub fn new(house: House) -> Self {
        Self { house, sids: RefCell::default() }
    }

    fn path(&self, subscriber: usize) -> String {
        let sids = self.sids.borrow();
        let sid = sids.get(&subscriber).map(String::as_str).unwrap_or_default();
        format!("/socket.io/?EIO=4&transport=polling&sid={sid}")
    }

    fn write_poll(&self, subscriber: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&message::get(&self.path(subscriber), ""));
    }

    fn write_packet(&self, subscriber: usize, packet: &str, out: &mut Vec<u8>) {
        let kind = "content-type: text/plain;charset=UTF-8\r\n";
        message::write_post(&self.path(subscriber), kind, packet.as_bytes(), out);
    }
}

impl Wire for PollingWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&message::get("/socket.io/?EIO=4&transport=polling", ""));
    }

    fn greeted(&self, subscriber: usize, received: &[u8]) -> Result<Greeting> {
        let Some(length) = http::answer_length(received)? else { return Ok(Greeting::Incomplete) };
        let body = body(&received[..length]);
        let packets: Vec<_> = body.split(|byte| *byte == SEPARATOR).collect();
        let mut reply = Vec::new();
        match (self.house.next(&packets), packets.first()) {
            // The whole answer is left for `unit`, which polls again.
            (Step::Ready, _) => return Ok(Greeting::Ready(0)),
            (Step::Say(words), _) => self.write_packet(subscriber, &words, &mut reply),
            (Step::Wait, Some(opened)) if opened.starts_with(b"0{") => {
                let sid = sid(opened).ok_or("a session without an id")?;
                self.sids.borrow_mut().insert(subscriber, sid);
                self.write_packet(subscriber, "40", &mut reply);
            }
            (Step::Wait, _) => self.write_poll(subscriber, &mut reply),
        }
        Ok(Greeting::Reply(reply))
    }

    fn has_units(&self) -> bool {
        true
    }

    fn unit(
        &self,
        subscriber: usize,
        received: &[u8],
        content: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<Option<usize>> {
        let Some(length) = http::answer_length(received)? else { return Ok(None) };
        let body = body(&received[..length]);
        if body != POSTED {
            if body.split(|byte| *byte == SEPARATOR).any(|packet| packet == b"2") {
                self.write_packet(subscriber, "3", reply);
            }
            content.extend_from_slice(body);
            self.write_poll(subscriber, reply);
        }
        Ok(Some(length))
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        self.house.publish(publication.number, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        Ok(http::answer_length(received)?.map(Answer::acknowledgement))
    }
}

fn body(answer: &[u8]) -> &[u8] {
    memmem::find(answer, b"\r\n\r\n").map_or(&[], |head| &answer[head + 4..])
}

/// The id in the packet that opens a session.
fn sid(opened: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Opened {
        sid: String,
    }
    serde_json::from_slice(opened.get(1..)?).ok().map(|opened: Opened| opened.sid)
}
