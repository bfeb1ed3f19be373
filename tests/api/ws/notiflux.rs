//! Guards what clients of notiflux are given over WebSocket.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::contract::now_millis;
use crate::support::{Client, Signer, TestServer, TopicClient, until};

/// A server whose topics are those of acme, and what signs tokens for it.
pub async fn server(more: &[&str]) -> (TestServer, Signer) {
    let signer = Signer::new();
    let flags = signer.flags();
    (TestServer::start_with(&[&[flags[0].as_str(), &flags[1]], more].concat()).await, signer)
}

/// Sends a message to a topic.
pub async fn broadcast(server: &TestServer, signer: &Signer, topic: &str, message: &str) {
    let token = signer.token("broadcast", &[topic]);
    let body = json!({ "topic": topic, "message": message, "token": token });
    Client::new(&server.url).post("/broadcast", &body).await.ok();
}

#[tokio::test]
async fn a_subscriber_is_sent_the_messages_of_its_topics_and_no_others() {
    let (server, signer) = server(&[]).await;
    let mut client = TopicClient::connect(&server).await;
    let topics = ["campaign:7", "news"];
    client.subscribe("campaign:7", &signer.token("subscribe", &topics)).await;
    for (topic, message) in [("news", "not yet"), ("campaign:7", "one"), ("campaign:77", "other"), ("campaign", "x")] {
        broadcast(&server, &signer, topic, message).await;
    }
    assert_eq!(client.next().await, "one");
    // Twice is once, also by another token.
    client.subscribe("campaign:7", &signer.token("subscribe", &["campaign:7"])).await;
    client.subscribe("news", &signer.token("subscribe", &["news"])).await;
    for (topic, message) in
        [("news", "two"), ("campaign:7", "{\"three\": 3}"), ("news", ""), ("campaign:7", "grün 😀\n")]
    {
        broadcast(&server, &signer, topic, message).await;
        assert_eq!(client.next().await, message);
    }
    client.send("/unsubscribe news").await;
    assert!(client.settled().await.is_empty());
    broadcast(&server, &signer, "news", "gone").await;
    broadcast(&server, &signer, "campaign:7", "still").await;
    assert_eq!(client.next().await, "still");
    client.send("/unsubscribe-all").await;
    assert!(client.settled().await.is_empty());
    broadcast(&server, &signer, "campaign:7", "gone").await;
    client.subscribe("news", &signer.token("subscribe", &["news"])).await;
    broadcast(&server, &signer, "news", "back").await;
    assert_eq!(client.next().await, "back");
}

#[tokio::test]
async fn what_users_insert_under_the_name_of_a_topic_reaches_its_subscribers() {
    let (server, signer) = server(&[]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!("old")).await;
    let mut client = TopicClient::connect(&server).await;
    client.subscribe("news", &signer.token("subscribe", &["news"])).await;
    // Neither a snapshot nor what a stream of users says of itself.
    assert!(client.settled().await.is_empty());
    server.user("mallory", "elsewhere").await.insert("news", json!("of another tenant")).await;
    for (data, message) in [
        (json!("a text"), "a text"),
        (json!({ "a": [1, null] }), r#"{"a":[1,null]}"#),
        (json!(12), "12"),
        (Value::Null, "null"),
    ] {
        alice.insert("news", data).await;
        assert_eq!(client.next().await, message);
    }
    alice.insert_raw(json!({ "event": "news", "data": "passing", "transient": true })).await.ok();
    assert_eq!(client.next().await, "passing");
    alice.remove("news").await.ok();
    alice.insert("news", json!("after the removal")).await;
    assert_eq!(client.next().await, "after the removal");
}

#[tokio::test]
async fn commands_are_answered_in_the_words_of_notiflux_and_refused_in_silence() {
    let (server, signer) = server(&[]).await;
    let mut client = TopicClient::connect(&server).await;
    let token = signer.token("subscribe", &["news", "@alice/x", "$reset"]);
    for text in ["/subscribe news", "/subscribe news a b", "/subscribe  news x"] {
        client.send(text).await;
        assert_eq!(client.next().await, "Invalid subscribe command, it should be: /subscribe <topic> <token>");
    }
    for text in ["/", "/subscribe", "/unsubscribe", "/unsubscribe-all news", "/help"] {
        client.send(text).await;
        assert_eq!(client.next().await, "Unknown command");
    }
    for text in ["", "hello", "subscribe news x"] {
        client.send(text).await;
    }
    client.send_message(Message::binary(b"/help".to_vec())).await;
    for (topic, token) in [
        ("news", "bad"),
        ("other", token.as_str()),
        ("@alice/x", &token),
        ("$reset", &token),
        ("news", &signer.token("broadcast", &["news"])),
        ("news", &Signer::new().token("subscribe", &["news"])),
    ] {
        client.send(&format!("/subscribe {topic} {token}")).await;
    }
    client.send("/unsubscribe news").await;
    assert!(client.settled().await.is_empty());
    broadcast(&server, &signer, "news", "not for this one").await;
    client.subscribe("news", &token).await;
    broadcast(&server, &signer, "news", "told").await;
    assert_eq!(client.next().await, "told");
}

#[tokio::test]
async fn a_client_that_asks_for_errors_is_told_of_refusals() {
    let (server, signer) = server(&[]).await;
    let mut client = TopicClient::connect_to(&server, "/ws?errors=1").await;
    for (topic, token, code) in [
        ("news", "bad".to_owned(), "unauthorized"),
        ("other", signer.token("subscribe", &["news"]), "topic_not_allowed"),
        ("$reset", signer.token("subscribe", &["$reset"]), "event_name_reserved"),
        ("id:5", signer.token("subscribe", &["id:5"]), "event_name_invalid"),
    ] {
        client.send(&format!("/subscribe {topic} {token}")).await;
        let refusal: Value = serde_json::from_str(&client.next().await).unwrap();
        assert_eq!((&refusal["code"], &refusal["topic"]), (&json!(code), &json!(topic)));
        assert!(refusal["error"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let names: Vec<_> = (0..=1000).map(|number| format!("t{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let token = signer.token("subscribe", &names);
    for name in &names {
        client.send(&format!("/subscribe {name} {token}")).await;
    }
    let refusals = client.settled().await;
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].contains("too_many_topics") && refusals[0].contains("t1000"), "{refusals:?}");
    broadcast(&server, &signer, "t999", "the last of them").await;
    assert_eq!(client.next().await, "the last of them");
}

#[tokio::test]
async fn a_subscription_outlives_its_token_unless_it_is_to_end_with_it() {
    for is_to_end in [false, true] {
        let flag = format!("--notiflux_end_with_token={is_to_end}");
        let (server, signer) = server(&[&flag]).await;
        let mut client = TopicClient::connect(&server).await;
        // The minute of leeway is nearly over.
        let ends = now_millis() / 1000 - 58;
        client.subscribe("short", &signer.token_until("subscribe", &["short"], ends)).await;
        client.subscribe("long", &signer.token("subscribe", &["long"])).await;
        let ended = until("the end of a token", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            broadcast(&server, &signer, "short", "short").await;
            broadcast(&server, &signer, "long", "long").await;
            let has_come = client.next().await == "short";
            if has_come {
                assert_eq!(client.next().await, "long");
            }
            let is_over = now_millis() / 1000 > ends + 62;
            assert!(is_to_end || has_come);
            (is_over || !has_come).then_some(!has_come)
        });
        assert_eq!(ended.await, is_to_end);
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_sent_everything_in_the_end() {
    let (server, signer) = server(&["--max_event_bytes=1000000"]).await;
    let alice = server.user("alice", "acme").await;
    let mut client = TopicClient::connect(&server).await;
    client.subscribe("news", &signer.token("subscribe", &["news"])).await;
    let large = "x".repeat(900_000);
    for number in 0..40 {
        alice.insert("news", json!(format!("{number} {large}"))).await;
    }
    for number in 0..40 {
        assert_eq!(client.next().await, format!("{number} {large}"));
    }
}

#[tokio::test]
async fn clients_come_back_after_a_kill_and_a_stop_says_that_it_is_one() {
    let (server, signer) = server(&[]).await;
    let token = signer.token("subscribe", &["news"]);
    let mut client = TopicClient::connect(&server).await;
    client.subscribe("news", &token).await;
    let mut server = server.end_and_restart(true).await;
    assert!(client.next_message().await.is_none(), "the connection is lost");
    let (mut client, mut idle) = (TopicClient::connect(&server).await, TopicClient::connect(&server).await);
    client.subscribe("news", &token).await;
    assert!(idle.settled().await.is_empty());
    broadcast(&server, &signer, "news", "back").await;
    assert_eq!(client.next().await, "back");
    let stopping = server.stop();
    let closed = async {
        for client in [&mut client, &mut idle] {
            match client.next_message().await {
                Some(Message::Close(Some(CloseFrame { code, .. }))) => assert_eq!(code, CloseCode::Restart),
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::join!(stopping, closed);
}

#[tokio::test]
async fn a_close_frame_is_echoed() {
    let (server, _signer) = server(&[]).await;
    let mut client = TopicClient::connect(&server).await;
    let frame = CloseFrame { code: CloseCode::Library(4321), reason: "enough".into() };
    client.send_message(Message::Close(Some(frame.clone()))).await;
    assert_eq!(client.next_message().await, Some(Message::Close(Some(frame))));
    assert_eq!(client.next_message().await, None);
}

#[tokio::test]
async fn a_guest_is_present_under_a_name_that_no_user_has() {
    let (server, signer) = server(&[]).await;
    let alice = server.user("alice", "acme").await;
    let mut client = TopicClient::connect(&server).await;
    client.subscribe("news", &signer.token("subscribe", &["news"])).await;
    let present = alice.get("/presence").await.ok().json();
    assert_eq!((&present[0]["username"], &present[0]["streams"]), (&json!("notiflux:notiflux"), &json!(1)));
}

#[tokio::test]
async fn a_guest_without_topics_is_not_present_and_with_another_one_is_again() {
    let (server, signer) = server(&[]).await;
    let alice = server.user("alice", "acme").await;
    let token = signer.token("subscribe", &["news", "more"]);
    let mut client = TopicClient::connect(&server).await;
    for leave in ["/unsubscribe-all", "/unsubscribe news"] {
        client.subscribe("news", &token).await;
        broadcast(&server, &signer, "news", "here").await;
        assert_eq!(client.next().await, "here");
        assert_eq!(alice.get("/presence").await.ok().json()[0]["username"], "notiflux:notiflux", "{leave}");
        client.send(leave).await;
        assert!(client.settled().await.is_empty());
        // It may come back within the grace.
        assert_eq!(alice.get("/presence").await.ok().json()[0]["streams"].as_u64().unwrap_or(0), 0, "{leave}");
        broadcast(&server, &signer, "news", "gone").await;
    }
    until("nobody to be present", async || (alice.get("/presence").await.ok().json() == json!([])).then_some(())).await;
    // Of what is sent at once it is the end that counts.
    client.subscribe("news", &token).await;
    client.send("/unsubscribe-all").await;
    client.subscribe("more", &token).await;
    broadcast(&server, &signer, "more", "still here").await;
    assert_eq!(client.next().await, "still here");
}

#[tokio::test]
async fn without_the_flags_a_client_without_a_subprotocol_is_refused() {
    let server = TestServer::start().await;
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/ws", server.address())).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(answer)) = refused else { panic!("{refused:?}") };
    assert!(answer.status().is_client_error(), "{answer:?}");
}
