//! Guards draining: a server that is asked to stop is not ready, serves on, and ends its streams one after the other.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Version;
use serde_json::{Value, json};

use crate::socket_io::Polling;
use crate::support::mqtt::Mqtt;
use crate::support::{RawStream, Saying, Stream, TestServer, User, again, free_port, until, within};
use crate::tls::Secure;

/// Asks a server to stop, and waits until it says that it is not ready.
async fn begins_to_drain(server: &TestServer) {
    server.signal("TERM");
    let client = server.client();
    let refused = until("it is not ready", async || {
        let answer = client.get("/readyz").await;
        (answer.status != 200).then_some(answer)
    });
    refused.await.refused(503, "shutting_down");
}

async fn in_sync(user: &User) -> Stream {
    let mut stream = user.stream_of("/sse?marks=true&events=news", None).await;
    while stream.next().await.name != "$synced" {}
    stream
}

#[tokio::test]
async fn streams_end_evenly_each_with_another_time_to_come_back_while_requests_are_served() {
    let mut server = TestServer::start_with(&["--drain_for=6"]).await;
    let alice = server.user("alice", "acme").await;
    let streams = join_all((0..30).map(|_| in_sync(&alice))).await;
    assert!(streams.iter().all(|stream| stream.retry == Some(2000)), "they forget what an earlier stream has said");
    let plain = RawStream::open(&server, &alice).await;
    let began = Instant::now();
    begins_to_drain(&server).await;
    let status = server.client().admin("/status", json!({})).await.ok();
    assert_eq!((status.json()["phase"].as_str(), status.header("connection")), (Some("draining"), Some("close")));
    // It serves on, also those that come anew.
    let id = alice.insert("news", json!(1)).await;
    let mut late = in_sync(&alice).await;
    let ends = join_all(streams.into_iter().map(async |mut stream| {
        assert_eq!(stream.next().await.id, id);
        let end = stream.next().await;
        let at = began.elapsed();
        assert_eq!((end.name.as_str(), &end.json()["reason"]), ("$end", &json!("stopping")));
        assert_eq!(end.json()["retry"].as_u64(), stream.retry, "the browser is told as much");
        (at, stream.retry.unwrap())
    }));
    let (ends, late_end, (plain, is_whole)) =
        within("all ends", async { tokio::join!(ends, late.next(), plain.rest()) }).await;
    // Two seconds as before, and four for the ends.
    let mut at: Vec<_> = ends.iter().map(|(at, _)| *at).collect();
    at.sort();
    assert!(at[0] >= Duration::from_secs(2) && at[29] < Duration::from_secs(9), "{at:?}");
    assert!(at[29] - at[0] > Duration::from_secs(2) && at[20] - at[10] > Duration::from_millis(600), "{at:?}");
    let mut retries: Vec<_> = ends.iter().map(|(_, retry)| *retry).collect();
    retries.sort();
    assert!(retries[0] >= 1000 && retries[29] <= 2000, "{retries:?}");
    retries.dedup();
    assert!(retries.len() > 20, "they come back at different times: {retries:?}");
    // One that came meanwhile stays to the end.
    assert_eq!(late_end.json()["reason"], "stopping");
    assert!(!plain.contains("retry") && !plain.contains('$') && is_whole, "the plain stream is as ever: {plain:?}");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_page_with_a_ticket_is_told_when_to_come_back() {
    let mut server = TestServer::start_with(&["--drain_for=1"]).await;
    let alice = server.user("alice", "acme").await;
    let ticket = alice.post("/sse_ticket", json!({})).await.ok().json()["ticket"].as_str().unwrap().to_owned();
    let request = format!("GET /sse?ticket={ticket} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut stream = RawStream::ask(&server, &request, None).await;
    assert_eq!(stream.chunk().await.as_deref(), Some("retry:2000\n"));
    server.signal("TERM");
    let (rest, is_whole) = stream.rest().await;
    let retry: u64 = rest.strip_prefix(":\n").unwrap().strip_prefix("retry:").unwrap().trim_end().parse().unwrap();
    assert!((1000..=2000).contains(&retry) && is_whole, "{rest:?}");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_the_draining() {
    let mut server = TestServer::start_with(&["--drain_for=3600"]).await;
    let alice = server.user("alice", "acme").await;
    let mut stream = in_sync(&alice).await;
    begins_to_drain(&server).await;
    server.signal("INT");
    assert_eq!(stream.next().await.json()["reason"], "stopping");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn over_http_2_a_client_is_told_to_use_another_connection_while_its_stream_goes_on() {
    let mut secure = Secure::start_with(&["--drain_for=4"]).await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let mut stream = in_sync(&alice).await;
    let http2 = client.http.get(&client.url).send().await.unwrap();
    assert_eq!(http2.version(), Version::HTTP_2);
    // The client has one connection as long as it may use that.
    let connections = async || {
        let status: Value = client.admin("/status", json!({})).await.ok().json();
        status["connections"]["open"].as_u64().unwrap()
    };
    assert_eq!(connections().await, 1);
    secure.server.signal("TERM");
    until("another connection", async || (connections().await == 2).then_some(())).await;
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id, "the stream goes on");
    assert_eq!(stream.next().await.json()["reason"], "stopping");
    assert!(secure.server.ended().await.success());
}

#[tokio::test]
async fn over_http_2_one_who_comes_meanwhile_is_served_however_late_the_first_request_is() {
    let secure = Secure::start_with(&["--drain_for=3600"]).await;
    let client = secure.client();
    secure.server.signal("TERM");
    until("it is not ready", async || (client.get("/readyz").await.status == 503).then_some(())).await;
    let (mut requests, mut connection) = h2::client::handshake(secure.connect("h2").await).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    // What the server has to say before a request has come by then.
    within("a pong", pings.ping(h2::Ping::opaque())).await.unwrap();
    let request = http::Request::get("https://localhost/health").body(()).unwrap();
    let (answer, _) = requests.send_request(request, true).unwrap();
    assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
    connection.abort();
}

#[tokio::test]
async fn clients_of_mqtt_are_told_and_connections_of_polls_end_with_an_answer() {
    // What is logged of each request keeps polls in the framework.
    let mut server = TestServer::start_with(&["--drain_for=6", "--mqtt_port=0", "--log=info"]).await;
    let alice = server.user("alice", "acme").await;
    let mut mqtt = Mqtt::signed_in(&server, 5, "device", alice.jwt()).await;
    let polling = Polling::at(&server.url).await;
    polling.post(&format!("40{}", json!({ "token": alice.jwt() }))).await;
    let answered = async |data: u64| {
        let poll = polling.client.get(&polling.path);
        let (answer, _) = tokio::join!(poll, alice.insert("news", json!(data)));
        answer.ok().header("connection").map(str::to_owned)
    };
    while polling.poll().await.starts_with("40") {}
    assert_eq!(answered(1).await, None);
    begins_to_drain(&server).await;
    assert_eq!(answered(2).await.as_deref(), Some("close"));
    assert_eq!(mqtt.ended().await, Some(0x8b), "the server shuts down");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn broker_client_sees_every_event_once_over_restarts_and_is_live_again_each_time() {
    // The next server is where the one before was.
    let port = format!("--port={}", free_port());
    let mut server = TestServer::start_with(&["--drain_for=3", &port]).await;
    let mut alice = server.user("alice", "acme").await;
    let mut program = Saying::start("restart.mjs", &[&server.url]);
    let mut live = 0;
    let mut seen = Vec::new();
    for number in 0..6 {
        let name = format!("news/{number}");
        alice.insert(&name, json!(number)).await;
        while !seen.contains(&name) || live <= number / 2 {
            match program.next().await.as_str() {
                "is live" => live += 1,
                said if said.starts_with("is ") => {}
                event => seen.push(event.to_owned()),
            }
        }
        if number % 2 == 1 {
            server = server.end_and_restart(number == 3).await;
            alice = again(&server, &alice);
        }
    }
    assert_eq!(seen, (0..6).map(|number| format!("news/{number}")).collect::<Vec<_>>());
}
