//! Guards changes of scopes while streams are open.

use serde_json::json;

use super::{Names, of_kind, start, two_kinds};
use crate::sse::control_events::{assert_reset, marked, until_sync};
use crate::subscription::flood::{check_changes, check_changes_in_a_row};
use crate::support::{Event, RawStream, insert_big, insert_names, names, pairs, set_scopes, user_with};

#[tokio::test]
async fn gained_names_come_and_lost_ones_stop_and_the_stream_goes_on() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["a:get", "mark:get"]).await;
    let bob = user_with(&server, "bob", &["a:get", "mark:get"]).await;
    for name in ["c", "a", "b", "c", "u/alice"] {
        root.insert(name, json!("old")).await;
    }
    let (mut all, mut filtered) = (alice.stream().await, alice.stream_of("/sse?events=b,u/*,mark", None).await);
    let mut of_bob = bob.stream().await;
    assert_eq!(names(&all.so_far(&root).await), ["a"]);
    assert_eq!(names(&filtered.so_far(&root).await), [""; 0]);
    // The scopes, what of it is new, and what comes then; to the stream of everything, and of that the other gets its part.
    let steps: [(Names, Names, Names); 6] = [
        (&["a:get", "b:get", "c:get", "mark:get"], &["b", "c"], &["a", "b", "c"]),
        (&["b:get", "mark:get"], &[], &["b"]),
        (&["{username}:get", "u/{username}:get", "mark:get"], &["u/alice"], &["u/alice"]),
        (&["*:get"], &["a", "b", "c"], &["a", "b", "c", "u/alice"]),
        (&["mark:get"], &[], &[]),
        (&["mark:get", "c*:get", "u/*:get"], &["c", "u/alice"], &["c", "u/alice"]),
    ];
    let part = |names: Names| -> Vec<&'static str> {
        names.iter().copied().filter(|name| *name == "b" || name.starts_with("u/")).collect()
    };
    for (scopes, gained, live) in steps {
        set_scopes(&root.client, "alice", scopes).await;
        assert_eq!(names(&all.so_far(&root).await), gained, "{scopes:?}");
        assert_eq!(names(&filtered.so_far(&root).await), part(gained), "{scopes:?}");
        for name in ["a", "b", "c", "u/alice"] {
            root.insert(name, json!("new")).await;
        }
        assert_eq!(names(&all.so_far(&root).await), live, "{scopes:?}");
        assert_eq!(names(&filtered.so_far(&root).await), part(live), "{scopes:?}");
    }
    // Nobody else's.
    assert_eq!(names(&of_bob.so_far(&root).await), ["a"; 7]);
}

#[tokio::test]
async fn a_client_that_resumes_with_the_id_of_a_lost_event_is_reset() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["a:get", "b:get"]).await;
    insert_names(&root, &["a", "b", "c"].map(str::to_owned), "x").await;
    let mut stream = marked(&alice, "", None).await;
    assert_eq!(names(&until_sync(&mut stream).await.0), ["a", "b"]);
    set_scopes(&server.client(), "alice", &["c:get"]).await;
    let lost = stream.next().await;
    assert_eq!((lost.name.as_str(), lost.json()), ("$left", json!({ "event": "a" })));
    drop(stream);
    // She has heard nothing of b.
    let mut stream = marked(&alice, "", Some(&lost.id)).await;
    let (came, _) = until_sync(&mut stream).await;
    assert_reset(&came[0], "other_scopes");
    assert_eq!(names(&came[1..]), ["c"]);
}

#[tokio::test]
async fn nothing_leaks_after_the_answer_that_takes_a_scope_away() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["secret:get", "mark:get"]).await;
    let mut stream = alice.stream().await;
    for round in 0..100 {
        set_scopes(&root.client, "alice", &["mark:get"]).await;
        let hidden = root.insert("secret", json!(round)).await;
        assert_eq!(stream.so_far(&root).await, [], "round {round}");
        set_scopes(&root.client, "alice", &["mark:get", "secret:get"]).await;
        let live = root.insert("secret", json!("live")).await;
        let came = stream.so_far(&root).await;
        let expected = [Event::new("secret", &hidden, &round.to_string()), Event::new("secret", &live, "\"live\"")];
        // What was gained may have been superseded before it was read for the stream.
        assert!(came == expected || came == expected[1..], "round {round}: {came:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_inserts_pour_in_each_change_of_scopes_gives_all_that_may_be_seen_and_nothing_else() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["both/*:get", "left/*:get", "mark:get"]).await;
    let mut stream = alice.stream().await;
    let turn_to = async |side: &str| {
        set_scopes(&root.client, "alice", &["both/*:get", &format!("{side}*:get"), "mark:get"]).await;
    };
    check_changes(&mut stream, &root, turn_to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_changes_of_scopes_in_a_row_the_last_one_counts() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["both/*:get", "left/*:get", "mark:get"]).await;
    let mut stream = alice.stream().await;
    let turn_to = async |side: &str| {
        set_scopes(&root.client, "alice", &["both/*:get", &format!("{side}*:get"), "mark:get"]).await;
    };
    check_changes_in_a_row(&mut stream, &root, turn_to).await;
}

#[tokio::test]
async fn names_lost_in_the_middle_of_a_snapshot_stop_there() {
    let (server, root) = start().await;
    // More than the sockets' buffers take.
    let inserted = insert_names(&root, &two_kinds(5000), &"x".repeat(2000)).await;
    let alice = user_with(&server, "alice", &["a/*:get", "b/*:get", "mark:get"]).await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    // It has begun.
    let mut came = stalled.events().await.unwrap();
    set_scopes(&root.client, "alice", &["a/*:get", "mark:get"]).await;
    for name in ["b/1", "b/new"] {
        root.insert(name, json!("hidden")).await;
    }
    let mark = root.insert("mark", json!(null)).await;
    came.extend(stalled.read_to(&mark).await);
    let came = pairs(&came);
    assert_eq!(came.last().map(|(id, _)| id), Some(&mark));
    assert!(of_kind(&came, "a/") == of_kind(&inserted, "a/"), "of {} events", came.len());
    let of_b = of_kind(&came, "b/");
    assert!(of_b.len() < 2500 && of_kind(&inserted, "b/").starts_with(&of_b), "{} came", of_b.len());
}

#[tokio::test]
async fn names_gained_in_the_middle_of_a_snapshot_come_with_it() {
    let (server, root) = start().await;
    let inserted = insert_names(&root, &two_kinds(5000), &"x".repeat(2000)).await;
    let alice = user_with(&server, "alice", &["a/*:get", "mark:get"]).await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let mut came = stalled.events().await.unwrap();
    set_scopes(&root.client, "alice", &["a/*:get", "b/*:get", "mark:get"]).await;
    let mark = root.insert("mark", json!(null)).await;
    came.extend(stalled.read_to(&mark).await);
    let mut came = pairs(&came);
    assert_eq!(came.pop(), Some((mark, "mark".to_owned())));
    assert!(of_kind(&came, "a/") == of_kind(&inserted, "a/"), "of {} events", came.len());
    // Those may come in two parts, but each once.
    came.sort();
    assert!(of_kind(&came, "b/") == of_kind(&inserted, "b/"), "of {} events", came.len());
}

#[tokio::test]
async fn a_reader_that_stalls_has_its_new_rights_when_it_reads_again() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["big/*:get", "mark:get"]).await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let small = root.insert("small", json!("old")).await;
    let big = insert_big(&root).await;
    set_scopes(&root.client, "alice", &["small:get", "mark:get"]).await;
    let hidden = root.insert("big/0", json!("hidden")).await;
    let live = root.insert("small", json!("live")).await;
    let mark = root.insert("mark", json!(null)).await;
    let came = stalled.read_to(&mark).await;
    let (begun, rest): (Vec<Event>, Vec<Event>) = came.into_iter().partition(|event| event.name.starts_with("big/"));
    let begun = pairs(&begun);
    assert!(begun.len() < big.len() && big.starts_with(&begun), "{} of {}, and {hidden}", begun.len(), big.len());
    // By the time that it is replayed there may be a newer one.
    let rest = pairs(&rest);
    let rest: Vec<_> = rest.iter().map(|(id, _)| id).filter(|id| **id != small).collect();
    assert_eq!(rest, [&live, &mark]);
}

#[tokio::test]
async fn names_gained_and_lost_again_before_they_were_read_never_come() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["big/*:get", "mark:get"]).await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    root.insert("secret", json!("old")).await;
    root.insert("other", json!("old")).await;
    insert_big(&root).await;
    for scopes in
        [&["secret:get", "mark:get"][..], &["other:get", "secret:get", "mark:get"], &["other:get", "mark:get"]]
    {
        set_scopes(&root.client, "alice", scopes).await;
    }
    let mark = root.insert("mark", json!(null)).await;
    let mut came = stalled.read_to(&mark).await;
    came.retain(|event| !event.name.starts_with("big/"));
    assert_eq!(names(&came), ["other", "mark"]);
}
