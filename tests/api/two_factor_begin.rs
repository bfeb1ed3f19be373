//! Guards `/two_factor_begin`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::identity::{Authenticator, login_with_code, step, with_two_factor};
use crate::support::{TestServer, User, by_password, password_of, until_throttled};

/// Begins, with the password that the user was made with.
pub async fn begin(user: &User, username: &str) -> Authenticator {
    let answer = user.post("/two_factor_begin", &json!({ "password": password_of(username) })).await.ok().json();
    Authenticator::of(answer["uri"].as_str().unwrap())
}

#[tokio::test]
async fn the_answer_has_the_secret_the_uri_and_a_qr_code_of_the_uri() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (issuer, label) in [(Some("A & B"), "A%20%26%20B"), (None, "Broker")] {
        let body = json!({ "password": password_of("alice"), "issuer": issuer });
        let answer = alice.post("/two_factor_begin", &body).await.ok().json();
        let fields: Vec<_> = answer.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["qr", "secret", "uri"]);
        let [secret, uri, qr] = ["secret", "uri", "qr"].map(|field| answer[field].as_str().unwrap());
        assert_eq!(uri, format!("otpauth://totp/{label}:alice?secret={secret}&issuer={label}"));
        assert_eq!(secret.len(), 32, "160 bits");
        let png = BASE64_STANDARD.decode(qr).unwrap();
        image::load_from_memory_with_format(&png, image::ImageFormat::Png).unwrap();
        assert_eq!(Authenticator::scanned(qr).url, uri);
    }
}

#[tokio::test]
async fn nothing_counts_before_it_is_confirmed_and_what_is_begun_again_replaces() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (first, second) = (begin(&alice, "alice").await, begin(&alice, "alice").await);
    assert_ne!(first.url, second.url);
    assert_eq!(alice.doors().await, [200; 3]);
    let again = alice.client.sign_in("alice").await;
    assert_eq!(by_password(&alice.client, "alice", &password_of("alice")).doors().await, [200; 3]);
    // The admin's secret is another one, and stays.
    let of_admin = Authenticator::scan(&alice.client, "alice", "Acme").await;
    assert!(!second.url.contains(of_admin.secret()) && !of_admin.secret().is_empty());
    for wrong in [first.code(step()), of_admin.code(step()), second.wrong_code()] {
        again.post("/two_factor_confirm", &json!({ "totp": wrong })).await.refused(401, "unauthorized");
    }
    again.post("/two_factor_confirm", &json!({ "totp": second.code(step()) })).await.ok();
}

#[tokio::test]
async fn it_takes_the_password_and_wrong_ones_are_counted_with_those_of_other_acts_of_the_owner() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.post("/two_factor_begin", "{}").await.refused(400, "body_invalid");
    alice
        .client
        .post("/two_factor_begin", &json!({ "password": password_of("alice") }))
        .await
        .refused(401, "unauthorized");
    for bad in ["", ":", "a:b"] {
        let body = json!({ "password": password_of("alice"), "issuer": bad });
        alice.post("/two_factor_begin", &body).await.refused(400, "issuer_invalid");
    }
    let body = json!({ "password": password_of("alice"), "issuer": "x".repeat(3000) });
    alice.post("/two_factor_begin", &body).await.refused(400, "qr_too_large");
    let wrong = async || alice.post("/two_factor_begin", &json!({ "password": "wrong" })).await;
    for number in 0..20 {
        if number % 2 == 0 {
            wrong().await.refused(401, "unauthorized");
        } else {
            // One allowance for all that takes the password of a signed-in user.
            let body = json!({ "password": "wrong", "new_password": password_of("new") });
            alice.post("/change_password", &body).await.refused(401, "unauthorized");
        }
    }
    until_throttled(wrong).await;
    alice
        .post("/two_factor_begin", &json!({ "password": password_of("alice") }))
        .await
        .refused(429, "too_many_attempts");
    // Whoever has a token goes on with what takes none.
    assert_eq!(alice.doors().await, [200; 3]);
}

#[tokio::test]
async fn with_two_factor_on_nobody_puts_another_app_in_the_place_of_the_one_there_is() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let jwt = login_with_code(&client, "alice", &app.code(step())).await.jwt();
    let alice = client.with_authorization(&format!("Bearer {jwt}"));
    let body = json!({ "password": password_of("alice") });
    alice.post("/two_factor_begin", &body).await.refused(409, "two_factor_on");
}
