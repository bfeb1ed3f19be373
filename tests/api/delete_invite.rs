//! Guards `/delete_invite`: who may withdraw which invite, and that nobody signs up with it afterwards.

use serde_json::{Value, json};

use crate::support::{Answer, Client, TestServer, User, command, password_of, revoke};

async fn sign_up(client: &Client, username: &str, invite: &Value) -> Answer {
    let body = json!({ "username": username, "password": password_of(username), "invite": invite });
    client.post("/sign_up", &body).await
}

async fn made_by_admin(client: &Client) -> Value {
    let body = json!({ "tenant_name": "acme", "uses": 9 });
    client.admin("/create_invite", body).await.ok().json()["invite"].clone()
}

async fn made_by(user: &User) -> Value {
    user.post("/create_invite", json!({ "uses": 9 })).await.ok().json()["invite"].clone()
}

#[tokio::test]
async fn an_invite_that_was_withdrawn_lets_nobody_sign_up_and_those_who_did_stay() {
    let server = TestServer::start_with(&["--signup=invite"]).await;
    let client = server.client();
    client.create_user_with("alice", "acme", json!({ "scopes": ["invite:post"] })).await.ok();
    let alice = client.sign_in("alice").await;
    let (of_admin, of_alice, other) = (made_by_admin(&client).await, made_by(&alice).await, made_by(&alice).await);
    sign_up(&client, "bob", &of_admin).await.ok();
    sign_up(&client, "carol", &of_alice).await.ok();
    assert_eq!(client.admin("/delete_invite", json!({ "invite": of_admin })).await.ok().body, "");
    assert_eq!(alice.post("/delete_invite", json!({ "invite": of_alice })).await.ok().body, "");
    for invite in [&of_admin, &of_alice] {
        sign_up(&client, "dave", invite).await.refused(400, "invite_invalid");
        client.admin("/delete_invite", json!({ "invite": invite })).await.refused(400, "invite_invalid");
        alice.post("/delete_invite", json!({ "invite": invite })).await.refused(400, "invite_invalid");
    }
    client.sign_in("bob").await.verify().await.ok();
    client.sign_in("carol").await.verify().await.ok();
    let exported = alice.get("/export_me").await.ok().body;
    assert_eq!(exported.matches(r#"{"kind":"invite""#).count(), 1, "{exported}");
    let server = server.end_and_restart(true).await;
    let client = server.client();
    sign_up(&client, "dave", &of_alice).await.refused(400, "invite_invalid");
    sign_up(&client, "dave", &other).await.ok();
    // An admin may withdraw those of users, too.
    client.admin("/delete_invite", json!({ "invite": other })).await.ok();
    sign_up(&client, "emil", &other).await.refused(400, "invite_invalid");
}

#[tokio::test]
async fn a_user_withdraws_no_invite_of_others_and_nobody_does_without_a_sign_in() {
    let server = TestServer::start_with(&["--signup=invite"]).await;
    let client = server.client();
    for name in ["alice", "bob"] {
        client.create_user_with(name, "acme", json!({ "scopes": ["invite:post"] })).await.ok();
    }
    let (alice, bob) = (client.sign_in("alice").await, client.sign_in("bob").await);
    let (of_admin, of_alice) = (made_by_admin(&client).await, made_by(&alice).await);
    for invite in [&of_admin, &of_alice] {
        bob.post("/delete_invite", json!({ "invite": invite })).await.refused(400, "invite_invalid");
        let body = json!({ "admin_token": "wrong", "invite": invite });
        client.post("/delete_invite", &body).await.refused(401, "admin_token_incorrect");
    }
    alice.post("/delete_invite", json!({ "invite": of_admin })).await.refused(400, "invite_invalid");
    alice.post("/delete_invite", json!({})).await.refused(400, "body_invalid");
    revoke(&client, "alice").await;
    alice.post("/delete_invite", json!({ "invite": of_alice })).await.refused(401, "unauthorized");
    sign_up(&client, "carol", &of_admin).await.ok();
}

#[tokio::test]
async fn while_sign_up_is_closed_an_invite_can_be_withdrawn() {
    let server = TestServer::start_with(&["--signup=invite"]).await;
    let invite = made_by_admin(&server.client()).await;
    let server = server.end_and_restart_with(|directory| command(&[], directory)).await;
    server.client().admin("/delete_invite", json!({ "invite": invite })).await.ok();
}
