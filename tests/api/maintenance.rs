//! Guards maintenance in small steps: flooding one tenant, or leaving very much behind, delays nobody.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{TestServer, User, again, names, one, until};

/// The number of an event in the order of all.
fn position(id: &str) -> u64 {
    id[..16].parse().unwrap()
}

/// Inserts arrays under one name until it is told to stop.
async fn flood(user: &User, mut is_over: watch::Receiver<bool>) {
    let array = Value::Array((0..1000).map(|number| one("flood", number)).collect()).to_string();
    while !*is_over.borrow_and_update() {
        user.insert_raw(&array).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_in_one_tenant_neither_outgrows_retention_nor_delays_expiry_in_another() {
    const AT_LEAST: u64 = 50_000;
    let server = TestServer::start_with(&["--retain_events=1000", "--log=info"]).await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "globex").await);
    let (stop, is_over) = watch::channel(false);
    let floods = join_all((0..3).map(|_| flood(&alice, is_over.clone())));
    let oldest_kept = async || {
        let page = alice.history("event=flood&order=oldest&limit=1").await;
        page.events.first().map(|event| position(&event.id))
    };
    let newest = async || position(&alice.latest("/events?events=flood").await[0].id);
    let check = async {
        // A tail that grows is one that is looked at while it does.
        until("the flood", async || (oldest_kept().await? > 10_000).then_some(())).await;
        let expiring = json!({ "event": "short", "data": 1, "expires_in": 1 });
        bob.insert_raw(expiring).await.ok();
        until("an event to expire", async || bob.latest("/events").await.is_empty().then_some(())).await;
        until("the flood", async || (newest().await > AT_LEAST).then_some(())).await;
        // The flood goes on: what it has outgrown stays so. In this order it is too many rather than too few.
        let is_held = async || {
            let oldest = oldest_kept().await?;
            (newest().await - oldest < AT_LEAST / 2).then_some(())
        };
        until("few events to be kept", is_held).await;
        stop.send(true).unwrap();
    };
    tokio::join!(floods, check);
    let page = bob.history("event=short&limit=2").await;
    assert!(page.events[0].timestamp - page.events[1].timestamp < 15_000, "{page:?}");
}

/// Inserts so many events that last while a stream is connected.
async fn bind_many(user: &User, stream: &str, count: usize) {
    for first in (0..count).step_by(1000) {
        let bound = |number: usize| json!({ "event": format!("b{number}"), "data": 1, "while_connected": true });
        let array = (first..first + 1000).map(bound).collect();
        user.insert_with(&[("broker-stream", stream)], Value::Array(array)).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_stream_with_very_much_bound_to_it_stalls_nobody() {
    const COUNT: usize = 10_000;
    let server = TestServer::start_with(&["--log=info"]).await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    // Nothing comes on a stream that is not read, or it might end before its time.
    let (stream, id) = alice.open("/sse?events=none", None).await;
    bind_many(&alice, &id, COUNT).await;
    let mut watching = bob.stream_of("/sse?snapshot=false", None).await;
    drop(stream);
    // Others insert all the while: their events come between the removals, or these were one change.
    let (stop, is_over) = watch::channel(false);
    let inserting = async {
        while !*is_over.borrow() {
            bob.insert("other", json!(1)).await;
        }
    };
    let reading = async {
        let (mut gone, mut others) = (BTreeSet::new(), 0);
        while gone.len() < COUNT {
            let event = watching.next().await;
            if event.name == "other" {
                others += usize::from(!gone.is_empty());
            } else if event.data == "null" {
                assert!(gone.insert(event.name), "it was removed twice");
            }
        }
        stop.send(true).unwrap();
        others
    };
    let ((), others) = tokio::join!(inserting, reading);
    assert!(others >= 5, "{others} inserts came between {COUNT} removals");
    assert_eq!(names(&bob.latest("/events").await), ["other"]);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_streams_removals_neither_stops_them_nor_brings_the_stream_back() {
    const COUNT: usize = 5000;
    let mut server = TestServer::start_with(&["--log=info"]).await;
    let (mut alice, mut bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    // On a busy machine a kill may come when all of them have been removed.
    for _ in 0..10 {
        let (stream, id) = alice.open("/sse?events=none", None).await;
        bind_many(&alice, &id, COUNT).await;
        let mut watching = bob.stream_of("/sse?snapshot=false", None).await.cut_off_allowed();
        drop(stream);
        while watching.next().await.data != "null" {}
        server.kill();
        server = server.restart().await;
        (alice, bob) = (again(&server, &alice), again(&server, &bob));
        // A client that comes back now is too late: its events are being removed already.
        let left = bob.latest("/events").await.len();
        let (_back, taken) = alice.open("/sse", Some(&id)).await;
        assert_ne!(taken, id, "{left} are left");
        until("the rest to go", async || bob.latest("/events").await.is_empty().then_some(())).await;
        if left > 0 {
            return;
        }
    }
    panic!("no kill came in the middle");
}
