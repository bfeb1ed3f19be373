//! Guards `/get_user`, and the user object, which `/list_users` gives, too.

use serde_json::{Value, json};

use crate::contract::user_object;
use crate::support::{ADMIN_TOKEN, TestServer};

const KEYS: [&str; 10] =
    ["data", "email", "id", "password", "revoked", "scopes", "tenant_name", "totp", "two_factor", "username"];

fn keys(user: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = user.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort();
    keys
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
