//! Guards against peers that are gone without a word, or that read nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::presence::{bind, left};
use crate::support::{Network, RawStream, TestServer, User, eventually, insert_large};

/// For how long a peer may acknowledge nothing.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// The last byte may have been sent so long ago.
const HEARTBEAT: Duration = Duration::from_secs(12);
/// How much longer than it must something may take: a busy machine, and half a second between two looks.
const LATE: Duration = Duration::from_secs(20);

async fn who_is_there(user: &User) -> Vec<String> {
    let list = user.get("/presence").await.ok().json();
    list.as_array().unwrap().iter().map(|person| person["username"].as_str().unwrap().to_owned()).collect()
}

/// How long a change takes, which may take longer than others may.
async fn time_until(what: &str, bound: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < bound, "{what} took more than {bound:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    since.elapsed()
}

#[tokio::test]
async fn a_client_that_loses_the_network_is_gone_within_a_minute_with_its_bound_events() {
    let Some(network) = Network::create() else { return };
    let server = TestServer::start_with(&[&format!("--host={}", network.here)]).await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let address: SocketAddr = server.address().parse().unwrap();
    let mut stream = RawStream::over(network.connect(address), &alice).await;
    let id = stream.header("broker-stream");
    bind(&alice, &id, &["cursor"]).await;
    assert_eq!(stream.events().await.unwrap()[0].name, "cursor");
    let _bob = bob.stream().await;
    assert_eq!(who_is_there(&bob).await, ["alice", "bob"]);
    let streams = server.connections();
    // One that asks nothing, and to which nothing is sent. The last, because it is closed after ten
    // seconds.
    let idle = network.connect(address);
    eventually("the idle connection", || server.connections() > streams).await;
    let before = streams + 1;

    network.cut();
    let gone_within = HEARTBEAT + SILENT_FOR + LATE;
    let took = time_until("the end of a silent stream", gone_within, async || server.connections() + 2 <= before).await;
    // Not sooner: a client that is back by then has lost nothing.
    assert!(took > SILENT_FOR - Duration::from_secs(12), "it took only {took:?}");
    time_until("the presence of who has gone", LATE, async || who_is_there(&bob).await == ["bob"]).await;
    time_until("what lasts", LATE, async || left(&bob, "cursor").await.is_empty()).await;
    drop((stream, idle));
}

#[tokio::test]
async fn an_answer_of_which_nothing_is_taken_for_half_a_minute_ends_its_connection() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for _ in 0..60 {
        alice.insert("news", json!("x".repeat(90_000))).await;
    }
    let before = server.connections();
    let head = format!("HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", alice.authorization);
    let mut unread = Vec::new();
    let since = Instant::now();
    for path in ["/history?event=news&limit=1000", "/history?event=news&limit=1000&order=oldest"] {
        unread.push(RawStream::ask(&server, &format!("GET {path} {head}"), Some(4096)).await);
    }
    assert_eq!(server.connections(), before + unread.len());
    time_until("the end of who does not read", SILENT_FOR + LATE, async || server.connections() <= before).await;
    let took = since.elapsed();
    assert!(took > SILENT_FOR - Duration::from_secs(5), "it took only {took:?}");
}

#[tokio::test]
async fn a_stream_that_takes_nothing_for_half_a_minute_ends_and_comes_back_and_one_that_takes_a_little_goes_on() {
    const EVENTS: usize = 200;
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let names: Vec<_> = (0..EVENTS).map(|number| format!("big{number}")).collect();
    let mut stuck = RawStream::open_with(&server, &alice, Some(4096)).await;
    // With room for more than one segment: where the next never fits as a whole, Linux may see no progress.
    let mut slow = RawStream::open_with(&server, &alice, Some(1 << 18)).await;
    let before = server.connections();
    let inserted = insert_large(&alice, &names, 90_000).await;
    let ids: Vec<_> = inserted.into_iter().map(|(id, _)| id).collect();
    let mut read = 0;
    time_until("the end of who does not read", SILENT_FOR + HEARTBEAT + LATE, async || {
        // A little, and far from all of it.
        read += slow.events().await.unwrap().len();
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.connections() < before
    })
    .await;
    assert!(read < EVENTS, "it was not slow at all");

    // What the system had still comes, and then the end; the rest by the last id.
    let mut seen = Vec::new();
    while let Some(events) = stuck.events().await {
        seen.extend(events.into_iter().map(|event| event.id));
    }
    assert!(seen.len() < EVENTS && !stuck.complete, "it was cut off, and not at its end");
    let mut back = alice.stream_of("/sse", seen.last().map(String::as_str)).await;
    seen.extend(back.take(EVENTS - seen.len()).await.into_iter().map(|event| event.id));
    assert_eq!(seen, ids);
    while read < EVENTS {
        read += slow.events().await.expect("it goes on").len();
    }
    assert_eq!(read, EVENTS);
}
