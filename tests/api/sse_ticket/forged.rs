//! Guards tickets and cookies that are not what they say: forged, expired, or made for something else.

use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Page, ask, ticket_of};
use crate::support::{JWT_SECRET, TestServer, claims, forge};

#[tokio::test]
async fn tickets_cookies_and_tokens_are_not_taken_for_each_other() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let page = Page::of(&alice).await;
    let fresh = ticket_of(&alice).await;
    for token in [&fresh, page.pass()] {
        assert_eq!(alice.client.with_authorization(&format!("Bearer {token}")).doors().await, [401; 3]);
        let headers = [("authorization", &*format!("Bearer {token}"))];
        alice.client.request(Method::POST, "/sse_ticket", &headers, None).await.refused(401, "unauthorized");
    }
    // As a ticket, alone and with a cookie that is good.
    for ticket in [alice.jwt(), page.pass()] {
        for headers in [&[][..], &[("cookie", page.cookie.as_str())]] {
            let path = format!("/sse?ticket={ticket}");
            alice.client.request(Method::GET, &path, headers, None).await.refused(401, "unauthorized");
        }
    }
    // As a cookie.
    for pass in [alice.jwt(), &fresh, &page.ticket] {
        assert_eq!(page.comes_back_with(&format!("broker_sse={pass}")).await, 401);
    }
    assert_eq!(page.comes_back().await, 200);
}

#[tokio::test]
async fn a_token_signed_by_another_secret_is_401() {
    let server = TestServer::start().await;
    let page = Page::of(&server.user("alice", "acme").await).await;
    let (ticket, pass) = (claims(&page.ticket), claims(page.pass()));
    let status = async |ticket: &str, pass: &str| {
        let cookie = format!("broker_sse={pass}");
        ask(&page.client, &format!("/sse?ticket={ticket}"), &[("cookie", &cookie)]).await.status().as_u16()
    };
    let right = |claims: &Value| forge(claims, Algorithm::HS256, JWT_SECRET);
    assert_eq!(status(&right(&ticket), &right(&pass)).await, 200, "the forger knows how");
    for secret in ["", "secret", &JWT_SECRET[1..]] {
        assert_eq!(status(&forge(&ticket, Algorithm::HS256, secret), &right(&pass)).await, 401);
        assert_eq!(status(&right(&ticket), &forge(&pass, Algorithm::HS256, secret)).await, 401);
    }
    // Signed right, and not for this.
    for (name, value) in [
        ("iss", json!("Broker")),
        ("iss", json!(["Broker ticket", "Broker pass"])),
        ("sub", json!("nobody")),
        ("sub", json!("")),
        ("gen", json!("")),
        ("gen", json!("0000000000000000")),
    ] {
        let mut wrong = pass.clone();
        wrong[name] = value;
        assert_eq!(status(&right(&ticket), &right(&wrong)).await, 401, "{wrong}");
    }
    for name in ["iss", "sub", "exp", "gen", "until", "jti"] {
        let (mut no_ticket, mut no_pass) = (ticket.clone(), pass.clone());
        no_ticket.as_object_mut().unwrap().remove(name);
        no_pass.as_object_mut().unwrap().remove(name);
        assert_eq!(status(&right(&no_ticket), &right(&pass)).await, 401, "{no_ticket}");
        if name != "jti" {
            assert_eq!(status(&right(&ticket), &right(&no_pass)).await, 401, "{no_pass}");
        }
    }
    let unsigned = page.ticket.rsplit_once('.').unwrap().0;
    assert_eq!(status(&format!("{unsigned}."), page.pass()).await, 401);
    for nonsense in ["", "x", "..", "a.b.c", "%00", "%ff"] {
        assert_eq!(status(nonsense, page.pass()).await, 401, "{nonsense}");
    }
}

#[tokio::test]
async fn an_expired_ticket_works_only_with_the_cookie() {
    let server = TestServer::start().await;
    let mut page = Page::of(&server.user("alice", "acme").await).await;
    let mut expired = claims(&page.ticket);
    expired["exp"] = expired["iat"].clone();
    page.ticket = forge(&expired, Algorithm::HS256, JWT_SECRET);
    assert_eq!(page.comes_back_bare().await, 401);
    assert_eq!(page.comes_back().await, 200);
}
