//! Guards the cookie of a stream that was opened by a ticket over TLS.

use reqwest::Version;

use super::Secure;
use crate::sse_ticket::{ask, set_cookie, ticket_of};
use crate::support::Client;

#[tokio::test]
async fn a_cookie_that_was_got_over_tls_goes_nowhere_else() {
    let secure = Secure::start().await;
    let (two, one) = (secure.client(), secure.client_with(reqwest::Client::builder().http1_only()));
    two.create_user("alice", "acme").await;
    comes_back(two, Version::HTTP_2).await;
    comes_back(one, Version::HTTP_11).await;
}

async fn comes_back(client: Client, version: Version) {
    let alice = client.sign_in("alice").await;
    let path = format!("/sse?ticket={}", ticket_of(&alice).await);
    let opened = ask(&client, &path, &[]).await;
    assert_eq!((opened.status().as_u16(), opened.version()), (200, version));
    let (cookie, attributes) = set_cookie(opened.headers()).split_once("; ").unwrap();
    assert!(cookie.starts_with("__Secure-broker_sse="), "{cookie}");
    let (before, after) = attributes.split_once("Max-Age=").unwrap();
    assert_eq!(before, "HttpOnly; SameSite=Strict; Path=/sse; ");
    assert_eq!(after.trim_start_matches(|c: char| c.is_ascii_digit()), "; Secure", "{version:?}");
    assert_eq!(ask(&client, &path, &[]).await.status(), 401);
    // HTTP/2 may send each cookie in a header of its own.
    let back = ask(&client, &path, &[("cookie", "a=b"), ("cookie", cookie)]).await;
    assert_eq!((back.status().as_u16(), back.version()), (200, version));
    // As a page has it whose stream was opened before the cookie was called so.
    let former = cookie.strip_prefix("__Secure-").unwrap();
    assert_eq!(ask(&client, &path, &[("cookie", former)]).await.status(), 200);
}
