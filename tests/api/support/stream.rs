//! An event stream that can be awaited.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::HeaderMap;
use serde_json::json;

use super::{Kept, User, within};

/// How often the server sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(12);

/// One event as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: String,
    /// As it stood on the wire.
    pub data: String,
}

impl Event {
    pub fn new(name: &str, id: &str, data: &str) -> Self {
        Self { name: name.to_owned(), id: id.to_owned(), data: data.to_owned() }
    }

    /// Reads `event:<name>\nid:<id>\ndata:<json>`, byte for byte.
    pub fn parse(frame: &str) -> Self {
        let lines: Vec<_> = frame.split('\n').collect();
        let [name, id, data] = lines[..] else { panic!("not the three lines of a frame: {frame:?}") };
        let field = |line: &str, prefix| line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { name: field(name, "event:"), id: field(id, "id:"), data: field(data, "data:") }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap()
    }

    /// The event in the envelope that its data is.
    #[track_caller]
    pub fn envelope(&self) -> Kept {
        let kept: Kept = serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!((&kept.event, &kept.id), (&self.name, &self.id));
        kept
    }
}

/// An open event stream. It accepts the exact bytes of the contract and nothing else.
pub struct Stream {
    pub headers: HeaderMap,
    chunks: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    /// What has come and was not yet read.
    pending: String,
    /// Without the one that a stream begins with.
    pub heartbeats: usize,
    has_begun: bool,
    cut_off_allowed: bool,
    opened: Instant,
    /// After how many milliseconds it is to come back, as it was told last.
    pub retry: Option<u64>,
}

impl Stream {
    pub async fn open(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        Self {
            headers,
            chunks: response.bytes_stream().boxed(),
            pending: String::new(),
            heartbeats: 0,
            has_begun: false,
            cut_off_allowed: false,
            opened: Instant::now(),
            retry: None,
        }
    }

    /// The server will be killed, or cuts it off: a frame that does not arrive whole is as good as not sent.
    pub fn cut_off_allowed(self) -> Self {
        Self { cut_off_allowed: true, ..self }
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        within("an event", self.read()).await.expect("the stream goes on")
    }

    /// The next events.
    pub async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            events.push(self.next().await);
        }
        events
    }

    /// Every event that comes up to now. Somebody inserts a marker for that, which the stream must let through.
    pub async fn so_far(&mut self, by: &User) -> Vec<Event> {
        self.up_to(by, "mark").await
    }

    /// The same with a marker of another name.
    pub async fn up_to(&mut self, by: &User, marker: &str) -> Vec<Event> {
        let id = by.insert(marker, json!(null)).await;
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            // An earlier one is of no interest.
            if event.name != marker {
                events.push(event);
            } else if event.id == id {
                return events;
            }
        }
    }

    /// The id that the server gives the stream.
    #[track_caller]
    pub fn id(&self) -> String {
        let ids: Vec<_> = self.headers.get_all("broker-stream").iter().collect();
        let [id] = ids[..] else { panic!("not one id: {:?}", self.headers) };
        let id = id.to_str().unwrap();
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        assert!(id.len() == 16 && id.bytes().all(is_digit), "{id:?}");
        id.to_owned()
    }

    /// Reads to the end of the stream, and gives what still came.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = within("the end of the stream", self.read()).await {
            events.push(event);
        }
        events
    }

    /// How many heartbeats may have been sent by now: on a machine that is busy a test may take that long to come here.
    pub fn heartbeats_due(&self) -> usize {
        // It was opened shortly before its head came.
        let open_for = self.opened.elapsed() + Duration::from_secs(1);
        (open_for.as_secs() / HEARTBEAT.as_secs()) as usize
    }

    /// The same as `rest`, of a stream that ends now: by what was just done, and not by the next heartbeat.
    pub async fn ends_now(&mut self) -> Vec<Event> {
        let due = self.heartbeats_due();
        let rest = self.rest().await;
        assert!(self.heartbeats <= due, "it ended after the next heartbeat");
        rest
    }

    /// Awaits a heartbeat.
    pub async fn heartbeat(&mut self) {
        let before = self.heartbeats;
        while self.heartbeats == before {
            self.strip_heartbeats();
            if self.heartbeats == before {
                assert!(within("a heartbeat", self.fill()).await, "the stream ended");
            }
        }
    }

    /// The next event, or `None` at the end; not bounded in time.
    pub async fn read(&mut self) -> Option<Event> {
        loop {
            self.strip_heartbeats();
            if let Some((frame, rest)) = self.pending.split_once("\n\n") {
                let event = Event::parse(frame);
                self.has_begun = true;
                self.pending = rest.to_owned();
                return Some(event);
            }
            if !self.fill().await {
                assert!(self.pending.is_empty() || self.cut_off_allowed, "it ended within a frame: {:?}", self.pending);
                return None;
            }
        }
    }

    /// Takes out when to come back, which clients with control events and tickets are told.
    fn strip_retry(&mut self) {
        if let Some((retry, rest)) = self.pending.strip_prefix("retry:").and_then(|rest| rest.split_once('\n')) {
            self.retry = Some(retry.parse().unwrap());
            self.pending = rest.to_owned();
        }
    }

    fn strip_heartbeats(&mut self) {
        self.strip_retry();
        while let Some(rest) = self.pending.strip_prefix(":\n") {
            self.pending = rest.to_owned();
            self.heartbeats += usize::from(std::mem::replace(&mut self.has_begun, true));
        }
    }

    /// Takes the next chunk; false at the end.
    async fn fill(&mut self) -> bool {
        match self.chunks.next().await {
            Some(Ok(chunk)) => {
                self.pending.push_str(std::str::from_utf8(&chunk).unwrap());
                true
            }
            None => false,
            // A server that was killed ends its streams without the last chunk.
            Some(Err(error)) => {
                assert!(self.cut_off_allowed, "it was cut off: {error}");
                false
            }
        }
    }
}
