//! nchan, a module of nginx: passes messages on from memory. It shows the cost of fan-out alone in a well-made
//! server.

use serde::{Deserialize, Serialize};

use super::peer::{self, JSON};
use super::{Answer, Greeting, Language, Publication, Running, Target, Wire};
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::{Result, http, message};

/// The name of its wire protocol.
pub const WIRE: &str = "nchan";
/// The first bytes of each subscription.
const HI: &[u8] = b": hi\n\n";

/// The peer with the least work per message over the same transport.
pub struct Nchan;

impl Target for Nchan {
    fn name(&self) -> &'static str {
        "nchan"
    }

    fn start(&self, lab: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        Ok(Running { server: peer::start(self.name(), lab, core)?, language: Language::new(WIRE, &NchanWire)? })
    }
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct NchanWire;

impl Wire for NchanWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&message::get("/sub?c=news", "accept: text/event-stream\r\n"));
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        let Some(head) = http::head_length(received)? else { return Ok(Greeting::Incomplete) };
        // Only then is the client subscribed.
        let is_said = received[head..].starts_with(HI);
        Ok(if is_said { Greeting::Ready(head + HI.len()) } else { Greeting::Incomplete })
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        message::write_payload(publication.number, &mut body);
        message::write_post("/pub?c=news", JSON, &body, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        Ok(http::answer_length(received)?.map(Answer::acknowledgement))
    }
}
