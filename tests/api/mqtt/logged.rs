//! Guards what an operator finds in the log about clients of MQTT, above all about those of MQTT 3, which are told little themselves.

use super::super::support::TestServer;
use super::super::support::mqtt::{Connect, Mqtt};
use super::{client, code, server_with};

/// Awaits a line of the log that has all of these.
async fn says(server: &TestServer, all: &[&str]) {
    let is_there = || server.log().lines().any(|line| all.iter().all(|text| line.contains(text)));
    super::super::support::eventually(&format!("{all:?}"), is_there).await;
}

#[tokio::test]
async fn clients_that_are_not_let_in_are_logged_with_their_name_identifier_and_address_and_no_secret() {
    let (server, alice) = server_with(&[]).await;
    let wrong = ["not a token 81", "wrong password 82"];
    let attempt = |login| Connect { level: 4, client_id: "thermostat", login, ..Connect::default() };
    assert_eq!(code(&server, &attempt(Some(("JWT", wrong[0])))).await, 4);
    says(&server, &["broker::access", "mqtt", "JWT", "thermostat", "127.0.0.1", "0x86", "not let in"]).await;
    assert_eq!(code(&server, &attempt(Some(("alice", wrong[1])))).await, 4);
    says(&server, &["broker::access", "mqtt", "alice", "thermostat", "127.0.0.1", "0x86", "not let in"]).await;
    assert_eq!(code(&server, &attempt(None)).await, 5);
    says(&server, &["broker::access", "mqtt", "thermostat", "0x87", "not let in"]).await;
    // A CONNECT that cannot be read.
    let mut mqtt = Mqtt::dial(&server, 5).await;
    mqtt.send(&[0x10, 7, 0, 4, b'M', b'Q', b'T', b'T', 9]).await;
    assert_eq!(mqtt.packet().await.unwrap().body[1], 0x01);
    says(&server, &["broker::access", "mqtt", "0x84", "not let in"]).await;
    let log = server.log();
    assert!(wrong.iter().all(|secret| !log.contains(secret)) && !log.contains(alice.jwt()), "{log}");
}

#[tokio::test]
async fn what_is_refused_and_how_connections_end_is_logged_at_the_level_debug() {
    let (server, alice) = server_with(&["--log=debug"]).await;
    let mut mqtt = client(&server, 4, "thermostat", &alice).await;
    // A client of MQTT 3 is told that all went well.
    assert_eq!(mqtt.publish("@nobody/x", b"1", false).await, 0);
    says(&server, &["alice", "@nobody/x", "0x90", "an MQTT message is refused"]).await;
    assert_eq!(mqtt.publish("large", &[b'x'; 102_401], false).await, 0);
    says(&server, &["alice", "large", "0x97", "an MQTT message is refused"]).await;
    assert_eq!(mqtt.subscribe(&[("$SYS/#", 0)]).await, [0x80]);
    says(&server, &["alice", "$SYS/#", "0x87", "an MQTT subscription is refused"]).await;
    mqtt.send(&[0x00, 0]).await;
    assert_eq!(mqtt.packet().await, None);
    says(&server, &["alice", "thermostat", "0x81", "an MQTT client is disconnected"]).await;
    drop(client(&server, 5, "lamp", &alice).await);
    says(&server, &["alice", "lamp", "an MQTT client has gone"]).await;
}

#[tokio::test]
async fn each_connection_has_an_id_in_its_lines() {
    let (server, alice) = server_with(&[]).await;
    // Of two with one name, the second would take the place of the first.
    for name in ["lamp", "bell"] {
        drop(client(&server, 5, name, &alice).await);
    }
    let ids = || -> Vec<String> {
        let log = server.log();
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let gone = lines.filter(|line| line["message"] == "an MQTT client has gone");
        gone.map(|line| line["request_id"].as_str().unwrap().to_owned()).collect()
    };
    super::super::support::eventually("both to have gone", || ids().len() == 2).await;
    assert_ne!(ids()[0], ids()[1]);
}
