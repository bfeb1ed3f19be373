//! Guards against a value in the database that cannot be read: it fails the requests that need it, and nothing else.

use std::path::Path;

use serde_json::json;

use crate::sse_ticket::{ask, ticket_of};
use crate::support::{TestServer, User, command, within};

/// As the server opens it (`src/store/open.rs`).
const SEGMENT_BYTES: usize = 16 << 20;

/// Replaces a value in a database that no server has open.
pub fn replace(database: &Path, key: &[u8], value: &[u8]) {
    let config = sled::Config::new().path(database).segment_size(SEGMENT_BYTES).flush_every_ms(None);
    let tree = config.open().unwrap();
    assert!(tree.insert(key, value).unwrap().is_some(), "it is in the journal still");
    tree.flush().unwrap();
}

/// A server that has stopped in order.
pub async fn ended(mut server: TestServer) -> TestServer {
    server.signal("TERM");
    assert!(server.ended().await.success());
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_cannot_be_read_ends_no_server_whoever_asks_for_them() {
    let server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    server.client().create_user("zoe", "acme").await;
    // So much that the user has left the journal.
    for number in 0..12 {
        alice.insert("news", json!("x".repeat(20_000 + number))).await;
    }
    let server = ended(server).await;
    replace(&server.database(), b"uzoe", b"{}");
    let server = server.restart().await;
    let client = server.client();
    let alice = client.with_authorization(&alice.authorization);
    for _ in 0..3 {
        let reset = json!({ "username": "zoe", "password": "another password", "totp": "000000" });
        client.post("/password_reset", &reset).await.refused(500, "value_damaged");
        client.admin("/create_totp", json!({ "username": "zoe" })).await.refused(500, "value_damaged");
        client.admin("/revoke_user", json!({ "username": "zoe" })).await.refused(500, "value_damaged");
        alice.insert("news", json!(1)).await;
    }
    server.says("the value at key uzoe is damaged").await;
    // The list of all goes on, and shows that there is one.
    for fields in
        [json!({}), json!({ "search": "zo" }), json!({ "tenant_name": "acme" }), json!({ "tenant_name": "x" })]
    {
        let listed = client.admin("/list_users", fields.clone()).await.ok().json();
        let damaged = listed.as_array().unwrap().last().unwrap();
        assert_eq!(
            *damaged,
            json!({
                "id": null, "username": "zoe", "tenant_name": null, "email": null, "scopes": null, "data": null,
                "two_factor": null, "revoked": null, "password": "***", "totp": "***", "damaged": true,
            }),
            "{fields}"
        );
    }
    let listed = client.admin("/list_users", json!({})).await.ok().json();
    assert!(listed[0]["username"] == "alice" && listed[0].get("damaged").is_none(), "{listed}");
    let page = client.admin("/list_users", json!({ "limit": 1, "after": "alice" })).await.ok().json();
    assert_eq!((&page["users"][0]["username"], &page["next"]), (&json!("zoe"), &json!(null)));
    // Such an answer tells something, and so it counts as a guess.
    let guess = json!({ "username": "zoe", "password": "a password" });
    let mut refused = 0;
    loop {
        let answer = client.post("/login", &guess).await;
        if answer.status != 500 {
            answer.refused(429, "too_many_attempts");
            break;
        }
        refused += 1;
        assert!(refused < 100, "nobody counts");
    }
    // It does not keep the server from starting, either.
    let server = ended(server).await.restart().await;
    server.client().with_authorization(&alice.authorization).insert("news", json!(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_read_keeps_nobody_of_its_tenant_from_the_others() {
    let server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    let before = alice.insert("bad", json!(0)).await;
    let bad = alice.insert("bad", json!(1)).await;
    let good = alice.insert("good", json!(2)).await;
    // So much that all of them have left the journal.
    for number in 0..12 {
        alice.insert("news", json!("x".repeat(20_000 + number))).await;
    }
    let server = ended(server).await;
    let position: u64 = bad[..16].parse().unwrap();
    let key = [b"e\x00\x04acme", &position.to_be_bytes()[..]].concat();
    replace(&server.database(), &key, b"?");
    let server = server.restart().await;
    let alice = server.client().with_authorization(&alice.authorization);
    let names = |list: &serde_json::Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&alice.get("/events").await.ok().json()), ["good", "news"]);
    for order in ["newest", "oldest"] {
        let page = alice.get(&format!("/history?event=bad&order={order}")).await.ok().json();
        assert!(page["events"][0]["id"] == before && page["events"].as_array().unwrap().len() == 1, "{page}");
        let page = alice.get(&format!("/history?event=good&order={order}")).await.ok().json();
        assert_eq!(page["events"][0]["id"], good, "{order}");
    }
    // New streams, and such as come back, go on; one that asks for control events is told that not everything is kept.
    assert_eq!(alice.stream().await.next().await.id, good);
    assert_eq!(alice.stream_of("/sse", Some(&before)).await.next().await.id, good);
    let mut marked = alice.stream_of("/sse?marks=true", Some(&before)).await;
    let reset = marked.next().await;
    assert_eq!((reset.name.as_str(), reset.data.as_str()), ("$reset", r#"{"reason":"not_kept"}"#));
    assert_eq!(marked.next().await.id, good);
    // The name is good again with the next event.
    let mended = alice.insert("bad", json!(3)).await;
    let page = alice.get("/history?event=bad&limit=1").await.ok().json();
    assert_eq!((&page["events"][0]["id"], &page["next"]), (&json!(mended), &json!(mended)));
    let told = server.log_up_to_now(&alice.client).await.matches("e\\\\x00\\\\x04acme").count();
    assert!(told == 1, "it is told {told} times: {}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_fails_by_a_damaged_value_does_not_use_its_ticket() {
    let bulk = async |alice: &User| {
        for number in 0..12 {
            alice.insert("news", json!("x".repeat(20_000 + number))).await;
        }
    };
    let server = TestServer::start_with(&["--retain_events=1"]).await;
    let alice = server.user("alice", "acme").await;
    bulk(&alice).await;
    within("only one to be kept", async {
        while alice.get("/history?event=news").await.ok().json()["events"].as_array().unwrap().len() > 1 {}
    })
    .await;
    // Now nothing is taken away any more, and what says how much was leaves the journal.
    let flags = ["--journal_bytes=65536".to_owned(), "--retain_events=1000".to_owned()];
    let server = server.end_and_restart_with(move |directory| command(&flags, directory)).await;
    bulk(&server.client().with_authorization(&alice.authorization)).await;
    let server = ended(server).await;
    replace(&server.database(), b"f\0\x04acme", b"");
    let server = server.restart().await;
    let alice = server.client().with_authorization(&alice.authorization);
    let path = format!("/sse?ticket={}", ticket_of(&alice).await);
    let id = alice.get("/events").await.ok().json()[0]["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        assert_eq!(ask(&alice.client, &path, &[("last-event-id", &id)]).await.status(), 500, "{}", server.log());
    }
    // It does not depend on that.
    assert_eq!(ask(&alice.client, &path, &[]).await.status(), 200);
    assert_eq!(ask(&alice.client, &path, &[]).await.status(), 401);
}
