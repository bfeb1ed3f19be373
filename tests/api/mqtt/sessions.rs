//! Guards sessions: one connection has a session at a time, and it outlives connections, restarts and kills if it is to.

use super::super::support::mqtt::{Connect, Mqtt};
use super::{client, server_with};

#[tokio::test]
async fn a_second_connection_takes_the_session_over_and_the_first_is_told() {
    let (server, alice) = server_with(&[]).await;
    let bob = server.user("bob", "acme").await;
    let mut theirs = client(&server, 5, "x", &bob).await;
    for level in [4, 5] {
        let mut first = client(&server, level, "x", &alice).await;
        let mut second = client(&server, level, "x", &alice).await;
        assert_eq!(first.ended().await, (level == 5).then_some(0x8E));
        second.nothing_comes().await;
    }
    theirs.nothing_comes().await;
}

#[tokio::test]
async fn of_many_that_come_at_once_one_is_left() {
    let (server, alice) = server_with(&[]).await;
    let connects = (0..50).map(|_| {
        let login = Some(("JWT", alice.jwt()));
        let connect = Connect { level: 5, client_id: "x", login, ..Connect::default() };
        let server = &server;
        async move {
            let (mut mqtt, connack) = Mqtt::open(server, &connect).await;
            assert_eq!(connack.body[1], 0);
            mqtt.send(&[0xC0, 0]).await;
            let packet = mqtt.packet().await.unwrap();
            (packet.first, mqtt)
        }
    });
    let ended = futures_util::future::join_all(connects).await;
    // Each was let in, and all but the last were told that another took over; some had an answer to their ping before.
    server.keeps_only(2).await;
    let mut left = 0;
    for (first, mut mqtt) in ended {
        assert!(matches!(first, 0xD0 | 0xE0), "{first:x}");
        if first == 0xD0 {
            match mqtt.socket.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => left += 1,
                _ => {}
            }
        }
    }
    assert_eq!(left, 1);
}
