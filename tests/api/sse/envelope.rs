//! Guards `envelope=true`: each event comes as the object that `/events` and `/history` give, by whatever way it comes.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::control_events::{assert_reset, assert_synced, until_sync};
use crate::presence::bind;
use crate::sse_ticket::{ask, ticket_of};
use crate::support::{
    Event, RawStream, Receipt, Stream, TestServer, User, after_kill, change, foreign, names, until, within,
};

/// Opens a stream with envelopes.
async fn enveloped(user: &User, query: &str, last_event_id: Option<&str>) -> Stream {
    user.stream_of(&format!("/sse?envelope=true{query}"), last_event_id).await
}

/// That each of these is, in its envelope, what the history has of it.
async fn are_in_the_history(user: &User, events: &[Event]) {
    for event in events {
        let envelope = event.envelope();
        let page = user.history(&format!("event={}&limit=1000", event.name)).await;
        assert!(page.events.contains(&envelope), "{event:?} is not in {page:?}");
    }
}

#[tokio::test]
async fn a_frame_has_the_object_that_is_listed_byte_for_byte_in_the_snapshot_and_live() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let mut live = RawStream::open_at(&server, &alice, "/sse?envelope=true", None).await;
    assert_eq!(live.chunk().await.as_deref(), Some(":\n"));

    let body = r#"{ "event": "news", "data": { "b" : 1, "a": [ 12345678901234567890123.50 ] } }"#;
    let Receipt { id, timestamp } = bob.insert_raw(body).await.read();
    let data = r#"{"b":1,"a":[12345678901234567890123.50]}"#;
    let inserted = format!(r#"{{"event":"news","data":{data},"id":"{id}","timestamp":{timestamp},"username":"bob"}}"#);
    assert_eq!(alice.get("/events").await.ok().body, format!("[{inserted}]"));
    let frame = format!("event:news\nid:{id}\ndata:{inserted}\n\n");
    assert_eq!(live.chunk().await, Some(frame.clone()));
    let mut snapshot = RawStream::open_at(&server, &alice, "/sse?envelope=true", None).await;
    assert_eq!([snapshot.chunk().await, snapshot.chunk().await], [Some(":\n".to_owned()), Some(frame)]);

    let Receipt { id, timestamp } = alice.remove("news").await.read();
    let removal = format!(
        r#"{{"event":"news","data":null,"id":"{id}","timestamp":{timestamp},"username":"alice","removed":true}}"#
    );
    let history = alice.get("/history?event=news").await.ok().body;
    assert_eq!(history, format!(r#"{{"events":[{removal},{inserted}],"next":null}}"#));
    for stream in [&mut live, &mut snapshot] {
        assert_eq!(stream.chunk().await, Some(format!("event:news\nid:{id}\ndata:{removal}\n\n")));
    }
}

#[tokio::test]
async fn an_object_is_ascii_without_a_field_of_the_stream_and_means_the_same() {
    let server = TestServer::start().await;
    let zoe = server.user("zoë", "acme").await;
    let mut stream = enveloped(&zoe, "", None).await;
    zoe.insert("grüße/日本 \"😀\\", json!(["retry: 1", { "retry:": "Größe", "data:": "\nevent:x" }])).await;
    let event = stream.next().await;
    assert!(event.data.is_ascii() && !event.data.contains("retry:"), "{event:?}");
    assert_eq!(json!([event.json()]), zoe.get("/events").await.ok().json());
}

#[tokio::test]
async fn an_event_of_an_earlier_version_has_its_own_name_in_the_object() {
    let server = TestServer::start().await;
    server.user("alice", "acme").await;
    let server = server.with_earlier_events("alice", "acme", &[" $reset"]).await;
    let alice = server.client().sign_in("alice").await;
    let event = enveloped(&alice, "", None).await.next().await;
    assert_eq!((event.name.as_str(), &event.json()["event"]), ("\u{fffd}$reset", &json!(" $reset")));
    assert_eq!(json!([event.json()]), alice.get("/events").await.ok().json());
}

#[tokio::test]
async fn an_inserted_null_is_told_from_a_removal() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = enveloped(&alice, "", None).await;
    alice.insert("news", json!(null)).await;
    alice.remove("news").await.ok();
    let told: Vec<_> = stream.take(2).await.iter().map(|event| event.json().get("removed").cloned()).collect();
    assert_eq!(told, [None, Some(json!(true))]);
}

#[tokio::test]
async fn an_event_comes_as_the_same_object_by_whatever_way_it_comes() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let first = alice.insert("a", json!(1)).await;
    for (user, name) in [(&bob, "b"), (&alice, "b"), (&bob, "c"), (&alice, "d")] {
        user.insert(name, json!({ "name": name })).await;
    }
    bob.remove("c").await.ok();
    let mut filtered = enveloped(&alice, "&events=a,mark", None).await;
    // From memory, from the store since few are wanted, and what was missed.
    for (query, last, expected) in [
        ("", None, &["a", "b", "d"][..]),
        ("&events=b,d,mark", None, &["b", "d"]),
        ("", Some(first.as_str()), &["b", "b", "c", "d", "c"]),
    ] {
        let came = enveloped(&bob, query, last).await.so_far(&bob).await;
        let came: Vec<_> = came.into_iter().filter(|event| event.name != "mark").collect();
        assert_eq!(names(&came), expected, "{query} after {last:?}");
        are_in_the_history(&bob, &came).await;
    }
    // What another filter makes visible.
    assert_eq!(names(&filtered.so_far(&bob).await), ["a"]);
    change(&alice, &filtered.id(), json!({ "events": "b,d,mark" })).await;
    let came = filtered.so_far(&bob).await;
    assert_eq!(names(&came), ["b", "d"]);
    are_in_the_history(&alice, &came).await;
    // Over a kill.
    let (_server, bob) = after_kill(server, &bob).await;
    let came = enveloped(&bob, "&except=mark", Some(&first)).await.up_to(&bob, "end").await;
    assert_eq!(names(&came), ["b", "b", "c", "d", "c"]);
    are_in_the_history(&bob, &came).await;
}

#[tokio::test]
async fn a_reader_that_missed_more_than_is_retained_gets_the_latest_as_objects() {
    let server = TestServer::start_with(&["--retain_events=20"]).await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let first = alice.insert("once", json!(1)).await;
    bob.insert("twice", json!(2)).await;
    let filler = Value::Array((0..100).map(|number| json!({ "event": "filler", "data": number })).collect());
    bob.insert_raw(&filler).await.ok();
    until("the oldest to go", async || {
        let page = alice.history("event=filler&order=oldest&limit=1").await;
        (page.events.first()?.data != "0").then_some(())
    })
    .await;
    let came = enveloped(&alice, "", Some(&first)).await.so_far(&alice).await;
    let came: Vec<_> = came.iter().map(Event::envelope).collect();
    assert_eq!(names(&came), ["twice", "filler"]);
    assert_eq!(came, alice.latest("/events?events=twice,filler").await);
}

#[tokio::test]
async fn a_removal_by_the_server_is_in_the_name_of_the_user_that_inserted_the_event() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let mut stream = enveloped(&bob, "&events=offer,seat", None).await;
    let (leaving, id) = alice.open("/sse", None).await;
    bind(&alice, &id, &["seat"]).await;
    alice.insert_raw(json!({ "event": "offer", "data": 1, "expires_in": 1 })).await.ok();
    drop(leaving);
    let came = stream.take(4).await;
    are_in_the_history(&bob, &came).await;
    let told: Vec<_> = came.iter().map(Event::envelope).map(|kept| (kept.username, kept.removed)).collect();
    assert_eq!(told, [false, false, true, true].map(|removed| ("alice".to_owned(), removed)));
}

#[tokio::test]
async fn control_events_and_presence_are_as_without_an_envelope() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("news", json!(1)).await;
    let mut stream = enveloped(&alice, "&marks=true&presence=true", Some(&foreign(&id))).await;
    assert_reset(&stream.next().await, "unknown_id");
    let (came, _) = until_sync(&mut stream).await;
    let (people, events): (Vec<_>, _) = came.into_iter().partition(|event| event.name == "$presence/alice");
    assert_eq!(people.len(), 1);
    assert_eq!((&people[0].json()["online"], people[0].json().get("event")), (&json!(true), None));
    assert_eq!(names(&events), ["news"]);
    are_in_the_history(&alice, &events).await;
    change(&alice, &stream.id(), json!({ "events": "none" })).await;
    assert_synced(&stream.next().await);
}

#[tokio::test]
async fn streams_with_and_without_envelopes_get_the_same_events_each_in_its_form() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for number in 0..30 {
        alice.insert(&format!("old/{}", number % 20), json!({ "text": "grün", "number": number })).await;
    }
    // Whichever is the first has its form made of each event, from which the other is then made.
    for first in [true, false] {
        let mut streams = Vec::new();
        for has_envelope in [first, !first, first, !first] {
            let stream = alice.stream_of(&format!("/sse?envelope={has_envelope}&except=mark"), None).await;
            streams.push((has_envelope, stream));
        }
        alice.insert("live", json!("größer")).await;
        alice.remove("live").await.ok();
        let mut came: Vec<Vec<_>> = Vec::new();
        for (has_envelope, stream) in &mut streams {
            let plain = |event: Event| match *has_envelope {
                true => Event { data: event.envelope().data, ..event },
                false => event,
            };
            came.push(stream.take(22).await.into_iter().map(plain).collect());
        }
        assert!(came.iter().all(|one| *one == came[0]), "{came:?}");
    }
}

#[tokio::test]
async fn an_envelope_comes_also_over_http_1_0_and_by_a_ticket() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!({ "a": 1 })).await;
    let mut by_ticket =
        Stream::open(ask(&alice.client, &format!("/sse?ticket={}&envelope=true", ticket_of(&alice).await), &[]).await)
            .await;
    let event = by_ticket.next().await;
    are_in_the_history(&alice, std::slice::from_ref(&event)).await;

    let authorization = &alice.authorization;
    let request = format!("GET /sse?envelope=true HTTP/1.0\r\nauthorization: {authorization}\r\n\r\n");
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"\n\n") {
        assert!(within("bytes", socket.read_buf(&mut came)).await.unwrap() > 0);
    }
    let came = String::from_utf8(came).unwrap();
    let (_, body) = came.split_once("\r\n\r\n").unwrap();
    assert_eq!(Event::parse(body.trim_start_matches(":\n").trim_end()), event);
}

#[tokio::test]
async fn the_parameter_is_true_or_false() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    for wrong in ["envelope", "envelope=", "envelope=1", "envelope=yes", "envelope=true&envelope=true"] {
        alice.get(&format!("/sse?{wrong}")).await.refused(400, "query_invalid");
    }
    for plain in ["/sse", "/sse?envelope=false", "/sse?Envelope=true"] {
        assert_eq!(alice.stream_of(plain, None).await.next().await.data, "1", "{plain}");
    }
}
