//! Guards `retain_for` and `retain_events`: which superseded events are retained.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Event, Receipt, TestServer, User, after_kill, again, command, one, until};

/// How long may pass until what is due has been removed, on a machine with much else to do.
const SOON: Duration = Duration::from_secs(30);

/// Inserts so many events, of so many names in turn, in arrays: id and name of each in order.
async fn insert_many(user: &User, count: usize, names: usize) -> Vec<(String, String)> {
    let all: Vec<usize> = (0..count).collect();
    let mut inserted = Vec::new();
    for numbers in all.chunks(100) {
        let name = |number: usize| format!("name{}", number % names);
        let array = numbers.iter().map(|number| one(&name(*number), *number)).collect();
        let given: Vec<Receipt> = user.insert_raw(Value::Array(array)).await.read();
        inserted.extend(given.into_iter().zip(numbers).map(|(each, number)| (each.id, name(*number))));
    }
    inserted
}

/// What is kept of those names, by id.
async fn kept(user: &User, names: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for name in 0..names {
        let page = user.history(&format!("event=name{name}&order=oldest&limit=1000")).await;
        assert!(page.next.is_none(), "more is kept than one page tells");
        ids.extend(page.ids());
    }
    ids.sort();
    ids
}

/// Awaits that no more than so many are kept of those names; what is kept then.
async fn shrunk(user: &User, names: usize, most: usize) -> Vec<String> {
    until("old events to go", async || {
        let ids = kept(user, names).await;
        (ids.len() <= most).then_some(ids)
    })
    .await
}

fn ids(inserted: &[(String, String)]) -> Vec<String> {
    inserted.iter().map(|(id, _)| id.clone()).collect()
}

fn pairs(events: Vec<Event>) -> Vec<(String, String)> {
    events.into_iter().map(|event| (event.id, event.name)).collect()
}

/// Of each name the last, in order.
fn last_of_each(inserted: &[(String, String)]) -> Vec<(String, String)> {
    let last: BTreeMap<&str, &str> = inserted.iter().map(|(id, name)| (name.as_str(), id.as_str())).collect();
    let mut last: Vec<_> = last.into_iter().map(|(name, id)| (id.to_owned(), name.to_owned())).collect();
    last.sort();
    last
}

/// That the latest of each name are these.
async fn assert_latest(user: &User, expected: &[(String, String)]) {
    let latest = user.latest("/events").await;
    let seen = latest.into_iter().map(|event| (event.id, event.event)).filter(|(_, name)| name != "mark");
    assert_eq!(seen.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn of_many_events_the_newest_are_kept_and_the_latest_of_each_name_however_old() {
    let server = TestServer::start_with(&["--retain_events=50"]).await;
    let alice = server.user("alice", "acme").await;
    let still = alice.insert("still", json!("kept")).await;
    let inserted = insert_many(&alice, 500, 5).await;
    let since = Instant::now();
    let left = shrunk(&alice, 5, 60).await;
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    assert!(left.ends_with(&ids(&inserted[450..])), "{} are left, the newest 50 not among them", left.len());
    let mut expected = vec![(still.clone(), "still".to_owned())];
    expected.extend(last_of_each(&inserted));
    assert_latest(&alice, &expected).await;
    assert_eq!(alice.history("event=still").await.ids(), [still.as_str()]);
    assert_eq!(pairs(alice.coming("/sse", None).await), expected);
}

#[tokio::test]
async fn a_client_that_resumes_within_retention_gets_every_event_and_one_from_before_gets_the_changes() {
    let server = TestServer::start_with(&["--retain_events=50"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("still", json!("not changed since")).await;
    let seen = alice.insert("seen", json!(null)).await;
    let once = alice.insert("once", json!("changed once, long ago")).await;
    let inserted = insert_many(&alice, 500, 5).await;
    shrunk(&alice, 5, 60).await;
    // The markers that end each are events too, so the farthest comes first.
    for missed in [40, 17, 1] {
        let after = &inserted[500 - missed - 1].0;
        assert_eq!(pairs(alice.coming("/sse", Some(after)).await), inserted[500 - missed..], "{missed} missed");
    }
    let mut changed = vec![(once, "once".to_owned())];
    changed.extend(last_of_each(&inserted));
    assert_eq!(pairs(alice.coming("/sse", Some(&seen)).await), changed);
    changed.retain(|(_, name)| ["once", "name3"].contains(&name.as_str()));
    assert_eq!(pairs(alice.coming("/sse?events=once,name3,mark", Some(&seen)).await), changed);
}

#[tokio::test]
async fn a_client_that_missed_a_removal_that_is_no_longer_retained_gets_the_latest_of_every_name() {
    let server = TestServer::start_with(&["--retain_events=20"]).await;
    let alice = server.user("alice", "acme").await;
    let still = alice.insert("still", json!(1)).await;
    alice.insert("gone", json!(1)).await;
    let seen = alice.insert("seen", json!(1)).await;
    let inserted = insert_many(&alice, 100, 4).await;
    shrunk(&alice, 4, 25).await;
    // All that changed can be told.
    assert_eq!(pairs(alice.coming("/sse", Some(&seen)).await), inserted[96..]);
    alice.remove("gone").await.ok();
    let inserted = insert_many(&alice, 100, 4).await;
    shrunk(&alice, 4, 25).await;
    let mut expected = vec![(still, "still".to_owned()), (seen.clone(), "seen".to_owned())];
    expected.extend_from_slice(&inserted[96..]);
    assert_eq!(pairs(alice.coming("/sse", Some(&seen)).await), expected);
}

#[tokio::test]
async fn events_that_are_too_old_go_and_the_latest_stays() {
    let server = TestServer::start_with(&["--retain_for=1"]).await;
    let alice = server.user("alice", "acme").await;
    let since = Instant::now();
    let inserted = insert_many(&alice, 50, 2).await;
    shrunk(&alice, 2, 49).await;
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(990), "something went after {took:?}");
    let latest = last_of_each(&inserted);
    assert_eq!(shrunk(&alice, 2, 2).await, ids(&latest));
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    // They stay while others come and go.
    alice.insert_raw(json!([one("other", 1), one("other", 2)])).await.ok();
    until("the older one to go", async || (alice.history("event=other").await.events.len() == 1).then_some(())).await;
    assert_eq!(kept(&alice, 2).await, ids(&latest));
    assert_eq!(pairs(alice.coming("/sse?events=name*,mark", None).await), latest);
}

#[tokio::test]
async fn retaining_nothing_keeps_the_latest_of_each_name() {
    for flag in ["--retain_for=0", "--retain_events=0"] {
        let server = TestServer::start_with(&[flag]).await;
        let alice = server.user("alice", "acme").await;
        let mut stream = alice.stream().await;
        let inserted = insert_many(&alice, 60, 3).await;
        // Open streams get everything nevertheless.
        assert_eq!(pairs(stream.take(60).await), inserted, "{flag}");
        let since = Instant::now();
        let latest = last_of_each(&inserted);
        assert_eq!(shrunk(&alice, 3, 3).await, ids(&latest), "{flag}");
        assert!(since.elapsed() < SOON, "{flag}: it took {:?}", since.elapsed());
        assert_latest(&alice, &latest).await;
        let came = alice.coming("/sse", Some(&inserted[0].0)).await;
        assert_eq!(pairs(came), latest, "{flag}");
    }
}

#[tokio::test]
async fn one_tenant_does_not_push_out_the_events_of_another() {
    let server = TestServer::start_with(&["--retain_events=50"]).await;
    let alice = server.user("alice", "acme").await;
    let busy = server.user("busy", "other").await;
    let ours = insert_many(&alice, 45, 3).await;
    insert_many(&busy, 500, 3).await;
    shrunk(&busy, 3, 60).await;
    assert_eq!(kept(&alice, 3).await, ids(&ours));
    assert_eq!(pairs(alice.coming("/sse", Some(&ours[0].0)).await), ours[1..]);
}

#[tokio::test]
async fn events_from_before_a_restart_go_too() {
    let server = TestServer::start_with(&["--retain_for=2", "--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    let inserted = insert_many(&alice, 50, 2).await;
    let (_server, alice) = after_kill(server, &alice).await;
    let since = Instant::now();
    assert_eq!(shrunk(&alice, 2, 2).await, ids(&last_of_each(&inserted)));
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
}

#[tokio::test]
async fn a_server_that_is_to_keep_less_than_before_removes_the_rest() {
    fn generous(directory: &Path) -> Command {
        command(&[], directory)
    }
    fn stingy(directory: &Path) -> Command {
        command(&["--retain_events=20".to_owned()], directory)
    }
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut server = TestServer::try_start(Arc::clone(&directory), generous).await.unwrap();
    let alice = server.user("alice", "acme").await;
    let inserted = insert_many(&alice, 300, 4).await;
    assert_eq!(kept(&alice, 4).await, ids(&inserted));
    server.kill();
    drop(server);
    let server = TestServer::try_start(directory, stingy).await.unwrap();
    let alice = again(&server, &alice);
    let left = shrunk(&alice, 4, 25).await;
    assert!(left.ends_with(&ids(&inserted[280..])), "{left:?}");
    assert_latest(&alice, &last_of_each(&inserted)).await;
}

#[tokio::test]
async fn kills_while_old_events_are_removed_lose_nothing_that_is_to_be_kept() {
    // So short a journal that kills meet checkpoints too.
    let mut server = TestServer::start_with(&["--retain_events=20", "--journal_bytes=65536"]).await;
    let mut alice = server.user("alice", "acme").await;
    let still = alice.insert("still", json!("kept")).await;
    let mut inserted = Vec::new();
    // Each time when more of them has been removed; the first time at any moment.
    for (round, most) in [usize::MAX, 290, 200, 100, 30].into_iter().enumerate() {
        inserted.extend(insert_many(&alice, 300, 7).await);
        shrunk(&alice, 7, most).await;
        (server, alice) = after_kill(server, &alice).await;
        let newest = &inserted[inserted.len() - 20..];
        let left = kept(&alice, 7).await;
        assert!(left.ends_with(&ids(newest)), "round {round}: {left:?}");
        let mut expected = vec![(still.clone(), "still".to_owned())];
        expected.extend(last_of_each(&inserted));
        assert_latest(&alice, &expected).await;
    }
    shrunk(&alice, 7, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_out_of_order_while_old_events_are_removed() {
    const WRITERS: usize = 20;
    const EACH: usize = 100;
    let server = TestServer::start_with(&["--retain_events=100"]).await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let writers = join_all((0..WRITERS).map(|writer| {
        let alice = alice.clone();
        async move {
            let mut inserted = Vec::new();
            for number in 0..EACH {
                let name = format!("name{}", (writer + number) % 7);
                inserted.push((alice.insert(&name, json!(number)).await, name));
            }
            inserted
        }
    }));
    let (inserted, came) = tokio::join!(writers, stream.take(WRITERS * EACH));
    let mut inserted: Vec<_> = inserted.into_iter().flatten().collect();
    inserted.sort();
    assert!(pairs(came) == inserted, "a subscriber got other events than were inserted, or in another order");
    let left = shrunk(&alice, 7, 110).await;
    assert!(left.ends_with(&ids(&inserted[inserted.len() - 100..])), "{} are left", left.len());
    assert_latest(&alice, &last_of_each(&inserted)).await;
}

#[tokio::test]
async fn a_key_is_remembered_for_longer_than_its_event() {
    let server = TestServer::start_with(&["--retain_events=0"]).await;
    let alice = server.user("alice", "acme").await;
    let key = [("idempotency-key", "k")];
    let first = alice.insert_with(&key, one("name0", "first")).await.ok();
    let newer = alice.insert("name0", json!("newer")).await;
    assert_eq!(shrunk(&alice, 1, 1).await, [newer.as_str()]);
    let second = alice.insert_with(&key, one("name0", "first")).await.ok();
    assert_eq!((second.header("idempotency-replayed"), &second.body), (Some("true"), &first.body));
    assert_eq!(kept(&alice, 1).await, [newer]);
}

/// How much a directory takes on the disk, in MiB.
fn megabytes(directory: &Path) -> u64 {
    let output = Command::new("du").arg("-sm").arg(directory).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn large_events_take_no_more_of_the_disk_later_than_at_first() {
    const ROUNDS: usize = 12;
    let server = TestServer::start_with(&["--retain_events=50", "--journal_bytes=4194304", "--log=info"]).await;
    let alice = server.user("alice", "acme").await;
    let text = "x".repeat(60_000);
    let mut taken = Vec::new();
    // A round is 30 MB, of which 3 are kept.
    for _ in 0..ROUNDS {
        for number in 0..25 {
            let array = (0..20).map(|each| one(&format!("name{}", (number + each) % 7), text.as_str())).collect();
            alice.insert_raw(Value::Array(array)).await.ok();
        }
        taken.push(megabytes(&server.database()));
    }
    let (early, late) = (taken[..ROUNDS / 3].iter().max().unwrap(), taken[ROUNDS / 3..].iter().max().unwrap());
    assert!(*late < early + 96, "{taken:?} MiB after each of {ROUNDS} rounds of 30 MB");
}

#[tokio::test]
async fn a_day_of_inserts_takes_no_more_of_the_disk_than_its_first_hours() {
    const HOURS: usize = 24;
    const ARRAYS: usize = 9;
    const EACH: usize = 1000;
    // Two and a half a second for a day, as fast as they go.
    let server = TestServer::start_with(&["--retain_events=2500", "--journal_bytes=1048576", "--log=info"]).await;
    let users = [server.user("alice", "acme").await, server.user("bob", "globex").await];
    let text = "x".repeat(500);
    let mut taken = Vec::new();
    for hour in 0..HOURS {
        for array in 0..ARRAYS {
            let number = hour * ARRAYS + array;
            // Some names change all the time, some are new and go again: by themselves, or removed.
            let mut events: Vec<_> = (0..EACH - 20)
                .map(|each| one(&format!("name{}", each % 300), json!({ "number": number, "text": text })))
                .collect();
            events.extend((0..20).map(
                |each| json!({ "event": format!("short/{number}/{each}"), "data": number, "expires_in": 1 + each % 5 }),
            ));
            let user = &users[number % 2];
            user.insert_with(&[("idempotency-key", &format!("{number}"))], Value::Array(events)).await.ok();
            let gone = format!("gone/{number}");
            user.insert_raw(one(&gone, number)).await.ok();
            user.remove(&gone).await.ok();
        }
        taken.push(megabytes(&server.database()));
    }
    let (early, late) = (taken[..HOURS / 3].iter().max().unwrap(), taken[HOURS / 3..].iter().max().unwrap());
    assert!(*late <= early + 24, "{taken:?} MiB after each hour");
    for user in &users {
        until("what was short to be gone", async || {
            let left = user.latest("/events").await;
            left.iter().all(|event| event.event.starts_with("name")).then_some(())
        })
        .await;
    }
}
