//! Guards the versions of TLS and HTTP, and that all of Broker works over them.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Version;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Secure;
use crate::support::{Client, TestServer, within};

/// What `openssl s_client` says of a handshake with these settings.
fn handshake(server: &TestServer, settings: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", server.address()])
        .args(settings)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_served_and_nothing_older() {
    let secure = Secure::start().await;
    for (settings, version) in [(&["-tls1_2"][..], "TLSv1.2"), (&["-tls1_3"], "TLSv1.3"), (&[], "TLSv1.3")] {
        let said = handshake(&secure.server, settings);
        assert!(said.contains(&format!("New, {version}, Cipher is ")), "{settings:?}: {said}");
    }
    // At level 0 openssl itself would take them: it is the server that sends the alert.
    for old in ["-tls1", "-tls1_1"] {
        let said = handshake(&secure.server, &[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(said.contains("SSL alert number") && said.contains("Cipher is (NONE)"), "{old}: {said}");
    }
    // Nor what is weak in 1.2: no forward secrecy, no authenticated encryption.
    for weak in ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA"] {
        let said = handshake(&secure.server, &["-tls1_2", "-cipher", &format!("{weak}:@SECLEVEL=0")]);
        assert!(said.contains("alert handshake failure"), "{weak}: {said}");
    }
    secure.client().get("/").await.ok();
}

#[tokio::test]
async fn http_2_is_agreed_on_by_alpn_and_http_1_1_where_the_client_has_no_other() {
    let secure = Secure::start().await;
    for (offered, agreed) in [("h2,http/1.1", "h2"), ("h2", "h2"), ("http/1.1", "http/1.1"), ("http/1.1,h2", "h2")] {
        let said = handshake(&secure.server, &["-alpn", offered]);
        assert!(said.contains(&format!("ALPN protocol: {agreed}\n")), "{offered}: {said}");
    }
    let version = async |client: Client| client.http.get(&client.url).send().await.unwrap().version();
    assert_eq!(version(secure.client()).await, Version::HTTP_2);
    assert_eq!(version(secure.client_with(reqwest::Client::builder().http1_only())).await, Version::HTTP_11);
    // Plain HTTP finds nobody there.
    let plain = secure.server.url.replace("https", "http");
    assert!(Client::new(&plain).http.get(&plain).send().await.is_err());
}

async fn all_of_it_works(client: Client, version: Version) {
    client.create_user("alice", "acme").await;
    client.create_user("bob", "acme").await;
    let (alice, bob) = (client.sign_in("alice").await, client.sign_in("bob").await);
    assert_eq!(client.http.get(&client.url).send().await.unwrap().version(), version);
    let old = alice.insert("old", json!("grün")).await;
    let mut streams = Vec::new();
    // Over HTTP/2 these share a connection with each other and with the inserts.
    for _ in 0..20 {
        let mut stream = alice.stream().await;
        assert_eq!(stream.headers["content-type"], "text/event-stream");
        let event = stream.next().await;
        assert_eq!((event.id, event.data.as_str()), (old.clone(), "\"gr\\u00fcn\""));
        streams.push(stream);
    }
    let mut of_bob = bob.stream_of("/sse?events=new*", Some(&old)).await;
    let mut objects = alice.stream_of("/sse?events=new*&envelope=true", Some(&old)).await;
    for number in 0..30 {
        let id = bob.insert(&format!("new{}", number % 3), json!("x".repeat(number * 1000))).await;
        for stream in &mut streams {
            assert_eq!(stream.next().await.id, id);
        }
        assert_eq!(of_bob.next().await.id, id);
        let object = objects.next().await.envelope();
        assert_eq!((object.id, object.username.as_str()), (id, "bob"));
    }
    bob.verify().await.ok();
    // They go on in another tenant when their user is moved there.
    client.create_user("mallory", "other").await;
    let mallory = client.sign_in("mallory").await;
    let there = mallory.insert("there", json!(1)).await;
    client.admin("/update_user", json!({ "username": "alice", "tenant_name": "other" })).await.ok();
    bob.insert("hidden", json!(1)).await;
    let live = mallory.insert("live", json!(1)).await;
    for stream in &mut streams {
        assert_eq!([stream.next().await.id, stream.next().await.id], [there.clone(), live.clone()]);
    }
    // Alone those of the user end, though others may share their connection.
    client.admin("/revoke_user", json!({ "username": "alice" })).await.ok();
    let since = Instant::now();
    for stream in &mut streams {
        assert_eq!(stream.rest().await, []);
    }
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    let last = bob.insert("new", json!(1)).await;
    assert_eq!(of_bob.next().await.id, last);
}

#[tokio::test]
async fn signing_in_inserting_and_streaming_work_over_http_2() {
    let secure = Secure::start().await;
    all_of_it_works(secure.client(), Version::HTTP_2).await;
}

#[tokio::test]
async fn signing_in_inserting_and_streaming_work_over_http_1_1_and_tls() {
    let secure = Secure::start().await;
    all_of_it_works(secure.client_with(reqwest::Client::builder().http1_only()), Version::HTTP_11).await;
}

/// Something between client and server that can be cut, as a cable can.
struct Cable {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Cable {
    async fn to(server: &TestServer) -> Self {
        let there: SocketAddr = server.address().parse().unwrap();
        let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = here.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut client, _) = here.accept().await.unwrap();
                connections.spawn(async move {
                    let mut server = TcpStream::connect(there).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, task }
    }

    fn cut(self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_closed_connection_is_forgotten_at_once_with_all_of_its_streams_and_without_a_warning() {
    let secure = Secure::start().await;
    secure.client().create_user("alice", "acme").await;
    secure.server.says("/create_user").await;
    let lines = secure.server.log().lines().count();
    for version in ["HTTP/1.1", "HTTP/2"] {
        let cable = Cable::to(&secure.server).await;
        let settings = reqwest::Client::builder();
        let settings = if version == "HTTP/2" { settings } else { settings.http1_only() };
        let mut client = secure.client_with(settings);
        client.url = format!("https://{}", cable.address);
        let alice = client.sign_in("alice").await;
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.push(alice.stream().await);
        }
        assert!(secure.server.connections() >= if version == "HTTP/2" { 1 } else { 10 });
        cable.cut();
        secure.server.keeps_only(0).await;
    }
    // Clients go all day long.
    let log = secure.server.log_up_to_now(&secure.client()).await;
    assert!(!log.contains("actix_http"), "{log}");
    let told = log.lines().skip(lines).filter(|line| !line.contains("DEBUG") && !line.contains("broker::access"));
    assert_eq!(told.collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn a_cancelled_stream_of_http_2_is_gone_at_once_and_the_others_of_its_connection_go_on() {
    let secure = Secure::start().await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(alice.stream().await);
    }
    let streams_open = async || {
        let here = alice.get("/presence").await.ok().json();
        here[0]["streams"].as_u64().unwrap_or_else(|| panic!("{here}"))
    };
    assert_eq!(streams_open().await, 5);
    let since = Instant::now();
    for left in [3, 1] {
        // Each pair has asked for nothing and has nothing to be sent.
        streams.truncate(left);
        while streams_open().await != left as u64 {
            // The next heartbeat would tell, too, but that is much later.
            assert!(since.elapsed() < Duration::from_secs(8));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(streams[0].next().await.id, id);
    assert_eq!(secure.server.connections(), 1);
}

#[tokio::test]
async fn streams_over_tls_end_when_the_server_does() {
    let mut secure = Secure::start().await;
    secure.client().create_user("alice", "acme").await;
    let one = secure.client_with(reqwest::Client::builder().http1_only()).sign_in("alice").await;
    let two = secure.client().sign_in("alice").await;
    let (mut one, mut two) = (one.stream().await, two.stream().await);
    let since = Instant::now();
    secure.server.signal("TERM");
    assert_eq!((one.rest().await, two.rest().await), (vec![], vec![]));
    assert_eq!(secure.server.ended().await.code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}

#[tokio::test]
async fn over_http_2_a_stream_that_nobody_reads_delays_none_of_the_others_on_its_connection() {
    let secure = Secure::start().await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let (mut stalled, mut lively) = (alice.stream().await, alice.stream().await);
    assert_eq!(secure.server.connections(), 1);
    // More than twice the window of a stream, and no more: who is not read for half a minute is cut off.
    let mut ids = Vec::new();
    for number in 0..50 {
        ids.push(alice.insert(&format!("name{}", number % 3), json!("x".repeat(90_000))).await);
        assert_eq!(lively.next().await.id, ids[number]);
    }
    for id in ids {
        assert_eq!(stalled.next().await.id, id);
    }
}

#[tokio::test]
async fn over_http_2_a_list_is_reset_and_not_ended_if_its_readers_rights_end() {
    let secure = Secure::start().await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    client.create_user("bob", "acme").await;
    let bob = client.sign_in("bob").await;
    let text = "x".repeat(50_000);
    for number in 10..50 {
        bob.insert(&format!("name{number}"), json!(text)).await;
    }
    // A connection of its own, on which little is sent before it is read.
    let settings = reqwest::Client::builder();
    let settings = settings.http2_initial_stream_window_size(65_535).http2_initial_connection_window_size(65_535);
    let alice = secure.client_with(settings).sign_in("alice").await;
    let request = alice.client.http.get(format!("{}/events", secure.server.url));
    let request = request.header("authorization", &alice.authorization).send();
    let mut answer = within("an answer", request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    client.admin("/revoke_user", json!({ "username": "alice" })).await.ok();
    bob.insert("name49", json!("what came later")).await;
    let mut list = Vec::new();
    // It is reset in the end, which is an error.
    while let Ok(chunk) = within("a chunk", answer.chunk()).await {
        list.extend_from_slice(&chunk.expect("it is not ended as if it were whole"));
    }
    assert!(list.len() < 40 * text.len() && !String::from_utf8_lossy(&list).contains("what came later"));
}
