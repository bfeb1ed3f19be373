//! Guards `/update_user`.

use serde_json::{Value, json};

use crate::contract::user_object;
use crate::support::{Client, TestServer, password_of};

const STRONG: &str = "pw-secret-quiet-Osprey-71-lantern";

/// A server with a user of whom everything is set.
async fn server_with_alice(flags: &[&str]) -> (TestServer, Client) {
    let server = TestServer::start_with(flags).await;
    let client = server.client();
    let more = json!({
        "password": STRONG, "email": "alice@example.com", "data": { "b": 1, "a": [2] },
        "scopes": ["news:get", "news:post"], "two_factor": false,
    });
    client.create_user_with("alice", "acme", more).await.ok();
    (server, client)
}

async fn update(client: &Client, mut patch: Value) -> crate::support::Answer {
    patch["username"] = json!("alice");
    client.admin("/update_user", patch).await
}

#[tokio::test]
async fn a_field_that_is_absent_stays_as_it_was() {
    let (_server, client) = server_with_alice(&[]).await;
    let before = user_object(&client, "alice").await;
    for (field, value) in [
        ("tenant_name", json!("other")),
        ("email", json!("a@example.org")),
        ("data", json!([1, { "x": null }])),
        ("scopes", json!(["chat:get"])),
        ("two_factor", json!(true)),
    ] {
        let mut expected = before.clone();
        expected[field] = value.clone();
        assert_eq!(update(&client, json!({ field: value })).await.ok().body, "");
        assert_eq!(user_object(&client, "alice").await, expected, "{field}");
        update(&client, json!({ field: before[field] })).await.ok();
        assert_eq!(user_object(&client, "alice").await, before, "{field}");
    }
    update(&client, json!({})).await.ok();
    assert_eq!(user_object(&client, "alice").await, before);
}

#[tokio::test]
async fn a_new_password_alone_leaves_data_scopes_and_two_factor() {
    let (_server, client) = server_with_alice(&[]).await;
    update(&client, json!({ "two_factor": true })).await.ok();
    let before = user_object(&client, "alice").await;
    update(&client, json!({ "password": password_of("new") })).await.ok();
    assert_eq!(user_object(&client, "alice").await, before);
    assert_eq!(before["two_factor"], true);
    client.login("alice", &password_of("new")).await.refused(401, "totp_required");
    update(&client, json!({ "two_factor": false })).await.ok();
    client.login("alice", &password_of("new")).await.ok();
    client.login("alice", STRONG).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn null_clears_what_may_be_unset() {
    let (_server, client) = server_with_alice(&[]).await;
    for field in ["email", "data", "scopes"] {
        let mut expected = user_object(&client, "alice").await;
        assert_ne!(expected[field], Value::Null);
        expected[field] = Value::Null;
        update(&client, json!({ field: null })).await.ok();
        assert_eq!(user_object(&client, "alice").await, expected);
    }
}

#[tokio::test]
async fn null_leaves_a_tenant_and_a_password_which_cannot_be_unset() {
    let (_server, client) = server_with_alice(&[]).await;
    let before = user_object(&client, "alice").await;
    update(&client, json!({ "tenant_name": null, "password": null })).await.ok();
    assert_eq!(user_object(&client, "alice").await, before);
    client.login("alice", STRONG).await.ok();
}

#[tokio::test]
async fn several_fields_change_together() {
    let (_server, client) = server_with_alice(&[]).await;
    update(&client, json!({ "tenant_name": "t", "email": null, "data": 7, "scopes": [], "two_factor": true }))
        .await
        .ok();
    let user = user_object(&client, "alice").await;
    let found = ["tenant_name", "email", "data", "scopes", "two_factor"].map(|field| user[field].clone());
    assert_eq!(found, [json!("t"), json!(null), json!(7), json!([]), json!(true)]);
}

#[tokio::test]
async fn an_unknown_user_is_400() {
    let (_server, client) = server_with_alice(&[]).await;
    for username in ["nobody", "Alice", "", "a:b"] {
        client.admin("/update_user", json!({ "username": username, "data": 1 })).await.refused(400, "user_unknown");
    }
}

#[tokio::test]
async fn a_wrong_admin_token_is_401_and_changes_nothing() {
    let (_server, client) = server_with_alice(&[]).await;
    let before = user_object(&client, "alice").await;
    for username in ["alice", "nobody"] {
        let body = json!({ "admin_token": "wrong", "username": username, "data": 9, "email": "bad" });
        let answer = client.post("/update_user", &body).await.refused(401, "admin_token_incorrect");
        assert_eq!(answer.error(), "admin_token is incorrect");
    }
    assert_eq!(user_object(&client, "alice").await, before);
}

#[tokio::test]
async fn the_checks_are_those_of_create_user_in_the_same_order() {
    let (_server, client) = server_with_alice(&["--password_checker=true"]).await;
    let before = user_object(&client, "alice").await;
    let mut patch = json!({
        "email": "alice@mailinator.com", "password": "password", "scopes": ["no scope"], "data": "new",
        "tenant_name": "new", "two_factor": true,
    });
    let email = update(&client, patch.clone()).await.refused(400, "email_disposable");
    assert_eq!(email.error(), "email is invalid");
    patch["email"] = json!("b@example.com");
    let password = update(&client, patch.clone()).await.refused(400, "password_weak");
    assert!(password.error().starts_with("password is too weak because "), "{password:?}");
    patch["password"] = json!("pw-secret-amber-Kestrel-42-harbour");
    let scopes = update(&client, patch.clone()).await.refused(400, "scopes_invalid");
    assert_eq!(scopes.error(), "scopes are invalid");
    assert_eq!(user_object(&client, "alice").await, before, "a refusal changes nothing");
    client.login("alice", STRONG).await.ok();
    patch["scopes"] = json!(["chat:get"]);
    update(&client, patch).await.ok();
}

#[tokio::test]
async fn values_that_cannot_be_used_are_refused() {
    let (_server, client) = server_with_alice(&[]).await;
    let before = user_object(&client, "alice").await;
    update(&client, json!({ "tenant_name": "" })).await.refused(400, "tenant_name_invalid");
    update(&client, json!({ "password": "" })).await.refused(400, "password_invalid");
    update(&client, json!({ "email": "" })).await.refused(400, "email_invalid");
    update(&client, json!({ "data": "x".repeat(100 << 10) })).await.refused(413, "user_too_large");
    assert_eq!(user_object(&client, "alice").await, before);
}

#[tokio::test]
async fn a_user_of_another_tenant_sees_the_events_of_that_one() {
    let (server, client) = server_with_alice(&[]).await;
    let bob = server.user("bob", "other").await;
    let id = bob.insert("news", json!(1)).await;
    update(&client, json!({ "tenant_name": "other", "password": password_of("alice") })).await.ok();
    assert_eq!(client.sign_in("alice").await.stream().await.next().await.id, id);
}

#[tokio::test]
async fn changes_are_kept_over_a_restart() {
    let (mut server, client) = server_with_alice(&[]).await;
    update(&client, json!({ "data": { "z": 1, "a": 2 }, "scopes": null, "password": password_of("alice") })).await.ok();
    let before = user_object(&client, "alice").await;
    server.kill();
    let server = server.restart().await;
    assert_eq!(user_object(&server.client(), "alice").await, before);
    server.client().sign_in("alice").await;
}
