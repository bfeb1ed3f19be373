//! Guards `frames=true`: every message is data alone, so that a browser's `EventSource` hands on all of them.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::support::{RawStream, TestServer};

/// A stream of messages that are JSON, and nothing else.
struct Frames {
    stream: RawStream,
    read: VecDeque<Value>,
}

impl Frames {
    /// The next message, heartbeats left out.
    async fn next(&mut self) -> Value {
        loop {
            while let Some(frame) = self.read.pop_front() {
                if frame != json!({}) {
                    return frame;
                }
            }
            let chunk = self.stream.chunk().await.unwrap();
            let messages = chunk.strip_suffix("\n\n").unwrap_or_else(|| panic!("{chunk:?}"));
            // When to come back, for clients that are told.
            let messages = messages.strip_prefix("retry:2000\n").unwrap_or(messages);
            self.read.extend(messages.split("\n\n").map(|message| {
                serde_json::from_str::<Value>(message.strip_prefix("data:").unwrap_or_else(|| panic!("{chunk:?}")))
                    .unwrap()
            }));
        }
    }
}

#[tokio::test]
async fn the_first_message_names_the_stream_and_events_and_marks_are_the_frames_of_broker_v1() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let path = "/sse?frames=true&marks=true&events=news";
    let stream = RawStream::open_at(&server, &alice, path, None).await;
    let mut frames = Frames { stream, read: VecDeque::new() };
    let opening = frames.next().await;
    let id = opening["ok"]["stream"].as_str().unwrap();
    assert_eq!(frames.next().await["event"], "$synced");

    alice.insert("news", json!({ "b": 1 })).await;
    assert_eq!(json!([frames.next().await]), alice.get("/events").await.ok().json());
    // The id is that of the header: other requests name the stream by it.
    let changed = alice.post("/subscription", json!({ "stream": id, "events": "other" })).await.ok().json();
    assert_eq!(changed, json!({ "change": 1 }));
    let synced = frames.next().await;
    assert_eq!((&synced["event"], &synced["data"]["change"]), (&json!("$synced"), &json!(1)));
}
