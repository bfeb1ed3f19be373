//! Guards `/login`.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::contract::now_millis;
use crate::support::{JWT_SECRET, TestServer, claims, password_of};

/// The two readable parts of a JWT.
fn parts(jwt: &str) -> [Value; 2] {
    let parts: Vec<_> = jwt.split('.').collect();
    assert_eq!(parts.len(), 3);
    [0, 1].map(|part| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[part]).unwrap()).unwrap())
}

#[tokio::test]
async fn login_answers_with_a_jwt_and_nothing_else() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let answer = server.client().login("alice", &password_of("alice")).await.ok().json();
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["jwt"]);
    parts(answer["jwt"].as_str().unwrap());
}

#[tokio::test]
async fn login_with_anything_wrong_is_401() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let long = "x".repeat(5000);
    for (username, password) in [
        ("alice", "wrong"),
        ("alice", ""),
        ("nobody", "pw-secret-alice"),
        ("", ""),
        ("a:b", "x"),
        ("Alice", "pw-secret-alice"),
        ("alice", "pw-secret-alice "),
        ("alice", "PW-SECRET-ALICE"),
        ("alice", &long),
        (&long, "x"),
        ("a\0", "x"),
    ] {
        server.client().login(username, password).await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn login_ignores_a_code_that_is_not_needed() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    for totp in ["", "000000", "nonsense"] {
        let body = json!({ "username": "alice", "password": password_of("alice"), "totp": totp });
        server.client().post("/login", &body).await.ok();
    }
}

#[tokio::test]
async fn the_jwt_is_signed_by_hs256_with_the_secret() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let [header, _] = parts(alice.jwt());
    assert_eq!(header["alg"], "HS256");
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&["Broker"]);
    let decode = |secret: &str| {
        jsonwebtoken::decode::<Value>(alice.jwt(), &DecodingKey::from_secret(secret.as_bytes()), &validation)
    };
    assert_eq!(decode(JWT_SECRET).unwrap().claims["sub"], "alice");
    assert!(decode("secret").is_err());
}

#[tokio::test]
async fn the_claims_are_issuer_subject_scopes_and_times() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user_with("zoë", "acme", json!({ "scopes": ["news:get", "chat:post"] })).await.ok();
    let before = now_millis() / 1000;
    let claims = claims(client.sign_in("zoë").await.jwt());
    let after = now_millis() / 1000;
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("Broker"), &json!("zoë")));
    assert_eq!(claims["aud"], "news:get,chat:post");
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!((before..=after).contains(&iat), "{before} {iat} {after}");
    assert_eq!(exp - iat, 86_400);
}

#[tokio::test]
async fn without_scopes_there_is_no_audience() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("never", "acme").await;
    client.create_user_with("none", "acme", json!({ "scopes": [] })).await.ok();
    for username in ["never", "none"] {
        assert_eq!(claims(client.sign_in(username).await.jwt()).get("aud"), None, "{username}");
    }
}

#[tokio::test]
async fn a_sign_in_lasts_as_long_as_jwt_expiry_says() {
    let server = TestServer::start_with(&["--jwt_expiry", "1234"]).await;
    server.client().create_user("alice", "acme").await;
    let claims = claims(server.client().sign_in("alice").await.jwt());
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 1234);
}
