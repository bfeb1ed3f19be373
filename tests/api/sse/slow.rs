//! Guards against readers that stall: they cost little memory, delay nobody, and catch up.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Event, RawStream, TestServer, User, command};

/// Inserts of 64 MB in all, a little less than is retained for clients that reconnect.
const INSERTS: usize = 640;
const BYTES: usize = 100_000;

/// The data of one insert.
fn data(number: usize) -> String {
    format!("{number:06}{}", "x".repeat(BYTES))
}

/// What was inserted, by id.
async fn insert_64_megabytes(user: &User) -> BTreeMap<String, usize> {
    const WRITERS: usize = 16;
    let writers = (0..WRITERS).map(|writer| async move {
        let mut inserted = Vec::new();
        for number in (writer..INSERTS).step_by(WRITERS) {
            let body = format!(r#"{{"event":"name{}","data":"{}"}}"#, number % 5, data(number));
            let answer = user.insert_raw(body).await.ok().json();
            inserted.push((answer["id"].as_str().unwrap().to_owned(), number));
        }
        inserted
    });
    join_all(writers).await.into_iter().flatten().collect()
}

#[tokio::test]
async fn readers_that_stall_cost_little_memory_delay_nobody_and_catch_up_completely_in_order() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = TestServer::try_start(directory, |directory| {
        // What is kept for longer is kept by the database, and not what is measured here.
        let mut command = command(&["--log=info", "--retain_events=640"].map(str::to_owned), directory);
        // What one thread has freed is used by the others, or their number would be what is measured.
        command.env("MALLOC_ARENA_MAX", "1");
        command
    });
    let server = server.await.unwrap();
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "other").await;
    // What the database itself takes is taken before anything is measured.
    for _ in 0..3 {
        insert_64_megabytes(&bob).await;
    }
    let before = server.peak_mebibytes();
    // Two that never read again, and miss more than is kept for them.
    let _stuck = [stalled(&server, &bob).await, stalled(&server, &bob).await];
    for _ in 0..4 {
        insert_64_megabytes(&bob).await;
    }

    let mut stalled = [stalled(&server, &alice).await, stalled(&server, &alice).await];
    let mut lively = alice.stream().await;
    let reading = tokio::spawn(async move { (lively.take(INSERTS).await, lively) });
    let mut first = [Vec::new(), Vec::new()];
    let inserted = {
        let mut inserting = pin!(insert_64_megabytes(&alice));
        loop {
            tokio::select! {
                inserted = &mut inserting => break inserted,
                // On a slow machine: a client that takes nothing for half a minute counts as gone.
                () = tokio::time::sleep(Duration::from_secs(10)) => {
                    for (stream, first) in stalled.iter_mut().zip(&mut first) {
                        first.extend(stream.events().await.expect("the stream goes on"));
                    }
                }
            }
        }
    };
    // A client that reads gets all of it while the others do not read.
    let (came, mut lively) = reading.await.unwrap();
    assert!(came.iter().map(|event| &event.id).eq(inserted.keys()));

    // A queue for each reader would have taken 640 MB by now, one for each tenant 320 MB.
    let growth = server.peak_above(before);
    assert!(growth < 230, "{before} MiB before, {growth} MiB more");

    // Both at once: on a slow machine the one would count as gone while the other reads.
    join_all(stalled.iter_mut().zip(first).map(|(stream, first)| catches_up(stream, first, &inserted))).await;
    // And they are live again.
    let id = alice.insert("live", json!(1)).await;
    for stream in &mut stalled {
        assert_eq!(stream.events().await.unwrap()[0].id, id);
    }
    assert_eq!(lively.next().await.id, id);
}

/// Reads up to the last event: after those that came first, all that were inserted, in order.
async fn catches_up(stream: &mut RawStream, mut events: Vec<Event>, inserted: &BTreeMap<String, usize>) {
    let mut expected = inserted.iter();
    loop {
        for event in events {
            let (id, number) = expected.next().expect("no more than was inserted");
            assert!(event.id == *id && event.data == format!("\"{}\"", data(*number)));
        }
        if expected.len() == 0 {
            return;
        }
        events = stream.events().await.expect("the stream goes on");
    }
}

async fn stalled(server: &TestServer, user: &User) -> RawStream {
    RawStream::open_with(server, user, Some(4096)).await
}
