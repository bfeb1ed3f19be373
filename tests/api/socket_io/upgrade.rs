//! Guards the upgrade from long polling to a WebSocket, by the cases of both suites.

use super::client::{Polling, refused};
use super::connection::WebSocket;
use super::server::EchoServer;

#[tokio::test]
async fn a_session_upgrades_and_no_poll_waits_meanwhile() {
    let server = EchoServer::start();
    let polling = Polling::join(&server).await;
    let mut socket = WebSocket::upgrade(&server, &polling).await;
    let (waiting, ()) = tokio::join!(polling.poll(), async {
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
    });
    assert_eq!(waiting, "6");
    for _ in 0..3 {
        assert_eq!(polling.poll().await, "6");
    }
    socket.send("5").await;
    socket.send(r#"42["message","hello"]"#).await;
    assert_eq!(socket.text().await, r#"42["message-back","hello"]"#);
}

#[tokio::test]
async fn nothing_else_reaches_a_session_that_has_upgraded() {
    let server = EchoServer::start();
    let polling = Polling::join(&server).await;
    let mut socket = WebSocket::upgrade(&server, &polling).await;
    socket.send("2probe").await;
    socket.send("5").await;
    assert_eq!(socket.text().await, "3probe");
    socket.send(r#"42["message",1]"#).await;
    assert_eq!(socket.text().await, r#"42["message-back",1]"#);
    refused(&polling.client.get(&polling.path).await, 3, "Bad request");
    refused(&polling.post_any(&[], b"42[\"message\"]").await, 3, "Bad request");
    WebSocket::upgrade(&server, &polling).await.ends().await;
    socket.send(r#"42["message",2]"#).await;
    assert_eq!(socket.text().await, r#"42["message-back",2]"#);
}

#[tokio::test]
async fn an_upgrade_that_goes_wrong_or_is_the_second_leaves_the_session_as_it_is() {
    let server = EchoServer::start();
    let polling = Polling::join(&server).await;
    for wrong in [&["3"][..], &["2"], &["5"], &["42[\"message\"]"], &["2probe", "2probe"], &["abc"]] {
        let mut socket = WebSocket::upgrade(&server, &polling).await;
        for packet in wrong {
            socket.send(packet).await;
        }
        while socket.message().await.is_some() {}
    }
    let mut first = WebSocket::upgrade(&server, &polling).await;
    first.send("2probe").await;
    assert_eq!(first.text().await, "3probe");
    WebSocket::upgrade(&server, &polling).await.ends().await;
    drop(first);
    // Without the header, it is no upgrade (python-engineio#367).
    let path = polling.path.replace("transport=polling", "transport=websocket");
    refused(&polling.client.get(&path).await, 3, "Bad request");
    polling.post(r#"42["message"]"#).await;
    let mut said = polling.poll().await;
    while said == "6" {
        said = polling.poll().await;
    }
    assert_eq!(said, r#"42["message-back"]"#);
}

#[tokio::test]
async fn an_upgrade_that_never_ends_is_given_up() {
    let server = EchoServer::with(super::sio::Settings {
        upgrade_timeout: std::time::Duration::from_millis(100),
        ..Default::default()
    });
    let polling = Polling::join(&server).await;
    WebSocket::upgrade(&server, &polling).await.ends().await;
    let mut socket = WebSocket::upgrade(&server, &polling).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    socket.ends().await;
    polling.post(r#"42["message"]"#).await;
    assert_eq!(polling.poll().await, r#"42["message-back"]"#);
}

#[tokio::test]
async fn a_session_that_ends_while_it_upgrades_ends_both_transports() {
    let server = EchoServer::start();
    let polling = Polling::join(&server).await;
    let socket = WebSocket::upgrade(&server, &polling).await;
    polling.post("1").await;
    socket.ends().await;
    polling.is_unknown().await;
}

#[tokio::test]
async fn a_stream_goes_on_over_the_websocket_where_it_stopped() {
    let server = EchoServer::start();
    let polling = Polling::join(&server).await;
    polling.post(r#"42["listen"]"#).await;
    let (mut next, all) = (0, 20_000);
    let mut take = |packet: &str| {
        if packet != "6" && packet != "3probe" {
            assert_eq!(packet, format!(r#"42["number",{next},"{next}"]"#));
            next += 1;
        }
    };
    server.feed.add(all / 2);
    for _ in 0..20 {
        polling.poll().await.split('\x1e').for_each(&mut take);
    }
    let mut socket = WebSocket::upgrade(&server, &polling).await;
    // A poll is under way while the WebSocket is tried, and may bring more.
    let (last, ()) = tokio::join!(polling.poll(), async {
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
    });
    last.split('\x1e').for_each(&mut take);
    socket.send("5").await;
    server.feed.add(all - all / 2);
    while next < all {
        let packet = socket.text().await;
        assert_eq!(packet, format!(r#"42["number",{next},"{next}"]"#));
        next += 1;
    }
    assert_eq!(*server.feed.began.lock().unwrap(), ["polling", "websocket"]);
}
