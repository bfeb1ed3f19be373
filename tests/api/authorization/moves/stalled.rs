//! Guards a move to another tenant while a reader stalls, or in the middle of a snapshot.

use std::collections::HashMap;

use serde_json::json;

use super::{owned, start};
use crate::sse::control_events::removal;
use crate::support::{RawStream, change, insert_big, insert_names, move_to, pairs, text};

#[tokio::test]
async fn a_reader_that_stalls_finds_nothing_of_after_the_move() {
    let (server, alice, [bob, mallory]) = start(&[]).await;
    let small = mallory.insert("small/0", json!("old")).await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let big = insert_big(&bob).await;
    move_to(&server.client(), "alice", "other").await;
    for name in ["big/0", "small/0", "small/1"] {
        bob.insert(name, json!("hidden")).await;
    }
    let live = mallory.insert("small/1", json!("live")).await;
    let mark = mallory.insert("mark", json!(null)).await;
    let came = pairs(&stalled.read_to(&mark).await);
    // What was being written still comes.
    let (begun, new) = came.split_at(came.len().saturating_sub(3));
    assert!(begun.len() < big.len() && big.starts_with(begun), "{} of {}", begun.len(), big.len());
    let expected = [(small, "small/0".to_owned()), (live, "small/1".to_owned()), (mark, "mark".to_owned())];
    assert_eq!(new, expected);
}

#[tokio::test]
async fn a_reader_that_stalls_is_told_to_drop_the_old_names_and_no_name_that_was_new_after_the_move() {
    let (server, alice, [bob, mallory]) = start(&[]).await;
    insert_names(&bob, &owned(&["a", "b", "removed"]), "x").await;
    let mut stalled = RawStream::open_at(&server, &alice, "/sse?marks=true", Some(4096)).await;
    let big: Vec<_> = (0..150).map(|number| format!("large/{number}")).collect();
    for names in big.chunks(20) {
        insert_names(&bob, names, &"x".repeat(60_000)).await;
    }
    move_to(&server.client(), "alice", "other").await;
    for name in ["secret", "b"] {
        bob.insert(name, json!("new")).await;
    }
    removal(&bob, "removed").await;
    let mark = mallory.insert("mark", json!(null)).await;
    let came = stalled.read_to(&mark).await;
    let lost: Vec<_> =
        came.iter().filter(|event| event.name == "$left").map(|event| text(&event.json()["event"])).collect();
    let (large, lost): (Vec<_>, Vec<_>) = lost.into_iter().partition(|name| name.starts_with("large/"));
    assert_eq!(lost, ["a", "b", "removed"]);
    // Of what was inserted before the move and had not come yet nothing is told either.
    let given = came.iter().filter(|event| event.name.starts_with("large/")).count();
    assert_eq!(large.len(), given);
}

#[tokio::test]
async fn a_reader_that_stalls_over_several_moves_ends_with_the_events_of_the_last_tenant() {
    let (server, alice, [bob, mallory]) = start(&[]).await;
    let client = server.client();
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let id = stalled.id();
    let mut inserted = insert_big(&bob).await;
    for tenant in ["other", "acme", "other", "acme"] {
        move_to(&client, "alice", tenant).await;
        mallory.insert("elsewhere", json!(tenant)).await;
        for name in ["small/0", "big/0"] {
            inserted.push((bob.insert(name, json!(tenant)).await, name.to_owned()));
        }
    }
    let mark = bob.insert("mark", json!(null)).await;
    inserted.push((mark.clone(), "mark".to_owned()));
    let mut came = pairs(&stalled.read_to(&mark).await);
    came.retain(|(_, name)| name != "elsewhere");
    let view = |events: Vec<(String, String)>| -> HashMap<String, String> {
        events.into_iter().map(|(id, name)| (name, id)).collect()
    };
    assert_eq!(view(came), view(inserted));
    // And it is the stream that it was.
    change(&alice, &id, json!({ "events": "live" })).await;
    let live = bob.insert("live", json!(1)).await;
    stalled.read_to(&live).await;
}

#[tokio::test]
async fn a_move_in_the_middle_of_a_snapshot_ends_that_and_gives_all_of_the_new_tenant() {
    let (server, alice, [bob, mallory]) = start(&[]).await;
    let all: Vec<_> = (0..5000).map(|number| format!("name{number}")).collect();
    let data = "x".repeat(2000);
    // Some before and some after what the reader is in the middle of. More than the sockets' buffers take.
    let mut there = insert_names(&mallory, &all[..500], &data).await;
    let here = insert_names(&bob, &all, &data).await;
    there.extend(insert_names(&mallory, &all[500..1000], &data).await);
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let mut came = stalled.events().await.unwrap();
    there.extend(insert_names(&mallory, &all[1000..1100], &data).await);
    move_to(&server.client(), "alice", "other").await;
    bob.insert("name0", json!("hidden")).await;
    let mark = mallory.insert("mark", json!(null)).await;
    there.push((mark.clone(), "mark".to_owned()));
    came.extend(stalled.read_to(&mark).await);
    let came = pairs(&came);
    let (begun, rest) = came.split_at(came.len().saturating_sub(there.len()));
    assert!(begun.len() < here.len() && here.starts_with(begun), "{} of {}", begun.len(), here.len());
    assert!(rest == there, "{} of {}", rest.len(), there.len());
}
