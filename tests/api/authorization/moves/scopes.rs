//! Guards moves of a user where scopes count, and changes that are no move.

use serde_json::json;

use super::{TENANTS, insert_with_her, owned, split_left, start, without_inbox};
use crate::sse::control_events::{marked, until_sync};
use crate::support::{insert_names, move_to, names, pairs, set_scopes, update};

#[tokio::test]
async fn other_scopes_in_the_same_change_count_at_once() {
    let (server, alice, [bob, mallory]) = start(&["--authorize=scopes"]).await;
    set_scopes(&server.client(), "alice", &["a:get", "mark:get"]).await;
    let all = owned(&["b", "a", "@alice/x", "u/alice"]);
    insert_with_her(&server, &mallory, &all, "old").await;
    insert_names(&bob, &all, "old").await;
    bob.insert("@bob/x", json!("old")).await;
    let mut told = marked(&alice, "&except=mark", None).await;
    assert_eq!(names(&until_sync(&mut told).await.0), ["a", "@alice/x"]);
    let mut plain = alice.stream().await;
    assert_eq!(names(&plain.so_far(&bob).await), ["a", "@alice/x"]);
    let scopes = ["b:get", "u/{username}:get", "mark:get"];
    update(&server.client(), "alice", json!({ "tenant_name": "other", "scopes": scopes })).await;
    let expected = ["b", "@alice/x", "u/alice"];
    let (came, _) = until_sync(&mut told).await;
    let (lost, latest) = split_left(&came);
    assert_eq!(lost, ["@alice/x", "a"]);
    assert_eq!(names(latest), expected);
    assert_eq!(names(&plain.so_far(&mallory).await), expected);
    insert_names(&bob, &without_inbox(&all), "hidden").await;
    let mut live = insert_names(&mallory, &all, "live").await;
    live.retain(|(_, name)| expected.contains(&name.as_str()));
    for stream in [&mut plain, &mut told] {
        // The second one takes no mark, and so what comes is counted.
        assert_eq!(pairs(&stream.take(3).await), live);
    }
    assert_eq!(plain.so_far(&mallory).await, []);
}

#[tokio::test]
async fn a_user_moved_with_the_scopes_that_they_have_keeps_them() {
    let (server, alice, clerks) = start(&["--authorize=scopes"]).await;
    let client = server.client();
    set_scopes(&client, "alice", &["a:get", "u/{username}:get", "mark:get"]).await;
    let all = owned(&["b", "a", "@alice/x", "u/alice", "u/bob"]);
    let expected = ["@alice/x", "a", "u/alice"];
    // What was hidden has come after what is in her inbox there.
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    insert_with_her(&server, &clerks[1], &all, "old").await;
    insert_names(&clerks[0], &all, "old").await;
    let mut stream = alice.stream().await;
    assert_eq!(sorted(owned(&names(&stream.so_far(&clerks[0]).await))), expected);
    for at in [1, 0, 1] {
        move_to(&client, "alice", TENANTS[at]).await;
        assert_eq!(sorted(owned(&names(&stream.so_far(&clerks[at]).await))), expected);
        insert_names(&clerks[1 - at], &without_inbox(&all), "hidden").await;
        let mut live = insert_names(&clerks[at], &all, "live").await;
        live.retain(|(_, name)| expected.contains(&name.as_str()));
        assert_eq!(pairs(&stream.so_far(&clerks[at]).await), live);
    }
}

#[tokio::test]
async fn the_tenant_and_the_scopes_that_somebody_has_already_are_no_move() {
    let (server, alice, [bob, _]) = start(&[]).await;
    bob.insert("a", json!(1)).await;
    let mut stream = marked(&alice, "", None).await;
    assert_eq!(names(&until_sync(&mut stream).await.0), ["a"]);
    move_to(&server.client(), "alice", "acme").await;
    set_scopes(&server.client(), "alice", &["b:get"]).await;
    assert_eq!(stream.so_far(&bob).await, []);
}
