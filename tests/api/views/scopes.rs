//! `authorize=scopes`: `pattern:get` to see, `pattern:post` to insert and remove.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::flood::{check_changes, check_changes_in_a_row};
use super::marks::{assert_reset, marked, to_sync};
use super::{
    current_of, insert_big, insert_names, kept, listed, missing, names, pairs, read_to, set_scopes, user_with,
};
use crate::stream::raw::RawStream;
use crate::support::{Event, TestServer, User, command};

type Names = &'static [&'static str];

const SCOPES: &[&str] = &["--authorize=scopes"];

/// A server where scopes count, and somebody who may insert everything there and sees nothing.
async fn start() -> (TestServer, User) {
    let server = TestServer::start_with(SCOPES).await;
    let root = user_with(&server, "root", &["*:post"]).await;
    (server, root)
}

/// So many names, every other one of the two prefixes.
fn two_kinds(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{}{number}", ["a/", "b/"][number % 2])).collect()
}

fn of_kind(inserted: &[(String, String)], prefix: &str) -> Vec<(String, String)> {
    inserted.iter().filter(|(_, name)| name.starts_with(prefix)).cloned().collect()
}

#[tokio::test]
async fn what_a_scope_names_is_seen_and_nothing_else() {
    let (server, root) = start().await;
    // One token for all of it: the rights are those of the user, not of the token.
    let alice = user_with(&server, "alice", &[]).await;
    let all = ["news", "newsroom", "chat", "chat/1", "u/alice/x", "u/bob/x", "alice", "New", "@home", "ünï"];
    let mut first = String::new();
    for name in all {
        let id = root.insert(name, json!("old")).await;
        first = if first.is_empty() { id } else { first };
    }
    let cases: [(&[&str], &[&str]); 16] = [
        (&[], &[]),
        (&["news:get"], &["news"]),
        (&["news*:get"], &["news", "newsroom"]),
        (&["chat/*:get", "news:get"], &["news", "chat/1"]),
        (&["chat/1*:get"], &["chat/1"]),
        (&["*:get"], &all),
        (&["*:get", "news:get"], &all),
        (&["*:post", "news:post"], &[]),
        (&["*:read", "*:GET", "get:news"], &[]),
        (&["{username}:get"], &["alice"]),
        (&["u/{username}/*:get"], &["u/alice/x"]),
        (&["u/{username}/x:get", "chat:get"], &["chat", "u/alice/x"]),
        (&["u/{user}/*:get", "u/{Username}/*:get"], &[]),
        (&["@*:get"], &["@home"]),
        (&["ünï:get"], &["ünï"]),
        (&["ne*s:get", "**:get"], &[]),
    ];
    for (scopes, expected) in cases {
        let with_mark: Vec<_> = scopes.iter().copied().chain(["mark:get"]).collect();
        set_scopes(&root.client, "alice", &with_mark).await;
        let mut stream = alice.stream().await;
        assert_eq!(names(&stream.so_far(&root).await), expected, "{scopes:?} at first");
        assert_eq!(listed(&alice, "x=1").await, expected, "{scopes:?}");
        for name in all {
            root.insert(name, json!("new")).await;
            let is_kept = !kept(&alice, name).await.is_empty();
            assert_eq!(is_kept, expected.contains(&name), "{scopes:?}: the history of {name}");
        }
        assert_eq!(names(&stream.so_far(&root).await), expected, "{scopes:?} live");
        let missed = alice.stream_of("/sse", Some(&first)).await.so_far(&root).await;
        assert!(missed.iter().all(|event| expected.contains(&event.name.as_str())), "{scopes:?}: {missed:?}");
        assert!(names(&missed).ends_with(expected), "{scopes:?} on resuming: {missed:?}");
    }
    assert_eq!(alice.verify().await.status, 200);
}

#[tokio::test]
async fn a_filter_does_not_show_what_scopes_hide() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["news:get", "chat/*:get", "mark:get"]).await;
    for name in ["news", "secret", "chat/1", "secret/1"] {
        root.insert(name, json!(1)).await;
    }
    let cases: [(&str, &[&str]); 4] = [
        ("events=secret,secret/*,mark", &[]),
        ("events=secret*,news,mark", &["news"]),
        ("events=*", &["news", "chat/1"]),
        ("except=news", &["chat/1"]),
    ];
    for (query, expected) in cases {
        assert_eq!(listed(&alice, query).await, expected, "{query}");
        assert_eq!(
            names(&alice.stream_of(&format!("/sse?{query}"), None).await.so_far(&root).await),
            expected,
            "{query}"
        );
    }
    let page = alice.get("/history?event=secret").await.ok().json();
    assert_eq!(page, json!({ "events": [], "next": null }), "as of a name that never was");
}

#[tokio::test]
async fn without_the_scope_nothing_is_inserted_or_removed() {
    let (server, root) = start().await;
    let reader = user_with(&server, "reader", &["*:get"]).await;
    let alice = user_with(&server, "alice", &["news:post", "chat/*:post", "u/{username}*:post", "x:get"]).await;
    let mut stream = reader.stream().await;
    let mut expected = Vec::new();
    for name in ["news", "chat/1", "chat/", "u/alice", "u/alice/1"] {
        expected.push(Event::new(name, &alice.insert(name, json!(1)).await, "1"));
        let removal = alice.remove(name).await.ok().json();
        expected.push(Event::new(name, removal["id"].as_str().unwrap(), "null"));
    }
    for name in ["newsroom", "new", "chat", "u/bob", "u/", "x", "News", "@home", "ünï"] {
        expected.push(Event::new(name, &root.insert(name, json!(1)).await, "1"));
        let scope = format!("{name}:post");
        missing(&alice.try_insert(name, json!(2)).await, &scope);
        missing(&alice.remove(name).await, &scope);
        missing(&reader.remove(name).await, &scope);
    }
    assert_eq!(stream.so_far(&root).await, expected);
    // Who has no scope may do nothing, and who has all of them everything.
    let nobody = user_with(&server, "nobody", &[]).await;
    missing(&nobody.try_insert("news", json!(1)).await, "news:post");
    root.remove("newsroom").await.ok();
}

#[tokio::test]
async fn an_array_with_one_insert_that_may_not_be_inserts_nothing() {
    let (server, root) = start().await;
    let reader = user_with(&server, "reader", &["*:get"]).await;
    let alice = user_with(&server, "alice", &["a:post", "b*:post"]).await;
    let mut stream = reader.stream().await;
    let array = |names: &[&str]| {
        let inserts = names.iter().map(|name| json!({ "event": name, "data": 1 })).collect();
        Value::Array(inserts).to_string()
    };
    for (events, scope) in
        [(&["x", "a", "b"][..], "x:post"), (&["a", "x", "b"], "x:post"), (&["a", "b", "y", "x"], "y:post")]
    {
        missing(&alice.insert_raw(array(events)).await, scope);
    }
    alice.insert_raw(array(&["a", "b1", "b"])).await.ok();
    assert_eq!(names(&stream.so_far(&root).await), ["a", "b1", "b"]);
}

#[tokio::test]
async fn the_latest_event_is_not_told_to_who_may_not_see_it() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["*:post", "open/*:get"]).await;
    let open = root.insert("open/doc", json!("seen")).await;
    root.insert("secret/doc", json!("not seen")).await;
    let current = current_of(&alice, "open/doc").await;
    assert_eq!((&current["id"], &current["data"]), (&json!(open), &json!("seen")));
    assert_eq!(current_of(&alice, "secret/doc").await, Value::Null);
}

#[tokio::test]
async fn a_token_has_the_rights_of_its_user_now() {
    let (server, root) = start().await;
    let none = user_with(&server, "alice", &[]).await;
    set_scopes(&root.client, "alice", &["news:get", "news:post", "mark:get"]).await;
    let all = none.client.sign_in("alice").await;
    for user in [&none, &all] {
        let id = user.insert("news", json!(1)).await;
        assert_eq!(kept(user, "news").await[0], id);
    }
    set_scopes(&root.client, "alice", &["mark:get"]).await;
    for user in [&none, &all] {
        assert_eq!(user.verify().await.status, 200);
        missing(&user.try_insert("news", json!(1)).await, "news:post");
        assert_eq!(user.stream_of("/sse", None).await.so_far(&root).await, []);
        assert_eq!(kept(user, "news").await, [""; 0]);
    }
}

#[tokio::test]
async fn who_is_created_without_scopes_has_the_default_ones() {
    let server = TestServer::start_with(&["--authorize=scopes", "--default_scopes=news:get,chat/*:post"]).await;
    let client = server.client();
    let root = user_with(&server, "root", &["*:get", "*:post"]).await;
    let news = root.insert("news", json!(1)).await;
    root.insert("other", json!(1)).await;
    client.create_user("absent", "acme").await;
    client.create_user_with("null", "acme", json!({ "scopes": null })).await.ok();
    for username in ["absent", "null"] {
        let user = client.sign_in(username).await;
        assert_eq!(listed(&user, "x=1").await, ["news"], "{username}");
        assert_eq!(user.stream().await.next().await.id, news, "{username}");
        user.insert("chat/1", json!(1)).await;
        missing(&user.try_insert("news", json!(1)).await, "news:post");
        let shown = client.admin("/get_user", json!({ "username": username })).await.ok().json();
        assert_eq!(shown["scopes"], json!(["news:get", "chat/*:post"]), "{username}");
    }
    // Who is given some, or none, has those alone.
    let none = user_with(&server, "none", &[]).await;
    assert_eq!(listed(&none, "x=1").await, [""; 0]);
    missing(&none.try_insert("chat/1", json!(1)).await, "chat/1:post");
    let other = user_with(&server, "other", &["other:get"]).await;
    assert_eq!(listed(&other, "x=1").await, ["other"]);
}

#[tokio::test]
async fn without_default_scopes_who_is_created_without_any_has_none() {
    let (server, root) = start().await;
    root.insert("news", json!(1)).await;
    let alice = server.user("alice", "acme").await;
    assert_eq!(listed(&alice, "x=1").await, [""; 0]);
    missing(&alice.try_insert("news", json!(1)).await, "news:post");
}

#[tokio::test]
async fn a_bad_flag_is_status_2_with_a_message_that_names_it() {
    for (flag, said) in [
        ("--default_scopes=news", "default_scopes"),
        ("--default_scopes=news:", "default_scopes"),
        ("--default_scopes=:get", "default_scopes"),
        ("--default_scopes=news:get,a:b:c", "default_scopes"),
        ("--authorize=maybe", "authorize"),
        ("--authorize=", "authorize"),
        ("--streams_per_user=-1", "streams_per_user"),
        ("--streams_per_user=many", "streams_per_user"),
    ] {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let started = TestServer::try_start(directory, move |directory| command(&[flag.to_owned()], directory)).await;
        let why = started.err().unwrap_or_else(|| panic!("{flag} is taken"));
        assert!(why.starts_with("exit status: 2:") && why.contains(said), "{flag}: {why}");
    }
}

#[tokio::test]
async fn in_open_mode_everybody_may_do_everything() {
    let server = TestServer::start_with(&["--authorize=open"]).await;
    let alice = user_with(&server, "alice", &[]).await;
    let bob = user_with(&server, "bob", &["x:get", "x:post"]).await;
    let mut stream = alice.stream().await;
    let id = bob.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
    assert_eq!(listed(&alice, "x=1").await, ["news"]);
    assert_eq!(kept(&alice, "news").await, [id]);
    alice.remove("news").await.ok();
}

#[tokio::test]
async fn twenty_users_with_four_kinds_of_scopes_each_get_what_is_theirs_in_order() {
    let (server, root) = start().await;
    let all = ["a/1", "b/1", "c", "a/2", "u/user3/x", "b/2", "u/user7/x", "u/user19/x"];
    // The same in another order, or said twice, is the same.
    let scopes = |number: usize| -> Names {
        match (number % 4, number % 8 < 4) {
            (0, true) => &["a/*:get", "c:get", "mark:get"],
            (0, false) => &["mark:get", "c:get", "a/*:get", "a/1:get"],
            (1, true) => &["b/*:get", "a/1:get", "mark:get"],
            (1, false) => &["a/1:get", "mark:get", "x:post", "b/*:get"],
            (2, _) => &["*:get"],
            _ => &["a/*:get", "c:get", "mark:get", "u/{username}/*:get"],
        }
    };
    let sees = |number: usize, name: &str| match number % 4 {
        0 => name == "c" || name.starts_with("a/"),
        1 => name == "a/1" || name.starts_with("b/"),
        2 => true,
        _ => name == "c" || name.starts_with("a/") || name == format!("u/user{number}/x"),
    };
    let mut streams = Vec::new();
    for number in 0..20 {
        let user = user_with(&server, &format!("user{number}"), scopes(number)).await;
        streams.push((user.stream().await, user));
    }
    // Of several at once, so that what is written together is not alike.
    let writers = (0..5_usize).map(|writer| {
        let root = &root;
        async move {
            let mut inserted = Vec::new();
            for number in 0..40 {
                let name = all[(writer + number) % all.len()];
                inserted.push((root.insert(name, json!(number)).await, name.to_owned()));
            }
            inserted
        }
    });
    let mut inserted: Vec<_> = futures_util::future::join_all(writers).await.into_iter().flatten().collect();
    inserted.sort();
    for (number, (stream, user)) in streams.iter_mut().enumerate() {
        let expected: Vec<_> = inserted.iter().filter(|(_, name)| sees(number, name)).cloned().collect();
        assert_eq!(pairs(&stream.so_far(&root).await), expected, "user{number}, live");
        let came = user.stream_of("/sse", Some(&inserted[99].0)).await.so_far(&root).await;
        let missed: Vec<_> = expected.iter().filter(|(id, _)| *id > inserted[99].0).cloned().collect();
        assert_eq!(pairs(&came), missed, "user{number}, resumed");
        let mut latest: Vec<_> = expected;
        latest.reverse();
        let mut seen = HashSet::new();
        latest.retain(|(_, name)| seen.insert(name.clone()));
        latest.reverse();
        assert_eq!(pairs(&user.stream_of("/sse", None).await.so_far(&root).await), latest, "user{number}, new");
    }
}

#[tokio::test]
async fn what_is_gained_comes_and_what_is_lost_stops_and_the_stream_goes_on() {
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
async fn who_comes_back_with_the_id_of_what_was_lost_is_reset() {
    let (server, root) = start().await;
    let alice = user_with(&server, "alice", &["a:get", "b:get"]).await;
    insert_names(&root, &["a", "b", "c"].map(str::to_owned), "x").await;
    let mut stream = marked(&alice, "", None).await;
    assert_eq!(names(&to_sync(&mut stream).await.0), ["a", "b"]);
    set_scopes(&server.client(), "alice", &["c:get"]).await;
    let lost = stream.next().await;
    assert_eq!((lost.name.as_str(), lost.json()), ("$left", json!({ "event": "a" })));
    drop(stream);
    // She has heard nothing of b.
    let mut stream = marked(&alice, "", Some(&lost.id)).await;
    let (came, _) = to_sync(&mut stream).await;
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
async fn what_is_lost_in_the_middle_of_a_snapshot_stops_there() {
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
    came.extend(read_to(&mut stalled, &mark).await);
    let came = pairs(&came);
    assert_eq!(came.last().map(|(id, _)| id), Some(&mark));
    assert!(of_kind(&came, "a/") == of_kind(&inserted, "a/"), "of {} events", came.len());
    let of_b = of_kind(&came, "b/");
    assert!(of_b.len() < 2500 && of_kind(&inserted, "b/").starts_with(&of_b), "{} came", of_b.len());
}

#[tokio::test]
async fn what_is_gained_in_the_middle_of_a_snapshot_comes_with_it() {
    let (server, root) = start().await;
    let inserted = insert_names(&root, &two_kinds(5000), &"x".repeat(2000)).await;
    let alice = user_with(&server, "alice", &["a/*:get", "mark:get"]).await;
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let mut came = stalled.events().await.unwrap();
    set_scopes(&root.client, "alice", &["a/*:get", "b/*:get", "mark:get"]).await;
    let mark = root.insert("mark", json!(null)).await;
    came.extend(read_to(&mut stalled, &mark).await);
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
    let came = read_to(&mut stalled, &mark).await;
    let (begun, rest): (Vec<Event>, Vec<Event>) = came.into_iter().partition(|event| event.name.starts_with("big/"));
    let begun = pairs(&begun);
    assert!(begun.len() < big.len() && big.starts_with(&begun), "{} of {}, and {hidden}", begun.len(), big.len());
    // By the time that it is replayed there may be a newer one.
    let rest = pairs(&rest);
    let rest: Vec<_> = rest.iter().map(|(id, _)| id).filter(|id| **id != small).collect();
    assert_eq!(rest, [&live, &mark]);
}

#[tokio::test]
async fn what_was_gained_and_lost_again_before_it_was_read_never_comes() {
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
    let mut came = read_to(&mut stalled, &mark).await;
    came.retain(|event| !event.name.starts_with("big/"));
    assert_eq!(names(&came), ["other", "mark"]);
}

#[tokio::test]
async fn scopes_hold_over_a_restart_and_a_kill() {
    let (mut server, root) = start().await;
    let alice = user_with(&server, "alice", &["secret:get", "secret:post", "mark:get"]).await;
    root.insert("secret", json!(1)).await;
    root.insert("news", json!(1)).await;
    let seen = root.insert("mark", json!(null)).await;
    set_scopes(&root.client, "alice", &["news:get", "news:post", "mark:get"]).await;
    for kill in [true, false] {
        server = server.end_and_restart(kill).await;
        let [root, alice] = [&root, &alice].map(|user| server.client().with_authorization(&user.authorization));
        assert_eq!(names(&alice.stream_of("/sse", None).await.so_far(&root).await), ["news"]);
        missing(&alice.try_insert("secret", json!(2)).await, "secret:post");
        let hidden = root.insert("secret", json!(2)).await;
        let news = alice.insert("news", json!(2)).await;
        let came = pairs(&alice.stream_of("/sse", Some(&seen)).await.so_far(&root).await);
        assert_eq!(came.last(), Some(&(news, "news".to_owned())), "and not {hidden}");
        assert!(came.iter().all(|(_, name)| name == "news"), "{came:?}");
    }
}
