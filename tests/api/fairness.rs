//! Guards tenants from each other: the requests of one do not delay another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{TestServer, in_time, within};

/// How many events are looked through for one page of history: as many as for any.
const EVENTS: usize = 20_000;
/// How many such pages are asked for at once.
const PAGES: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_long_histories_of_one_tenant_do_not_hold_up_the_streams_and_reads_of_another() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "other").await);
    bob.insert("hello", json!("world")).await;
    let first = alice.insert("rare", json!(1)).await;
    let event = json!({ "event": "news", "data": "x" });
    for _ in 0..EVENTS / 1000 {
        alice.insert_raw(Value::from(vec![event.clone(); 1000]).to_string()).await.ok();
    }
    let last = alice.insert("rare", json!(2)).await;

    let attempt = async || {
        let done = Arc::new(AtomicUsize::new(0));
        let pages: Vec<_> = (0..PAGES)
            .map(|_| {
                // Connections of their own, as many clients have.
                let (alice, done) = (server.client().with_authorization(&alice.authorization), Arc::clone(&done));
                let path = format!("/history?event=rare&order=oldest&after={first}");
                tokio::spawn(async move {
                    let page = alice.get(&path).await.ok().json();
                    done.fetch_add(1, Ordering::Relaxed);
                    page
                })
            })
            .collect();
        within("the first page", async {
            while done.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // What it wants is few, and so read from the store.
        let mut stream = bob.stream_of("/sse?events=hello", None).await;
        assert_eq!(stream.next().await.json(), "world");
        assert_eq!(bob.get("/history?event=hello").await.ok().json()["events"].as_array().unwrap().len(), 1);
        let before_bob = done.load(Ordering::Relaxed);
        for page in pages {
            let page = page.await.unwrap();
            // It is at the very end of what is looked through for one page, or just beyond.
            assert!(page["events"].as_array().unwrap().iter().all(|event| event["id"] == *last), "{page}");
        }
        (before_bob < PAGES / 2).then_some(())
    };
    in_time("bob's short reads before half of the long ones", attempt).await;
}
