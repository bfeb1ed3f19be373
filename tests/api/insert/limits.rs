//! Guards the limits of inserts: size, number and rate.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, TestServer, after_kill, command, names, one, until};

#[tokio::test]
async fn an_event_of_max_event_bytes_is_taken_and_a_larger_one_is_413() {
    let server = TestServer::start_with(&["--max_event_bytes=1000"]).await;
    let alice = server.user("alice", "acme").await;
    // Name and data count, the data with its quotes.
    let of = |bytes: usize| one("news", "x".repeat(bytes - "news".len() - 2));
    let spaced = |bytes: usize| of(bytes).to_string().replace("\"data\":", "\"data\":         ");
    alice.insert_raw(of(1000)).await.ok();
    alice.insert_raw(spaced(1000)).await.ok();
    alice.insert_raw(json!([of(1000), of(1000)])).await.ok();
    for bytes in [1001, 2000, 100_000] {
        alice.insert_raw(of(bytes)).await.refused(413, "event_too_large");
        alice.insert_raw(json!([of(10), of(bytes)])).await.refused(413, "event_too_large");
    }
    assert_eq!(alice.history("event=news").await.events.len(), 4);
}

#[tokio::test]
async fn more_names_than_max_names_are_409_and_those_that_are_there_go_on() {
    let server = TestServer::start_with(&["--max_names=3"]).await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "other").await;
    // Events without a value have a name as well.
    for name in ["a", "b", "c"] {
        alice.insert(name, json!(null)).await;
    }
    alice.insert_raw(one("d", 1)).await.refused(409, "too_many_names");
    for name in ["a", "b", "c"] {
        alice.insert(name, json!(2)).await;
    }
    // Each tenant has its own.
    for name in ["d", "e", "f"] {
        bob.insert(name, json!(1)).await;
    }
    bob.insert_raw(one("a", 1)).await.refused(409, "too_many_names");
    assert_eq!(names(&alice.latest("/events").await), ["a", "b", "c"]);

    alice.remove("b").await.ok();
    alice.insert("d", json!(1)).await;
    // There is no place kept for one that was removed.
    for name in ["b", "e"] {
        alice.insert_raw(one(name, 1)).await.refused(409, "too_many_names");
    }
    let (_server, alice) = after_kill(server, &alice).await;
    for name in ["b", "e"] {
        alice.insert_raw(one(name, 1)).await.refused(409, "too_many_names");
    }
    alice.insert("c", json!(3)).await;
    alice.remove("a").await.ok();
    alice.insert("b", json!(3)).await;
    assert_eq!(names(&alice.latest("/events").await), ["d", "c", "b"]);
}

#[tokio::test]
async fn the_new_names_of_an_array_count_together_and_each_once() {
    let server = TestServer::start_with(&["--max_names=3"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("a", json!(1)).await;
    let array = |names: &[&str]| Value::Array(names.iter().map(|name| one(name, 2)).collect());
    alice.insert_raw(array(&["b", "a", "c", "d"])).await.refused(409, "too_many_names");
    assert_eq!(names(&alice.latest("/events").await), ["a"]);
    alice.insert_raw(array(&["b", "a", "b", "c", "c"])).await.ok();
    assert_eq!(names(&alice.latest("/events").await), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_name_that_expires_makes_room() {
    let server = TestServer::start_with(&["--max_names=2"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("lasting", json!(1)).await;
    alice.insert_raw(json!({ "event": "a", "data": 1, "expires_in": 6 })).await.ok();
    alice.insert_raw(one("b", 1)).await.refused(409, "too_many_names");
    until("room", async || {
        let answer = alice.insert_raw(one("b", 1)).await;
        if answer.status == 200 {
            return Some(());
        }
        answer.refused(409, "too_many_names");
        None
    })
    .await;
    assert_eq!(names(&alice.latest("/events").await), ["lasting", "b"]);
}

#[tokio::test]
async fn of_many_new_names_at_once_as_many_are_taken_as_there_is_room_for() {
    let server = TestServer::start_with(&["--max_names=10"]).await;
    let alice = server.user("alice", "acme").await;
    let answers = join_all((0..50).map(|number| {
        let alice = &alice;
        async move { alice.insert_raw(one(&format!("name{number}"), 1)).await }
    }))
    .await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(taken.len(), 10);
    for answer in refused {
        answer.refused(409, "too_many_names");
    }
    assert_eq!(alice.latest("/events").await.len(), 10);
}

#[tokio::test]
async fn a_key_is_not_used_up_where_there_was_no_room() {
    let server = TestServer::start_with(&["--max_names=1"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("a", json!(1)).await;
    let key = [("idempotency-key", "k")];
    alice.insert_with(&key, one("b", 1)).await.refused(409, "too_many_names");
    alice.remove("a").await.ok();
    let answer = alice.insert_with(&key, one("b", 1)).await.ok();
    assert_eq!(answer.header("idempotency-replayed"), None);
}

/// The seconds after which a refusal for the rate says that it is worth another try.
#[track_caller]
fn retry_after(answer: Answer) -> u64 {
    let answer = answer.refused(429, "insert_rate_exceeded");
    let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    let seconds = seconds.unwrap_or_else(|| panic!("no retry-after: {answer:?}"));
    assert!(seconds >= 1, "{answer:?}");
    seconds
}

/// That of many at once so many a second were taken, and at first those of one second; when to try again.
#[track_caller]
fn assert_limited(answers: Vec<Answer>, rate: f64, took: Duration) -> Duration {
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    let most = rate * (1.0 + took.as_secs_f64()) + 1.0;
    assert!((rate..=most).contains(&(taken.len() as f64)), "{} were taken within {took:?}", taken.len());
    let wait = refused.into_iter().map(retry_after).max().expect("some were refused");
    assert!(wait <= 2, "a place is free within a second, not in {wait}");
    Duration::from_secs(wait)
}

#[tokio::test]
async fn a_user_who_inserts_too_fast_is_429_and_others_are_not() {
    let server = TestServer::start_with(&["--insert_rate=5"]).await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let since = Instant::now();
    let answers = join_all((0..60).map(|number| alice.try_insert("news", json!(number)))).await;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    let wait = assert_limited(answers, 5.0, since.elapsed());
    for number in 0..5 {
        bob.insert("news", json!(number)).await;
    }
    assert_eq!(alice.history("event=news").await.events.len(), taken + 5, "what is refused is not inserted");
    // Reading is not inserting.
    for _ in 0..20 {
        alice.latest("/events").await;
    }
    tokio::time::sleep(wait).await;
    alice.insert("news", json!("again")).await;
}

#[tokio::test]
async fn the_rate_of_a_user_holds_for_all_sign_ins_together() {
    let server = TestServer::start_with(&["--insert_rate=5"]).await;
    let alice = server.user("alice", "acme").await;
    let elsewhere = server.client().sign_in("alice").await;
    let since = Instant::now();
    let answers =
        join_all((0..60_usize).map(|number| [&alice, &elsewhere][number % 2].try_insert("news", json!(number)))).await;
    assert_limited(answers, 5.0, since.elapsed());
}

#[tokio::test]
async fn a_tenant_with_users_that_insert_too_fast_together_is_429_and_others_are_not() {
    let server = TestServer::start_with(&["--tenant_insert_rate=5"]).await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "other").await;
    let since = Instant::now();
    let answers =
        join_all((0..60_usize).map(|number| [&alice, &bob][number % 2].try_insert("news", json!(number)))).await;
    let wait = assert_limited(answers, 5.0, since.elapsed());
    for number in 0..5 {
        carol.insert("news", json!(number)).await;
    }
    tokio::time::sleep(wait).await;
    bob.insert("news", json!("again")).await;
}

#[tokio::test]
async fn each_element_of_an_array_counts_and_a_large_one_is_paid_off_later() {
    let server = TestServer::start_with(&["--insert_rate=4"]).await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let array = |count: usize| Value::Array((0..count).map(|number| one("news", number)).collect());
    // As many as there were of a second, and 24 more: the next is due after 25 quarters of one.
    alice.insert_raw(array(28)).await.ok();
    let seconds = retry_after(alice.insert_raw(one("news", "single")).await);
    assert!((1..=7).contains(&seconds), "{seconds}");
    retry_after(alice.insert_raw(array(12)).await);
    assert_eq!(alice.history("event=news").await.events.len(), 28, "an array is taken whole or not at all");
    bob.insert_raw(array(4)).await.ok();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    alice.insert("news", json!("single")).await;
}

#[tokio::test]
async fn a_key_is_not_used_up_by_an_insert_that_came_too_fast() {
    let server = TestServer::start_with(&["--insert_rate=2"]).await;
    let alice = server.user("alice", "acme").await;
    let key = [("idempotency-key", "k")];
    alice.insert_raw(Value::Array((0..14).map(|number| one("news", number)).collect())).await.ok();
    let seconds = retry_after(alice.insert_with(&key, one("news", "mine")).await);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let answer = alice.insert_with(&key, one("news", "mine")).await.ok();
    assert_eq!(answer.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn there_is_no_rate_where_none_is_set() {
    let server = TestServer::start_with(&["--insert_rate=0", "--tenant_insert_rate=0"]).await;
    let alice = server.user("alice", "acme").await;
    for _ in 0..5 {
        alice.insert_raw(Value::Array((0..1000).map(|number| one("news", number)).collect())).await.ok();
    }
}

#[tokio::test]
async fn a_limit_that_is_none_is_status_2_with_a_message_that_names_it() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    for flag in [
        "--max_event_bytes=0",
        "--max_event_bytes=1048577",
        "--max_event_bytes=-1",
        "--max_event_bytes=100k",
        "--max_names=-1",
        "--max_names=x",
        "--insert_rate=-1",
        "--insert_rate=x",
        "--tenant_insert_rate=-1",
        "--tenant_insert_rate=1.5",
        "--retain_for=-1",
        "--retain_for=1d",
        "--retain_events=-1",
        "--retain_events=all",
    ] {
        let recipe = move |directory: &Path| command(&[flag.to_owned()], directory);
        assert_refused(&directory, recipe, flag.split('=').next().unwrap()).await;
    }
    for (name, value) in [
        ("MAX_EVENT_BYTES", "0"),
        ("MAX_NAMES", "x"),
        ("INSERT_RATE", "-1"),
        ("TENANT_INSERT_RATE", "x"),
        ("RETAIN_FOR", "x"),
        ("RETAIN_EVENTS", "-1"),
    ] {
        let recipe = move |directory: &Path| {
            let mut command = command(&[], directory);
            command.env(format!("BROKER_{name}"), value);
            command
        };
        assert_refused(&directory, recipe, &name.to_lowercase()).await;
    }
}

/// That such a server ends at once with status 2, and says why.
async fn assert_refused(
    directory: &Arc<tempfile::TempDir>,
    recipe: impl Fn(&Path) -> Command + Send + Sync + 'static,
    said: &str,
) {
    let Err(log) = TestServer::try_start(Arc::clone(directory), recipe).await else {
        panic!("it started in spite of a bad {said}");
    };
    assert!(log.starts_with("exit status: 2: ") && log.contains(said), "{said}: {log}");
    assert!(!log.contains("panicked"), "{said}: {log}");
}

#[tokio::test]
async fn limits_come_from_the_environment_too() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = TestServer::try_start(directory, |directory| {
        let mut command = command(&[], directory);
        for (name, value) in [("MAX_NAMES", "1"), ("MAX_EVENT_BYTES", "100"), ("RETAIN_EVENTS", "0")] {
            command.env(format!("BROKER_{name}"), value);
        }
        command
    });
    let server = server.await.unwrap();
    let alice = server.user("alice", "acme").await;
    alice.insert("a", json!(1)).await;
    let newest = alice.insert("a", json!(2)).await;
    alice.insert_raw(one("b", 1)).await.refused(409, "too_many_names");
    alice.insert_raw(one("a", "x".repeat(100))).await.refused(413, "event_too_large");
    let left = until("the older one to go", async || {
        let page = alice.history("event=a").await;
        (page.events.len() == 1).then(|| page.ids())
    })
    .await;
    assert_eq!(left, [newest]);
}

#[tokio::test]
async fn more_events_while_connected_than_max_while_connected_are_409_and_removed_ones_do_not_count() {
    let server = TestServer::start_with(&["--max_while_connected=3"]).await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let (_stream, id) = alice.open("/sse", None).await;
    let (_other, of_bob) = bob.open("/sse", None).await;
    let bound = |name: &str| json!({ "event": name, "data": 1, "while_connected": true });
    let bind = async |name: &str| alice.insert_with(&[("broker-stream", &id)], bound(name)).await;
    for name in ["a", "b", "c", "a", "c"] {
        bind(name).await.ok();
    }
    bind("d").await.refused(409, "too_many_while_connected");
    // Other events, and other users, are not affected.
    alice.insert("free", json!(1)).await;
    bob.insert_with(&[("broker-stream", &of_bob)], bound("e")).await.ok();
    let array = json!([bound("a"), bound("d")]);
    alice.insert_with(&[("broker-stream", &id)], array).await.refused(409, "too_many_while_connected");
    assert_eq!(names(&bob.latest("/events?events=a,b,c,d").await), ["b", "a", "c"]);

    // What was removed, superseded, or taken over by another makes room.
    alice.remove("a").await.ok();
    bind("d").await.ok();
    bob.insert("b", json!("of bob")).await;
    bind("f").await.ok();
    bob.insert_with(&[("broker-stream", &of_bob)], bound("c")).await.ok();
    bind("g").await.ok();
    bind("h").await.refused(409, "too_many_while_connected");
    for number in 0..50 {
        let name = format!("short/{number}");
        alice.remove(if number == 0 { "g".to_owned() } else { format!("short/{}", number - 1) }.as_str()).await.ok();
        bind(&name).await.ok();
    }
}
