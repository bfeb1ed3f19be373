//! Guards against connections whose clients do not say who they are: each network has a share of them, also behind a proxy.

use std::sync::Arc;

use super::super::support::{TestServer, command, connect_from, send_all, too_many_end, with_descriptors};
use super::super::tls::{FLAGS, Secure};
use super::client;

/// How many descriptors the server has: one network may have a quarter of the connections that these are enough for without a CONNECT.
const DESCRIPTORS: usize = 256;
/// How many say nothing, and of those, how many are too many at the least.
const IDLE: usize = 100;
const TOO_MANY: usize = IDLE - DESCRIPTORS / 4;

#[tokio::test]
async fn of_the_connections_of_a_network_that_say_nothing_the_oldest_go_and_those_of_clients_stay() {
    let started = TestServer::try_start(Arc::new(tempfile::tempdir().unwrap()), |directory| {
        with_descriptors(DESCRIPTORS, &command(&["--mqtt_port=0".to_owned()], directory), directory)
    });
    let server = started.await.unwrap_or_else(|why| panic!("{why}"));
    let alice = server.user("alice", "acme").await;
    let mut before = client(&server, 4, "before", &alice).await;
    let mut elsewhere = connect_from(2, server.mqtt().parse().unwrap()).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(connect_from(1, server.mqtt().parse().unwrap()).await);
    }
    too_many_end(&mut elsewhere, &mut idle, TOO_MANY).await;
    // Whoever has said who it is counts no more, and newcomers get in.
    before.nothing_comes().await;
    client(&server, 4, "after", &alice).await;
}

#[tokio::test]
async fn handshakes_behind_a_proxy_count_for_the_client_that_it_names() {
    let flags = FLAGS.iter().chain(&["--mqtts_port=0", "--trusted_proxies=127.0.0.1"]);
    let flags: Vec<_> = flags.map(|flag| (*flag).to_owned()).collect();
    let secure =
        Secure::start_as(move |directory| with_descriptors(DESCRIPTORS, &command(&flags, directory), directory)).await;
    let from = async |last: u8| {
        let mut tcp = connect_from(1, secure.server.mqtts().parse().unwrap()).await;
        let addresses = [192, 0, 2, last, 127, 0, 0, 1, 0xC0, 0, 7, 0x5B];
        let said = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &addresses].concat();
        send_all(&mut tcp, &said).await.unwrap();
        tcp
    };
    let mut elsewhere = from(8).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(from(7).await);
    }
    too_many_end(&mut elsewhere, &mut idle, TOO_MANY).await;
}
