//! Guards channels against hostile clients: what each can take is bounded, and others are served meanwhile.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use reqwest::Method;
use serde_json::json;
use tokio::time::timeout;

use super::channels::{Listener, send};
use crate::channel::{AUTH_KEY, FLAGS, token};
use crate::support::{Client, TestServer, within};

/// How much memory a client may make the server take, in MiB.
const BOUND: usize = 24;
/// A request that takes so long waits for its client.
const STUCK: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_client_joins_a_thousand_channels_and_is_told_that_there_are_no_more() {
    let server = TestServer::start_with(&FLAGS).await;
    let client = Client::new(&server.url);
    let tokens: Vec<String> = iter(0..=1000)
        .map(|number| {
            let (client, path) = (client.clone(), format!("/channel/c{number}"));
            async move {
                let answer = client.request(Method::POST, &path, &[("authorization", AUTH_KEY)], Some(vec![])).await;
                answer.ok().json()["token"].as_str().unwrap().to_owned()
            }
        })
        .buffered(50)
        .collect()
        .await;
    let mut listener = Listener::connect(&server).await;
    for (number, token) in tokens.iter().enumerate() {
        let join = format!(r#"42["join_channel",{{"token":"{token}"}}]"#);
        // Sent together, as many as are worked on at once, and one by one.
        if number < 64 {
            listener.polling.post(&join).await;
            continue;
        }
        if number == 64 {
            for _ in 0..64 {
                assert!(listener.next().await.contains("Connected to c"));
            }
        }
        listener.polling.post(&join).await;
        let told = listener.next().await;
        assert_eq!(told.contains(&format!("Connected to c{number}\"")), number < 1000, "{told}");
        assert!(number < 1000 || told.contains("1000"), "{told}");
    }
    for number in [0, 999, 1000, 500] {
        send(&server, &format!("c{number}"), &json!(number)).await;
        if number < 1000 {
            listener.is_sent(&json!(number)).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_floods_messages_and_does_not_poll_is_read_no_further() {
    let server = TestServer::start_with(&FLAGS).await;
    let mut other = Listener::connect(&server).await;
    other.join(&server, "room").await;
    let flooding = Listener::connect(&server).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    let packet = format!(r#"42["message","{}"]"#, "x".repeat(1000));
    let body = vec![packet; 900].join("\x1e");
    let flood = async { while timeout(STUCK, flooding.polling.post(&body)).await.is_ok() {} };
    within("the session to take no more", flood).await;
    let taken = server.peak_above(before);
    assert!(taken < BOUND, "{taken} MiB");
    send(&server, "room", &json!("others are served")).await;
    other.is_sent(&json!("others are served")).await;
}

#[tokio::test]
async fn a_flood_of_messages_is_limited_by_the_rate_of_its_publisher_and_not_of_others() {
    let server = TestServer::start_with(&[FLAGS[0], FLAGS[1], "--insert_rate=1"]).await;
    let alice = server.user("alice", "acme").await;
    let mut codes = Vec::new();
    for _ in 0..30 {
        let answer = crate::channel::post(&server, "/message/room", Some(AUTH_KEY), r#"{"message": 1}"#).await;
        codes.push(answer.status);
    }
    assert!(codes[0] == 200 && codes.contains(&429), "{codes:?}");
    alice.insert("a", json!(1)).await;
    // A join is no insert.
    let mut listener = Listener::connect(&server).await;
    listener.join(&server, "room").await;
    assert_eq!(token(&server, "room").await.len(), 43);
}
