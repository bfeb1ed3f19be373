//! Guards `authorize=scopes`: `…:get` to see, `…:post` to insert and remove.

mod changes;

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{
    Event, TestServer, User, command, current_of, kept, listed, missing, names, pairs, set_scopes, user_with,
};

pub type Names = &'static [&'static str];

pub const SCOPES: &[&str] = &["--authorize=scopes"];

/// A server with `authorize=scopes`, and a user that may insert everything and see nothing.
pub async fn start() -> (TestServer, User) {
    let server = TestServer::start_with(SCOPES).await;
    let root = user_with(&server, "root", &["*:post"]).await;
    (server, root)
}

/// So many names, every other one of the two prefixes.
pub fn two_kinds(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{}{number}", ["a/", "b/"][number % 2])).collect()
}

pub fn of_kind(inserted: &[(String, String)], prefix: &str) -> Vec<(String, String)> {
    inserted.iter().filter(|(_, name)| name.starts_with(prefix)).cloned().collect()
}

#[tokio::test]
async fn a_user_sees_the_names_of_their_scopes_and_nothing_else() {
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
async fn a_filter_does_not_show_events_that_scopes_hide() {
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
    // A user without scopes may do nothing, and a user with all of them everything.
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
async fn the_latest_event_is_not_told_to_a_user_that_may_not_see_it() {
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
async fn a_user_created_without_scopes_has_the_default_ones() {
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
    // A user that is given some, or none, has those alone.
    let none = user_with(&server, "none", &[]).await;
    assert_eq!(listed(&none, "x=1").await, [""; 0]);
    missing(&none.try_insert("chat/1", json!(1)).await, "chat/1:post");
    let other = user_with(&server, "other", &["other:get"]).await;
    assert_eq!(listed(&other, "x=1").await, ["other"]);
}

#[tokio::test]
async fn without_default_scopes_a_user_created_without_any_has_none() {
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
async fn twenty_users_with_four_kinds_of_scopes_each_get_their_events_in_order() {
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
