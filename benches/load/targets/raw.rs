//! The tool's own reference server: see [`crate::raw`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Greeting, Language, Publication, Running, Target, Wire};
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::server::{Server, free_port, own_program};
use crate::{Result, http, message, options};

/// The name of its wire protocol.
pub const WIRE: &str = "raw";

/// The reference server, of epoll and `write`.
pub struct Raw;

impl Target for Raw {
    fn name(&self) -> &'static str {
        "raw epoll"
    }

    fn start(&self, _: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        Ok(Running {
            server: start(options::RAW, core)?,
            language: Language::new(WIRE, &RawWire { keeps_order: true })?,
        })
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
}

impl Wire for RawWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&message::get("/sse", ""));
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        Ok(http::head_length(received)?.map_or(Greeting::Incomplete, Greeting::Ready))
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        message::write_insert("tick", publication.number, &mut body);
        message::write_post("/insert", "", &body, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<usize>> {
        http::answer_length(received)
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }
}
