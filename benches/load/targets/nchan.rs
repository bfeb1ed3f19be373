//! nchan, a module of nginx: passes on what it is sent, from memory. What fan-out alone costs in a well-made server.

use serde::{Deserialize, Serialize};

use super::peer::{self, JSON};
use super::{Greeting, Language, Publication, Running, Target, Wire};
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::{Result, http, message};

/// The name of its wire.
pub const WIRE: &str = "nchan";
/// What a subscriber is sent first.
const HI: &[u8] = b": hi\n\n";

/// The peer that does least over the same transport.
pub struct Nchan;

impl Target for Nchan {
    fn name(&self) -> &'static str {
        "nchan"
    }

    fn start(&self, lab: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        Ok(Running { server: peer::start(self.name(), lab, core)?, language: Language::new(WIRE, &NchanWire)? })
    }
}

/// What its clients say.
#[derive(Serialize, Deserialize)]
pub struct NchanWire;

impl Wire for NchanWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&message::get("/sub?c=news", "accept: text/event-stream\r\n"));
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        let Some(head) = http::head_length(received)? else { return Ok(Greeting::Incomplete) };
        // Only then it is subscribed.
        let is_said = received[head..].starts_with(HI);
        Ok(if is_said { Greeting::Ready(head + HI.len()) } else { Greeting::Incomplete })
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        message::write_payload(publication.number, &mut body);
        message::write_post("/pub?c=news", JSON, &body, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<usize>> {
        http::answer_length(received)
    }
}
