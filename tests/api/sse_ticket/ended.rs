//! Guards the end of a stream that a ticket has opened, and of the way back to it.

use serde_json::json;

use super::{Page, ask, set_cookie, ticket_of};
use crate::support::{TestServer, by_password, password_of, reset, reset_code, revoke, unrevoke, update};

#[tokio::test]
async fn revocation_and_a_new_password_end_the_stream_and_the_way_back() {
    let server = TestServer::start().await;
    let client = server.client();
    for by in ["revocation", "password", "reset"] {
        let alice = server.user(by, "acme").await;
        for user in [alice.clone(), by_password(&client, by, &password_of(by))] {
            let mut page = Page::of(&user).await;
            let unused = ticket_of(&user).await;
            match by {
                "revocation" => revoke(&client, by).await,
                "password" => update(&client, by, json!({ "password": password_of(by) })).await,
                _ => {
                    let code = reset_code(&client, by).await;
                    reset(&client, by, &password_of(by), &code).await.ok();
                }
            }
            assert_eq!(page.stream.rest().await, []);
            assert_eq!(page.stream.heartbeats, 0, "it ended long before the next heartbeat");
            assert_eq!((page.comes_back().await, page.comes_back_bare().await), (401, 401), "{by}");
            client.get(&format!("/sse?ticket={unused}")).await.refused(401, "unauthorized");
            unrevoke(&client, by).await;
            assert_eq!(page.comes_back().await, 401, "{by}");
        }
        // A new sign-in is good again.
        assert_eq!(Page::of(&client.sign_in(by).await).await.comes_back().await, 200);
    }
}

#[tokio::test]
async fn a_second_factor_ends_streams_that_a_password_alone_has_opened() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let basic = by_password(&alice.client, "alice", &password_of("alice"));
    let (mut by_token, mut by_password) = (Page::of(&alice).await, Page::of(&basic).await);
    let (with_token, with_password) = (ticket_of(&alice).await, ticket_of(&basic).await);
    update(&alice.client, "alice", json!({ "two_factor": true })).await;
    assert_eq!((by_token.stream.rest().await, by_password.stream.rest().await), (vec![], vec![]));
    // The token was got by the password alone, too.
    assert_eq!((by_token.comes_back().await, by_password.comes_back().await), (401, 401));
    for ticket in [with_token, with_password] {
        assert_eq!(ask(&alice.client, &format!("/sse?ticket={ticket}"), &[]).await.status(), 401);
    }
}

#[tokio::test]
async fn the_stream_and_the_cookie_last_as_long_as_the_sign_in_that_got_the_ticket() {
    let server = TestServer::start_with(&["--jwt_expiry=7"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for is_token in [true, false] {
        // A password does not expire: it counts as a sign-in of now.
        let alice =
            if is_token { client.sign_in("alice").await } else { by_password(&client, "alice", &password_of("alice")) };
        let mut page = Page::of(&alice).await;
        let cookie = set_cookie(&page.stream.headers).to_owned();
        let seconds: u64 = cookie.rsplit_once("Max-Age=").unwrap().1.parse().unwrap();
        assert!(seconds <= 7, "{cookie}");
        assert_eq!(page.stream.rest().await, []);
        assert_eq!(page.stream.heartbeats, 0, "it ended long before the next heartbeat");
        assert_eq!((page.comes_back().await, page.comes_back_bare().await), (401, 401));
    }
}
