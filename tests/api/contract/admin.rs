//! Guards the admin token: which endpoints need it, and the answer to a wrong one.

use serde_json::json;

use super::{bodies, user_object};
use crate::support::{ADMIN_TOKEN, TestServer};

#[tokio::test]
async fn a_wrong_admin_token_is_401_or_for_create_user_400() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let short = &ADMIN_TOKEN[..ADMIN_TOKEN.len() - 1];
    for (path, body) in bodies() {
        if body.get("admin_token").is_none() {
            continue;
        }
        let status = if path == "/create_user" { 400 } else { 401 };
        for wrong in ["", "letmein", short, &format!("{ADMIN_TOKEN} "), &ADMIN_TOKEN.to_uppercase()] {
            let mut body = body.clone();
            body["admin_token"] = json!(wrong);
            let answer = server.client().post(path, &body).await.refused(status, "admin_token_incorrect");
            assert_eq!(answer.error(), "admin_token is incorrect", "{path}");
        }
    }
    assert_eq!(user_object(&server.client(), "alice").await["revoked"], false);
}

#[tokio::test]
async fn the_admin_token_comes_before_the_other_fields() {
    let server = TestServer::start().await;
    for (path, body) in bodies() {
        if body.get("admin_token").is_some() {
            let answer = server.client().post(path, &json!({ "admin_token": "wrong", "username": 7 })).await;
            assert_eq!(answer.code(), "admin_token_incorrect", "{path}");
        }
    }
}

#[tokio::test]
async fn a_token_in_the_authorization_header_is_not_an_admin_token() {
    let server = TestServer::start().await;
    let headers = [("authorization", format!("Bearer {ADMIN_TOKEN}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = server.client().request(reqwest::Method::POST, "/list_users", &headers, Some(b"{}".to_vec())).await;
    answer.refused(400, "body_invalid");
}
