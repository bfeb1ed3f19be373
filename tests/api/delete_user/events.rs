//! What a deleted user has inserted: removed, or under another name; the inbox is removed in any case.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Client, Stream, TestServer, User, again, in_time, insert_large, move_to, one, password_of, transient, until,
};

/// A name that stands in no text of the tests.
const GONE: &str = "quirinus";

/// Everything that somebody else is shown of a tenant: the latest events, the histories of these names, and a stream that resumes from
/// the beginning.
async fn everything(by: &User, names: &[&str], since: &str) -> String {
    let mut all = by.get("/events").await.ok().body;
    for name in names {
        for order in ["newest", "oldest"] {
            all += &by.get(&format!("/history?event={name}&order={order}")).await.ok().body;
        }
    }
    let events = by.coming("/sse?envelope=true&marks=true&presence=false", Some(since)).await;
    let snapshot = by.coming("/sse?envelope=true", None).await;
    events.iter().chain(&snapshot).for_each(|event| all += &format!("{}\n{}\n", event.name, event.data));
    all
}

/// Awaits that nothing that somebody else is shown has the name of the deleted user in it.
async fn until_gone(by: &User, names: &[&str], since: &str) -> String {
    until("the name to be gone", async || {
        let all = everything(by, names, since).await;
        (!all.contains(GONE)).then_some(all)
    })
    .await
}

async fn delete(client: &Client, erase: &str) {
    client.admin("/delete_user", json!({ "username": GONE, "erase": erase })).await.ok();
}

/// The user who is to go, and one who stays, with events of both; and the id of the first one.
async fn both(server: &TestServer) -> (User, User, String) {
    let (gone, stays) = (server.user(GONE, "acme").await, server.user("bob", "acme").await);
    let since = stays.insert("begin", json!(null)).await;
    for number in 0..3 {
        gone.insert("shared", json!(format!("of the deleted {number}"))).await;
        stays.insert("shared", json!(format!("of bob {number}"))).await;
    }
    gone.insert("own", json!("of the deleted")).await;
    gone.insert("own", json!("of the deleted again")).await;
    gone.insert_raw(json!({ "event": "lasts", "data": 1, "expires_in": 3600 })).await.ok();
    gone.insert_raw(transient("cursor", 1)).await.ok();
    gone.insert_raw(json!({ "event": "flash", "data": 1, "transient": true, "expires_in": 3600 })).await.ok();
    stays.insert("taken", json!(1)).await;
    gone.remove("taken").await.ok();
    stays.insert(&format!("@{GONE}/mail"), json!("for the deleted")).await;
    gone.insert("@bob/mail", json!("for bob")).await;
    (gone, stays, since)
}

const NAMES: &[&str] = &["shared", "own", "lasts", "cursor", "flash", "taken", "@bob/mail"];

/// The data of the retained events of a name, oldest first, with who inserted each.
async fn history(by: &User, name: &str) -> Vec<(String, String)> {
    let page = by.history(&format!("event={name}&order=oldest")).await;
    page.events.into_iter().map(|event| (event.data, event.username)).collect()
}

#[tokio::test]
async fn anonymised_events_stay_as_they_are_under_a_name_that_nobody_can_have() {
    let server = TestServer::start().await;
    let (_, bob, since) = both(&server).await;
    let latest = async || {
        let latest = bob.latest("/events?except=mark").await.into_iter();
        latest.map(|event| (event.id, event.event, event.data)).collect::<Vec<_>>()
    };
    let before = latest().await;
    delete(&server.client(), "anonymise").await;
    let all = until_gone(&bob, NAMES, &since).await;
    assert_eq!(latest().await, before);
    let by = history(&bob, "own").await[0].1.clone();
    assert!(by.starts_with("deleted:") && by.len() == "deleted:".len() + 16, "{by}");
    assert_eq!(all.matches("of the deleted 0").count(), 3, "in both histories and in the stream");
    for name in ["own", "lasts", "cursor", "flash", "@bob/mail"] {
        assert!(history(&bob, name).await.iter().all(|(_, username)| *username == by), "{name}");
    }
    assert_eq!(history(&bob, "taken").await.last().unwrap().1, by);
    server.client().create_user_with(&by, "acme", json!({})).await.refused(400, "username_invalid");
    // Over a restart it is as it was.
    let server = server.end_and_restart(true).await;
    let bob = again(&server, &bob);
    assert!(!everything(&bob, NAMES, &since).await.contains(GONE));
    assert_eq!(history(&bob, "own").await.len(), 2);
}

#[tokio::test]
async fn removed_events_are_gone_from_histories_too_and_open_streams_are_told() {
    let server = TestServer::start().await;
    let (_, bob, since) = both(&server).await;
    let mut stream = bob.stream_of("/sse?envelope=true&snapshot=false", None).await;
    delete(&server.client(), "remove").await;
    let all = until_gone(&bob, NAMES, &since).await;
    assert!(!all.contains("of the deleted"), "{all}");
    assert_eq!(all.matches("of bob 0").count(), 3);
    let told = stream.so_far(&bob).await;
    let mut removed: Vec<_> =
        told.iter().filter(|event| event.envelope().removed).map(|event| event.name.as_str()).collect();
    removed.sort_unstable();
    assert_eq!(removed, ["@bob/mail", "lasts", "own"], "nobody else's inbox is seen");
    let names: Vec<_> = bob.latest("/events").await.into_iter().map(|event| event.event).collect();
    assert_eq!(names, ["begin", "shared", "mark"]);
    for (name, data) in [("own", &[][..]), ("shared", &["\"of bob 0\"", "\"of bob 1\"", "\"of bob 2\""])] {
        let kept = history(&bob, name).await;
        let kept: Vec<_> = kept.iter().map(|(data, _)| data.as_str()).filter(|data| *data != "null").collect();
        assert_eq!(kept, data, "{name}");
    }
    let server = server.end_and_restart(true).await;
    let bob = again(&server, &bob);
    let all = everything(&bob, NAMES, &since).await;
    assert!(!all.contains(GONE) && !all.contains("of the deleted"), "{all}");
    // The names can be used as ever.
    bob.insert("own", json!("of bob now")).await;
    assert_eq!(bob.everything().await["own"].data, "\"of bob now\"");
}

#[tokio::test]
async fn the_flag_decides_unless_the_admin_does() {
    let by_admin = |erase: Option<&str>| {
        let mut body = json!({ "username": GONE });
        if let Some(erase) = erase {
            body["erase"] = json!(erase);
        }
        body
    };
    for (flag, by, stays) in [
        (None, None, true),
        (None, Some(by_admin(None)), true),
        (Some("--erase=anonymise"), None, true),
        (Some("--erase=remove"), None, false),
        (Some("--erase=remove"), Some(by_admin(None)), false),
        (Some("--erase=remove"), Some(by_admin(Some("anonymise"))), true),
        (Some("--erase=anonymise"), Some(by_admin(Some("remove"))), false),
    ] {
        let server = TestServer::start_with(flag.as_slice()).await;
        let (_, bob, since) = both(&server).await;
        let what = format!("{flag:?} {by:?}");
        match by {
            Some(body) => drop(server.client().admin("/delete_user", body).await.ok()),
            None => {
                let gone = server.client().sign_in(GONE).await;
                gone.post("/delete_me", json!({ "password": password_of(GONE) })).await.ok();
            }
        }
        let all = until_gone(&bob, NAMES, &since).await;
        assert_eq!(all.contains("of the deleted 0"), stays, "{what}");
        let names: Vec<_> = bob.latest("/events").await.into_iter().map(|event| event.event).collect();
        assert_eq!(names.contains(&"own".to_owned()), stays, "{what}");
    }
}

#[tokio::test]
async fn an_erasure_that_is_cut_off_goes_on_after_a_restart() {
    let server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let (gone, bob) = (server.user(GONE, "acme").await, server.user("bob", "acme").await);
    let since = bob.insert("begin", json!(null)).await;
    let count = 6000;
    for first in (0..count).step_by(1000) {
        let array: Vec<_> = (first..first + 1000).map(|n| one(&format!("n/{n:05}"), "of the deleted")).collect();
        gone.insert_raw(Value::Array(array)).await.ok();
    }
    bob.insert("n/00007", json!("of bob")).await;
    let left = async |by: &User| by.get("/events").await.ok().body.matches(GONE).count();
    delete(&server.client(), "remove").await;
    until("the erasure to be under way", async || (left(&bob).await < count).then_some(())).await;
    let mut server = server;
    let mut bob = bob;
    // However often.
    for _ in 0..3 {
        server = server.end_and_restart(true).await;
        bob = again(&server, &bob);
    }
    let all = until_gone(&bob, &["n/00001", "n/00007"], &since).await;
    assert!(!all.contains("of the deleted"));
    let names: Vec<_> = bob.latest("/events").await.into_iter().map(|event| event.event).collect();
    assert_eq!(names, ["begin", "n/00007", "mark"]);
    server.client().create_user_with(GONE, "acme", json!({})).await.refused(400, "username_taken");
}

#[tokio::test]
async fn events_of_a_stream_and_of_a_time_end_under_the_other_name() {
    in_time("a deletion before the event expires", async || {
        let server = TestServer::start().await;
        let (gone, bob) = (server.user(GONE, "acme").await, server.user("bob", "acme").await);
        let since = bob.insert("begin", json!(null)).await;
        let (stream, id) = gone.open("/sse", None).await;
        let bound = json!({ "event": "here", "data": 1, "while_connected": true });
        gone.insert_with(&[("broker-stream", &id)], bound).await.ok();
        let inserted = Instant::now();
        gone.insert_raw(json!({ "event": "short", "data": 1, "expires_in": 3 })).await.ok();
        let mut watcher: Stream = bob.stream_of("/sse?envelope=true&snapshot=false", None).await;
        delete(&server.client(), "anonymise").await;
        if inserted.elapsed() >= Duration::from_secs(3) {
            return None;
        }
        drop(stream);
        let mut removed = [watcher.next().await.envelope(), watcher.next().await.envelope()];
        removed.sort_by(|one, other| one.event.cmp(&other.event));
        assert_eq!(
            removed.each_ref().map(|event| (event.event.as_str(), event.removed)),
            [("here", true), ("short", true)]
        );
        assert!(removed.iter().all(|event| event.username.starts_with("deleted:")), "{removed:?}");
        until_gone(&bob, &["here", "short"], &since).await;
        Some(())
    })
    .await;
}

#[tokio::test]
async fn large_events_and_those_of_another_tenant_go_as_well_and_others_stay() {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let gone = server.user(GONE, "acme").await;
    let (bob, carol) = (server.user("bob", "acme").await, server.user("carol", "globex").await);
    let since = [bob.insert("begin", json!(null)).await, carol.insert("begin", json!(null)).await];
    let large: Vec<_> = (0..4).map(|number| format!("large/{number}")).collect();
    insert_large(&gone, &large, 700_000).await;
    bob.insert("large/0", json!("of bob")).await;
    move_to(&server.client(), GONE, "globex").await;
    gone.insert("plans", json!("of the deleted")).await;
    carol.insert(&format!("@{GONE}/mail"), json!("for the deleted")).await;
    carol.insert("plans/2", json!("of carol")).await;
    delete(&server.client(), "remove").await;
    for (by, since, left) in
        [(&bob, &since[0], ["begin", "large/0", "mark"]), (&carol, &since[1], ["begin", "plans/2", "mark"])]
    {
        let all = until_gone(by, &["large/0", "plans"], since).await;
        assert!(!all.contains("of the deleted") && !all.contains("xxxx"));
        let names: Vec<_> = by.latest("/events").await.into_iter().map(|event| event.event).collect();
        assert_eq!(names, left);
    }
}

#[tokio::test]
async fn streams_that_read_from_memory_are_given_nothing_of_the_name_either() {
    let server = TestServer::start().await;
    let (gone, bob) = (server.user(GONE, "acme").await, server.user("bob", "acme").await);
    // A stream is open all the time, so the newest events and the latest ones are in memory.
    let mut open = bob.stream_of("/sse?envelope=true", None).await;
    let since = bob.insert("begin", json!(null)).await;
    gone.insert("own", json!("of the deleted")).await;
    assert!(bob.coming("/sse?envelope=true", None).await.iter().any(|event| event.data.contains(GONE)));
    delete(&server.client(), "anonymise").await;
    let all = until_gone(&bob, &["own"], &since).await;
    assert!(all.contains("deleted:"), "{all}");
    let seen = open.so_far(&bob).await;
    assert!(seen.iter().any(|event| event.name == "own"));
}

#[tokio::test]
async fn presence_ends_and_idempotency_keys_are_forgotten() {
    let server = TestServer::start_with(&["--name_quarantine=0"]).await;
    let client = server.client();
    let (gone, bob) = (server.user(GONE, "acme").await, server.user("bob", "acme").await);
    let stream = gone.stream().await;
    let key = [("idempotency-key", "one")];
    gone.insert_with(&key, one("a", 1)).await.ok();
    until("the user to be present", async || bob.get("/presence").await.body.contains(GONE).then_some(())).await;
    delete(&client, "remove").await;
    drop(stream);
    until("the user to be absent", async || (!bob.get("/presence").await.body.contains(GONE)).then_some(())).await;
    until("the name to be free", async || {
        let answer = client.create_user_with(GONE, "acme", json!({})).await;
        (answer.status == 200).then_some(())
    })
    .await;
    // Another request of another user, who has the same name.
    client.sign_in(GONE).await.insert_with(&key, one("b", 2)).await.ok();
}
