//! Guards exactly once: the server is killed at each step of a message of QoS 2, in either direction, and a client that does what the
//! specification says has each message once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::super::support::mqtt::{Connect, Mqtt, Packet, packet};
use super::super::support::{TestServer, User, again, until};
use super::server_with;
use super::sessions::{keeping, reopen};

/// How long after a step the server is killed, in milliseconds: while it takes what the client has said last, and after that.
const AFTER: [u64; 4] = [0, 1, 2, 10];

async fn kill(server: TestServer, alice: &User, after: u64) -> (TestServer, User) {
    tokio::time::sleep(Duration::from_millis(after)).await;
    let server = server.end_and_restart(true).await;
    let alice = again(&server, alice);
    (server, alice)
}

async fn back(server: &TestServer, alice: &User) -> Mqtt {
    let (mqtt, is_present) = reopen(server, &keeping(4, "x", alice.jwt())).await;
    assert!(is_present);
    mqtt
}

async fn expect(mqtt: &mut Mqtt, first: u8, id: u16) {
    assert_eq!(mqtt.packet().await.unwrap(), Packet { first, body: id.to_be_bytes().to_vec() });
}

#[tokio::test]
async fn a_message_from_the_client_is_inserted_once_wherever_the_server_is_killed() {
    let (mut server, mut alice) = server_with(&[]).await;
    let (mut mqtt, _) = reopen(&server, &keeping(4, "x", alice.jwt())).await;
    let (mut numbers, id) = (Vec::new(), 7_u16);
    for step in 0..4 {
        for after in AFTER {
            numbers.push((numbers.len() + 1).to_string());
            let publish = mqtt.publish_bytes(("a", numbers[numbers.len() - 1].as_bytes()), 2, false, id, &[]);
            mqtt.send(&publish).await;
            if step > 0 {
                expect(&mut mqtt, 0x50, id).await;
            }
            if step > 1 {
                mqtt.send(&packet(0x62, &id.to_be_bytes())).await;
            }
            if step > 2 {
                expect(&mut mqtt, 0x70, id).await;
            }
            drop(mqtt);
            (server, alice) = kill(server, &alice, after).await;
            mqtt = back(&server, &alice).await;
            if step == 0 {
                let again = [&[publish[0] | 0b1000][..], &publish[1..]].concat();
                mqtt.send(&again).await;
                expect(&mut mqtt, 0x50, id).await;
            }
            if step < 3 {
                mqtt.send(&packet(0x62, &id.to_be_bytes())).await;
                expect(&mut mqtt, 0x70, id).await;
            }
        }
    }
    let history = alice.history("event=a&limit=1000&order=oldest").await;
    assert_eq!(history.events.into_iter().map(|event| event.data).collect::<Vec<_>>(), numbers);
}

/// What a client keeps of messages of QoS 2 that come (MQTT 3.1.1, 4.3.3).
#[derive(Default)]
struct Received {
    /// Packet identifiers of messages that are not released.
    unreleased: BTreeSet<u16>,
    messages: Vec<String>,
}

impl Received {
    /// Takes a packet. Returns what is to be answered.
    fn take(&mut self, mqtt: &Mqtt, came: &Packet) -> Vec<u8> {
        if let Some(message) = mqtt.as_message(came) {
            let id = message.id.unwrap();
            assert_eq!(message.qos, 2);
            if self.unreleased.insert(id) {
                self.messages.push(String::from_utf8(message.payload).unwrap());
            }
            return packet(0x50, &id.to_be_bytes());
        }
        assert_eq!(came.first, 0x62, "{came:?}");
        self.unreleased.remove(&u16::from_be_bytes([came.body[0], came.body[1]]));
        packet(0x70, &came.body)
    }

    /// Goes on until a number of messages is done, and nothing more comes.
    async fn finish(&mut self, mqtt: &mut Mqtt, messages: usize) {
        until("the messages", async || {
            while let Ok(came) = tokio::time::timeout(Duration::from_millis(100), mqtt.packet()).await {
                let answer = self.take(mqtt, &came.expect("a connection"));
                mqtt.send(&answer).await;
            }
            (self.messages.len() >= messages && self.unreleased.is_empty()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_message_to_the_client_is_taken_once_wherever_the_server_is_killed() {
    let (mut server, mut alice) = server_with(&[]).await;
    let (mut mqtt, _) = reopen(&server, &keeping(4, "x", alice.jwt())).await;
    assert_eq!(mqtt.subscribe(&[("a", 2)]).await, [2]);
    let (mut received, mut numbers) = (Received::default(), Vec::new());
    for steps in 0..5 {
        for after in AFTER {
            numbers.push((numbers.len() + 1).to_string());
            alice.insert("a", json!(numbers.len())).await;
            // PUBLISH comes, PUBREC goes, PUBREL comes, PUBCOMP goes.
            let mut answer = Vec::new();
            for step in 0..steps {
                if step % 2 == 0 {
                    let came = mqtt.packet().await.unwrap();
                    answer = received.take(&mqtt, &came);
                } else {
                    mqtt.send(&answer).await;
                }
            }
            drop(mqtt);
            (server, alice) = kill(server, &alice, after).await;
            mqtt = back(&server, &alice).await;
            received.finish(&mut mqtt, numbers.len()).await;
        }
    }
    assert_eq!(received.messages, numbers);
}

#[tokio::test]
async fn a_message_that_is_done_does_not_come_to_a_session_that_goes_on_for_the_last_time_after_a_kill() {
    let (server, alice) = server_with(&[]).await;
    let (mut mqtt, _) = reopen(&server, &keeping(5, "x", alice.jwt())).await;
    assert_eq!(mqtt.subscribe(&[("a", 2)]).await, [2]);
    let mut received = Received::default();
    alice.insert("a", json!(1)).await;
    received.finish(&mut mqtt, 1).await;
    // While it is connected: nothing is saved.
    let (server, alice) = kill(server, &alice, 0).await;
    let last = Connect { properties: Vec::new(), ..keeping(5, "x", alice.jwt()) };
    let (mut mqtt, is_present) = reopen(&server, &last).await;
    assert!(is_present);
    alice.insert("a", json!(2)).await;
    received.finish(&mut mqtt, 2).await;
    assert_eq!(received.messages, ["1", "2"]);
}
