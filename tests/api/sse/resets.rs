//! Guards `$reset`: a client that cannot be given what it missed is told to drop what it has.

use std::process::Command;

use serde_json::json;

use crate::sse::control_events::{
    assert_reset, assert_synced, marked, missed, removal, until_few_are_kept, until_sync,
};
use crate::support::{
    Event, RawStream, TestServer, change, foreign, insert_big, insert_names, move_to, names, pairs, set_scopes,
    user_with,
};

#[tokio::test]
async fn an_id_that_is_none_of_this_database_is_a_reset_and_gives_everything() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["a", "b", "a", "gone"] {
        alice.insert(name, json!(1)).await;
    }
    let last = removal(&alice, "gone").await;
    let another = TestServer::start().await;
    let elsewhere = another.user("alice", "acme").await.insert("a", json!(1)).await;
    // Not given yet.
    let later = format!("{:022}", last.parse::<u128>().unwrap() + 1_000_000_000);
    for id in ["abc", "1", "-1", "null", "\u{fc}", &elsewhere, &foreign(&last), &later, &format!("{last}0"), &last[1..]]
    {
        let mut stream = marked(&alice, "", Some(id)).await;
        assert_reset(&stream.next().await, "unknown_id");
        let (events, _) = until_sync(&mut stream).await;
        let came: Vec<_> = names(&events).into_iter().filter(|name| *name != "mark").collect();
        assert_eq!(came, ["b", "a"], "{id}");
        assert_eq!(stream.so_far(&alice).await, [], "{id}");
        let mut filtered = marked(&alice, "&events=b", Some(id)).await;
        assert_reset(&filtered.next().await, "unknown_id");
        assert_eq!(names(&until_sync(&mut filtered).await.0), ["b"], "{id}");
        let mut new = marked(&alice, "&snapshot=false", Some(id)).await;
        assert_reset(&new.next().await, "unknown_id");
        assert_synced(&new.next().await);
        assert_eq!(new.so_far(&alice).await, [], "{id}");
    }
}

#[tokio::test]
async fn an_id_from_after_the_backup_that_was_restored_is_a_reset() {
    let mut server = TestServer::start().await;
    let common = server.user("alice", "acme").await.insert("a", json!(1)).await;
    server.signal("TERM");
    assert!(server.ended().await.success());
    let (database, copy) = (server.database(), server.database().with_extension("copy"));
    let copied = Command::new("cp").arg("-r").arg(&database).arg(&copy).status().unwrap();
    assert!(copied.success());

    let mut server = server.restart().await;
    let lost = insert_names(&server.client().sign_in("alice").await, &["a".into(), "b".into()], "lost").await;
    server.kill();
    std::fs::remove_dir_all(&database).unwrap();
    std::fs::rename(&copy, &database).unwrap();

    let server = server.restart().await;
    let alice = server.client().sign_in("alice").await;
    // As many as were lost, and more: each place in the order is taken again.
    let inserted = insert_names(&alice, &["c".into(), "d".into(), "c".into()], "anew").await;
    for (id, _) in lost {
        let mut stream = marked(&alice, "", Some(&id)).await;
        assert_reset(&stream.next().await, "unknown_id");
        assert_eq!(names(&until_sync(&mut stream).await.0), ["a", "d", "c"]);
        alice.get(&format!("/history?event=a&after={id}")).await.refused(400, "id_unknown");
    }
    // What is older than the copy is known, and so is what came since.
    assert_eq!(pairs(&missed(&alice, "", &common).await), inserted);
    assert_eq!(pairs(&missed(&alice, "", &inserted[0].0).await), inserted[1..]);
}

#[tokio::test]
async fn a_user_that_came_to_another_tenant_is_reset_and_gets_everything_of_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "before").await;
    let bob = server.user("bob", "after").await;
    bob.insert("older", json!(1)).await;
    let mut stream = marked(&alice, "", None).await;
    until_sync(&mut stream).await;
    alice.insert("news", json!(1)).await;
    let last = stream.next().await.id;
    bob.insert("newer", json!(1)).await;
    drop(stream);
    move_to(&server.client(), "alice", "after").await;
    bob.insert("newest", json!(1)).await;
    let mut stream = marked(&alice, "", Some(&last)).await;
    assert_reset(&stream.next().await, "other_tenant");
    let (events, synced) = until_sync(&mut stream).await;
    assert_eq!(names(&events), ["older", "newer", "newest"]);
    // From there on it is a stream as any other.
    let live = bob.insert("live", json!(1)).await;
    assert_eq!(stream.next().await.id, live);
    assert_eq!(missed(&alice, "", &synced).await, [Event::new("live", &live, "1")]);
}

#[tokio::test]
async fn a_client_that_missed_more_than_is_retained_is_reset_and_gets_everything() {
    let server = TestServer::start_with(&["--retain_events=20"]).await;
    let alice = server.user("alice", "acme").await;
    let still = alice.insert("still", json!("not changed since")).await;
    alice.insert("gone", json!(1)).await;
    let seen = alice.insert("seen", json!(null)).await;
    removal(&alice, "gone").await;
    let all: Vec<_> = (0..300).map(|number| format!("name{}", number % 4)).collect();
    let inserted = insert_names(&alice, &all, "x").await;
    until_few_are_kept(&alice, &all[..4], 25).await;
    // A client that missed less is not reset.
    let mut stream = marked(&alice, "", Some(&inserted[290].0)).await;
    let (events, _) = until_sync(&mut stream).await;
    assert_eq!(pairs(&events), inserted[291..]);

    let mut expected = vec![(still, "still".to_owned()), (seen.clone(), "seen".to_owned())];
    expected.extend_from_slice(&inserted[296..]);
    let mut stream = marked(&alice, "", Some(&seen)).await;
    assert_reset(&stream.next().await, "not_kept");
    let (events, _) = until_sync(&mut stream).await;
    assert_eq!(pairs(&events), expected);
    assert_eq!(stream.so_far(&alice).await, []);
}

#[tokio::test]
async fn a_client_that_reads_no_further_than_a_reset_still_gets_everything() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["a", "b", "c"] {
        alice.insert(name, json!("old")).await;
    }
    // As a connection that breaks then, and an EventSource that reconnects with the last id it saw.
    let mut stream = marked(&alice, "", Some("abc")).await;
    let reset = stream.next().await;
    assert_reset(&reset, "unknown_id");
    drop(stream);
    let (events, _) = until_sync(&mut marked(&alice, "", Some(&reset.id)).await).await;
    let events: Vec<_> = names(&events).into_iter().filter(|name| *name != "$reset").collect();
    assert_eq!(events, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_client_that_waits_long_for_its_events_has_missed_nothing() {
    let server = TestServer::start_with(&["--retain_events=20"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("quiet", json!(1)).await;
    let mut stream = marked(&alice, "&events=quiet,mark", None).await;
    let id = stream.id();
    until_sync(&mut stream).await;
    // More than is kept, in memory or on the disk, and none of it wanted.
    let all: Vec<_> = (0..40).map(|number| format!("name{}", number % 4)).collect();
    insert_names(&alice, &all, &"x".repeat(20_000)).await;
    until_few_are_kept(&alice, &all[..4], 25).await;
    change(&alice, &id, json!({ "events": "quiet,mark,name0" })).await;
    let (events, _) = until_sync(&mut stream).await;
    assert_eq!(names(&events), ["name0"]);
    assert_eq!(stream.so_far(&alice).await, []);
}

/// What is known at the end by who reads a stream with control events that was left unread, and what came since it was last reset. It must
/// have been, because not all was kept.
async fn read_after_reset(stalled: &mut RawStream, until: &str) -> Vec<Event> {
    let mut came = stalled.read_to(until).await;
    let reset = came.iter().rposition(|event| event.name == "$reset").expect("a reset");
    let rest = came.split_off(reset);
    assert_reset(&rest[0], "not_kept");
    assert!(came.iter().all(|event| event.name != "$left"), "it was reset instead");
    rest.into_iter().skip(1).filter(|event| event.name != "$synced").collect()
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_for_retention_is_reset_and_gets_everything() {
    let server = TestServer::start_with(&["--retain_events=20"]).await;
    let alice = server.user("alice", "acme").await;
    let still = alice.insert("still", json!(1)).await;
    alice.insert("gone", json!(1)).await;
    let mut stalled = RawStream::open_at(&server, &alice, "/sse?marks=true", Some(4096)).await;
    insert_big(&alice).await;
    removal(&alice, "gone").await;
    let all: Vec<_> = (0..100).map(|number| format!("big/{}", number % 10)).collect();
    let inserted = insert_names(&alice, &all, "small").await;
    until_few_are_kept(&alice, &all[..10], 25).await;
    let mut expected = vec![(still, "still".to_owned())];
    expected.extend_from_slice(&inserted[90..]);
    let came = read_after_reset(&mut stalled, &inserted[99].0).await;
    assert_eq!(pairs(&came), expected);
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_to_be_told_of_lost_names_is_reset() {
    let server = TestServer::start_with(&["--authorize=scopes", "--retain_events=20"]).await;
    let root = user_with(&server, "root", &["*:get", "*:post"]).await;
    let alice = user_with(&server, "alice", &["*:get"]).await;
    for name in ["lost", "gone", "still"] {
        root.insert(name, json!(1)).await;
    }
    let mut stalled = RawStream::open_at(&server, &alice, "/sse?marks=true", Some(4096)).await;
    insert_big(&root).await;
    set_scopes(&server.client(), "alice", &["still:get", "big/*:get"]).await;
    // Of one of the lost names it is soon not known any more that it was there.
    removal(&root, "gone").await;
    let all: Vec<_> = (0..100).map(|number| format!("big/{}", number % 10)).collect();
    let inserted = insert_names(&root, &all, "small").await;
    until_few_are_kept(&root, &all[..10], 25).await;
    let came = read_after_reset(&mut stalled, &inserted[99].0).await;
    assert_eq!(names(&came)[0], "still");
    assert_eq!(pairs(&came[1..]), inserted[90..]);
}
