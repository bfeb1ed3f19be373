//! Guards the archive under load: whenever the server is killed, every position that was archived can be restored, with exactly the
//! events up to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::archive::{at, has_archived};
use crate::support::{TestServer, User, again};

const WRITERS: u64 = 3;
const ROUNDS: u64 = 5;
/// How many positions are restored at the end.
const POSITIONS: usize = 5;

/// The data of events by their ids.
type Events = BTreeMap<String, String>;

/// Inserts events of one name until it is told to stop or the server is gone. Returns those that were acknowledged.
async fn write(user: User, name: String, stop: Arc<AtomicBool>) -> Events {
    let mut acknowledged = Events::new();
    for number in 0.. {
        let data = format!("{number} {}", "x".repeat(number % 7 * 150));
        let body = json!({ "event": name, "data": data }).to_string();
        match user.insert_if_there(&[], body).await {
            Some(answer) if answer.status == 200 => {
                acknowledged.insert(answer.json()["id"].as_str().unwrap().to_owned(), json!(data).to_string())
            }
            _ => break,
        };
        if stop.load(Ordering::Acquire) {
            break;
        }
    }
    acknowledged
}

/// All events of the writers that a server has.
async fn events(user: &User) -> Events {
    let mut events = Events::new();
    for name in user.everything().await.into_keys().filter(|name| name.starts_with("writer")) {
        let mut query = format!("event={name}&order=oldest&limit=1000");
        loop {
            let page = user.history(&query).await;
            events.extend(page.events.into_iter().map(|event| (event.id, event.data)));
            let Some(next) = page.next else { break };
            query = format!("event={name}&order=oldest&limit=1000&after={next}");
        }
    }
    events
}

/// Those of an id up to this one.
fn up_to(events: &Events, id: &str) -> Events {
    events.range(..=id.to_owned()).map(|(id, data)| (id.clone(), data.clone())).collect()
}

fn random(below: usize) -> usize {
    uuid::Uuid::new_v4().as_u64_pair().1 as usize % below
}

#[tokio::test]
async fn what_was_archived_under_load_is_restored_exactly_whenever_the_server_was_killed() {
    let flags = ["--archive=archive", "--archive_every=1", "--journal_bytes=65536"];
    let mut server = TestServer::start_with(&flags).await;
    let mut alice = server.user("alice", "acme").await;
    let first = alice.insert("first", json!(1)).await;
    has_archived(&server, &first).await;
    let mut acknowledged = Events::new();
    for round in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(alice.clone(), format!("writer{writer}/{round}"), Arc::clone(&stop))))
            .collect();
        tokio::time::sleep(Duration::from_millis(random(2500) as u64)).await;
        server.kill();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        // What is there before the next start is whole too.
        let killed = at(&server, None).await;
        let found = events(&killed.client().sign_in("alice").await).await;
        server = server.restart().await;
        alice = again(&server, &alice);
        let all = events(&alice).await;
        let newest = found.last_key_value().map_or(first.as_str(), |(id, _)| id);
        assert!(found == up_to(&all, newest), "round {round}: {} events up to {newest}", found.len());
        assert!(acknowledged.iter().all(|(id, data)| all.get(id) == Some(data)), "round {round}");
    }
    let last = alice.insert("last", json!(1)).await;
    has_archived(&server, &last).await;
    let all = events(&alice).await;
    assert!(acknowledged.len() > 50, "{}", acknowledged.len());
    let ids: Vec<_> = all.keys().collect();
    for _ in 0..POSITIONS {
        let id = ids[random(ids.len())];
        let restored = at(&server, Some(id)).await;
        let found = events(&restored.client().sign_in("alice").await).await;
        // Events that were committed together are restored together: all up to the position, and those after it in its commit. Each
        // writer has one event under way, so that they are fewer than the writers.
        let (expected, reached) = (up_to(&all, id), found.last_key_value().map_or("", |(id, _)| id));
        assert!(found == up_to(&all, reached), "at {id}: {} events up to {reached}", found.len());
        assert!(reached >= id.as_str() && found.len() - expected.len() < WRITERS as usize, "at {id}: up to {reached}");
    }
    let restored = at(&server, None).await;
    assert!(events(&restored.client().sign_in("alice").await).await == all, "the newest position");
}
