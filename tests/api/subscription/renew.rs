//! Guards the renewal of an open stream: by a newer token of the same session, and by no other.

use serde_json::json;

use crate::sse_ticket::{ask, ticket_of};
use crate::support::{Answer, Stream, TestServer, User, by_password, claims, in_time, password_of, revoke, until_soon};

async fn renew(user: &User, stream: &str) -> Answer {
    user.post("/subscription", json!({ "stream": stream, "renew": true })).await
}

#[tokio::test]
async fn a_stream_goes_on_until_the_newer_token_expires_with_its_filter() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let session = client.begin_session("alice").await;
    in_time("tokens that are short", async || {
        let short = until_soon(&session.user, 4);
        let (mut ends, mut goes_on) = (
            short.stream_of("/sse?marks=true&snapshot=false&events=news", None).await,
            short.stream_of("/sse?marks=true&snapshot=false&events=news", None).await,
        );
        let longer = until_soon(&session.user, 7);
        let answer = renew(&longer, &goes_on.id()).await;
        if answer.status != 200 {
            return None;
        }
        let until = json!({ "expires_at": claims(longer.jwt())["exp"].as_u64().unwrap() * 1000 });
        assert_eq!(answer.json(), until);
        // A token that ends sooner changes nothing, and the answer says so.
        let answer = renew(&short, &goes_on.id()).await;
        if answer.status != 200 {
            return None;
        }
        assert_eq!(answer.json(), until);
        let rest = ends.rest().await;
        assert_eq!((&*rest[rest.len() - 1].name, &rest[rest.len() - 1].json()["reason"]), ("$end", &json!("expired")));
        bob.insert("other", json!(1)).await;
        let id = bob.insert("news", json!(1)).await;
        let rest = goes_on.rest().await;
        let came: Vec<_> = rest.iter().map(|event| event.name.as_str()).filter(|name| *name != "$synced").collect();
        if came == ["$end"] {
            // It took so long that the second one was over, too.
            return None;
        }
        assert_eq!(came, ["news", "$end"]);
        assert!(rest.iter().any(|event| event.id == id) && rest[rest.len() - 1].json()["reason"] == "expired");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn only_a_token_of_the_same_session_renews_a_stream() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (session, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let (plain, bob) = (client.sign_in("alice").await, server.user("bob", "acme").await);
    let (of_session, of_plain) = (session.user.stream().await, plain.stream().await);
    for user in [&other.user, &plain, &bob, &by_password(&client, "alice", &password_of("alice"))] {
        renew(user, &of_session.id()).await.refused(404, "stream_unknown");
    }
    renew(&session.refreshed().await.user, &of_session.id()).await.ok();
    renew(&session.user, &of_plain.id()).await.refused(404, "stream_unknown");
    renew(&client.sign_in("alice").await, &of_plain.id()).await.ok();
    let basic = by_password(&client, "alice", &password_of("alice"));
    let of_basic = basic.stream().await;
    // One of them expires and the other does not.
    renew(&basic, &of_plain.id()).await.refused(404, "stream_unknown");
    renew(&plain, &of_basic.id()).await.refused(404, "stream_unknown");
    assert_eq!(renew(&basic, &of_basic.id()).await.ok().json(), json!({ "expires_at": null }));
    for stream in ["0123456789abcdef", "", "x"] {
        renew(&session.user, stream).await.refused(404, "stream_unknown");
    }
    session.user.post("/logout", json!({})).await.ok();
    renew(&session.user, &of_session.id()).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_renewal_changes_no_filter_and_a_change_of_the_filter_renews_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream_of("/sse?events=a", None).await;
    let id = stream.id();
    for (field, names) in [("events", "b"), ("except", "a")] {
        let body = json!({ "stream": id, "renew": true, field: names });
        alice.post("/subscription", body).await.refused(400, "body_invalid");
    }
    for renew in [json!("true"), json!(1)] {
        alice.post("/subscription", json!({ "stream": id, "renew": renew })).await.refused(400, "body_invalid");
    }
    renew(&alice, &id).await.ok();
    alice.insert("b", json!(1)).await;
    let first = alice.insert("a", json!(1)).await;
    assert_eq!(stream.next().await.id, first);
    let body = json!({ "stream": id, "renew": false, "events": "c" });
    assert_eq!(alice.post("/subscription", body).await.ok().json(), json!({ "change": 1 }));
}

#[tokio::test]
async fn a_stream_that_was_opened_by_a_ticket_is_of_the_session_that_got_the_ticket() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (session, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let open = async |user: &User| {
        let path = format!("/sse?snapshot=false&ticket={}", ticket_of(user).await);
        Stream::open(ask(&client, &path, &[]).await).await
    };
    let (mut stream, mut others, left) =
        (open(&session.user).await, open(&other.user).await, ticket_of(&session.user).await);
    renew(&other.user, &stream.id()).await.refused(404, "stream_unknown");
    renew(&session.refreshed().await.user, &stream.id()).await.ok();
    other.user.post("/end_session", json!({ "session": session.id })).await.ok();
    assert_eq!(stream.ends_now().await, []);
    assert_eq!(ask(&client, &format!("/sse?ticket={left}"), &[]).await.status(), 401);
    let id = other.user.insert("news", json!(1)).await;
    assert_eq!(others.next().await.id, id);
}

#[tokio::test]
async fn a_stream_that_was_renewed_ends_with_its_session_and_says_so() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for round in 0..3 {
        let session = client.begin_session("alice").await;
        let mut stream = session.user.stream_of("/sse?marks=true&snapshot=false", None).await;
        renew(&session.refreshed().await.user, &stream.id()).await.ok();
        match round {
            0 => drop(session.user.post("/logout", json!({})).await.ok()),
            1 => drop(session.user.post("/end_session", json!({ "all": true })).await.ok()),
            _ => revoke(&client, "alice").await,
        }
        let rest = stream.ends_now().await;
        let end = &rest[rest.len() - 1];
        assert_eq!((&*end.name, end.json()), ("$end", json!({ "reason": "revoked", "retry": null })));
    }
}
