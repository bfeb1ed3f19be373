//! The tool's own reference server: see [`crate::raw`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Answer, Greeting, Language, Publication, Running, Target, Wire};
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::raw::{MQTT, OPEN_POLLING};
use crate::server::{Server, free_port, own_program};
use crate::{Result, http, message, options, websocket};

/// The path of subscribers that do not switch to WebSocket.
const SSE: &str = "/sse";
/// The name of its wire protocol.
pub const WIRE: &str = "raw";

/// The reference server, of epoll and `write`.
pub enum Raw {
    /// With the frames of SSE.
    Sse,
    /// With those of `broker.v1`.
    BrokerV1,
    /// With those of MQTT, of QoS 0.
    Mqtt,
    /// With those of Socket.IO over WebSocket.
    SocketIo,
    /// With those of Socket.IO over long polling.
    Polling,
}

impl Target for Raw {
    fn name(&self) -> &'static str {
        "raw epoll"
    }

    fn start(&self, _: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        Ok(Running {
            server: start(options::RAW, core)?,
            language: Language::new(WIRE, &RawWire { path: self.path().to_owned(), ..RawWire::default() })?,
        })
    }
}

impl Raw {
    fn path(&self) -> &'static str {
        match self {
            Self::Sse => SSE,
            Self::BrokerV1 => "/ws",
            Self::Mqtt => MQTT,
            Self::SocketIo => "/socket.io/",
            Self::Polling => OPEN_POLLING,
        }
    }
}

/// Starts this program again in the role of a server.
pub fn start(role: &str, core: Option<usize>) -> Result<Server> {
    let port = free_port()?;
    let arguments = [options::ROLE, role, &port.to_string()].map(str::to_owned);
    Server::start(own_program()?.as_os_str(), &arguments, port, core, Duration::from_secs(10))
}

/// The messages of its clients: Broker's, without a token.
#[derive(Serialize, Deserialize)]
pub struct RawWire {
    /// Whether the server is taken to keep order. It does, but the tool itself is also tested without that promise.
    pub keeps_order: bool,
    /// What subscribers ask for.
    pub path: String,
}

impl Default for RawWire {
    fn default() -> Self {
        Self { keeps_order: true, path: SSE.to_owned() }
    }
}

impl RawWire {
    fn polls(&self) -> bool {
        self.path == OPEN_POLLING
    }
}

impl Wire for RawWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        if self.path == SSE || self.polls() {
            out.extend_from_slice(&message::get(&self.path, ""));
        } else {
            websocket::write_handshake(&self.path, "", out);
        }
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        if self.polls() {
            // The answer is left for `unit`, which polls.
            return Ok(http::answer_length(received)?.map_or(Greeting::Incomplete, |_| Greeting::Ready(0)));
        }
        Ok(http::head_length(received)?.map_or(Greeting::Incomplete, Greeting::Ready))
    }

    fn has_units(&self) -> bool {
        self.polls()
    }

    fn unit(&self, _: usize, received: &[u8], content: &mut Vec<u8>, reply: &mut Vec<u8>) -> Result<Option<usize>> {
        let Some(length) = http::answer_length(received)? else { return Ok(None) };
        content.extend_from_slice(&received[..length]);
        // With an id of the usual length.
        reply.extend_from_slice(&message::get(&format!("{}&sid=AAAAAAAAAAAAAAAAAAAA", self.path), ""));
        Ok(Some(length))
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        message::write_insert("tick", publication.number, &mut body);
        message::write_post("/insert", "", &body, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        Ok(http::answer_length(received)?.map(Answer::acknowledgement))
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }
}
