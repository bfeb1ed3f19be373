//! Guards `streams_per_user`: one stream too many ends the oldest.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Event, RawStream, TestServer, change, insert_big, subscribe, until_gone, within};

#[tokio::test]
async fn one_stream_too_many_ends_the_oldest_of_the_user() {
    let server = TestServer::start_with(&["--streams_per_user=3"]).await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut of_bob = [bob.stream().await, bob.stream().await];
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(RawStream::open(&server, &alice).await);
    }
    // Whatever it is opened by and for.
    let again = alice.client.sign_in("alice").await;
    for round in 0..4 {
        streams.push(RawStream::open(&server, if round % 2 == 0 { &alice } else { &again }).await);
        let mut oldest = streams.remove(0);
        assert_eq!(oldest.events().await, None, "round {round}");
        assert!(oldest.complete, "it was ended, not cut off");
        subscribe(&alice, &oldest.id(), json!({})).await.refused(404, "stream_unknown");
        let id = alice.insert("news", json!(round)).await;
        let expected = Event::new("news", &id, &round.to_string());
        for stream in &mut streams {
            assert!(stream.events().await.unwrap().contains(&expected), "round {round}");
        }
        for stream in &mut of_bob {
            assert_eq!(stream.next().await, expected, "round {round}");
        }
        // So that what the next one gets at first is nothing.
        alice.post("/remove", &json!({ "event": "news" })).await.ok();
        for stream in &mut streams {
            assert_eq!(stream.events().await.unwrap()[0].data, "null");
        }
        for stream in &mut of_bob {
            assert_eq!(stream.next().await.data, "null");
        }
    }
}

#[tokio::test]
async fn a_stream_that_was_closed_makes_room() {
    let server = TestServer::start_with(&["--streams_per_user=2"]).await;
    let alice = server.user("alice", "acme").await;
    let mut first = alice.stream().await;
    for _ in 0..3 {
        let closed = RawStream::open(&server, &alice).await;
        let id = closed.id();
        drop(closed);
        until_gone(&alice, &id).await;
    }
    let mut second = alice.stream().await;
    let id = alice.insert("news", json!(1)).await;
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.next().await.id, id);
    }
}

#[tokio::test]
async fn with_one_stream_per_user_a_second_one_takes_its_place() {
    let server = TestServer::start_with(&["--streams_per_user=1"]).await;
    let alice = server.user("alice", "acme").await;
    let mut last = alice.insert("news", json!(0)).await;
    let mut stream = alice.stream_of("/sse", Some(&last)).await;
    for round in 1..10 {
        let missed = alice.insert("news", json!(round)).await;
        let mut next = alice.stream_of("/sse", Some(&last)).await;
        // What it had been sent before is there still.
        assert!(stream.rest().await.iter().all(|event| event.id == missed), "round {round}");
        assert_eq!(next.next().await, Event::new("news", &missed, &round.to_string()));
        change(&alice, &next.id(), json!({})).await;
        (stream, last) = (next, missed);
    }
}

#[tokio::test]
async fn the_oldest_ends_though_it_does_not_read() {
    let server = TestServer::start_with(&["--streams_per_user=1"]).await;
    let alice = server.user("alice", "acme").await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    insert_big(&alice).await;
    let mut stream = alice.stream_of("/sse?snapshot=false", None).await;
    until_gone(&alice, &stalled.id()).await;
    let after = alice.insert("after", json!(1)).await;
    assert_eq!(stream.next().await.id, after);
    while let Some(events) = within("the end", stalled.events()).await {
        assert!(events.iter().all(|event| event.id < after), "it got what came after its end");
    }
}

#[tokio::test]
async fn of_many_that_are_opened_at_once_so_many_stay() {
    let server = TestServer::start_with(&["--streams_per_user=3"]).await;
    let alice = server.user("alice", "acme").await;
    let mut streams = join_all((0..20).map(|_| alice.stream())).await;
    // Those that have ended are found by asking each for the next event.
    let mut streams = within("all but three to end", async {
        while streams.len() > 3 {
            alice.insert("probe", json!(1)).await;
            let asked = streams.into_iter().map(async |mut stream| stream.read().await.map(|_| stream));
            streams = join_all(asked).await.into_iter().flatten().collect();
        }
        streams
    })
    .await;
    let id = alice.insert("news", json!(1)).await;
    for stream in &mut streams {
        while stream.next().await.id != id {}
    }
    assert_eq!(streams.len(), 3);
}

#[tokio::test]
async fn without_a_limit_a_user_has_as_many_as_they_open() {
    let flags: [&[&str]; 2] = [&[], &["--streams_per_user=0"]];
    for flags in flags {
        let server = TestServer::start_with(flags).await;
        let alice = server.user("alice", "acme").await;
        let mut streams = join_all((0..40).map(|_| alice.stream())).await;
        let id = alice.insert("news", json!(1)).await;
        for stream in &mut streams {
            assert_eq!(stream.next().await.id, id, "{flags:?}");
        }
    }
}
