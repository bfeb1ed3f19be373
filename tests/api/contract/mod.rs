//! Guards the wire contract that all endpoints share, a sentence a test.

mod admin;
mod authorization;
mod base_path;
mod bodies;
mod callers;
mod cors;
pub mod half_closed;
mod headers;
mod heads;
mod http;
mod waiting;
mod withheld;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ADMIN_TOKEN, Client, TestServer, password_of, within};

/// Every endpoint that takes a body, each with one that it accepts where there is a user `alice`, who has signed in. Only
/// these refuse their own: `/password_reset`, `/refresh`, `/delete_me` and those of two-factor, since the code, the token and the
/// password in them are never the right ones or not asked for, `/subscription` and `/end_session`, since nobody has the stream and
/// the session in it, and `/sign_up`, since nobody may sign up. `/create_invite` and `/delete_invite` are not here: they take two
/// kinds of callers.
pub fn bodies() -> Vec<(&'static str, Value)> {
    let new_user = json!({
        "admin_token": ADMIN_TOKEN, "username": "bob", "password": password_of("bob"), "tenant_name": "acme",
        "email": "bob@example.com", "data": { "a": 1 }, "scopes": ["news:get"], "two_factor": false,
    });
    let mut changed_user = new_user.clone();
    changed_user["username"] = json!("alice");
    changed_user["password"] = json!(password_of("alice"));
    let of_alice = json!({ "admin_token": ADMIN_TOKEN, "username": "alice" });
    vec![
        ("/insert", json!({ "event": "news", "data": { "a": 1 } })),
        ("/remove", json!({ "event": "news" })),
        ("/subscription", json!({ "stream": "0123456789abcdef", "events": "news", "except": "other" })),
        ("/login", json!({ "username": "alice", "password": password_of("alice"), "totp": "123456" })),
        ("/refresh", json!({ "refresh_token": "0123456789abcdef.a.b" })),
        ("/logout", json!({ "refresh_token": "0123456789abcdef.a.b" })),
        ("/end_session", json!({ "session": "0123456789abcdef" })),
        ("/password_reset", json!({ "username": "alice", "password": password_of("alice"), "totp": "123456" })),
        ("/two_factor_begin", json!({ "password": password_of("alice") })),
        ("/two_factor_confirm", json!({ "totp": "123456" })),
        ("/two_factor_end", json!({ "password": password_of("alice"), "totp": "123456", "recovery_code": null })),
        (
            "/sign_up",
            json!({
                "username": "carol", "password": password_of("carol"), "email": "carol@example.com", "data": { "a": 1 },
                "invite": "none",
            }),
        ),
        ("/update_me", json!({ "data": { "a": 1 } })),
        ("/delete_me", json!({ "password": password_of("bob"), "totp": "123456" })),
        (
            "/change_password",
            json!({ "password": password_of("alice"), "new_password": password_of("alice"), "totp": "123456" }),
        ),
        ("/create_user", new_user),
        ("/get_user", of_alice.clone()),
        ("/list_users", json!({ "admin_token": ADMIN_TOKEN })),
        ("/create_qr", json!({ "admin_token": ADMIN_TOKEN, "username": "alice", "issuer": "Acme" })),
        ("/create_totp", of_alice.clone()),
        ("/unrevoke_user", of_alice.clone()),
        ("/update_user", changed_user),
        // Last, since they end what alice signed in for.
        ("/revoke_user", of_alice),
        ("/delete_user", json!({ "admin_token": ADMIN_TOKEN, "username": "alice", "erase": "remove" })),
    ]
}

/// Sends these bytes on a connection of their own, and reads until the server closes it.
pub async fn exchange(server: &TestServer, bytes: &[u8]) -> String {
    let address = server.address();
    let mut connection = within("a connection", TcpStream::connect(address)).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    within("the end of the connection", connection.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// A user as the admin sees one.
pub async fn user_object(client: &Client, username: &str) -> Value {
    client.admin("/get_user", json!({ "username": username })).await.ok().json()
}

/// Milliseconds since the Unix epoch, by this machine.
pub fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}
