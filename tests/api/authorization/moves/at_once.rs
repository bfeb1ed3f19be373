//! Guards what happens at the moment of a move: streams that are opened, inserts, and the first events after the answer.

use serde_json::json;

use super::{TENANTS, start};
use crate::support::{Event, kept, move_to};

#[tokio::test]
async fn nothing_of_the_old_tenant_comes_after_the_answer() {
    let (server, alice, clerks) = start(&[]).await;
    let client = server.client();
    let mut stream = alice.stream().await;
    let mut latest: [Option<Event>; 2] = [None, None];
    for round in 0..60_usize {
        let (from, to) = (round % 2, (round + 1) % 2);
        move_to(&client, "alice", TENANTS[to]).await;
        let hidden = clerks[from].insert("news", json!(round)).await;
        let live = clerks[to].insert("news", json!(round)).await;
        let came = stream.so_far(&clerks[to]).await;
        let live = Event::new("news", &live, &round.to_string());
        let all: Vec<_> = latest[to].take().into_iter().chain([live.clone()]).collect();
        // What there was may have been superseded before it was read for the stream.
        assert!(came == all || came == all[all.len() - 1..], "round {round}: {came:?}");
        latest[to] = Some(live);
        latest[from] = Some(Event::new("news", &hidden, &round.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_opened_during_the_move_is_of_the_new_tenant() {
    let (server, alice, clerks) = start(&[]).await;
    let client = server.client();
    let mut latest = [clerks[0].insert("news", json!(1)).await, clerks[1].insert("news", json!(1)).await];
    for round in 0..40_usize {
        let (from, to) = (round % 2, (round + 1) % 2);
        let (mut stream, ()) = tokio::join!(alice.stream(), move_to(&client, "alice", TENANTS[to]));
        latest[from] = clerks[from].insert("news", json!("hidden")).await;
        let came = stream.so_far(&clerks[to]).await;
        assert_eq!(came.last().map(|event| &event.id), Some(&latest[to]), "round {round}: {came:?}");
        assert!(came.iter().all(|event| event.id != latest[from]), "round {round}: {came:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_during_the_move_is_in_one_tenant_or_the_other() {
    let (server, alice, clerks) = start(&[]).await;
    let client = server.client();
    for round in 0..40_usize {
        let name = format!("of/{round}");
        let (id, ()) = tokio::join!(alice.insert(&name, json!(1)), move_to(&client, "alice", TENANTS[(round + 1) % 2]));
        let mut found = kept(&clerks[0], &name).await;
        found.extend(kept(&clerks[1], &name).await);
        assert_eq!(found, [id], "round {round}");
    }
}

#[tokio::test]
async fn a_retry_after_the_move_does_not_insert_twice() {
    let (server, alice, [_, mallory]) = start(&[]).await;
    let insert = async || alice.insert_with(&[("idempotency-key", "k")], json!({ "event": "news", "data": 1 })).await;
    let first = insert().await.ok();
    move_to(&server.client(), "alice", "other").await;
    insert().await.refused(409, "tenant_changed");
    move_to(&server.client(), "alice", "acme").await;
    let again = insert().await.ok();
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &first.body));
    assert_eq!(kept(&mallory, "news").await, [""; 0]);
}
