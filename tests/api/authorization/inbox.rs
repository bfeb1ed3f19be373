//! Guards inboxes: only bob sees `@bob/…`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Event, TestServer, User, change, current_of, kept, listed, missing, move_to, names, pairs, set_scopes, user_with,
};

/// Inboxes are the same in both modes.
const MODES: [&str; 2] = ["--authorize=open", "--authorize=scopes"];

/// A user with every right that a user can have.
async fn user(server: &TestServer, username: &str) -> User {
    user_with(server, username, &["*:get", "*:post"]).await
}

/// Whether somebody receives events of a name.
fn receives(username: &str, name: &str) -> bool {
    name.strip_prefix('@').and_then(|rest| rest.split_once('/')).is_none_or(|(owner, _)| owner == username)
}

#[tokio::test]
async fn events_of_an_inbox_come_to_its_owner_alone() {
    for mode in MODES {
        let server = TestServer::start_with(&[mode]).await;
        let (alice, bob, carol) =
            (user(&server, "alice").await, user(&server, "bob").await, user(&server, "carol").await);
        let before = alice.insert("before", json!(0)).await;
        let (mut of_alice, mut of_carol) = (alice.stream().await, carol.stream().await);
        let mut of_bob = [
            bob.stream().await,
            bob.stream_of("/sse?events=@bob/*,mark", None).await,
            bob.client.sign_in("bob").await.stream_of("/sse?except=before", None).await,
        ];
        let first = Event::new("@bob/x", &alice.insert("@bob/x", json!(1)).await, "1");
        let second = Event::new("@bob/x", &carol.insert("@bob/x", json!(2)).await, "2");
        let own = Event::new("@bob/y", &bob.insert("@bob/y", json!(3)).await, "3");
        let all = [first.clone(), second.clone(), own.clone()];
        for stream in &mut of_bob {
            let mut came = stream.so_far(&alice).await;
            came.retain(|event| event.name != "before");
            assert_eq!(came, all, "{mode}");
        }
        assert_eq!(names(&of_alice.so_far(&alice).await), ["before"], "{mode}");
        assert_eq!(names(&of_carol.so_far(&alice).await), ["before"], "{mode}");
        // At first, on resuming, and where it is read.
        for other in [&alice, &carol] {
            assert_eq!(names(&other.stream_of("/sse", None).await.so_far(&alice).await), ["before"], "{mode}");
            assert_eq!(other.stream_of("/sse?events=@bob/*,mark", None).await.so_far(&alice).await, [], "{mode}");
            assert_eq!(other.stream_of("/sse", Some(&before)).await.so_far(&alice).await, [], "{mode}");
            assert_eq!(other.stream_of("/sse", Some(&first.id)).await.so_far(&alice).await, [], "{mode}");
            assert_eq!(listed(other, "x=1").await, ["before"], "{mode}");
            assert_eq!(listed(other, "events=@bob/x,@bob/*").await, [""; 0], "{mode}");
            let page = other.get("/history?event=@bob/x").await.ok().json();
            assert_eq!(page, json!({ "events": [], "next": null }), "{mode}");
            assert_eq!(current_of(other, "@bob/x").await, Value::Null, "{mode}");
        }
        assert_eq!(bob.stream_of("/sse?events=@bob/*,mark", None).await.so_far(&alice).await, all[1..], "{mode}");
        assert_eq!(bob.stream_of("/sse", Some(&before)).await.so_far(&alice).await, all, "{mode}");
        assert_eq!(bob.stream_of("/sse", Some(&first.id)).await.so_far(&alice).await, all[1..], "{mode}");
        assert_eq!(names(&bob.stream_of("/sse?except=@bob/*", None).await.so_far(&alice).await), ["before"], "{mode}");
        assert_eq!(listed(&bob, "x=1").await, ["before", "@bob/x", "@bob/y"], "{mode}");
        assert_eq!(listed(&bob, "events=@bob/x").await, ["@bob/x"], "{mode}");
        assert_eq!(kept(&bob, "@bob/x").await, [second.id.clone(), first.id.clone()], "{mode}");
        assert_eq!(current_of(&bob, "@bob/x").await["id"], json!(second.id), "{mode}");
    }
}

#[tokio::test]
async fn the_owner_of_an_inbox_is_between_the_at_sign_and_the_first_slash() {
    for mode in MODES {
        let server = TestServer::start_with(&[mode]).await;
        let usernames = ["bob", "bobby", "b", "team", "bøb", "@bob"];
        let mut users = Vec::new();
        for username in usernames {
            users.push(user(&server, username).await);
        }
        let all = [
            "@bob/",
            "@bob/x",
            "@bob/x/y",
            "@bob/@alice/x",
            "@bobby/x",
            "@b/ob/x",
            "@team/bob/x",
            "@team/x",
            "@bøb/x",
            "@@bob/x",
            "@news",
            "@bob",
            "@",
            "x@bob/y",
            "/@bob/x",
            "x @bob/y",
        ];
        for name in all {
            users[0].insert(name, json!(1)).await;
        }
        for (username, user) in usernames.into_iter().zip(&users) {
            let expected: Vec<_> = all.into_iter().filter(|name| receives(username, name)).collect();
            let mut stream = user.stream().await;
            assert_eq!(names(&stream.so_far(user).await), expected, "{mode}: {username}, new");
            assert_eq!(listed(user, "x=1").await, expected, "{mode}: {username}");
            for name in all {
                users[0].insert(name, json!(2)).await;
            }
            assert_eq!(names(&stream.so_far(user).await), expected, "{mode}: {username}, live");
        }
    }
}

#[tokio::test]
async fn anybody_may_remove_an_event_of_an_inbox_and_its_owner_learns_of_it() {
    for mode in MODES {
        let server = TestServer::start_with(&[mode]).await;
        let (alice, bob) = (user(&server, "alice").await, user(&server, "bob").await);
        let (mut of_alice, mut of_bob) = (alice.stream().await, bob.stream().await);
        let inserted = alice.insert("@bob/x", json!(1)).await;
        let removal = alice.post("/remove", &json!({ "event": "@bob/x" })).await.ok().json();
        let expected =
            [Event::new("@bob/x", &inserted, "1"), Event::new("@bob/x", removal["id"].as_str().unwrap(), "null")];
        assert_eq!(of_bob.so_far(&alice).await, expected, "{mode}");
        assert_eq!(of_alice.so_far(&alice).await, [], "{mode}");
        assert_eq!(alice.stream_of("/sse", Some(&inserted)).await.so_far(&alice).await, [], "{mode}");
        assert_eq!(bob.stream_of("/sse", Some(&inserted)).await.so_far(&alice).await, expected[1..], "{mode}");
        // With an array as well, of which everybody gets their part.
        let array = json!([{ "event": "@bob/x", "data": 1 }, { "event": "news", "data": 1 }]).to_string();
        alice.insert_raw(array).await.ok();
        assert_eq!(names(&of_bob.so_far(&alice).await), ["@bob/x", "news"], "{mode}");
        assert_eq!(names(&of_alice.so_far(&alice).await), ["news"], "{mode}");
    }
}

#[tokio::test]
async fn another_filter_shows_the_inbox_of_its_user_alone() {
    for mode in MODES {
        let server = TestServer::start_with(&[mode]).await;
        let (alice, bob) = (user(&server, "alice").await, user(&server, "bob").await);
        for name in ["@bob/x", "news", "@alice/x"] {
            alice.insert(name, json!(1)).await;
        }
        let mut stream = bob.stream_of("/sse?events=mark", None).await;
        let id = stream.id();
        let steps: [(Value, &[&str]); 4] = [
            (json!({ "events": "@alice/*,@alice/x,mark" }), &[]),
            (json!({ "events": "@*,mark" }), &["@bob/x"]),
            (json!({}), &["news"]),
            (json!({ "except": "@bob/*" }), &[]),
        ];
        for (filter, replayed) in steps {
            change(&bob, &id, filter.clone()).await;
            assert_eq!(names(&stream.so_far(&alice).await), replayed, "{mode}: {filter}");
        }
    }
}

#[tokio::test]
async fn bob_of_another_tenant_sees_nothing_of_it_before_he_comes_over() {
    for mode in MODES {
        let server = TestServer::start_with(&[mode]).await;
        let alice = user(&server, "alice").await;
        let more = json!({ "scopes": ["*:get", "*:post"] });
        alice.client.create_user_with("bob", "other", more).await.ok();
        let bob = alice.client.sign_in("bob").await;
        // He has been there, and gone again.
        move_to(&alice.client, "bob", "acme").await;
        let theirs = alice.insert("@bob/x", json!(1)).await;
        move_to(&alice.client, "bob", "other").await;
        let before = bob.insert("@bob/own", json!(1)).await;
        let mut stream = bob.stream().await;
        alice.try_insert("@bob/x", json!(2)).await.refused(404, "inbox_unknown");
        assert_eq!(names(&stream.so_far(&bob).await), ["@bob/own"], "{mode}");
        assert_eq!(bob.stream_of("/sse", Some(&before)).await.so_far(&bob).await, [], "{mode}");
        assert_eq!(listed(&bob, "x=1").await, ["@bob/own"], "{mode}");
        assert_eq!(kept(&bob, "@bob/x").await, [""; 0], "{mode}");
        move_to(&alice.client, "bob", "acme").await;
        let theirs = [Event::new("@bob/x", &theirs, "1")];
        assert_eq!(stream.so_far(&alice).await, theirs, "{mode}");
        assert_eq!(bob.stream_of("/sse", None).await.so_far(&alice).await, theirs, "{mode}");
    }
}

#[tokio::test]
async fn no_scope_opens_an_inbox_and_none_is_needed_for_the_own_one() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let alice = user(&server, "alice").await;
    let bob = user_with(&server, "bob", &[]).await;
    let all = &["*:get", "@*:get", "@bob/*:get", "@bob/x:get", "@bob/{username}:get", "mark:get"];
    let mallory = user_with(&server, "mallory", all).await;
    let (mut of_bob, mut of_mallory) = (bob.stream().await, mallory.stream().await);
    for name in ["@bob/x", "@bob/mallory", "news"] {
        alice.insert(name, json!(1)).await;
    }
    // There is no other name that bob receives.
    assert_eq!(names(&of_bob.up_to(&alice, "@bob/mark").await), ["@bob/x", "@bob/mallory"]);
    assert_eq!(names(&of_mallory.so_far(&alice).await), ["news"]);
    assert_eq!(listed(&bob, "x=1").await, ["@bob/x", "@bob/mallory", "@bob/mark"]);
    assert_eq!(listed(&mallory, "x=1").await, ["news"]);
    // Whatever becomes of scopes.
    for scopes in [&["news:get"][..], &["@alice/*:get"], &["*:get"], &[]] {
        set_scopes(&alice.client, "bob", scopes).await;
        let id = alice.insert("@bob/x", json!(2)).await;
        let came = of_bob.up_to(&alice, "@bob/mark").await;
        assert!(came.contains(&Event::new("@bob/x", &id, "2")), "{scopes:?}: {came:?}");
        assert!(came.iter().all(|event| receives("bob", &event.name)), "{scopes:?}: {came:?}");
        assert_eq!(came.iter().filter(|event| event.name.starts_with('@')).count(), 1, "{scopes:?}: {came:?}");
    }
    set_scopes(&alice.client, "mallory", &["@bob/*:get", "mark:get"]).await;
    assert_eq!(of_mallory.so_far(&alice).await, []);
}

#[tokio::test]
async fn to_insert_into_an_inbox_takes_a_scope_that_names_it() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let bob = user_with(&server, "bob", &[]).await;
    let mut stream = bob.stream().await;
    for (number, (scope, may)) in [
        ("@bob/x:post", true),
        ("@bob/*:post", true),
        ("@*:post", true),
        ("*:post", true),
        ("@bob/y:post", false),
        ("@bob:post", false),
        ("bob/x:post", false),
        ("@{username}/*:post", false),
        ("@bob/x:get", false),
    ]
    .into_iter()
    .enumerate()
    {
        let user = user_with(&server, &format!("user{number}"), &[scope]).await;
        let answer = user.try_insert("@bob/x", json!(number)).await;
        if may {
            answer.ok();
            assert_eq!(stream.next().await.data, number.to_string(), "{scope}");
        } else {
            missing(&answer, "@bob/x:post");
            missing(&user.post("/remove", &json!({ "event": "@bob/x" })).await, "@bob/x:post");
        }
    }
    // Nor may the owner without one.
    missing(&bob.try_insert("@bob/x", json!(1)).await, "@bob/x:post");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_everybody_gets_their_own_in_order() {
    const TARGETS: [&str; 8] =
        ["news", "@alice/in", "@bob/in", "@carol/in", "chat/1", "@bob/other", "@dave/in", "@news"];
    for mode in MODES {
        let server = TestServer::start_with(&[mode]).await;
        let usernames = ["alice", "bob", "carol", "dave"];
        let mut users = Vec::new();
        for username in usernames {
            users.push((username, user(&server, username).await));
        }
        let wants_all: fn(&str) -> bool = |_| true;
        let wants_inboxes: fn(&str) -> bool = |name| name.starts_with('@');
        let wants_others: fn(&str) -> bool = |name| name != "@bob/in";
        let mut streams = Vec::new();
        for (username, user) in &users {
            streams.push((*username, user.stream().await, wants_all));
        }
        // Bob has two more.
        let bob = &users[1].1;
        streams.push(("bob", bob.stream_of("/sse?events=@*,mark", None).await, wants_inboxes));
        streams.push(("bob", bob.stream_of("/sse?except=@bob/in", None).await, wants_others));
        let writers = users.iter().enumerate().map(|(writer, (_, user))| async move {
            let mut inserted = Vec::new();
            for number in 0..60 {
                let name = TARGETS[(3 * writer + number) % TARGETS.len()];
                inserted.push((user.insert(name, json!(number)).await, name.to_owned()));
            }
            inserted
        });
        let mut inserted: Vec<_> = join_all(writers).await.into_iter().flatten().collect();
        inserted.sort();
        let theirs = |username: &str, wants: fn(&str) -> bool| -> Vec<(String, String)> {
            inserted.iter().filter(|(_, name)| receives(username, name) && wants(name)).cloned().collect()
        };
        let alice = &users[0].1;
        for (username, stream, wants) in &mut streams {
            assert_eq!(pairs(&stream.so_far(alice).await), theirs(username, *wants), "{mode}: {username}, live");
        }
        for (username, user) in &users {
            let expected = theirs(username, wants_all);
            for seen in [0, 100, 239] {
                let after = &inserted[seen].0;
                let missed: Vec<_> = expected.iter().filter(|(id, _)| id > after).cloned().collect();
                let came: Vec<Event> = user.stream_of("/sse", Some(after)).await.so_far(alice).await;
                assert_eq!(pairs(&came), missed, "{mode}: {username}, resumed");
            }
            for name in TARGETS {
                let ids: Vec<_> = expected.iter().rev().filter(|(_, other)| other == name).map(|(id, _)| id).collect();
                assert_eq!(kept(user, name).await.iter().collect::<Vec<_>>(), ids, "{mode}: {username}, {name}");
            }
        }
    }
}
