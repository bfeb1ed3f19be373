//! Guards `/delete_user`, and everything that goes with a user.

mod events;
mod names;

use serde_json::json;

use crate::support::{TestServer, password_of, revoke};

#[tokio::test]
async fn an_admin_deletes_a_user_of_whom_nothing_is_left_but_the_name() {
    let server = TestServer::start().await;
    let client = server.client();
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    assert_eq!(client.admin("/delete_user", json!({ "username": "alice" })).await.ok().body, "");
    assert_eq!(stream.ends_now().await, []);
    assert_eq!(alice.doors().await, [401; 3]);
    client.login("alice", &password_of("alice")).await.refused(401, "unauthorized");
    for path in ["/get_user", "/update_user", "/revoke_user", "/unrevoke_user", "/delete_user"] {
        client.admin(path, json!({ "username": "alice" })).await.refused(400, "user_unknown");
    }
    assert_eq!(client.admin("/list_users", json!({})).await.ok().json(), json!([]));
    server.says("\"message\":\"user deleted\"").await;
}

#[tokio::test]
async fn what_is_no_user_or_no_way_to_erase_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for unknown in ["nobody", "", "a:b", "Alice"] {
        client.admin("/delete_user", json!({ "username": unknown })).await.refused(400, "user_unknown");
    }
    for wrong in ["", "all", "Remove"] {
        let body = json!({ "username": "alice", "erase": wrong });
        client.admin("/delete_user", body).await.refused(400, "body_invalid");
    }
    client.login("alice", &password_of("alice")).await.ok();
    // A revoked user can be deleted, too.
    revoke(&client, "alice").await;
    client.admin("/delete_user", json!({ "username": "alice", "erase": null })).await.ok();
}

#[tokio::test]
async fn a_reset_code_and_a_ticket_of_a_deleted_user_are_worth_nothing() {
    let server = TestServer::start().await;
    let client = server.client();
    let alice = server.user("alice", "acme").await;
    let code = crate::support::reset_code(&client, "alice").await;
    let ticket = alice.post("/sse_ticket", "").await.ok().json()["ticket"].as_str().unwrap().to_owned();
    client.admin("/delete_user", json!({ "username": "alice" })).await.ok();
    crate::support::reset(&client, "alice", &password_of("new"), &code).await.refused(401, "unauthorized");
    client.get(&format!("/sse?ticket={ticket}")).await.refused(401, "unauthorized");
    client.admin("/create_totp", json!({ "username": "alice" })).await.refused(401, "unauthorized");
}
