//! Guards subscribers that come and go while many insert: each sees every event from its position on, once, in order.

use serde_json::json;

use crate::support::{Event, TestServer, User};

const WRITERS: usize = 64;
const INSERTS_EACH: usize = 60;
const READERS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_come_and_go_among_64_writers_miss_and_repeat_nothing() {
    let server = TestServer::start().await;
    let writer = server.user("writer", "acme").await;
    let reader = server.user("reader", "acme").await;
    let start = writer.insert("start", json!(null)).await;

    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let writer = writer.clone();
            tokio::spawn(async move {
                let mut inserted = Vec::with_capacity(INSERTS_EACH);
                for count in 0..INSERTS_EACH {
                    // Names of one's own and names that all write: what is superseded must come too.
                    let name = if count % 2 == 0 { format!("own/{number}") } else { format!("shared/{}", count % 7) };
                    inserted.push((writer.insert(&name, json!([number, count])).await, name));
                }
                inserted
            })
        })
        .collect();
    let readers: Vec<_> =
        (0..READERS).map(|number| tokio::spawn(come_and_go(reader.clone(), start.clone(), number))).collect();
    // New ones too: the snapshot must meet the live stream without a gap.
    let newcomers: Vec<_> = (0..READERS).map(|_| tokio::spawn(newcomer(reader.clone()))).collect();

    let mut inserted = Vec::new();
    for writer in writers {
        inserted.extend(writer.await.unwrap());
    }
    inserted.sort();
    let end = writer.insert("end", json!(null)).await;

    for reader in readers {
        let seen = reader.await.unwrap();
        let seen: Vec<_> =
            seen.into_iter().map(|event| (event.id, event.name)).take_while(|(id, _)| *id < end).collect();
        assert!(seen == inserted, "a reader saw {} of {}, or in another order", seen.len(), inserted.len());
    }
    for newcomer in newcomers {
        let seen = newcomer.await.unwrap();
        assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id));
        // From the first live event on, everything.
        let ids: Vec<_> = seen.iter().map(|event| event.id.clone()).filter(|id| *id < end).collect();
        let tail_of_inserted: Vec<_> = inserted.iter().map(|(id, _)| id.clone()).collect();
        let contiguous = longest_common_tail(&ids, &tail_of_inserted);
        let before: Vec<_> = ids[..ids.len() - contiguous].to_vec();
        // What came before that is the snapshot: one event a name, each the latest of its name at that moment.
        let snapshot_end = before.last().cloned().unwrap_or_default();
        for id in before.iter().filter(|id| **id > start) {
            let (_, name) = &inserted[inserted.binary_search_by(|(other, _)| other.cmp(id)).unwrap()];
            let superseded = inserted.iter().any(|(other, n)| n == name && other > id && *other <= snapshot_end);
            assert!(!superseded, "{id} {name} was not the latest of its name");
        }
    }
}

/// Reads a little, goes, comes back after what it saw last.
async fn come_and_go(user: User, start: String, number: usize) -> Vec<Event> {
    let mut seen: Vec<Event> = Vec::new();
    loop {
        let after = seen.last().map_or(&start, |event| &event.id).clone();
        let mut stream = user.stream_of("/sse", Some(&after)).await;
        for _ in 0..=(seen.len() * 31 + number * 17) % 200 {
            let event = stream.next().await;
            let is_end = event.name == "end";
            seen.push(event);
            if is_end {
                return seen;
            }
        }
    }
}

async fn newcomer(user: User) -> Vec<Event> {
    let mut stream = user.stream().await;
    let mut seen = Vec::new();
    loop {
        let event = stream.next().await;
        let is_end = event.name == "end";
        seen.push(event);
        if is_end {
            return seen;
        }
    }
}

fn longest_common_tail(a: &[String], b: &[String]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}
