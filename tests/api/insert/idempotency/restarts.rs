//! Guards keys over kills and restarts.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{KEY, assert_replay, keyed};
use crate::support::{Receipt, TestServer, User, after_kill, again, one};

#[tokio::test]
async fn keys_outlive_a_kill_a_restart_and_the_writes_in_between() {
    // So short a journal that it is moved into the database on the way.
    let server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    let array = json!([one("b", 1), one("c", 2)]);
    alice.insert("d", json!(1)).await;
    let firsts = [
        keyed(&alice, "1", one("a", 1)).await,
        keyed(&alice, "2", &array).await,
        alice.remove_with(&[(KEY, "3")], "d").await,
    ];
    let check = async |alice: &User| {
        assert_replay(&firsts[0], &keyed(alice, "1", one("a", 1)).await);
        assert_replay(&firsts[1], &keyed(alice, "2", &array).await);
        assert_replay(&firsts[2], &alice.remove_with(&[(KEY, "3")], "d").await);
        keyed(alice, "1", one("a", 2)).await.refused(422, "idempotency_key_reused");
        for (name, count) in [("a", 1), ("b", 1), ("c", 1), ("d", 2)] {
            assert_eq!(alice.history(&format!("event={name}")).await.events.len(), count, "{name}");
        }
    };
    let (mut server, mut alice) = after_kill(server, &alice).await;
    check(&alice).await;
    for number in 0..40 {
        alice.insert(&format!("filler/{number}"), json!("x".repeat(10_000))).await;
    }
    for kill in [true, false] {
        server = server.end_and_restart(kill).await;
        alice = again(&server, &alice);
        check(&alice).await;
    }
}

#[tokio::test]
async fn a_retry_after_a_kill_has_inserted_once_whether_or_not_the_first_was_done() {
    const CLIENTS: usize = 30;
    let mut server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let mut alice = server.user("alice", "acme").await;
    let start = alice.insert("start", json!(null)).await;
    let mut ids: HashMap<String, String> = HashMap::new();
    for round in 0..6_u64 {
        let names: Vec<_> = (0..CLIENTS).map(|client| format!("{round}/{client}")).collect();
        // The name is the key.
        let first = join_all(names.iter().map(|name| {
            let alice = &alice;
            async move { alice.insert_if_there(&[(KEY, name.as_str())], one(name, 1)).await }
        }));
        let kill = async {
            tokio::time::sleep(Duration::from_millis(1 + round * 4)).await;
            server.kill();
        };
        let (first, ()) = tokio::join!(first, kill);
        server = server.restart().await;
        alice = again(&server, &alice);
        let second = join_all(names.iter().map(|name| {
            let alice = &alice;
            async move { keyed(alice, name, one(name, 1)).await }
        }));
        for ((name, first), second) in names.iter().zip(first).zip(second.await) {
            if let Some(first) = first {
                assert_replay(&first, &second);
            }
            ids.insert(name.clone(), second.read::<Receipt>().id);
        }
    }
    let came = alice.coming("/sse", Some(&start)).await;
    assert_eq!(came.len(), ids.len(), "each came once");
    for event in came {
        assert_eq!(ids[&event.name], event.id, "{}", event.name);
    }
}
