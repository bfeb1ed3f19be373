//! Guards `/broadcast`: messages to topics, by tokens that another service signed.

use serde_json::{Value, json};

use crate::contract::now_millis;
use crate::support::{Client, Signer, TestServer, User, password_of};

/// A server whose topics are those of acme, and who signs tokens for it.
async fn server(more: &[&str]) -> (TestServer, Signer, Client) {
    let signer = Signer::new();
    let flags = signer.flags();
    let server = TestServer::start_with(&[&[flags[0].as_str(), &flags[1]], more].concat()).await;
    let client = Client::new(&server.url);
    (server, signer, client)
}

fn message(topic: &str, message: &str, token: &str) -> Value {
    json!({ "topic": topic, "message": message, "token": token })
}

#[tokio::test]
async fn a_message_is_a_transient_event_of_its_topic_which_the_users_of_the_tenant_see() {
    let (server, signer, client) = server(&[]).await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream_of("/sse", None).await;
    let token = signer.token("broadcast", &["campaign:7", "news"]);
    let text = "{\"n\": 1} grün\n😀";
    let answer = client.post("/broadcast", &message("campaign:7", text, &token)).await.ok();
    assert_eq!(answer.body, "");
    let event = stream.next().await;
    assert_eq!((event.name.as_str(), event.json()), ("campaign:7", json!(text)));
    let history = alice.get("/history?event=campaign:7").await.ok().json();
    assert_eq!(history["events"][0]["username"], "notiflux:notiflux");
    assert_eq!(history["events"][0]["transient"], true);
    assert_eq!(alice.get("/events").await.ok().json(), json!([]));

    // A guest is no user.
    let nobody = client.admin("/get_user", json!({ "username": "notiflux:notiflux" })).await;
    nobody.refused(400, "user_unknown");
    let user = json!({ "username": "notiflux:x", "password": password_of("x"), "tenant_name": "acme" });
    client.admin("/create_user", user).await.refused(400, "username_invalid");
    alice.try_insert("@notiflux:notiflux/x", json!(1)).await.refused(404, "inbox_unknown");
}

#[tokio::test]
async fn what_a_token_does_not_allow_is_refused_and_nothing_is_sent() {
    let (server, signer, client) = server(&[]).await;
    let alice = server.user("alice", "acme").await;
    let topics = ["news", "@alice/x", "$reset", " x", "id:5"];
    let token = signer.token("broadcast", &topics);
    let now = now_millis() / 1000;
    for (body, status, code) in [
        (message("other", "x", &token), 403, "topic_not_allowed"),
        (message("news", "x", &signer.token("subscribe", &["news"])), 403, "topic_not_allowed"),
        (message("@alice/x", "x", &token), 403, "topic_not_allowed"),
        (message("$reset", "x", &token), 400, "event_name_reserved"),
        (message(" x", "x", &token), 400, "event_name_invalid"),
        (message("id:5", "x", &token), 400, "event_name_invalid"),
        (message("news", "x", &Signer::new().token("broadcast", &["news"])), 401, "unauthorized"),
        (message("news", "x", &signer.token_until("broadcast", &["news"], now - 61)), 401, "unauthorized"),
        (message("news", "x", alice.jwt()), 401, "unauthorized"),
        (message("news", "x", ""), 401, "unauthorized"),
        (message("news", &"x".repeat(110_000), &token), 413, "event_too_large"),
        (message("news", &"x".repeat(2 << 20), &token), 413, "body_too_large"),
        (json!({ "topic": "news", "token": token }), 400, "body_invalid"),
        (json!({ "topic": "news", "message": 1, "token": token }), 400, "body_invalid"),
        (json!(["news", "x", token]), 400, "body_invalid"),
    ] {
        client.post("/broadcast", &body).await.refused(status, code);
    }
    assert_eq!(alice.get("/history?event=news").await.ok().json()["events"], json!([]));
    // The minute of leeway, and a name that is no text of SSE's.
    let late = signer.token_until("broadcast", &["a b"], now - 30);
    client.post("/broadcast", &message("a b", "", &late)).await.ok();
}

#[tokio::test]
async fn a_token_of_a_publisher_opens_nothing_else() {
    let (_server, signer, client) = server(&[]).await;
    let guest = User { client, authorization: format!("Bearer {}", signer.token("broadcast", &["news"])) };
    for path in ["/verify", "/events", "/sse", "/history?event=news", "/presence"] {
        guest.get(path).await.refused(401, "unauthorized");
    }
    guest.try_insert("news", json!(1)).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn with_strict_compat_every_broadcast_looks_done() {
    let (server, signer, client) = server(&["--notiflux_strict_compat"]).await;
    let alice = server.user("alice", "acme").await;
    let token = signer.token("broadcast", &["news"]);
    for body in [message("other", "x", &token), message("news", "x", "bad"), json!({ "topic": "news" }), json!([])] {
        assert_eq!(client.post("/broadcast", &body).await.ok().body, "");
    }
    client.post("/broadcast", &message("news", "told", &token)).await.ok();
    let history = alice.get("/history?event=news").await.ok().json();
    assert_eq!((&history["events"][0]["data"], history["events"].as_array().unwrap().len()), (&json!("told"), 1));
}

#[tokio::test]
async fn without_the_flags_there_is_no_such_path() {
    let server = TestServer::start().await;
    let body = message("news", "x", &Signer::new().token("broadcast", &["news"]));
    Client::new(&server.url).post("/broadcast", &body).await.refused(404, "not_found");
}
