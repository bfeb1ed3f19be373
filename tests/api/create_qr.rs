//! Guards `/create_qr`. What an authenticator app makes of the code is in `identity/two_factor.rs`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::support::TestServer;

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
async fn an_unknown_user_is_401() {
    let server = TestServer::start().await;
    for unknown in ["nobody", "", "a:b"] {
        let body = json!({ "username": unknown, "issuer": "Acme" });
        server.client().admin("/create_qr", body).await.refused(401, "unauthorized");
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
