//! Guards `/remove`.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Event, Receipt, TestServer, User, after_kill, names, one, until};

async fn remove_raw(user: &User, body: &str) -> Answer {
    user.post("/remove", body).await
}

#[tokio::test]
async fn subscribers_get_null_with_the_id_that_the_removal_was_answered() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let (mut all, mut filtered) = (alice.stream().await, bob.stream_of("/sse?events=news", None).await);
    let mut of_others = bob.stream_of("/sse?events=other,mark", None).await;
    let first = alice.insert("news", json!({ "a": 1 })).await;
    // Any user of the tenant may, as any may insert.
    let removal: Receipt = bob.remove("news").await.read();
    assert!(removal.id > first, "{removal:?} comes after {first}");
    for stream in [&mut all, &mut filtered] {
        assert_eq!(
            stream.take(2).await,
            [Event::new("news", &first, r#"{"a":1}"#), Event::new("news", &removal.id, "null")]
        );
    }
    let mark = alice.insert("mark", json!(null)).await;
    assert!(mark > removal.id);
    assert_eq!(of_others.next().await.id, mark);
}

#[tokio::test]
async fn a_removed_name_is_neither_in_a_list_nor_in_a_new_stream() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["news", "newsroom", "new", "news/1"] {
        alice.insert(name, json!(1)).await;
    }
    // From here on the latest of each name are in memory.
    assert_eq!(alice.coming("/sse", None).await.len(), 4);
    alice.remove("news").await.ok();
    assert_eq!(names(&alice.latest("/events").await), ["newsroom", "new", "news/1", "mark"]);
    assert_eq!(alice.latest("/events?events=news").await, []);
    for path in ["/sse", "/sse?events=new*,mark"] {
        let came = alice.coming(path, None).await;
        let came: Vec<_> = came.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(came, ["newsroom", "new", "news/1"], "{path}");
    }
}

#[tokio::test]
async fn of_a_great_many_names_those_that_were_removed_are_not_in_a_new_stream() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for first in (0..4000).step_by(1000) {
        let array = (first..first + 1000).map(|number| one(&format!("name{number}"), number)).collect();
        alice.insert_raw(Value::Array(array)).await.ok();
    }
    for name in ["name0", "name1999", "name3999"] {
        alice.remove(name).await.ok();
    }
    let came = alice.coming("/sse?events=name*,mark", None).await;
    let expected = (0..4000).filter(|number| ![0, 1999, 3999].contains(number));
    assert_eq!(came.iter().map(Event::json).collect::<Vec<_>>(), expected.map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_resumes_learns_of_the_removal_only_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let before = alice.insert("before", json!(1)).await;
    let first = alice.insert("news", json!(1)).await;
    let removal: Receipt = alice.remove("news").await.read();
    let after = alice.insert("after", json!(1)).await;
    let (inserted, removed) = (Event::new("news", &first, "1"), Event::new("news", &removal.id, "null"));
    let after_it = Event::new("after", &after, "1");
    let come = |id: String| {
        let alice = &alice;
        async move { alice.coming("/sse", Some(&id)).await }
    };
    assert_eq!(come(before).await, [inserted, removed.clone(), after_it.clone()]);
    assert_eq!(come(first.clone()).await, [removed.clone(), after_it.clone()]);
    assert_eq!(come(removal.id).await, [after_it]);
    assert_eq!(alice.coming("/sse?events=news,mark", Some(&first)).await, [removed]);
}

#[tokio::test]
async fn an_insert_brings_a_removed_name_back() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut stream = alice.stream().await;
    let first = alice.insert("news", json!(1)).await;
    let removal: Receipt = bob.remove("news").await.read();
    let second = alice.insert("news", json!(2)).await;
    let came = stream.take(3).await;
    assert_eq!(
        came,
        [Event::new("news", &first, "1"), Event::new("news", &removal.id, "null"), Event::new("news", &second, "2")]
    );
    assert_eq!(alice.coming("/sse", None).await, [Event::new("news", &second, "2")]);
    assert_eq!(alice.latest("/events?events=news").await[0].id, second);
    let kept = alice.history("event=news&order=oldest").await.events;
    let kept: Vec<_> = kept.iter().map(|event| (event.id.as_str(), &*event.data, &*event.username)).collect();
    assert_eq!(kept, [(&*first, "1", "alice"), (&*removal.id, "null", "bob"), (&*second, "2", "alice")]);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_404() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mallory = server.user("mallory", "other").await;
    mallory.insert("theirs", json!(1)).await;
    alice.insert("news/1", json!(1)).await;
    alice.insert("removed", json!(1)).await;
    alice.remove("removed").await.ok();
    alice.insert_raw(json!({ "event": "expired", "data": 1, "expires_in": 1 })).await.ok();
    until("the expiry", async || alice.latest("/events?events=expired").await.is_empty().then_some(())).await;
    let last = alice.insert("last", json!(1)).await;
    // No name is a pattern here.
    for name in ["never", "theirs", "removed", "expired", "news", "news/", "news/*", "*", "News/1"] {
        alice.remove(name).await.refused(404, "event_unknown");
    }
    // And nothing of that took a place in the order.
    assert_eq!(alice.coming("/sse", Some(&last)).await, []);
    assert_eq!(names(&mallory.latest("/events").await), ["theirs"]);
}

#[tokio::test]
async fn a_removal_does_not_touch_the_same_name_of_another_tenant() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let others = [server.user("mallory", "acm").await, server.user("oscar", "acme/").await];
    for user in [&alice, &others[0], &others[1]] {
        user.insert("news", json!(1)).await;
    }
    let mut theirs = others[0].stream().await;
    assert_eq!(theirs.next().await.name, "news");
    alice.remove("news").await.ok();
    for other in &others {
        assert_eq!(names(&other.latest("/events").await), ["news"]);
        assert_eq!(other.history("event=news").await.events.len(), 1);
    }
    let own = others[0].insert("own", json!(1)).await;
    assert_eq!(theirs.next().await.id, own);
}

#[tokio::test]
async fn without_credentials_nothing_is_removed() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    let body = Some(r#"{"event":"news"}"#.as_bytes().to_vec());
    server.client().request(Method::POST, "/remove", &[], body).await.refused(401, "unauthorized");
    let nobody = server.client().with_authorization("Bearer x");
    for body in [r#"{"event":"news"}"#, r#"{"event":"never"}"#, "{"] {
        remove_raw(&nobody, body).await.refused(401, "unauthorized");
    }
    assert_eq!(names(&alice.latest("/events").await), ["news"]);
}

#[tokio::test]
async fn a_body_that_names_nothing_is_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    for bad in [
        "",
        "{",
        "{}",
        "[]",
        r#"["news"]"#,
        r#""news""#,
        r#"{"event":null}"#,
        r#"{"event":["news"]}"#,
        r#"{"event":7}"#,
    ] {
        remove_raw(&alice, bad).await.refused(400, "body_invalid");
    }
    for bad in ["", "a\nb", "data:", "\u{2028}", &"x".repeat(257)] {
        alice.remove(bad).await.refused(400, "event_name_invalid");
    }
    let answer = alice.send(Method::GET, "/remove", &[], None).await.refused(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    assert_eq!(names(&alice.latest("/events").await), ["news"]);
    remove_raw(&alice, " {\"unknown\":[1],\n\"event\" : \"news\"} ").await.ok();
}

#[tokio::test]
async fn an_insert_of_null_is_no_removal() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("news", json!(null)).await;
    assert_eq!(alice.latest("/events").await[0].data, "null");
    assert_eq!(alice.coming("/sse", None).await, [Event::new("news", &id, "null")]);
    alice.remove("news").await.ok();
    assert_eq!(alice.latest("/events?events=news").await, []);
}

#[tokio::test]
async fn of_many_removals_at_once_one_is_done() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let first = alice.insert("news", json!(1)).await;
    let answers = join_all((0..30).map(|_| alice.remove("news"))).await;
    let (mut done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(done.len(), 1);
    for answer in refused {
        answer.refused(404, "event_unknown");
    }
    let removal: Receipt = done.remove(0).read();
    let mark = alice.insert("mark", json!(null)).await;
    let ids: Vec<_> = stream.take(3).await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, [first, removal.id, mark]);
}

#[tokio::test]
async fn a_removed_name_stays_removed_over_kills_and_checkpoints() {
    // So short a journal that it is moved into the database on the way.
    let server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    let first = alice.insert("news", json!(1)).await;
    alice.insert("back", json!(1)).await;
    let removal: Receipt = alice.remove("news").await.read();
    alice.remove("back").await.ok();
    let back = alice.insert("back", json!(2)).await;
    let (mut server, mut alice) = after_kill(server, &alice).await;
    for round in 0..3 {
        for name in ["news", "never"] {
            alice.remove(name).await.refused(404, "event_unknown");
        }
        assert_eq!(alice.latest("/events?events=news,back").await.len(), 1);
        let came = alice.coming("/sse?events=news,back,mark", Some(&first)).await;
        assert!(came.contains(&Event::new("news", &removal.id, "null")), "{came:?}");
        let came = alice.coming("/sse?events=news,back,mark", None).await;
        assert_eq!(came, [Event::new("back", &back, "2")], "round {round}");
        for number in 0..20 {
            alice.insert("filler", json!([number, "x".repeat(10_000)])).await;
        }
        (server, alice) = after_kill(server, &alice).await;
    }
}
