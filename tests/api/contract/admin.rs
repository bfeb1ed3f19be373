//! Guards the admin token: which endpoints need it, and the answer to a wrong one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{bodies, user_object};
use crate::support::{ADMIN_TOKEN, TestServer};

const KEYS: [&str; 10] =
    ["data", "email", "id", "password", "revoked", "scopes", "tenant_name", "totp", "two_factor", "username"];

fn keys(user: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = user.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort();
    keys
}

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

#[tokio::test]
async fn a_user_object_has_these_keys_and_null_for_each_that_is_not_set() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let user = user_object(&server.client(), "alice").await;
    assert_eq!(keys(&user), KEYS);
    for field in ["email", "scopes", "data", "two_factor"] {
        assert_eq!(user[field], Value::Null, "{field}");
    }
    assert_eq!(
        (&user["username"], &user["tenant_name"], &user["revoked"]),
        (&json!("alice"), &json!("acme"), &json!(false))
    );
    uuid::Uuid::parse_str(user["id"].as_str().unwrap()).unwrap();
}

#[tokio::test]
async fn a_user_object_shows_its_fields_and_never_a_secret() {
    let server = TestServer::start().await;
    let client = server.client();
    let more = json!({
        "email": "alice@example.com", "scopes": ["news:get", "chat:post"], "two_factor": true, "data": { "é": [1, null] },
    });
    client.create_user_with("alice", "acme", more).await.ok();
    client.admin("/create_totp", json!({ "username": "alice" })).await.ok();
    let user = user_object(&client, "alice").await;
    assert_eq!(keys(&user), KEYS);
    assert_eq!((&user["password"], &user["totp"]), (&json!("***"), &json!("***")));
    assert_eq!(user["email"], "alice@example.com");
    assert_eq!(user["scopes"], json!(["news:get", "chat:post"]));
    assert_eq!((&user["two_factor"], &user["data"]), (&json!(true), &json!({ "é": [1, null] })));
}

#[tokio::test]
async fn data_of_a_user_comes_back_as_it_came() {
    let server = TestServer::start().await;
    let data = r#"{"z":1,"a":[123456789012345678901234567890,1.0,-0,1e400],"é":"\u00e9\/","z":null}"#;
    let body = format!(
        r#"{{"admin_token":"{ADMIN_TOKEN}","username":"alice","password":"password1","tenant_name":"acme","data":{data}}}"#
    );
    server.client().request(reqwest::Method::POST, "/create_user", &[], Some(body.into())).await.ok();
    let shown = server.client().admin("/get_user", json!({ "username": "alice" })).await.ok().body;
    assert!(shown.contains(&format!(r#""data":{data}"#)), "{shown}");
    let listed = server.client().admin("/list_users", json!({})).await.ok().body;
    assert_eq!(listed, format!("[{shown}]"));
}

#[tokio::test]
async fn get_user_gives_one_user_and_400_for_an_unknown_one() {
    let server = TestServer::start().await;
    for name in ["alice", "alice2", "al"] {
        server.client().create_user(name, "acme").await;
    }
    assert_eq!(user_object(&server.client(), "alice").await["username"], "alice");
    for unknown in ["nobody", "ali", "alice22", "Alice", "", "a:b", &"x".repeat(300)] {
        server.client().admin("/get_user", json!({ "username": unknown })).await.refused(400, "user_unknown");
    }
}

#[tokio::test]
async fn list_users_gives_all_of_every_tenant() {
    let server = TestServer::start().await;
    let client = server.client();
    assert_eq!(client.admin("/list_users", json!({})).await.ok().body, "[]");
    let mut expected = Vec::new();
    for (name, tenant) in [("alice", "acme"), ("bob", "other"), ("carol", "acme")] {
        client.create_user(name, tenant).await;
        expected.push(user_object(&client, name).await);
    }
    let mut users: Vec<_> = client.admin("/list_users", json!({})).await.ok().json().as_array().unwrap().clone();
    users.sort_by_key(|user| user["username"].to_string());
    assert_eq!(users, expected);
}

#[tokio::test]
async fn revoking_and_unrevoking_show_in_the_user_object_and_may_be_repeated() {
    let server = TestServer::start().await;
    let client = server.client();
    client
        .create_user_with("alice", "acme", json!({ "data": 1, "scopes": ["news:get"], "two_factor": true }))
        .await
        .ok();
    let before = user_object(&client, "alice").await;
    for (path, revoked) in [("revoke", true), ("revoke", true), ("unrevoke", false), ("unrevoke", false)] {
        let answer = client.admin(&format!("/{path}_user"), json!({ "username": "alice" })).await.ok();
        assert_eq!(answer.body, "");
        let mut expected = before.clone();
        expected["revoked"] = json!(revoked);
        assert_eq!(user_object(&client, "alice").await, expected);
    }
}

#[tokio::test]
async fn revoking_and_unrevoking_an_unknown_user_is_400() {
    let server = TestServer::start().await;
    for path in ["/revoke_user", "/unrevoke_user"] {
        for unknown in ["nobody", "", "a:b"] {
            server.client().admin(path, json!({ "username": unknown })).await.refused(400, "user_unknown");
        }
    }
}

#[tokio::test]
async fn create_qr_gives_a_png_in_base64_without_a_prefix() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let answer =
        server.client().admin("/create_qr", json!({ "username": "alice", "issuer": "Acme" })).await.ok().json();
    assert_eq!(answer.as_object().unwrap().len(), 1);
    let png = BASE64_STANDARD.decode(answer["qr"].as_str().unwrap()).unwrap();
    let picture = image::load_from_memory_with_format(&png, image::ImageFormat::Png).unwrap();
    assert!(picture.width() == picture.height() && picture.width() >= 200, "a phone can read it");
}

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
async fn create_qr_and_create_totp_for_an_unknown_user_are_401() {
    let server = TestServer::start().await;
    for path in ["/create_qr", "/create_totp"] {
        for unknown in ["nobody", "", "a:b"] {
            let answer = server.client().admin(path, json!({ "username": unknown, "issuer": "Acme" })).await;
            assert_eq!(answer.status, 401, "{path} {unknown:?}: {answer:?}");
            answer.refused(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn an_issuer_that_authenticator_apps_cannot_show_is_400() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let create = async |issuer: &str| {
        server.client().admin("/create_qr", json!({ "username": "alice", "issuer": issuer })).await
    };
    for bad in ["", " ", "\u{3000}", "Acme: Sales", ":", "Acme\n", "A\u{0}cme"] {
        create(bad).await.refused(400, "issuer_invalid");
    }
    create("Äcme & Söhne, Inc.").await.ok();
}

#[tokio::test]
async fn an_issuer_that_fits_no_qr_code_is_400() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let body = json!({ "username": "alice", "issuer": "x".repeat(3000) });
    server.client().admin("/create_qr", body).await.refused(400, "qr_too_large");
}
