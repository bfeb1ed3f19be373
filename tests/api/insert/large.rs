//! Guards events of up to a mebibyte, if `max_event_bytes` allows them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker::domain::Timestamp;
use broker::store::Store;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Event, RawStream, Receipt, TestServer, User, after_kill, again, command, current, eventually, one, until,
};

/// The largest that can be allowed.
const LARGEST: usize = 1 << 20;
const ALLOW: &str = "--max_event_bytes=1048576";

/// Data with which an event of this name has so many bytes: all of it one letter of ASCII.
fn data_of(name: &str, bytes: usize, letter: char) -> String {
    letter.to_string().repeat(bytes - name.len() - 2)
}

/// The same as it stands on the wire.
fn quoted(data: &str) -> String {
    format!("\"{data}\"")
}

/// How many rows of a database, which nobody has open, begin with this letter: it says what they are (`store/keys.rs`).
fn rows(server: &TestServer, kind: &str) -> usize {
    let home = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(server.database()).arg(home.path()).status().unwrap();
    assert!(copied.success());
    let copy = home.path().join("db");
    // It is a copy of one that was killed, which nobody has open.
    let _ = std::fs::remove_file(copy.join("open"));
    {
        // Each of these begins with a checkpoint, and waits for the one before.
        let (_store, mut committer) = Store::open(&copy, 1).unwrap();
        for _ in 0..3 {
            let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
            transaction.put_setting("moved", vec![1]);
            drop(transaction.commit().unwrap().reveal());
        }
    }
    loop {
        // Its own threads may hold on to it for a moment.
        match sled::Config::new().path(&copy).segment_size(16 << 20).open() {
            Ok(db) => return db.scan_prefix(kind).count(),
            Err(sled::Error::Io(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_event_of_a_mebibyte_is_streamed_listed_kept_and_there_after_a_kill_and_one_byte_more_is_413() {
    let server = TestServer::start_with(&[ALLOW, "--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    let mut live = alice.stream().await;
    let data = data_of("news", LARGEST, 'x');
    let id = alice.insert("news", json!(data)).await;
    // Read at once: a stream of which nothing is taken for half a minute is given up.
    assert_eq!(live.next().await, Event::new("news", &id, &quoted(&data)));
    alice.insert_raw(one("news", data_of("news", LARGEST + 1, 'x'))).await.refused(413, "event_too_large");
    // White space does not count, up to as much again.
    let spaces = " ".repeat(LARGEST - 1000);
    let spaced = format!("{{\"event\":\"spaced\",\"data\":{spaces}{}}}", quoted(&data_of("spaced", LARGEST, 'y')));
    alice.insert_raw(spaced).await.ok();
    assert_eq!(live.next().await.data, quoted(&data_of("spaced", LARGEST, 'y')));
    alice.insert_raw(" ".repeat(2 * LARGEST + 1)).await.refused(413, "body_too_large");

    let check = async |alice: &User| {
        assert_eq!(alice.coming("/sse?events=news,mark", None).await, [Event::new("news", &id, &quoted(&data))]);
        assert_eq!(alice.coming("/sse", None).await.len(), 2);
        let kept = alice.latest("/events?events=news,spaced").await;
        assert_eq!((kept.len(), &kept[0].data), (2, &quoted(&data)));
        for order in ["newest", "oldest"] {
            let page = alice.history(&format!("event=news&order={order}")).await;
            assert_eq!((page.events.len(), &page.events[0].data, &page.next), (1, &quoted(&data), &None));
        }
    };
    check(&alice).await;
    let (server, alice) = after_kill(server, &alice).await;
    check(&alice).await;
    // The event that a refusal shows.
    let answer = alice.insert_with(&[("if-none-match", "*")], one("news", 1)).await;
    assert_eq!(current(&answer).unwrap().data, quoted(&data));
    let server = server.end_and_restart(false).await;
    check(&again(&server, &alice)).await;
    assert_eq!(std::fs::read_dir(server.database().join("blobs")).unwrap().count(), 0, "sled never syncs those");
}

#[tokio::test]
async fn without_the_flag_an_event_has_a_hundred_kibibytes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert_raw(one("news", data_of("news", 100 << 10, 'x'))).await.ok();
    alice.insert_raw(one("news", data_of("news", (100 << 10) + 1, 'x'))).await.refused(413, "event_too_large");
}

#[tokio::test]
async fn a_large_event_in_any_script_comes_as_it_was_sent() {
    let server = TestServer::start_with(&[ALLOW]).await;
    let alice = server.user("alice", "acme").await;
    let mut live = alice.stream().await;
    for letter in ['é', '日', '😀'] {
        let data = json!(letter.to_string().repeat((LARGEST - 100) / letter.len_utf8()));
        alice.insert("script", data.clone()).await;
        assert!(live.next().await.json() == data, "{letter}");
        let kept = alice.latest("/events?events=script").await;
        assert!(serde_json::from_str::<Value>(&kept[0].data).unwrap() == data, "{letter}");
    }
}

#[tokio::test]
async fn large_events_resume_come_in_arrays_and_are_repeated_by_their_key_like_small_ones() {
    let server = TestServer::start_with(&[ALLOW]).await;
    let alice = server.user("alice", "acme").await;
    let seen = alice.insert("seen", json!(1)).await;
    let large = |name: &str, letter| one(name, data_of(name, 300 << 10, letter));
    let array = json!([large("a", 'x'), large("b", 'x'), one("c", 1), large("a", 'y'), large("c", 'y')]);
    let key = [("idempotency-key", "k")];
    let first: Vec<Receipt> = alice.insert_with(&key, &array).await.read();
    let again = alice.insert_with(&key, &array).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.read::<Vec<Receipt>>(), first);
    let other = json!([large("a", 'z'), large("b", 'x'), one("c", 1), large("a", 'y'), large("c", 'y')]);
    alice.insert_with(&key, other).await.refused(422, "idempotency_key_reused");

    let came = alice.coming("/sse", Some(&seen)).await;
    let expected = first
        .iter()
        .zip(array.as_array().unwrap())
        .map(|(receipt, event)| Event::new(event["event"].as_str().unwrap(), &receipt.id, &event["data"].to_string()));
    assert!(came.into_iter().eq(expected));

    // Pages are bounded in bytes, and each goes on where the one before ended.
    for number in 0..8 {
        alice.insert("long", json!(data_of("long", LARGEST, char::from(b'a' + number)))).await;
    }
    for order in ["newest", "oldest"] {
        let (mut letters, mut pages, mut from) = (String::new(), 0, String::new());
        loop {
            let page = alice.history(&format!("event=long&order={order}{from}")).await;
            assert!((1..=5).contains(&page.events.len()), "{} of a mebibyte", page.events.len());
            letters.extend(page.events.iter().map(|event| char::from(event.data.as_bytes()[1])));
            pages += 1;
            let Some(next) = page.next else { break };
            from = format!("&{}={next}", if order == "newest" { "before" } else { "after" });
        }
        assert_eq!((letters.as_str(), pages), (if order == "newest" { "hgfedcba" } else { "abcdefgh" }, 2));
    }
}

#[tokio::test]
async fn of_large_events_that_are_replaced_removed_or_too_old_nothing_is_left_in_the_database() {
    let server = TestServer::start_with(&[ALLOW, "--retain_events=0", "--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    for letter in ['a', 'b', 'c'] {
        let large = |name: &str| data_of(name, LARGEST, letter);
        for name in ["replaced", "shrunk", "removed"] {
            alice.insert(name, json!(large(name))).await;
        }
        let expiring = json!({ "event": "expiring", "data": large("expiring"), "expires_in": 1 });
        alice.insert_raw(expiring).await.ok();
    }
    alice.insert("shrunk", json!(1)).await;
    alice.remove("removed").await.ok();
    until("what expires to go", async || (alice.latest("/events").await.len() == 2).then_some(())).await;
    for name in ["replaced", "shrunk", "removed", "expiring"] {
        let left = usize::from(["replaced", "shrunk"].contains(&name));
        until("old events to go", async || {
            (alice.history(&format!("event={name}")).await.events.len() == left).then_some(())
        })
        .await;
    }
    assert_eq!(alice.latest("/events?events=replaced").await[0].data, quoted(&data_of("replaced", LARGEST, 'c')));
    let (mut server, alice) = after_kill(server, &alice).await;
    assert_eq!(alice.latest("/events?events=replaced").await[0].data, quoted(&data_of("replaced", LARGEST, 'c')));
    server.kill();
    // Those of the one that is there.
    assert_eq!((rows(&server, "p"), rows(&server, "e")), (16, 2));
}

#[tokio::test]
async fn after_kills_while_large_events_replace_each_other_each_is_whole_and_the_last_that_was_promised() {
    const WRITERS: usize = 3;
    const ROUNDS: usize = 6;
    let mut server = TestServer::start_with(&[ALLOW, "--retain_events=3", "--journal_bytes=65536"]).await;
    let mut alice = server.user("alice", "acme").await;
    let mut promised: HashMap<String, String> = HashMap::new();
    let answered = Arc::new([const { AtomicBool::new(false) }; WRITERS]);
    for round in 0..ROUNDS {
        let writers = (0..WRITERS).map(|writer| {
            let (alice, answered) = (alice.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let (name, mut last) = (format!("name{writer}"), None);
                for number in 0_u8.. {
                    let bytes = (200 << 10) * (usize::from(number) % 4 + 1);
                    let body = one(&name, data_of(&name, bytes, char::from(b'a' + number % 26)));
                    match alice.insert_if_there(&[], body).await {
                        Some(answer) => {
                            last = Some(answer.read::<Receipt>().id);
                            answered[writer].store(true, Ordering::Relaxed);
                        }
                        None => break,
                    }
                }
                (name, last)
            })
        });
        let writers: Vec<_> = writers.collect();
        // No two rounds are alike.
        tokio::time::sleep(std::time::Duration::from_millis(150 + 70 * round as u64)).await;
        if round == ROUNDS - 1 {
            eventually("each writer to be answered once", || answered.iter().all(|one| one.load(Ordering::Relaxed)))
                .await;
        }
        server.kill();
        for (name, id) in join_all(writers).await.into_iter().map(Result::unwrap) {
            promised.extend(id.map(|id| (name, id)));
        }
        server = server.restart().await;
        alice = again(&server, &alice);
        let held = alice.everything().await;
        for (name, id) in &promised {
            let event = &held[name];
            // The next one may be on disk already, though nobody was told yet.
            assert!(event.id >= *id, "{name}: {} in place of {id}", event.id);
            let data = event.data.trim_matches('"');
            let bytes = data.len() + 2 + name.len();
            assert!(bytes % (200 << 10) == 0 && data.bytes().all(|byte| byte == data.as_bytes()[0]), "{bytes} bytes");
        }
    }
    assert!(promised.len() == WRITERS);
    until("old events to go", async || {
        let mut kept = 0;
        for writer in 0..WRITERS {
            kept += alice.history(&format!("event=name{writer}")).await.events.len();
        }
        (kept <= WRITERS + 3).then_some(())
    })
    .await;
    server.kill();
    // No more than those of six events: the latest of each name, and the newest three.
    let chunks = rows(&server, "p");
    assert!((3..=6 * 13).contains(&chunks), "{chunks}");
    assert_eq!(std::fs::read_dir(server.database().join("blobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn readers_that_stall_while_large_events_come_cost_an_event_each_and_are_given_all_of_them() {
    const EVENTS: usize = 40;
    const READERS: usize = 12;
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = TestServer::try_start(directory, |directory| {
        let mut command = command(&[ALLOW, "--log=info", "--journal_bytes=8388608"].map(str::to_owned), directory);
        // What one thread has freed is used by the others.
        command.env("MALLOC_ARENA_MAX", "1");
        command
    });
    let server = server.await.unwrap();
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "other").await);
    let data = |number: usize| format!("{number:06}{}", "x".repeat(LARGEST - 100));
    let insert_one = async |user: &User, number: usize| {
        user.insert(&format!("name{}", number % 20), json!(data(number))).await;
    };
    // What the database itself takes is taken before anything is measured.
    for number in 0..EVENTS {
        insert_one(&bob, number).await;
    }
    let before = server.peak_mebibytes();
    let mut stalled = Vec::new();
    for _ in 0..READERS {
        stalled.push((RawStream::open_with(&server, &alice, Some(4096)).await, 0));
    }
    // The next write of a stream, and how many events had come before.
    let read = async |(mut stream, mut came): (RawStream, usize)| {
        for event in stream.events().await.expect("the stream goes on") {
            assert!(event.data == quoted(&data(came)), "{came}");
            came += 1;
        }
        (stream, came)
    };
    for number in 0..EVENTS {
        insert_one(&alice, number).await;
        // A client that takes nothing at all is taken for dead.
        if number % 5 == 4 {
            stalled = join_all(stalled.into_iter().map(read)).await;
        }
    }
    let read_all = async |mut reader: (RawStream, usize)| {
        while reader.1 < EVENTS {
            reader = read(reader).await;
        }
    };
    join_all(stalled.into_iter().map(read_all)).await;
    let listed = alice.get("/events").await.ok();
    assert!(listed.body.len() > 20 * (LARGEST - 100));
    // A queue for each would have taken 480 MiB.
    let growth = server.peak_above(before);
    assert!(growth < 150, "{before} MiB before, {growth} MiB more");
}
