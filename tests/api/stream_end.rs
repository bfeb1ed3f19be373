//! Guards the end of streams with control events: `$end` says why, on every transport, and what it resumes from misses nothing.

mod replaced;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::socket_io::signed_in::{Sio, auth};
use crate::support::{
    Client, Event, Socket, Stream, TestServer, User, password_of, reset, reset_code, revoke, unrevoke, until_soon,
    update, within,
};

/// The transports of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Sse,
    BrokerV1,
    Polling,
    WebSocket,
}

pub const ALL: [Transport; 4] = [Transport::Sse, Transport::BrokerV1, Transport::Polling, Transport::WebSocket];

/// A stream with control events, on any of them.
pub enum Marked {
    Sse(Box<Stream>),
    BrokerV1(Box<Socket>),
    Sio(Box<Sio>),
}

impl Marked {
    /// Opens one that takes over a stream if one is named. Returns its id.
    pub async fn open(server: &TestServer, user: &User, by: Transport, named: Option<&str>) -> (Self, String) {
        let options = match named {
            Some(named) => json!({ "marks": true, "stream": named }),
            None => json!({ "marks": true }),
        };
        match by {
            Transport::Sse => {
                let (stream, id) = user.open("/sse?marks=true", named).await;
                (Self::Sse(stream.into()), id)
            }
            Transport::BrokerV1 => {
                let (socket, welcome) = user.socket_with(options).await;
                (Self::BrokerV1(socket.into()), welcome["stream"].as_str().unwrap().to_owned())
            }
            Transport::Polling | Transport::WebSocket => {
                let is_websocket = by == Transport::WebSocket;
                let (client, welcome) = Sio::connected(server, is_websocket, auth(user, options)).await;
                (Self::Sio(client.into()), welcome["sid"].as_str().unwrap().to_owned())
            }
        }
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        match self {
            Self::Sse(stream) => stream.next().await,
            Self::BrokerV1(socket) => socket.next().await,
            Self::Sio(client) => {
                let event = within("an event", client.event()).await;
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                Event::new(&text(&event[0]), &text(&event[2]["id"]), &event[1].to_string())
            }
        }
    }

    /// What comes before an event of this name, and that event.
    pub async fn until(&mut self, name: &str) -> (Vec<Event>, Event) {
        let mut before = Vec::new();
        loop {
            let event = self.next().await;
            if event.name == name {
                return (before, event);
            }
            before.push(event);
        }
    }

    /// Reads to `$end`, and to the end of the connection, before which nothing more comes. Returns what came before `$end`, and what it
    /// says.
    pub async fn end(mut self) -> (Vec<Event>, Event) {
        let (before, end) = self.until("$end").await;
        match &mut self {
            Self::Sse(stream) => assert_eq!(stream.rest().await, []),
            Self::BrokerV1(socket) => {
                let code = socket.closed().await;
                let expected = match end.json()["reason"].as_str().unwrap() {
                    "expired" | "revoked" => 4401,
                    "replaced" => 4410,
                    "limit" => 4409,
                    _ => 1012,
                };
                assert!(code == Some(expected) && !socket.has_unread(), "{code:?}");
            }
            Self::Sio(client) if end.json()["reason"] != "stopping" => assert_eq!(client.next().await, "41"),
            Self::Sio(_) => {}
        }
        (before, end)
    }

    /// The end comes, and says this.
    pub async fn ends_with(self, reason: &str) {
        let (_, end) = self.end().await;
        assert_eq!(end.json(), json!({ "reason": reason, "retry": null }));
    }
}

/// A stream of a user in sync, on each transport.
async fn open_all(server: &TestServer, user: &User) -> Vec<Marked> {
    let mut streams = Vec::new();
    for by in ALL {
        let mut stream = Marked::open(server, user, by, None).await.0;
        stream.until("$synced").await;
        streams.push(stream);
    }
    streams
}

async fn shut_out(client: &Client, way: usize) {
    match way {
        0 => revoke(client, "alice").await,
        1 => update(client, "alice", json!({ "password": "pw-secret-new" })).await,
        2 => update(client, "alice", json!({ "two_factor": true })).await,
        _ => {
            let code = reset_code(client, "alice").await;
            reset(client, "alice", "pw-secret-new", &code).await.ok();
        }
    }
}

#[tokio::test]
async fn whatever_ends_the_sign_in_is_said_to_have_revoked_it_and_nothing_of_after_that_is_given() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    for way in 0..4 {
        unrevoke(&client, "alice").await;
        update(&client, "alice", json!({ "password": password_of("alice"), "two_factor": false })).await;
        let alice = client.sign_in("alice").await;
        let mut streams = open_all(&server, &alice).await;
        // A stream without control events ends as ever.
        let mut plain = alice.stream_of("/sse?snapshot=false", None).await;
        let last = bob.insert("before", json!(way)).await;
        for stream in &mut streams {
            stream.until("before").await;
        }
        shut_out(&client, way).await;
        bob.insert("after", json!(way)).await;
        for stream in streams {
            let (before, end) = stream.end().await;
            assert_eq!(before, []);
            assert_eq!(
                (end.id, end.data.parse::<Value>().unwrap()),
                (last.clone(), json!({ "reason": "revoked", "retry": null }))
            );
        }
        assert_eq!(plain.rest().await.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), [last]);
    }
}

#[tokio::test]
async fn a_token_that_expires_is_said_to_have_and_one_stream_too_many_too() {
    let server = TestServer::start_with(&["--streams_per_user=4"]).await;
    let alice = server.user("alice", "acme").await;
    let too_many = open_all(&server, &alice).await;
    // Long enough for four streams.
    let last = open_all(&server, &until_soon(&alice, 12)).await;
    for stream in too_many {
        stream.ends_with("limit").await;
    }
    for stream in last {
        stream.ends_with("expired").await;
    }
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_when_to_come_back() {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let streams = open_all(&server, &alice).await;
    // Long polling is told too if a poll waits, which no test can know.
    let streams = streams.into_iter().zip(ALL).filter(|(_, by)| *by != Transport::Polling);
    let read = streams.map(async |(stream, _)| {
        let (_, end) = stream.end().await;
        assert_eq!(end.json()["reason"], "stopping");
        assert!(end.json()["retry"].as_u64().is_some_and(|retry| (1..=60_000).contains(&retry)), "{end:?}");
    });
    tokio::join!(server.stop(), join_all(read));
}

#[tokio::test]
async fn a_stream_that_ends_while_events_pour_in_resumes_from_its_end_without_a_gap() {
    let server = TestServer::start().await;
    let client = server.client();
    let bob = server.user("bob", "acme").await;
    client.create_user("alice", "acme").await;
    let pouring = tokio::spawn({
        let bob = bob.clone();
        async move {
            for number in 0.. {
                bob.insert(&format!("pouring{}", number % 7), json!(number)).await;
            }
        }
    });
    let mut ends = Vec::new();
    for _ in 0..3 {
        let alice = client.sign_in("alice").await;
        for by in ALL {
            let mut stream = Marked::open(&server, &alice, by, None).await.0;
            stream.until("$synced").await;
            let first = stream.next().await.id;
            ends.push(tokio::spawn(async move { (first, stream.end().await) }));
        }
        update(&client, "alice", json!({ "password": password_of("alice") })).await;
    }
    let mut resumes = Vec::new();
    for end in ends {
        let (first, (before, end)) = end.await.unwrap();
        resumes.push((first.clone(), before.last().map_or(first, |last| last.id.clone()), end.id));
    }
    pouring.abort();
    let all: Vec<_> = bob.stream_of("/sse", Some(&resumes[0].0)).await.so_far(&bob).await;
    for (_, last, end) in resumes {
        // Nothing was inserted between what was given last and the end.
        assert!(end >= last && !all.iter().any(|event| event.id > last && event.id <= end), "{last} {end}");
    }
}
