//! What an admin does to users, and what somebody does with an account of their own.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Answer, Client, JWT_SECRET, User};
use crate::contract::now_millis;

/// Asks for a reset code.
pub async fn reset_code(client: &Client, username: &str) -> String {
    let answer = client.admin("/create_totp", json!({ "username": username })).await.ok();
    answer.json()["totp"].as_str().unwrap().to_owned()
}

/// Sets a new password by a reset code.
pub async fn reset(client: &Client, username: &str, password: &str, code: &str) -> Answer {
    client.post("/password_reset", &json!({ "username": username, "password": password, "totp": code })).await
}

/// Changes these fields of a user.
pub async fn update(client: &Client, username: &str, mut patch: Value) {
    patch["username"] = json!(username);
    client.admin("/update_user", patch).await.ok();
}

pub async fn revoke(client: &Client, username: &str) {
    client.admin("/revoke_user", json!({ "username": username })).await.ok();
}

pub async fn unrevoke(client: &Client, username: &str) {
    client.admin("/unrevoke_user", json!({ "username": username })).await.ok();
}

/// A client that sends a password with every request.
pub fn by_password(client: &Client, username: &str, password: &str) -> User {
    client.with_authorization(&format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
}

/// What a JWT says.
pub fn claims(jwt: &str) -> Value {
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A JWT signed with this secret.
pub fn forge(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// The same user with a token that expires so many seconds from now.
pub fn until_soon(user: &User, seconds: u64) -> User {
    let mut claims = claims(user.jwt());
    claims["exp"] = json!(now_millis() / 1000 + seconds);
    user.client.with_authorization(&format!("Bearer {}", forge(&claims, Algorithm::HS256, JWT_SECRET)))
}
