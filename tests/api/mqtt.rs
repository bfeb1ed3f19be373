//! Guards MQTT: where it is served, who is let in, and that a topic is the name of an event.

mod asked;
mod clients;
mod connect;
mod ends;
mod hostile;
mod keeping;
mod kills;
mod leaving;
mod listening;
mod logged;
mod messages;
mod mobile_broker;
mod model;
mod newcomers;
mod publishing;
mod repeated;
mod rights;
mod sending;
mod sessions;
mod shares;
mod subscribing;
mod sys;
mod tls;
mod wills;

use super::support::mqtt::{Connect, Mqtt};
use super::support::{TestServer, User};

/// A server that listens to MQTT, and a user of it.
async fn server_with(flags: &[&str]) -> (TestServer, User) {
    let flags = [&["--mqtt_port=0"], flags].concat();
    let server = TestServer::start_with(&flags).await;
    let user = server.user("alice", "acme").await;
    (server, user)
}

/// A client of a user.
async fn client(server: &TestServer, level: u8, client_id: &str, user: &User) -> Mqtt {
    Mqtt::signed_in(server, level, client_id, user.jwt()).await
}

/// What a client is told that connects like this: its CONNACK's code or reason.
async fn code(server: &TestServer, connect: &Connect<'_>) -> u8 {
    let (mut mqtt, connack) = Mqtt::open(server, connect).await;
    if connack.body[1] != 0 {
        assert_eq!(mqtt.packet().await, None, "a client that is not let in goes");
    }
    connack.body[1]
}
