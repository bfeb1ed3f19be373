//! Guards `/create_totp`. What its codes are good for is in `password_reset.rs`.

use serde_json::json;

use crate::support::TestServer;

#[tokio::test]
async fn create_totp_gives_six_digits() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    for _ in 0..5 {
        let answer = server.client().admin("/create_totp", json!({ "username": "alice" })).await.ok().json();
        assert_eq!(answer.as_object().unwrap().len(), 1);
        let code = answer["totp"].as_str().unwrap();
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    }
}

#[tokio::test]
async fn an_unknown_user_is_401() {
    let server = TestServer::start().await;
    for unknown in ["nobody", "", "a:b"] {
        let body = json!({ "username": unknown });
        server.client().admin("/create_totp", body).await.refused(401, "unauthorized");
    }
}
