//! Guards topics against hostile clients: what each can take is bounded, and nothing but a token of the service opens a topic.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::time::timeout;

use super::notiflux::{broadcast, server};
use crate::contract::now_millis;
use crate::support::{Client, TopicClient, within};

/// How much memory a client may make the server take, in MiB.
const BOUND: usize = 24;
/// A client whose bytes are not taken for so long is read no further.
const STUCK: Duration = Duration::from_secs(2);

#[tokio::test]
async fn of_ten_thousand_topics_a_connection_has_the_first_thousand_and_takes_no_more_memory() {
    let (server, signer) = server(&[]).await;
    let mut client = TopicClient::connect(&server).await;
    assert!(client.settled().await.is_empty());
    server.forget_peak();
    let before = server.resident_mebibytes();
    let names: Vec<_> = (0..10_000).map(|number| format!("{number}/{}", "x".repeat(200))).collect();
    for some in names.chunks(100) {
        let some: Vec<_> = some.iter().map(String::as_str).collect();
        let token = signer.token("subscribe", &some);
        for name in some {
            client.send(&format!("/subscribe {name} {token}")).await;
        }
    }
    assert!(client.settled().await.is_empty(), "it is refused in silence");
    let taken = server.peak_above(before);
    assert!(taken < BOUND, "{taken} MiB");
    for (number, is_given) in [(1000, false), (9999, false), (0, true), (999, true)] {
        broadcast(&server, &signer, &names[number], &number.to_string()).await;
        if is_given {
            assert_eq!(client.next().await, number.to_string());
        }
    }
    // There is room again.
    client.send("/unsubscribe-all").await;
    client.subscribe(&names[9999], &signer.token("subscribe", &[&names[9999]])).await;
    broadcast(&server, &signer, &names[9999], "told").await;
    assert_eq!(client.next().await, "told");
}

#[tokio::test]
async fn a_client_that_floods_commands_and_reads_no_answers_is_read_no_further() {
    let (server, signer) = server(&[]).await;
    let mut client = TopicClient::connect_to(&server, "/ws?errors=1").await;
    let mut other = TopicClient::connect(&server).await;
    other.subscribe("news", &signer.token("subscribe", &["news"])).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    // Each is answered with the topic in it.
    let command = format!("/subscribe {} token", "t".repeat(60_000));
    let flood = async { while timeout(STUCK, client.send(&command)).await.is_ok() {} };
    within("the connection to take no more", flood).await;
    let taken = server.peak_above(before);
    assert!(taken < BOUND, "{taken} MiB");
    broadcast(&server, &signer, "news", "others are served").await;
    assert_eq!(other.next().await, "others are served");
}

#[tokio::test]
async fn readers_that_stop_keep_no_messages_in_memory_and_hold_nobody_up() {
    let (server, signer) = server(&["--max_event_bytes=1000000"]).await;
    let alice = server.user("alice", "acme").await;
    let token = signer.token("subscribe", &["news"]);
    let mut readers = Vec::new();
    for _ in 0..21 {
        let mut client = TopicClient::connect(&server).await;
        client.subscribe("news", &token).await;
        readers.push(client);
    }
    let mut reader = readers.pop().unwrap();
    server.forget_peak();
    let before = server.resident_mebibytes();
    let large = "x".repeat(900_000);
    for number in 0..20 {
        alice.insert("news", json!(format!("{number} {large}"))).await;
        assert_eq!(reader.next().await, format!("{number} {large}"));
    }
    // Each for itself it would be 360 MiB.
    let taken = server.peak_above(before);
    assert!(taken < 180, "{taken} MiB");
    let mut reading: FuturesUnordered<_> = readers
        .iter_mut()
        .map(async |reader| {
            for number in 0..20 {
                assert_eq!(reader.next().await, format!("{number} {large}"));
            }
        })
        .collect();
    while reading.next().await.is_some() {}
}

#[tokio::test]
async fn nothing_but_a_token_of_the_service_opens_a_topic() {
    let (server, signer) = server(&[]).await;
    let alice = server.user("alice", "acme").await;
    let now = now_millis() / 1000;
    let claims = |scope: &str| json!({ "sub": "x", "exp": now + 60, "topics": ["news"], "scope": scope });
    let es256 = json!({ "alg": "ES256", "typ": "JWT" });
    let with = |name: &str, value: serde_json::Value, scope: &str| {
        let mut claims = claims(scope);
        claims[name] = value;
        signer.sign(&es256, &claims)
    };
    let mut client = TopicClient::connect_to(&server, "/ws?errors=1").await;
    for scope in ["subscribe", "broadcast"] {
        for token in [
            signer.sign_nothing(&json!({ "alg": "none" }), &claims(scope)),
            signer.sign(&json!({ "alg": "none" }), &claims(scope)),
            signer.sign_with_public_key(&claims(scope)),
            with("aud", json!("broker"), scope),
            with("aud", json!([]), scope),
            with("exp", json!(now - 61), scope),
            with("exp", json!(null), scope),
            with("topics", json!("news"), scope),
            with("sub", json!(7), scope),
            alice.jwt().to_owned(),
        ] {
            client.send(&format!("/subscribe news {token}")).await;
            let refusal = client.next().await;
            assert!(refusal.contains(r#""code":"unauthorized""#), "{refusal}: {token}");
            let body = json!({ "topic": "news", "message": "forged", "token": token });
            Client::new(&server.url).post("/broadcast", &body).await.refused(401, "unauthorized");
        }
    }
    // The clocks of two machines differ: a token that has just expired is taken, as notiflux does.
    client
        .subscribe(
            "news",
            &signer.sign(&es256, &{
                let mut claims = claims("subscribe");
                claims["exp"] = json!(now - 20);
                claims
            }),
        )
        .await;
    broadcast(&server, &signer, "news", "in earnest").await;
    assert_eq!(client.next().await, "in earnest");
}
