//! Broker's own subprotocol of WebSocket, `broker.v1`.

use std::cell::RefCell;
use std::collections::VecDeque;

use flate2::{Decompress, FlushDecompress};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::broker::BrokerWire;
use super::{Answer, Greeting, Publication, Wire};
use crate::websocket::{self, TEXT};
use crate::{Result, http, message};

/// The name of the wire protocol.
pub const WIRE: &str = "broker.v1";
const PROTOCOL: &str = "sec-websocket-protocol: broker.v1\r\n";
/// What browsers offer.
const COMPRESSION: &str = "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n";
/// How many inserts of a socket may be unanswered, if a socket inserts.
pub const PIPELINE: usize = 16;
/// What a compressed message lacks at its end (RFC 7692, section 7.2.2).
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];
/// How many different messages may be under way to subscribers.
const KNOWN: usize = 32;
/// More bytes than any message has.
const MOST_BYTES: usize = 64 * 1024;

/// What the clients do.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Task {
    /// Subscribers receive small events, which publishers insert over their sockets.
    Small,
    /// Subscribers receive events of some kilobytes, which are inserted over HTTP.
    Large {
        /// Whether the subscribers offer compression.
        compressed: bool,
    },
    /// Publishers insert over their sockets, several events at a time.
    Insert,
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct BrokerV1Wire {
    people: BrokerWire,
    task: Task,
    /// Compressed messages that subscribers received last, with their contents. All subscribers receive the same bytes, so that
    /// the clients' core inflates each message once.
    #[serde(skip)]
    known: RefCell<VecDeque<(Vec<u8>, Vec<u8>)>>,
}

impl BrokerV1Wire {
    /// The wire of these users.
    pub fn new(people: BrokerWire, task: Task) -> Self {
        Self { people, task, known: RefCell::default() }
    }

    fn inserts_over_sockets(&self) -> bool {
        matches!(self.task, Task::Small | Task::Insert)
    }

    fn write_handshake(&self, out: &mut Vec<u8>) {
        let extensions = if let Task::Large { compressed: true } = self.task { COMPRESSION } else { "" };
        websocket::write_handshake("/ws", &format!("{PROTOCOL}{extensions}"), out);
    }

    /// The state of a client that signs in once it has switched. `events` is its filter.
    fn signed_in(&self, user: usize, events: &str, received: &[u8]) -> Result<Greeting> {
        if received.starts_with(b"HTTP/") {
            let Some(head) = websocket::switched(received)? else { return Ok(Greeting::Incomplete) };
            self.check_compression(&received[..head])?;
            let token = &self.people.tokens[user % self.people.tokens.len()];
            let words = format!(r#"{{"do":"sign_in","ref":0,"token":"{token}","snapshot":false{events}}}"#);
            let mut reply = Vec::new();
            websocket::write_frame(TEXT, words.as_bytes(), &mut reply);
            return Ok(Greeting::Reply(reply));
        }
        match websocket::frame(received)? {
            None => Ok(Greeting::Incomplete),
            Some(frame) if is_ok(frame.payload)? => Ok(Greeting::Ready(frame.length)),
            Some(frame) => Err(format!("the server said {}", String::from_utf8_lossy(frame.payload))),
        }
    }

    fn check_compression(&self, head: &[u8]) -> Result<()> {
        let wanted = matches!(self.task, Task::Large { compressed: true });
        let agreed = memmem::find(head, b"permessage-deflate").is_some();
        if wanted == agreed { Ok(()) } else { Err(format!("compression wanted: {wanted}, agreed: {agreed}")) }
    }

    fn inflate(&self, payload: &[u8], content: &mut Vec<u8>) -> Result<()> {
        let mut known = self.known.borrow_mut();
        if let Some((_, plain)) = known.iter().rev().find(|(compressed, _)| compressed == payload) {
            content.extend_from_slice(plain);
            return Ok(());
        }
        let mut plain = Vec::with_capacity(MOST_BYTES);
        let whole = [payload, &FLUSHED].concat();
        Decompress::new(false)
            .decompress_vec(&whole, &mut plain, FlushDecompress::Sync)
            .map_err(|error| format!("a compressed message: {error}"))?;
        content.extend_from_slice(&plain);
        known.push_back((payload.to_vec(), plain));
        if known.len() > KNOWN {
            known.pop_front();
        }
        Ok(())
    }
}

impl Wire for BrokerV1Wire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        self.write_handshake(out);
    }

    fn greeted(&self, subscriber: usize, received: &[u8]) -> Result<Greeting> {
        self.signed_in(subscriber, "", received)
    }

    fn keep_alive(&self) -> Option<Vec<u8>> {
        Some(websocket::pong())
    }

    fn has_units(&self) -> bool {
        matches!(self.task, Task::Large { .. })
    }

    fn unit(&self, _: usize, received: &[u8], content: &mut Vec<u8>, _: &mut Vec<u8>) -> Result<Option<usize>> {
        let Some(frame) = websocket::frame(received)? else { return Ok(None) };
        if frame.is_compressed {
            self.inflate(frame.payload, content)?;
        } else {
            content.extend_from_slice(frame.payload);
        }
        Ok(Some(frame.length))
    }

    fn open(&self, _: usize, out: &mut Vec<u8>) {
        if self.inserts_over_sockets() {
            self.write_handshake(out);
        }
    }

    fn opened(&self, publisher: usize, received: &[u8]) -> Result<Greeting> {
        // No events: they would cost more than the answers.
        self.signed_in(publisher, r#","events":"""#, received)
    }

    fn pipeline(&self) -> usize {
        if let Task::Insert = self.task { PIPELINE } else { 1 }
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        match self.task {
            Task::Large { .. } => {
                let mut body = br#"{"event":"orders","data":"#.to_vec();
                message::write_large(publication.number, &mut body);
                body.push(b'}');
                let token = &self.people.tokens[publication.publisher % self.people.tokens.len()];
                message::write_post("/insert", &format!("authorization: Bearer {token}\r\n"), &body, out);
            }
            Task::Small | Task::Insert => {
                let number = publication.number;
                let mut words = format!(r#"{{"do":"insert","ref":{number},"#).into_bytes();
                let mut insert = Vec::with_capacity(256);
                message::write_insert(&format!("name{}", number % self.people.names), number, &mut insert);
                words.extend_from_slice(&insert[1..]);
                websocket::write_frame(TEXT, &words, out);
            }
        }
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        if !self.inserts_over_sockets() {
            return Ok(http::answer_length(received)?.map(Answer::acknowledgement));
        }
        let Some(frame) = websocket::frame(received)? else { return Ok(None) };
        Ok(Some(Answer { length: frame.length, acknowledges: is_ok(frame.payload)? }))
    }
}

/// Whether a message answers a command. The server also sends heartbeats, which do not.
fn is_ok(payload: &[u8]) -> Result<bool> {
    if !payload.starts_with(br#"{"ref":"#) {
        return Ok(false);
    }
    if memmem::find(payload, br#""error":"#).is_some() {
        return Err(format!("the server answered {}", String::from_utf8_lossy(payload)));
    }
    Ok(true)
}
