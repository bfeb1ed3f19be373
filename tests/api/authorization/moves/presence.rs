//! Guards the presence of a user that is moved to another tenant, and the events that end with their stream.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::{TENANTS, start};
use crate::presence::{
    GRACE, LATE, after_the_grace, beginning, bind, gone, is_in_time, left, machine_time, online, past_the_grace, quiet,
    removal, there, there_in_time, time, told,
};
use crate::support::{in_time, move_to};

const QUIET: &str = "/sse?events=none";
const WATCHING: &str = "/sse?presence=true&events=mark";

#[tokio::test]
async fn a_moved_user_is_online_there_at_once_and_gone_from_the_old_tenant_after_the_grace() {
    let (_server, alice, [bob, mallory]) = start(&[]).await;
    let (mut of_bob, mut of_mallory) = (bob.stream_of(WATCHING, None).await, mallory.stream_of(WATCHING, None).await);
    for stream in [&mut of_bob, &mut of_mallory] {
        beginning(stream, 1, 0).await;
    }
    let _stream = alice.stream_of(QUIET, None).await;
    let people = there(&bob, &[("alice", 1), ("bob", 1)]).await;
    assert_eq!(told(&mut of_bob).await, people[0].online());
    let moved = time(&bob).await;
    move_to(&alice.client, "alice", "other").await;
    let people = there(&mallory, &[("alice", 1), ("mallory", 1)]).await;
    assert!(people[0].since >= moved, "{people:?}, moved at {moved}");
    assert_eq!(told(&mut of_mallory).await, people[0].online());
    there(&bob, &[("alice", 0), ("bob", 1)]).await;
    assert_eq!(told(&mut of_bob).await, gone("alice"));
    after_the_grace(moved, time(&bob).await);
    there(&bob, &[("bob", 1)]).await;
    there(&mallory, &[("alice", 1), ("mallory", 1)]).await;
    quiet(&mut of_bob, &bob).await;
    quiet(&mut of_mallory, &mallory).await;
}

#[tokio::test]
async fn all_streams_of_a_moved_user_are_counted_in_the_new_tenant() {
    let (_server, alice, [bob, mallory]) = start(&[]).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(alice.stream_of(QUIET, None).await);
    }
    there(&bob, &[("alice", 3)]).await;
    move_to(&alice.client, "alice", "other").await;
    there(&mallory, &[("alice", 3)]).await;
    there(&bob, &[("alice", 0)]).await;
    // What ends now ends there.
    streams.pop();
    there(&mallory, &[("alice", 2)]).await;
    streams.push(alice.stream_of(QUIET, None).await);
    there(&mallory, &[("alice", 3)]).await;
    move_to(&alice.client, "alice", "acme").await;
    there(&bob, &[("alice", 3)]).await;
    streams.clear();
    there(&bob, &[("alice", 0)]).await;
    there(&mallory, &[]).await;
    there(&bob, &[]).await;
}

#[tokio::test]
async fn a_watcher_that_is_moved_is_told_of_the_users_of_the_new_tenant_only() {
    let (server, alice, [bob, mallory]) = start(&[]).await;
    let (carol, dave) = (server.user("carol", "acme").await, server.user("dave", "acme").await);
    let erin = server.user("erin", "other").await;
    // Others go on to be told, on each thread of the server.
    let mut of_bob = Vec::new();
    for _ in 0..6 {
        of_bob.push(bob.stream_of(WATCHING, None).await);
    }
    let (of_carol, of_mallory) = (carol.stream_of(QUIET, None).await, mallory.stream_of(QUIET, None).await);
    there(&bob, &[("bob", 6), ("carol", 1)]).await;
    let mut watching = alice.stream_of(WATCHING, None).await;
    beginning(&mut watching, 3, 0).await;

    move_to(&alice.client, "alice", "other").await;
    let people = there(&mallory, &[("alice", 1), ("mallory", 1)]).await;
    let mut expected = online(&people);
    expected.extend([gone("bob"), gone("carol")]);
    let mut said = BTreeMap::new();
    for _ in 0..expected.len() {
        let (username, data) = told(&mut watching).await;
        said.insert(username, data);
    }
    assert_eq!(said, expected);
    // Nobody twice.
    quiet(&mut watching, &mallory).await;

    // One comes to the tenant that she has left, and one goes from there, both of which is nothing to her.
    let _of_dave = dave.stream_of(QUIET, None).await;
    drop(of_carol);
    there(&bob, &[("bob", 6), ("dave", 1)]).await;
    let _of_erin = erin.stream_of(QUIET, None).await;
    let people = there(&mallory, &[("alice", 1), ("erin", 1), ("mallory", 1)]).await;
    assert_eq!(told(&mut watching).await, people[1].online());
    drop(of_mallory);
    assert_eq!(told(&mut watching).await, gone("mallory"));
    quiet(&mut watching, &mallory).await;
}

#[tokio::test]
async fn events_bound_in_the_old_tenant_go_and_those_bound_in_the_new_one_last_as_long_as_the_stream() {
    in_time("a client within the grace", async || {
        let (_server, alice, [bob, mallory]) = start(&[]).await;
        let (stream, id) = alice.open(QUIET, None).await;
        bind(&alice, &id, &["seat/alice"]).await;
        alice.insert("seat/free", json!(1)).await;
        let moved = time(&bob).await;
        move_to(&alice.client, "alice", "other").await;
        bind(&alice, &id, &["seat/alice"]).await;
        let of_acme = removal(&bob, "seat/alice").await;
        after_the_grace(moved, of_acme.timestamp);
        assert_eq!(of_acme.username, "alice");
        past_the_grace(&mallory).await;
        assert_eq!(left(&bob, "seat/*").await, ["seat/free"]);
        assert_eq!(left(&mallory, "seat/*").await, ["seat/alice"]);
        // A client that comes back there takes it over.
        let since = Instant::now();
        drop(stream);
        there_in_time(&mallory, &[("alice", 0)]).await?;
        let (stream, again) = alice.open(QUIET, Some(&id)).await;
        if !is_in_time(since) {
            return None;
        }
        assert_eq!(again, id);
        there(&mallory, &[("alice", 1)]).await;
        bind(&alice, &id, &["seat/again"]).await;
        let closed = time(&mallory).await;
        drop(stream);
        for name in ["seat/alice", "seat/again"] {
            after_the_grace(closed, removal(&mallory, name).await.timestamp);
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_user_that_returns_to_the_old_tenant_within_the_grace_was_never_gone_from_there() {
    in_time("a client within the grace", async || {
        let (_server, alice, [bob, mallory]) = start(&[]).await;
        let mut of_bob = bob.stream_of(WATCHING, None).await;
        beginning(&mut of_bob, 1, 0).await;
        let (_stream, id) = alice.open(QUIET, None).await;
        assert_eq!(told(&mut of_bob).await.0, "alice");
        bind(&alice, &id, &["seat/alice"]).await;
        let before = there(&bob, &[("alice", 1), ("bob", 1)]).await;
        let since = Instant::now();
        move_to(&alice.client, "alice", "other").await;
        there(&mallory, &[("alice", 1)]).await;
        bind(&alice, &id, &["desk/alice"]).await;
        let back = time(&mallory).await;
        move_to(&alice.client, "alice", "acme").await;
        if !is_in_time(since) {
            return None;
        }
        assert_eq!(there(&bob, &[("alice", 1), ("bob", 1)]).await, before);
        // From the other one she has gone.
        after_the_grace(back, removal(&mallory, "desk/alice").await.timestamp);
        there(&mallory, &[]).await;
        past_the_grace(&bob).await;
        assert_eq!(left(&bob, "seat/*").await, ["seat/alice"]);
        assert_eq!(there(&bob, &[("alice", 1), ("bob", 1)]).await, before);
        quiet(&mut of_bob, &bob).await;
        Some(())
    })
    .await;
}

#[tokio::test]
async fn after_a_kill_within_the_grace_events_bound_in_the_new_tenant_wait_for_their_client() {
    in_time("a client within the grace", async || {
        let (server, alice, [bob, mallory]) = start(&[]).await;
        let usernames = ["alice", "carol", "dave"];
        let users = [alice, server.user("carol", "acme").await, server.user("dave", "acme").await];
        let (mut streams, mut ids) = (Vec::new(), Vec::new());
        for (user, username) in users.iter().zip(usernames) {
            let (stream, id) = user.open(QUIET, None).await;
            bind(user, &id, &[&format!("seat/{username}")]).await;
            streams.push(stream);
            ids.push(id);
        }
        let since = Instant::now();
        for ((user, username), id) in users.iter().zip(usernames).zip(&ids) {
            move_to(&user.client, username, TENANTS[1]).await;
            bind(user, id, &[&format!("desk/{username}")]).await;
        }
        let from = machine_time();
        if !is_in_time(since) {
            return None;
        }
        let since = Instant::now();
        let server = server.end_and_restart(true).await;
        let started = machine_time();
        // The tokens are as good as before.
        let [alice, carol, _] = users.map(|user| server.client().with_authorization(&user.authorization));
        let [bob, mallory] = [bob, mallory].map(|user| server.client().with_authorization(&user.authorization));
        let by_query = format!("{QUIET}&stream={}", ids[1]);
        let back = [alice.open(QUIET, Some(&ids[0])).await, carol.open(&by_query, None).await];
        if !is_in_time(since) {
            return None;
        }
        for ((_, id), before) in back.iter().zip(&ids) {
            assert_eq!(id, before);
        }
        there(&mallory, &[("alice", 1), ("carol", 1)]).await;
        let due = from + GRACE..=started + GRACE + LATE;
        for username in usernames {
            let removal = removal(&bob, &format!("seat/{username}")).await;
            assert!(due.contains(&removal.timestamp), "{removal:?} {due:?}");
            assert_eq!(removal.username, username);
        }
        // Dave does not come back.
        let of_dave = removal(&mallory, "desk/dave").await;
        assert!(due.contains(&of_dave.timestamp), "{of_dave:?} {due:?}");
        past_the_grace(&mallory).await;
        assert_eq!(left(&mallory, "desk/*").await, ["desk/alice", "desk/carol"]);
        bind(&alice, &ids[0], &["desk/again"]).await;
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_ended_before_the_move_is_not_taken_over_after_it() {
    in_time("a client within the grace", async || {
        let (_server, alice, [bob, mallory]) = start(&[]).await;
        let (stream, id) = alice.open(QUIET, None).await;
        bind(&alice, &id, &["seat/alice"]).await;
        let began = time(&bob).await;
        drop(stream);
        there_in_time(&bob, &[("alice", 0)]).await?;
        move_to(&alice.client, "alice", "other").await;
        let (_stream, new_id) = alice.open(QUIET, Some(&id)).await;
        assert_ne!(new_id, id);
        let of_acme = removal(&bob, "seat/alice").await;
        assert!(of_acme.timestamp <= began + GRACE + LATE, "{of_acme:?}, began at {began}");
        there(&mallory, &[("alice", 1)]).await;
        Some(())
    })
    .await;
}
