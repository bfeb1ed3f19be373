//! Guards a full disk: inserts are refused with a clear error, everything else goes on, and inserts work again when there is
//! room.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{LoopDisk, TestServer, User, command, until, within};

/// Takes all the room that there is but so many bytes.
pub fn fill_but(directory: &Path, bytes: u64) {
    fill(directory);
    let filler = File::options().write(true).open(directory.join("filler")).unwrap();
    filler.set_len(filler.metadata().unwrap().len() - bytes).unwrap();
    filler.sync_all().unwrap();
}

/// Takes all the room that there is.
pub fn fill(directory: &Path) {
    // What an earlier one took stays taken meanwhile.
    let mut filler = File::options().create(true).append(true).open(directory.join("filler")).unwrap();
    for size in [1 << 20, 4096, 1] {
        let block = vec![7; size];
        while filler.write_all(&block).is_ok() {}
    }
    // What only now finds no room is what this is about.
    let _ = filler.sync_all();
}

/// How often the log says that the disk is full, and that it is not any more.
fn told(server: &TestServer) -> (usize, usize) {
    let log = server.log();
    (log.matches("the disk is full").count(), log.matches("the disk has room again").count())
}

#[tokio::test]
async fn a_full_disk_refuses_inserts_while_reads_and_streams_go_on_until_there_is_room_again() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "full", 96) else { return };
    let db = format!("--db={}", disk.path().join("db").display());
    let server = TestServer::start_with(&[&db]).await;
    let alice = server.user("alice", "acme").await;
    let mut acknowledged = vec![alice.insert("before", json!(1)).await];
    let mut stream = alice.stream().await;
    assert_eq!(stream.next().await.name, "before");

    fill(disk.path());
    // A little fits into what was set aside; then comes the refusal, and nothing of what was acknowledged is lost.
    let data = json!("x".repeat(90_000));
    let refusal = loop {
        let answer = alice.try_insert(&format!("big{}", acknowledged.len()), data.clone()).await;
        if answer.status != 200 {
            break answer;
        }
        acknowledged.push(answer.json()["id"].as_str().unwrap().to_owned());
        assert_eq!(&stream.next().await.id, acknowledged.last().unwrap());
        assert!(acknowledged.len() < 2000, "a full disk takes everything");
    };
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "storage_full"), "{refusal:?}");
    assert!(refusal.header("retry-after").is_some());

    // It is ready: whoever only reads needs no other server. An operator is told.
    for path in ["/healthz", "/readyz"] {
        alice.get(path).await.ok();
    }
    assert_eq!(server.client().admin("/status", json!({})).await.ok().json()["store"]["disk_full"], true);
    // Users can still sign in, verify, connect, and read.
    let bob = server.client().sign_in("alice").await;
    bob.verify().await.ok();
    assert_eq!(bob.stream_of("/sse?events=before", None).await.next().await.id, acknowledged[0]);
    for _ in 0..3 {
        let refused = server.client().create_user_with("carol", "acme", json!({})).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "storage_full"));
    }
    server.log_up_to_now(&alice.client).await;
    assert_eq!(told(&server), (1, 0), "{}", server.log());

    // Killed and started again, it serves what there is, and still refuses what it has no room for.
    let mut server = server;
    server.kill();
    let server = server.restart().await;
    let alice = server.client().sign_in("alice").await;
    let mut stream = alice.stream().await;
    let held = stream.take(acknowledged.len()).await;
    assert_eq!(held.iter().map(|event| &event.id).collect::<Vec<_>>(), acknowledged.iter().collect::<Vec<_>>());
    let refused = alice.try_insert("still", data).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "storage_full"));

    std::fs::remove_file(disk.path().join("filler")).unwrap();
    acknowledged.push(alice.insert("after", json!(2)).await);
    assert_eq!(&stream.next().await.id, acknowledged.last().unwrap());
    server.log_up_to_now(&alice.client).await;
    assert_eq!(told(&server), (1, 1), "{}", server.log());

    let mut server = server;
    server.kill();
    let server = server.restart().await;
    let mut stream = server.client().sign_in("alice").await.stream().await;
    let names = stream.take(acknowledged.len()).await;
    assert_eq!(names.iter().map(|event| &event.id).collect::<Vec<_>>(), acknowledged.iter().collect::<Vec<_>>());
    drop(server);
}

#[tokio::test]
async fn a_disk_that_fills_while_many_insert_loses_nothing_that_was_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "filling", 128) else { return };
    let db = format!("--db={}", disk.path().join("db").display());
    let mut server = TestServer::start_with(&[&db]).await;
    let alice = server.user("alice", "acme").await;

    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let alice = alice.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let name = format!("w{writer}/{number}");
                    let answer = alice.try_insert(&name, json!("x".repeat(20_000))).await;
                    match answer.status {
                        200 => acknowledged.push((name, answer.json()["id"].as_str().unwrap().to_owned())),
                        503 => return acknowledged,
                        _ => panic!("{answer:?}"),
                    }
                }
                unreachable!("numbers do not end")
            })
        })
        .collect();
    let path = disk.path().to_owned();
    tokio::task::spawn_blocking(move || fill(&path)).await.unwrap();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }

    server.kill();
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    let server = server.restart().await;
    let held = server.client().sign_in("alice").await.everything().await;
    for (name, id) in &acknowledged {
        assert_eq!(held.get(name).map(|event| &event.id), Some(id), "{name}");
    }
    drop(server);
}

#[tokio::test]
async fn a_stream_that_ends_on_a_full_disk_leaves_the_server_running_and_its_bound_events_go_once_there_is_room() {
    const COUNT: usize = 10_000;
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "ending", 128) else { return };
    let db = format!("--db={}", disk.path().join("db").display());
    let server = TestServer::start_with(&[&db]).await;
    let alice = server.user("alice", "acme").await;
    // Nothing comes on it, because it is not read.
    let stream = alice.stream_of("/sse?events=none", None).await;
    let id = stream.headers["broker-stream"].to_str().unwrap().to_owned();
    let headers = [("broker-stream", id.as_str())];
    for first in (0..COUNT).step_by(1000) {
        let bound = |number: usize| json!({ "event": format!("b{number:0200}"), "data": 1, "while_connected": true });
        let array: Vec<_> = (first..first + 1000).map(bound).collect();
        alice.insert_with(&headers, json!(array)).await.ok();
    }
    fill(disk.path());
    drop(stream);

    // There is room for a part of it at most. Killed and started again, with the rest still to be done, it goes on serving too.
    let mut server = server;
    for is_killed in [false, true] {
        if is_killed {
            server.kill();
            server = server.restart().await;
        }
        // The grace is over, and the removal was tried.
        server.says("the disk is full").await;
        server.client().with_authorization(&alice.authorization).verify().await.ok();
    }
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    let alice = server.client().with_authorization(&alice.authorization);
    until("what went with the stream to go", async || {
        (alice.get("/events?events=b*").await.ok().json() == json!([])).then_some(())
    })
    .await;
    alice.insert("other", json!(1)).await;
}

#[tokio::test]
async fn large_values_that_small_ones_replace_on_a_nearly_full_disk_stop_neither_the_server_nor_its_next_start() {
    const NAMES: usize = 2000;
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "rewritten", 700) else { return };
    let db = format!("--db={}", disk.path().join("db").display());
    // Only the latest of each name is kept, so that the large ones go when the small ones come.
    let mut server = TestServer::start_with(&[&db, "--retain_events=0", "--journal_bytes=800000"]).await;
    let alice = server.user("alice", "acme").await;
    for first in (0..NAMES).step_by(20) {
        insert_all(&alice, first..first + 20, json!("x".repeat(90_000))).await;
    }
    // Until a checkpoint has moved the last of the large ones.
    for number in 0..5 {
        insert_all(&alice, NAMES..NAMES + 1000, json!(number)).await;
    }
    // There is room for the journal, but not for the first of them. Then comes a crowd: nobody in it waits for the checkpoint that is
    // short of room, and the others for them.
    let mut is_refused = false;
    for mebibytes in (0..15).rev().chain(std::iter::repeat_n(0, 100)) {
        // On a slow machine the checkpoints come one by one, and what each gives back is enough for the next: then there is less room,
        // and in the end what was given back is taken again.
        fill_but(disk.path(), mebibytes << 20);
        for first in (0..4 * NAMES).step_by(50).map(|first| first % NAMES) {
            is_refused = alice.insert_raw(all(first..first + 50, &json!(first))).await.status != 200;
            if is_refused {
                break;
            }
        }
        if is_refused {
            break;
        }
    }
    assert!(is_refused, "there is no room for all that");
    let crowd = (0..1000).map(|number| alice.insert_raw(all(number..number + 1, &json!(0))));
    let answers = within("a thousand to be answered", futures_util::future::join_all(crowd)).await;
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.code() == "storage_full"));
    // There is room for a beginning, but not for all that is written anew where the large ones are replaced.
    fill_but(disk.path(), 40 << 20);
    // A few refusals are enough.
    let mut refused = 0;
    for first in (0..12 * NAMES).step_by(50).map(|first| first % NAMES) {
        let answer = alice.insert_raw(all(first..first + 50, &json!(first))).await;
        assert!(answer.status == 200 || answer.code() == "storage_full", "{answer:?}");
        refused += usize::from(answer.status != 200);
        if refused == 20 {
            break;
        }
    }

    server.kill();
    let mut server = server.restart().await;
    let alice = server.client().sign_in("alice").await;
    alice.stream().await.take(NAMES + 1000).await;
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    for first in (0..NAMES).step_by(1000) {
        within("room again", insert_all(&alice, first..first + 1000, json!(-1))).await;
    }
    server.kill();
    let server = server.restart().await;
    let held = server.client().sign_in("alice").await.everything().await;
    assert!((0..NAMES).all(|number| held[&format!("name{number}")].data == "-1"));
}

#[tokio::test]
async fn a_disk_that_is_too_small_for_a_new_database_is_told_of_with_its_directory() {
    let home = Arc::new(tempfile::tempdir().unwrap());
    let mut refusals = 0;
    for mebibytes in (32..64).step_by(2) {
        let Some(disk) = LoopDisk::create(home.path(), "tiny", mebibytes) else { return };
        let path = disk.path().join("db").display().to_string();
        let db = format!("--db={path}");
        let started =
            TestServer::try_start(Arc::clone(&home), move |home| command(std::slice::from_ref(&db), home)).await;
        let Err(why) = started else { break };
        assert!(why.starts_with("exit status: 1: ") && !why.contains("panicked"), "{why}");
        let said = format!("error: there is no room on the disk of the database directory {path}");
        assert!(why.contains(&said), "on a disk of {mebibytes} MiB: {why}");
        refusals += 1;
    }
    assert!((4..16).contains(&refusals), "{refusals} sizes were refused");
}

#[tokio::test]
async fn the_room_for_a_checkpoint_is_not_taken_by_the_journal_and_inserts_go_on_once_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "shared", 96) else { return };
    let db = format!("--db={}", disk.path().join("db").display());
    // Many versions of a few names: much in the journal, of which little is kept.
    let server = TestServer::start_with(&[&db, "--retain_events=0"]).await;
    let alice = server.user("alice", "acme").await;
    let data = json!("x".repeat(90_000));
    let insert = async |number: usize| alice.try_insert(&format!("name{}", number % 7), data.clone()).await;
    // The journal takes what there is, and then somebody else takes the rest.
    for number in 0..600 {
        if insert(number).await.status != 200 {
            break;
        }
    }
    fill(disk.path());
    let mut tries = 0;
    while insert(0).await.status == 200 {
        tries += 1;
        assert!(tries < 4000, "a full disk takes everything");
        // A checkpoint that is still under way, on a slow machine, gives back the journal's room: then the disk is filled once more.
        if tries % 100 == 0 {
            fill(disk.path());
        }
    }
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    for _ in 0..20 {
        within("room again", insert_all(&alice, 0..7, data.clone())).await;
    }
}

/// A request that inserts the same under many names.
fn all(numbers: Range<usize>, data: &Value) -> String {
    let events: Vec<_> = numbers.map(|number| json!({"event": format!("name{number}"), "data": data})).collect();
    json!(events).to_string()
}

/// Inserts it, once the server has noticed that there is room.
async fn insert_all(user: &User, numbers: Range<usize>, data: Value) {
    loop {
        let answer = user.insert_raw(all(numbers.clone(), &data)).await;
        match answer.status {
            200 => return,
            503 => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => panic!("{answer:?}"),
        }
    }
}
