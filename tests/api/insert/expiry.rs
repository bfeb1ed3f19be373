//! Guards `expires_in`: events that are removed after a time.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::presence::machine_time;
use crate::support::{Event, Receipt, TestServer, User, again, bad_request, names, one, until};

/// An insert that expires.
fn expiring(event: &str, data: i32, seconds: u32) -> Value {
    json!({ "event": event, "data": data, "expires_in": seconds })
}

/// In milliseconds, when something that lasts so many seconds must be gone, on a machine with much else to do.
fn due(seconds: u64) -> RangeInclusive<u64> {
    seconds * 1000..=seconds * 1000 + 15_000
}

/// How many milliseconds lie between the last insert of a name and its removal, which must be the last of its history.
async fn lived(user: &User, name: &str) -> u64 {
    let page = user.history(&format!("event={name}&limit=2")).await;
    let [removal, inserted] = &page.events[..] else { panic!("{page:?}") };
    assert_eq!(removal.data, "null", "{page:?}");
    removal.timestamp - inserted.timestamp
}

/// Awaits that there is no event of a name.
async fn gone(user: &User, name: &str) {
    let path = format!("/events?events={name}");
    until("an event to expire", async || user.latest(&path).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn an_event_becomes_null_when_its_time_has_come_and_not_before() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut stream = bob.stream().await;
    let since = Instant::now();
    let lasting = alice.insert("lasting", json!(3)).await;
    // So much longer than the one after it that it goes after that one.
    let two: Receipt = alice.insert_raw(expiring("two", 2, 6)).await.read();
    let one: Receipt = alice.insert_raw(expiring("one", 1, 1)).await.read();
    let came = stream.take(3).await;
    assert_eq!(
        came,
        [Event::new("lasting", &lasting, "3"), Event::new("two", &two.id, "2"), Event::new("one", &one.id, "1")]
    );
    for (name, seconds) in [("one", 1), ("two", 6)] {
        let came = stream.next().await;
        assert!(since.elapsed() >= Duration::from_secs(seconds), "{came:?} came too soon");
        assert_eq!((came.name.as_str(), came.data.as_str()), (name, "null"));
        let lived = lived(&alice, name).await;
        assert!(due(seconds).contains(&lived), "{name} lived for {lived} ms");
        let removal = alice.history(&format!("event={name}")).await.events.remove(0);
        assert_eq!((&removal.id, removal.username.as_str()), (&came.id, "alice"));
    }
    assert_eq!(names(&alice.latest("/events").await), ["lasting"]);
    assert_eq!(alice.coming("/sse", None).await, [Event::new("lasting", &lasting, "3")]);
}

#[tokio::test]
async fn a_later_insert_or_removal_takes_the_place_of_an_expiry() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let seconds = |name: &str| if name == "shorter" { 1000 } else { 6 };
    let all = ["lasting", "longer", "shorter", "removed", "back"].map(|name| expiring(name, 1, seconds(name)));
    alice.insert_raw(json!(all)).await.ok();
    alice.remove("removed").await.ok();
    alice.remove("back").await.ok();
    // In one array, so that nothing goes in between.
    let later = json!([one("lasting", 2), expiring("longer", 2, 8), expiring("shorter", 2, 1), one("back", 2)]);
    let given: Vec<Receipt> = alice.insert_raw(later).await.read();
    let (lasting, back) = (&given[0].id, &given[3].id);
    let mut stream = alice.stream_of("/sse", Some(back)).await;
    // The last to go shows that all times have come.
    let shorter = stream.next().await;
    let longer = stream.next().await;
    assert_eq!([&*shorter.name, &*shorter.data, &*longer.name, &*longer.data], ["shorter", "null", "longer", "null"]);
    for (name, seconds) in [("shorter", 1), ("longer", 8)] {
        let lived = lived(&alice, name).await;
        assert!(due(seconds).contains(&lived), "{name} lived for {lived} ms");
    }
    let mark = alice.insert("mark", json!(null)).await;
    assert_eq!(stream.next().await.id, mark);
    let latest = alice.latest("/events?events=lasting,longer,shorter,removed,back").await;
    let seen: Vec<_> = latest.iter().map(|event| (event.event.as_str(), &event.id)).collect();
    assert_eq!(seen, [("lasting", lasting), ("back", back)]);
    assert_eq!(alice.history("event=removed").await.events.len(), 2, "it was removed once");
}

#[tokio::test]
async fn a_client_that_resumes_over_an_expiry_gets_null_and_a_new_one_gets_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first: Receipt = alice.insert_raw(expiring("news", 1, 1)).await.read();
    gone(&alice, "news").await;
    let removal = alice.history("event=news").await.events.remove(0);
    assert_eq!(alice.coming("/sse", Some(&first.id)).await, [Event::new("news", &removal.id, "null")]);
    assert_eq!(alice.coming("/sse", Some(&removal.id)).await, []);
    assert_eq!(alice.coming("/sse", None).await, []);
    let back = alice.insert("news", json!(2)).await;
    let came = alice.coming("/sse", Some(&first.id)).await;
    assert_eq!(came, [Event::new("news", &removal.id, "null"), Event::new("news", &back, "2")]);
}

#[tokio::test]
async fn events_that_expire_while_the_server_is_down_are_gone_right_after_its_start() {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let lasting = alice.insert("lasting", json!(1)).await;
    let first: Receipt = alice.insert_raw(expiring("news", 1, 8)).await.read();
    let inserted = Instant::now();
    server.kill();
    tokio::time::sleep(Duration::from_millis(8200).saturating_sub(inserted.elapsed())).await;
    server = server.restart().await;
    let alice = again(&server, &alice);
    let started = machine_time();
    gone(&alice, "news").await;
    let removal = alice.history("event=news").await.events.remove(0);
    // Sooner than if its time had begun again.
    assert!(removal.timestamp < started + 7500, "{removal:?} {started}");
    assert_eq!((removal.data.as_str(), removal.username.as_str()), ("null", "alice"));
    assert!(removal.timestamp >= first.timestamp + 8000, "{removal:?} {first:?}");
    assert_eq!(alice.coming("/sse", Some(&first.id)).await, [Event::new("news", &removal.id, "null")]);
    assert_eq!(alice.coming("/sse", None).await, [Event::new("lasting", &lasting, "1")]);
}

#[tokio::test]
async fn a_restart_neither_stops_nor_prolongs_the_time() {
    // So short a journal that it is moved into the database on the way.
    let mut server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert_raw(expiring("journal", 1, 8)).await.ok();
    alice.insert_raw(expiring("database", 1, 8)).await.ok();
    for _ in 0..4 {
        let fillers = (0..5).map(|_| one("filler", "x".repeat(10_000)));
        alice.insert_raw(fillers.collect::<Value>()).await.ok();
    }
    alice.insert_raw(expiring("journal", 2, 8)).await.ok();
    server.kill();
    // So much of it that it is soon over, and a time which began again at the start is not.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let server = server.restart().await;
    let started = machine_time();
    let alice = again(&server, &alice);
    for name in ["database", "journal"] {
        gone(&alice, name).await;
        let page = alice.history(&format!("event={name}&limit=2")).await;
        let [removal, inserted] = &page.events[..] else { panic!("{page:?}") };
        assert_eq!(removal.data, "null", "{page:?}");
        assert!((inserted.timestamp + 8000..started + 7500).contains(&removal.timestamp), "{page:?} {started}");
    }
}

#[tokio::test]
async fn each_element_of_an_array_has_its_own_time() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let array = json!([expiring("two", 2, 2), one("lasting", 0), expiring("one", 1, 1)]);
    alice.insert_raw(array).await.ok();
    stream.take(3).await;
    for (name, seconds) in [("one", 1), ("two", 2)] {
        let came = stream.next().await;
        assert_eq!((came.name.as_str(), came.data.as_str()), (name, "null"));
        let lived = lived(&alice, name).await;
        assert!(due(seconds).contains(&lived), "{name} lived for {lived} ms");
    }
    assert_eq!(names(&alice.latest("/events").await), ["lasting"]);
}

#[tokio::test]
async fn many_that_expire_together_all_go_each_once() {
    const COUNT: usize = 500;
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let array = (0..COUNT).map(|number| expiring(&format!("name{number}"), 1, 1)).collect();
    let given: Vec<Receipt> = alice.insert_raw(Value::Array(array)).await.read();
    let mut stream = alice.stream_of("/sse", Some(&given[COUNT - 1].id)).await;
    let came = stream.take(COUNT).await;
    assert!(came.is_sorted_by(|a, b| a.id < b.id) && came.iter().all(|event| event.data == "null"), "{came:?}");
    let mut gone: Vec<_> = came.iter().map(|event| event.name.clone()).collect();
    gone.sort();
    gone.dedup();
    assert_eq!(gone.len(), COUNT);
    assert_eq!(alice.latest("/events").await, []);
    for name in ["name0", "name250", "name499"] {
        let lived = lived(&alice, name).await;
        assert!(due(1).contains(&lived), "{name} lived for {lived} ms");
    }
}

#[tokio::test]
async fn a_retry_does_not_bring_back_an_expired_event() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let key = [("idempotency-key", "k")];
    let first = alice.insert_with(&key, expiring("news", 1, 1)).await.ok();
    gone(&alice, "news").await;
    let second = alice.insert_with(&key, expiring("news", 1, 1)).await.ok();
    assert_eq!((second.body, second.headers.contains_key("idempotency-replayed")), (first.body, true));
    assert_eq!(alice.latest("/events").await, []);
    assert_eq!(alice.history("event=news").await.events.len(), 2);
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
        bad_request(alice.insert_raw(&body).await);
        bad_request(alice.insert_raw(format!("[{body}]")).await);
    }
    assert_eq!(alice.latest("/events").await, []);
    for good in [1000, 31_536_000] {
        alice.insert_raw(expiring("news", 1, good)).await.ok();
    }
    assert_eq!(names(&alice.latest("/events").await), ["news"]);
}
