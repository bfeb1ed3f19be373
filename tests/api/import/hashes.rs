//! Guards that imported users sign in with the passwords that they had, and that their hashes are ours from then on.

use serde_json::json;

use super::{body, import, outcome, user};
use crate::support::{Client, TestServer, reset, reset_code, update};

/// Hashes of each scheme, and their passwords.
const HASHES: [(&str, &str, &str); 6] = [
    ("bcrypt", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
    (
        "pbkdf2",
        "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHRzYWx0c2FsdA$BBs+1+PaslLtBPULUr8/lQicvVuHiEPMz0i8MjLCbzM",
        "correct horse",
    ),
    (
        "pbkdf2-512",
        "$pbkdf2-sha512$i=1000$c2FsdHNhbHRzYWx0c2FsdA$EHLBej+uEvxlmr0QnHnceg1vM6h1wbwSP5XErh3SmizNDWZsIi28RPGARe0EssjGRoiACzxgHjNvqwJY1zxKig",
        "correct horse",
    ),
    ("django", "pbkdf2_sha256$1000$seasalt$mQnueSakb748zqBAC1tmWVZsZbi2zPGZarEzTGdfmso=", "correct horse"),
    (
        "scrypt",
        "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSI",
        "correct horse",
    ),
    (
        "firebase",
        "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==",
        "user1password",
    ),
];

pub async fn hash_of(client: &Client, name: &str) -> Option<String> {
    let users = client.admin("/export", json!({ "users": true, "hashes": true })).await.ok().body;
    let mut users = users.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let user = users.find(|user| user["username"] == name).unwrap();
    user["password_hash"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn users_with_hashes_of_other_programs_sign_in_and_have_hashes_of_ours_from_then_on() {
    let server = TestServer::start().await;
    let client = server.client();
    let lines = HASHES.map(|(name, hash, _)| user(name, json!({ "password_hash": hash })));
    assert_eq!(outcome(import(&client, "users", body(&lines)).await).0, []);
    // What is known of their costs outlives a restart.
    let server = server.restart().await;
    let client = server.client();
    for (name, hash, password) in HASHES {
        client.login(name, "wrong").await.refused(401, "unauthorized");
        assert_eq!(hash_of(&client, name).await.as_deref(), Some(hash));
        client.login(name, password).await.ok();
        assert!(hash_of(&client, name).await.unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{name}");
        client.login(name, password).await.ok();
        client.login(name, "wrong").await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_hash_is_replaced_only_after_the_second_factor() {
    let server = TestServer::start().await;
    let client = server.client();
    let (_, hash, password) = HASHES[0];
    // The secret of RFC 6238, whose codes are public.
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let alice = user("alice", json!({ "password_hash": hash, "two_factor": true, "totp_secret": secret }));
    assert_eq!(outcome(import(&client, "users", body(&[alice])).await).0, []);
    client.login("alice", password).await.refused(401, "totp_required");
    assert_eq!(hash_of(&client, "alice").await.as_deref(), Some(hash));
    update(&client, "alice", json!({ "username": "alice", "two_factor": false })).await;
    client.login("alice", password).await.ok();
    assert!(hash_of(&client, "alice").await.unwrap().starts_with("$argon2id$"));
}

#[tokio::test]
async fn without_a_hash_a_user_signs_in_once_the_password_was_reset() {
    let server = TestServer::start().await;
    let client = server.client();
    assert_eq!(outcome(import(&client, "users", body(&[user("alice", json!({}))])).await).0, []);
    assert_eq!(hash_of(&client, "alice").await, None);
    for password in ["", "x", "null"] {
        assert_eq!(client.login("alice", password).await.status, 401);
    }
    let code = reset_code(&client, "alice").await;
    reset(&client, "alice", "quiet Osprey 71 lantern", &code).await.ok();
    client.login("alice", "quiet Osprey 71 lantern").await.ok();
}
