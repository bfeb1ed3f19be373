//! Guards `/subscription`: another filter for an open stream.

pub mod flood;
mod renew;

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::subscription::flood::{check_changes, check_changes_in_a_row};
use crate::support::{
    Event, RawStream, TestServer, User, change, insert_big, names, pairs, password_of, subscribe, until_gone, within,
};

#[tokio::test]
async fn new_names_are_replayed_once_and_old_ones_stop() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["a", "b", "c", "b", "gone"] {
        alice.insert(name, json!("old")).await;
    }
    alice.post("/remove", &json!({ "event": "gone" })).await.ok();
    let mut stream = alice.stream_of("/sse?events=a,mark", None).await;
    let id = stream.id();
    assert_eq!(names(&stream.so_far(&alice).await), ["a"]);
    change(&alice, &id, json!({ "events": "b,c,gone,mark" })).await;
    assert_eq!(names(&stream.so_far(&alice).await), ["c", "b"]);
    let mut live = Vec::new();
    for name in ["a", "b", "c", "b", "a"] {
        live.push(Event::new(name, &alice.insert(name, json!(1)).await, "1"));
    }
    live.retain(|event| event.name != "a");
    assert_eq!(stream.so_far(&alice).await, live);
}

#[tokio::test]
async fn names_of_the_filter_before_are_not_replayed() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["a", "b", "c"] {
        alice.insert(name, json!("old")).await;
    }
    let mut stream = alice.stream_of("/sse?events=a,b,mark", None).await;
    let id = stream.id();
    assert_eq!(names(&stream.so_far(&alice).await), ["a", "b"]);
    let steps: [(&str, &[&str]); 5] =
        [("b,c,mark", &["c"]), ("mark,c,b", &[]), ("b,mark", &[]), ("c,b*,mark", &["c"]), ("*", &["a"])];
    for (events, replayed) in steps {
        change(&alice, &id, json!({ "events": events })).await;
        assert_eq!(names(&stream.so_far(&alice).await), replayed, "{events}");
    }
}

#[tokio::test]
async fn a_change_replaces_the_whole_filter() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let all = ["news", "chat/1", "chat/2"];
    for name in all {
        alice.insert(name, json!("old")).await;
    }
    let mut stream = alice.stream_of("/sse?events=news,chat/1,mark&except=chat/*", None).await;
    let id = stream.id();
    assert_eq!(names(&stream.so_far(&alice).await), ["news"]);
    // The filter, what of it is new, and what of it comes.
    let steps: [(Value, &[&str], &[&str]); 6] = [
        (json!({}), &["chat/1", "chat/2"], &all),
        (json!({ "except": "chat/*" }), &[], &["news"]),
        (json!({ "events": "chat/*,mark", "except": "chat/1" }), &["chat/2"], &["chat/2"]),
        (json!({ "events": "news,mark" }), &["news"], &["news"]),
        (json!({ "except": "news,chat/2" }), &["chat/1"], &["chat/1"]),
        (json!({ "unknown": 1 }), &["news", "chat/2"], &all),
    ];
    for (filter, replayed, live) in steps {
        change(&alice, &id, filter.clone()).await;
        assert_eq!(names(&stream.so_far(&alice).await), replayed, "{filter}");
        for name in all {
            alice.insert(name, json!("new")).await;
        }
        assert_eq!(names(&stream.so_far(&alice).await), live, "{filter}");
    }
}

#[tokio::test]
async fn from_the_answer_on_the_new_filter_counts() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut latest = [alice.insert("a", json!(0)).await, alice.insert("b", json!(0)).await];
    let mut stream = alice.stream_of("/sse?events=a,mark", None).await;
    let id = stream.id();
    assert_eq!(names(&stream.so_far(&alice).await), ["a"]);
    for round in 1..=60 {
        let at = round % 2;
        let name = ["a", "b"][at];
        change(&alice, &id, json!({ "events": format!("{name},mark") })).await;
        let live = [alice.insert("a", json!(round)).await, alice.insert("b", json!(round)).await];
        let came: Vec<_> = stream.so_far(&alice).await.into_iter().map(|event| (event.name, event.id)).collect();
        let expected = [&latest[at], &live[at]].map(|id| (name.to_owned(), id.clone()));
        // What is new to the filter may have been superseded before it was read for the stream.
        assert!(came == expected || came == expected[1..], "round {round}: {came:?}");
        latest = live;
    }
}

/// Has a stream see what is always seen, and one side.
async fn turn_to(user: &User, stream: &str, side: &str) {
    change(user, stream, json!({ "events": format!("both/*,{side}*,mark") })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_inserts_pour_in_each_filter_gives_all_that_it_wants_in_order_and_nothing_else() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream_of("/sse?events=both/*,left/*,mark", None).await;
    let id = stream.id();
    check_changes(&mut stream, &alice, async |side: &str| turn_to(&alice, &id, side).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_filters_in_a_row_the_last_one_counts() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream_of("/sse?events=both/*,left/*,mark", None).await;
    let id = stream.id();
    check_changes_in_a_row(&mut stream, &alice, async |side: &str| turn_to(&alice, &id, side).await).await;
}

#[tokio::test]
async fn other_streams_of_the_user_stay_as_they_are() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let again = alice.client.sign_in("alice").await;
    let mut streams = [alice.stream().await, again.stream_of("/sse?events=a", None).await, alice.stream().await];
    // Another token of the same user will do.
    change(&again, &streams[0].id(), json!({ "events": "b" })).await;
    let [a, b] = [alice.insert("a", json!(1)).await, alice.insert("b", json!(1)).await];
    let later = [alice.insert("a", json!(2)).await, alice.insert("b", json!(2)).await];
    let expected: [&[&String]; 3] = [&[&b, &later[1]], &[&a, &later[0]], &[&a, &b, &later[0], &later[1]]];
    for (stream, expected) in streams.iter_mut().zip(expected) {
        let came = stream.take(expected.len()).await;
        assert_eq!(came.iter().map(|event| &event.id).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn an_id_that_is_not_of_an_open_stream_is_404() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for id in
        ["", "0", "0123456789abcdef", "0123456789abcdeg", "0123456789abcdef0", "+123456789abcdef", "null", "\u{fc}"]
    {
        subscribe(&alice, id, json!({})).await.refused(404, "stream_unknown");
    }
    let mut stream = alice.stream().await;
    let id = stream.id();
    for id in [&id[1..], &format!("{id}0"), &format!(" {id}")] {
        subscribe(&alice, id, json!({})).await.refused(404, "stream_unknown");
    }
    // One that the client has closed.
    let closed = RawStream::open(&server, &alice).await;
    let closed_id = closed.id();
    change(&alice, &closed_id, json!({})).await;
    drop(closed);
    until_gone(&alice, &closed_id).await;
    subscribe(&alice, &closed_id, json!({})).await.refused(404, "stream_unknown");
    // One that the server has ended.
    let again = json!({ "username": "alice", "password": password_of("alice") });
    alice.client.admin("/update_user", again).await.ok();
    stream.rest().await;
    let alice = alice.client.sign_in("alice").await;
    subscribe(&alice, &id, json!({})).await.refused(404, "stream_unknown");
}

#[tokio::test]
async fn the_stream_of_another_user_is_404_and_stays_as_it_is() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let others = [server.user("bob", "acme").await, server.user("mallory", "other").await];
    let mut stream = alice.stream_of("/sse?events=news,mark", None).await;
    let id = stream.id();
    for other in &others {
        // Whether or not they have one themselves.
        subscribe(other, &id, json!({ "events": "x" })).await.refused(404, "stream_unknown");
        let _own = other.stream().await;
        subscribe(other, &id, json!({ "events": "x" })).await.refused(404, "stream_unknown");
    }
    let news = alice.insert("news", json!(1)).await;
    alice.insert("x", json!(1)).await;
    assert_eq!(stream.so_far(&alice).await, [Event::new("news", &news, "1")]);
}

#[tokio::test]
async fn a_bad_request_is_refused_and_changes_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream_of("/sse?events=news,mark", None).await;
    let id = stream.id();
    let long = format!("{}*", "x".repeat(257));
    for bad in ["", ",", "a,,b", "a,", "a\nb", "data:x", "event:", long.as_str()] {
        for filter in [json!({ "events": bad }), json!({ "except": bad }), json!({ "events": "a", "except": bad })] {
            subscribe(&alice, &id, filter).await.refused(400, "filter_invalid");
        }
    }
    for filter in [json!({ "events": 7 }), json!({ "events": ["a"] }), json!({ "except": false })] {
        subscribe(&alice, &id, filter).await.refused(400, "body_invalid");
    }
    for body in [json!({}), json!({ "events": "a" }), json!({ "stream": 7 }), json!({ "stream": null }), json!("x")] {
        alice.post("/subscription", &body).await.refused(400, "body_invalid");
    }
    let body = json!({ "stream": id, "events": "a" });
    alice.client.post("/subscription", &body).await.refused(401, "unauthorized");
    alice.insert("a", json!(1)).await;
    let news = alice.insert("news", json!(1)).await;
    assert_eq!(stream.so_far(&alice).await, [Event::new("news", &news, "1")]);
}

#[tokio::test]
async fn a_reader_that_stalls_has_the_new_filter_when_it_reads_again() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let id = stalled.id();
    let big = insert_big(&alice).await;
    change(&alice, &id, json!({ "events": "small/*" })).await;
    let small = alice.insert("small/0", json!(1)).await;
    let unwanted = alice.insert("big/0", json!("unwanted")).await;
    let last = alice.insert("small/1", json!(1)).await;
    let came = pairs(&stalled.read_to(&last).await);
    // What was being written still comes.
    let (begun, new) = came.split_at(came.len().saturating_sub(2));
    assert!(begun.len() < big.len() && big.starts_with(begun), "{} of {}", begun.len(), big.len());
    assert_eq!(new, [(small, "small/0".to_owned()), (last, "small/1".to_owned())]);
    // And what was passed over comes when it is wanted again.
    change(&alice, &id, json!({})).await;
    let mark = alice.insert("mark", json!(null)).await;
    let mut expected = big[111..].to_vec();
    expected.extend([(unwanted, "big/0".to_owned()), (mark.clone(), "mark".to_owned())]);
    assert_eq!(pairs(&stalled.read_to(&mark).await), expected);
}

#[tokio::test]
async fn a_reader_that_stalls_over_several_changes_ends_with_the_view_of_the_last() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let id = stalled.id();
    let mut inserted = insert_big(&alice).await;
    for filter in [json!({ "events": "small/*" }), json!({ "except": "big/3" }), json!({ "events": "x" }), json!({})] {
        change(&alice, &id, filter).await;
        for name in ["small/0", "big/0", "small/1"] {
            inserted.push((alice.insert(name, json!(1)).await, name.to_owned()));
        }
    }
    let mark = alice.insert("mark", json!(null)).await;
    inserted.push((mark.clone(), "mark".to_owned()));
    let came = pairs(&stalled.read_to(&mark).await);
    let view = |events: Vec<(String, String)>| -> HashMap<String, String> {
        events.into_iter().map(|(id, name)| (name, id)).collect()
    };
    assert_eq!(view(came), view(inserted));
}

#[tokio::test]
async fn a_sign_in_that_ended_while_its_request_came_changes_no_stream_of_a_later_one() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    // Made before: a body may take fifteen seconds.
    let client = server.client();
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let (id_length, before) = (16, r#"{"events":"none","stream":""#);
    let head = format!(
        "POST /subscription HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\nexpect: 100-continue\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        alice.authorization,
        before.len() + id_length + 2
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    // The server has the head, and let it in.
    let length = within("the server to ask for the body", connection.read(&mut answer)).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 100 "));
    for path in ["/revoke_user", "/unrevoke_user"] {
        client.admin(path, json!({ "username": "alice" })).await.ok();
    }
    let alice = client.sign_in("alice").await;
    let mut stream = alice.stream_of("/sse", None).await;
    connection.write_all(format!("{before}{}\"}}", stream.id()).as_bytes()).await.unwrap();
    answer.clear();
    within("the answer", connection.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await, Event::new("news", &id, "1"));
}
