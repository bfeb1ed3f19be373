//! The name of a deleted user: nobody gets it for a while.

use serde_json::json;

use crate::support::{Client, TestServer, password_of, until};

const OPEN: [&str; 2] = ["--signup=open", "--signup_tenant=acme"];

async fn delete(client: &Client, username: &str) {
    client.admin("/delete_user", json!({ "username": username })).await.ok();
}

#[tokio::test]
async fn nobody_gets_the_name_nor_one_that_looks_like_it_also_after_a_restart() {
    let server = TestServer::start_with(&OPEN).await;
    server.client().create_user("alice", "acme").await;
    delete(&server.client(), "alice").await;
    let server = server.end_and_restart(true).await;
    let client = server.client();
    for (name, code) in [("alice", "username_taken"), ("Alice", "username_lookalike")] {
        client.create_user_with(name, "acme", json!({})).await.refused(400, code);
        let body = json!({ "username": name, "password": password_of(name) });
        client.post("/sign_up", &body).await.refused(400, code);
    }
    client.create_user("alicia", "acme").await;
}

#[tokio::test]
async fn after_its_time_anybody_gets_it_and_it_may_be_deleted_again() {
    let server = TestServer::start_with(&[&OPEN[..], &["--name_quarantine=1"]].concat()).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    // One that looks like it can be had, too: nothing of the name is left.
    for (gone, next) in [("alice", "Alice"), ("Alice", "alice"), ("alice", "alice")] {
        delete(&client, gone).await;
        let body = json!({ "username": next, "password": password_of(next) });
        let code = if gone == next { "username_taken" } else { "username_lookalike" };
        client.post("/sign_up", &body).await.refused(400, code);
        until("the name to be free", async || (client.post("/sign_up", &body).await.status == 200).then_some(())).await;
        client.sign_in(next).await;
    }
}
