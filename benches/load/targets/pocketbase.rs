//! PocketBase: a back end like Broker, over SQLite, which it does not sync for each record.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::peer::{self, JSON};
use super::{Answer, Greeting, Language, Publication, Running, Target, Wire};
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::{Result, http, message};

/// The name of its wire protocol.
pub const WIRE: &str = "pocketbase";

/// The peer that people would choose instead of Broker.
pub struct PocketBase;

impl Target for PocketBase {
    fn name(&self) -> &'static str {
        "pocketbase"
    }

    fn start(&self, lab: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        Ok(Running { server: peer::start(self.name(), lab, core)?, language: Language::new(WIRE, &PocketBaseWire)? })
    }
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct PocketBaseWire;

impl Wire for PocketBaseWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&message::get("/api/realtime", "accept: text/event-stream\r\n"));
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        let Some(head) = http::head_length(received)? else { return Ok(Greeting::Incomplete) };
        // The first event, which is sent in one piece, contains the client id. A second request then subscribes that
        // id.
        let (events, before) = (&received[head..], br#"{"clientId":""#);
        if memmem::find(events, b"\n\n").is_none() {
            return Ok(Greeting::Incomplete);
        }
        let id =
            memmem::find(events, before).and_then(|at| events[at + before.len()..].split(|byte| *byte == b'"').next());
        let id = id.ok_or_else(|| format!("the server said {}", String::from_utf8_lossy(events)))?;
        let id = String::from_utf8_lossy(id);
        let body = format!(r#"{{"clientId":"{id}","subscriptions":["messages/*"]}}"#);
        let mut request = Vec::new();
        message::write_post("/api/realtime", JSON, body.as_bytes(), &mut request);
        Ok(Greeting::Elsewhere(request))
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        message::write_record(publication.number, &mut body);
        message::write_post("/api/collections/messages/records", JSON, &body, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        Ok(http::answer_length(received)?.map(Answer::acknowledgement))
    }

    fn keeps_order(&self) -> bool {
        // Each publish has its own threads that send it.
        false
    }
}
