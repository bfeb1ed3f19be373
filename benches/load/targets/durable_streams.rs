//! durable-streams: append-only logs over HTTP. It is the nearest peer to Broker in its handling of events: an append
//! is on disk before it is answered and before any reader receives it.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::peer::{self, JSON};
use super::{Answer, Greeting, Language, Publication, Running, Target, Wire};
use crate::crowd::Audience;
use crate::http::Http;
use crate::lab::Lab;
use crate::{Result, http, message};

/// The name of its wire protocol.
pub const WIRE: &str = "durable-streams";

/// The peer for both the fan-out and the inserts.
pub struct DurableStreams;

impl Target for DurableStreams {
    fn name(&self) -> &'static str {
        "durable-streams"
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn rate_goals(&self) -> Option<[f64; 2]> {
        Some([1.0; 2])
    }

    fn streams_last(&self) -> bool {
        // It ends each stream after a minute, and has no setting for that.
        false
    }

    fn start(&self, lab: &Lab, audience: &Audience, core: Option<usize>) -> Result<Running> {
        let server = peer::start(self.name(), lab, core)?;
        // Appends to one stream run one after another. If there are no subscribers, each publisher can have its own
        // stream, just as events of different names are independent in Broker.
        let streams = if audience.subscribers == 0 { audience.publishers } else { 1 };
        let mut http = Http::connect(server.address)?;
        for stream in 0..streams {
            let head = format!("PUT /bench-{stream} HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 0\r\n\r\n");
            http.ask(head.as_bytes())?;
        }
        Ok(Running { server, language: Language::new(WIRE, &DurableStreamsWire { streams })? })
    }
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct DurableStreamsWire {
    /// The number of streams. All subscribers read the first.
    streams: usize,
}

impl Wire for DurableStreamsWire {
    fn subscribe(&self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&message::get("/bench-0?offset=now&live=sse", "accept: text/event-stream\r\n"));
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        let Some(head) = http::head_length(received)? else { return Ok(Greeting::Incomplete) };
        // The first event tells the offset at which reading begins; appends before that may not be sent. It is a
        // separate chunk.
        let end = b"\n\n\r\n";
        let found = memmem::find(&received[head..], end);
        Ok(found.map_or(Greeting::Incomplete, |at| Greeting::Ready(head + at + end.len())))
    }

    fn publish(&self, Publication { publisher, number, .. }: Publication, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        message::write_payload(number, &mut body);
        message::write_post(&format!("/bench-{}", publisher % self.streams), JSON, &body, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        Ok(http::answer_length(received)?.map(Answer::acknowledgement))
    }
}
