//! Guards the server against clients that ask for more than they read, or send without end: what each can take is bounded.

use serde_json::json;

use crate::support::{Socket, TestServer, within};

#[tokio::test]
async fn a_client_that_reads_no_answers_is_not_read_from_and_takes_no_memory() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    let frame = json!({ "do": "dance", "ref": 1 }).to_string();
    // It writes until the connection takes no more.
    let flood = async { while socket.send_text(&frame).await {} };
    let stuck = tokio::time::timeout(std::time::Duration::from_secs(5), flood).await;
    assert!(stuck.is_err(), "everything was taken");
    let taken = server.peak_above(before);
    assert!(taken < 16, "{taken} MiB");
    // Others are served.
    let mut other = alice.socket(json!({})).await;
    other.ok("insert", json!({ "event": "a", "data": 1 })).await;
}

#[tokio::test]
async fn inserts_are_done_once_and_in_order_however_many_are_sent_at_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let mut sent = Vec::new();
    for number in 0..3000 {
        sent.push(socket.send("insert", json!({ "event": format!("n{}", number % 10), "data": number })).await);
    }
    let mut last = String::new();
    for reference in sent {
        let id = socket.answer(reference).await["ok"]["id"].as_str().unwrap().to_owned();
        assert!(id > last, "out of order");
        last = id;
    }
}

#[tokio::test]
async fn beyond_64_inserts_in_flight_nothing_is_read() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    // They keep the writer busy for longer than it takes to read all that follows.
    let many: Vec<_> = (0..1000).map(|number| json!({ "event": "many", "data": number })).collect();
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.push(socket.send("insert", json!({ "events": many })).await);
    }
    for number in 0..300 {
        sent.push(socket.send("insert", json!({ "event": "one", "data": number })).await);
    }
    socket.ok("ping", json!({})).await;
    let in_flight = sent.iter().filter(|reference| !socket.was_answered(**reference)).count();
    assert!(in_flight <= 64, "{in_flight} are in flight");
    for reference in sent {
        assert!(socket.answer(reference).await.get("ok").is_some());
    }
}

#[tokio::test]
async fn refusals_with_large_events_do_not_pile_up() {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("large", json!("x".repeat(1_000_000))).await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    let mut sent = Vec::new();
    for number in 0..100 {
        let fields = json!({ "event": "large", "data": number, "if_none_match": "*" });
        sent.push(socket.send("insert", fields).await);
    }
    for reference in sent {
        let answer = socket.answer(reference).await;
        assert_eq!(
            (answer["code"].as_str(), answer["current"]["event"].as_str()),
            (Some("precondition_failed"), Some("large"))
        );
    }
    let taken = server.peak_above(before);
    assert!(taken < 40, "{taken} MiB");
}

#[tokio::test]
async fn connections_that_never_sign_in_are_gone_after_their_time() {
    let server = TestServer::start().await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(Socket::connect(&server.url).await);
    }
    within("the connections to end", async {
        for socket in &mut idle {
            assert_eq!(socket.closed().await, Some(4408));
        }
    })
    .await;
    drop(idle);
    server.keeps_only(0).await;
}
