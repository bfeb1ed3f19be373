//! A value in the database that is not what was written: it fails the requests that need it, and nothing else.

use std::path::Path;

use serde_json::json;

use crate::support::TestServer;

/// As the server opens it (`src/store/open.rs`).
const SEGMENT_BYTES: usize = 16 << 20;

/// Replaces a value in a database that no server has open.
fn replace(database: &Path, key: &[u8], value: &[u8]) {
    let config = sled::Config::new().path(database).segment_size(SEGMENT_BYTES).flush_every_ms(None);
    let tree = config.open().unwrap();
    assert!(tree.insert(key, value).unwrap().is_some(), "it is in the journal still");
    tree.flush().unwrap();
}

async fn ended(mut server: TestServer) -> TestServer {
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
    assert!(server.log().contains("the value at key uzoe is damaged"), "{}", server.log());
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
