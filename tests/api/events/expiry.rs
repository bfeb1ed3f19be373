//! `expires_in`: what goes by itself.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    Receipt, after_kill, again, bad_request, coming, frame, history, insert, insert_with, latest, names, one, read,
    remove, until,
};
use crate::support::{TestServer, User};

/// An insert that expires.
fn expiring(event: &str, data: i32, seconds: u32) -> Value {
    json!({ "event": event, "data": data, "expires_in": seconds })
}

/// In milliseconds, when something that lasts so many seconds must be gone.
fn due(seconds: u64) -> RangeInclusive<u64> {
    seconds * 1000..=seconds * 1000 + 1500
}

/// How many milliseconds lie between the last insert of a name and its removal, which must be the last of its history.
async fn lived(user: &User, name: &str) -> u64 {
    let page = history(user, &format!("event={name}&limit=2")).await;
    let [removal, inserted] = &page.events[..] else { panic!("{page:?}") };
    assert_eq!(removal.data, "null", "{page:?}");
    removal.timestamp - inserted.timestamp
}

/// Awaits that there is no event of a name.
async fn gone(user: &User, name: &str) {
    let path = format!("/events?events={name}");
    until("an event to expire", async || latest(user, &path).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn an_event_becomes_null_when_its_time_has_come_and_not_before() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut stream = bob.stream().await;
    let since = Instant::now();
    let two: Receipt = read(insert(&alice, expiring("two", 2, 2)).await);
    let one: Receipt = read(insert(&alice, expiring("one", 1, 1)).await);
    let lasting = alice.insert("lasting", json!(3)).await;
    let came = stream.take(3).await;
    assert_eq!(came, [frame("two", &two.id, "2"), frame("one", &one.id, "1"), frame("lasting", &lasting, "3")]);
    for (name, seconds) in [("one", 1), ("two", 2)] {
        let came = stream.next().await;
        assert!(since.elapsed() >= Duration::from_secs(seconds), "{came:?} came too soon");
        assert_eq!((came.name.as_str(), came.data.as_str()), (name, "null"));
        let lived = lived(&alice, name).await;
        assert!(due(seconds).contains(&lived), "{name} lived for {lived} ms");
        let removal = history(&alice, &format!("event={name}")).await.events.remove(0);
        assert_eq!((&removal.id, removal.username.as_str()), (&came.id, "alice"));
    }
    assert_eq!(names(&latest(&alice, "/events").await), ["lasting"]);
    assert_eq!(coming(&alice, "/sse", None).await, [frame("lasting", &lasting, "3")]);
}

#[tokio::test]
async fn a_later_insert_or_removal_takes_the_place_of_an_expiry() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["lasting", "longer", "shorter", "removed", "back"] {
        let seconds = if name == "shorter" { 1000 } else { 2 };
        insert(&alice, expiring(name, 1, seconds)).await.ok();
    }
    let lasting = alice.insert("lasting", json!(2)).await;
    insert(&alice, expiring("longer", 2, 4)).await.ok();
    insert(&alice, expiring("shorter", 2, 1)).await.ok();
    remove(&alice, "removed").await.ok();
    remove(&alice, "back").await.ok();
    let back = alice.insert("back", json!(2)).await;
    let mut stream = alice.stream_of("/sse", Some(&back)).await;
    // The last to go shows that all times have come.
    let shorter = stream.next().await;
    let longer = stream.next().await;
    assert_eq!([&*shorter.name, &*shorter.data, &*longer.name, &*longer.data], ["shorter", "null", "longer", "null"]);
    for (name, seconds) in [("shorter", 1), ("longer", 4)] {
        let lived = lived(&alice, name).await;
        assert!(due(seconds).contains(&lived), "{name} lived for {lived} ms");
    }
    let mark = alice.insert("mark", json!(null)).await;
    assert_eq!(stream.next().await.id, mark);
    let latest = latest(&alice, "/events?events=lasting,longer,shorter,removed,back").await;
    let seen: Vec<_> = latest.iter().map(|event| (event.event.as_str(), &event.id)).collect();
    assert_eq!(seen, [("lasting", &lasting), ("back", &back)]);
    assert_eq!(history(&alice, "event=removed").await.events.len(), 2, "it was removed once");
}

#[tokio::test]
async fn who_resumes_over_an_expiry_gets_null_and_who_is_new_gets_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first: Receipt = read(insert(&alice, expiring("news", 1, 1)).await);
    gone(&alice, "news").await;
    let removal = history(&alice, "event=news").await.events.remove(0);
    assert_eq!(coming(&alice, "/sse", Some(&first.id)).await, [frame("news", &removal.id, "null")]);
    assert_eq!(coming(&alice, "/sse", Some(&removal.id)).await, []);
    assert_eq!(coming(&alice, "/sse", None).await, []);
    let back = alice.insert("news", json!(2)).await;
    let came = coming(&alice, "/sse", Some(&first.id)).await;
    assert_eq!(came, [frame("news", &removal.id, "null"), frame("news", &back, "2")]);
}

#[tokio::test]
async fn what_expires_while_the_server_is_down_is_gone_right_after_its_start() {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let lasting = alice.insert("lasting", json!(1)).await;
    let first: Receipt = read(insert(&alice, expiring("news", 1, 3)).await);
    let inserted = Instant::now();
    server.kill();
    tokio::time::sleep(Duration::from_millis(3200).saturating_sub(inserted.elapsed())).await;
    server = server.restart().await;
    let alice = again(&server, &alice);
    let started = Instant::now();
    gone(&alice, "news").await;
    // Much less than if its time had begun again.
    assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
    let removal = history(&alice, "event=news").await.events.remove(0);
    assert_eq!((removal.data.as_str(), removal.username.as_str()), ("null", "alice"));
    assert!(removal.timestamp >= first.timestamp + 3000, "{removal:?} {first:?}");
    assert_eq!(coming(&alice, "/sse", Some(&first.id)).await, [frame("news", &removal.id, "null")]);
    assert_eq!(coming(&alice, "/sse", None).await, [frame("lasting", &lasting, "1")]);
}

#[tokio::test]
async fn a_restart_neither_stops_nor_prolongs_the_time() {
    // So short a journal that it is moved into the database on the way.
    let server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    insert(&alice, expiring("journal", 1, 4)).await.ok();
    insert(&alice, expiring("database", 1, 4)).await.ok();
    for _ in 0..20 {
        alice.insert("filler", json!("x".repeat(10_000))).await;
    }
    insert(&alice, expiring("journal", 2, 4)).await.ok();
    let (_server, alice) = after_kill(server, &alice).await;
    for name in ["database", "journal"] {
        gone(&alice, name).await;
        let lived = lived(&alice, name).await;
        assert!(due(4).contains(&lived), "{name} lived for {lived} ms");
    }
}

#[tokio::test]
async fn each_element_of_an_array_has_its_own_time() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let array = json!([expiring("two", 2, 2), one("lasting", 0), expiring("one", 1, 1)]);
    insert(&alice, array).await.ok();
    stream.take(3).await;
    for (name, seconds) in [("one", 1), ("two", 2)] {
        let came = stream.next().await;
        assert_eq!((came.name.as_str(), came.data.as_str()), (name, "null"));
        let lived = lived(&alice, name).await;
        assert!(due(seconds).contains(&lived), "{name} lived for {lived} ms");
    }
    assert_eq!(names(&latest(&alice, "/events").await), ["lasting"]);
}

#[tokio::test]
async fn many_that_expire_together_all_go_each_once() {
    const COUNT: usize = 500;
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let array = (0..COUNT).map(|number| expiring(&format!("name{number}"), 1, 1)).collect();
    let given: Vec<Receipt> = read(insert(&alice, Value::Array(array)).await);
    let mut stream = alice.stream_of("/sse", Some(&given[COUNT - 1].id)).await;
    let came = stream.take(COUNT).await;
    assert!(came.is_sorted_by(|a, b| a.id < b.id) && came.iter().all(|event| event.data == "null"), "{came:?}");
    let mut gone: Vec<_> = came.iter().map(|event| event.name.clone()).collect();
    gone.sort();
    gone.dedup();
    assert_eq!(gone.len(), COUNT);
    assert_eq!(latest(&alice, "/events").await, []);
    for name in ["name0", "name250", "name499"] {
        let lived = lived(&alice, name).await;
        assert!(due(1).contains(&lived), "{name} lived for {lived} ms");
    }
}

#[tokio::test]
async fn a_retry_does_not_bring_back_what_has_expired() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let key = [("idempotency-key", "k")];
    let first = insert_with(&alice, &key, expiring("news", 1, 1)).await.ok();
    gone(&alice, "news").await;
    let second = insert_with(&alice, &key, expiring("news", 1, 1)).await.ok();
    assert_eq!((second.body, second.headers.contains_key("idempotency-replayed")), (first.body, true));
    assert_eq!(latest(&alice, "/events").await, []);
    assert_eq!(history(&alice, "event=news").await.events.len(), 2);
}

#[tokio::test]
async fn expires_in_is_a_whole_number_of_seconds_from_1_to_a_year() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for bad in [
        "0",
        "-1",
        "1.5",
        "0.1",
        "31536001",
        "4294967297",
        "18446744073709551617",
        "1e400",
        "\"1\"",
        "true",
        "[]",
        "{}",
    ] {
        let body = format!(r#"{{"event":"news","data":1,"expires_in":{bad}}}"#);
        bad_request(insert(&alice, &body).await);
        bad_request(insert(&alice, format!("[{body}]")).await);
    }
    assert_eq!(latest(&alice, "/events").await, []);
    for good in [1000, 31_536_000] {
        insert(&alice, expiring("news", 1, good)).await.ok();
    }
    assert_eq!(names(&latest(&alice, "/events").await), ["news"]);
}
