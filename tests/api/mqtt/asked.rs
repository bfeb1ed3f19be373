//! Guards what a session is owed that is cut off, or whose server is killed, before it has all retained messages that it has asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::super::support::mqtt::{Message, Mqtt, Packet, packet};
use super::super::support::{User, again};
use super::sessions::{keeping, reopen};
use super::{client, server_with};

const RETAINED: usize = 300;
/// After what time nothing more comes.
const QUIET: Duration = Duration::from_millis(300);

/// Events by another way, so that they come with the QoS of the subscription.
async fn retain(user: &User) {
    for number in 0..RETAINED {
        user.insert(&format!("x/{number}"), json!(number)).await;
    }
}

/// What a client has received.
#[derive(Default)]
struct Received {
    /// The QoS of all messages.
    qos: u8,
    /// How often, by topic.
    come: BTreeMap<String, usize>,
    /// Packet identifiers of messages of QoS 2 that are not released.
    unreleased: BTreeSet<u16>,
}

impl Received {
    /// Answers what has come.
    async fn take(&mut self, mqtt: &mut Mqtt, came: &Packet) {
        let Some(Message { topic, qos, id, retain, .. }) = mqtt.as_message(came) else {
            assert_eq!(came.first, 0x62);
            self.unreleased.remove(&u16::from_be_bytes([came.body[0], came.body[1]]));
            return mqtt.send(&packet(0x70, &came.body)).await;
        };
        assert!(retain && self.qos == qos, "{topic} with {qos}");
        let id = id.unwrap();
        if qos == 1 || self.unreleased.insert(id) {
            *self.come.entry(topic).or_default() += 1;
        }
        mqtt.send(&packet(if qos == 1 { 0x40 } else { 0x50 }, &id.to_be_bytes())).await;
    }

    /// Reads until so many messages have come in all.
    async fn read(&mut self, mqtt: &mut Mqtt, until: usize) {
        while self.come.len() < until {
            let came = mqtt.packet().await.unwrap();
            self.take(mqtt, &came).await;
        }
    }

    /// Reads the rest. Returns how many came more than once.
    async fn finish(&mut self, mqtt: &mut Mqtt) -> usize {
        self.read(mqtt, RETAINED).await;
        while let Ok(came) = tokio::time::timeout(QUIET, mqtt.packet()).await {
            self.take(mqtt, &came.unwrap()).await;
        }
        self.come.values().filter(|times| **times > 1).count()
    }
}

#[tokio::test]
async fn retained_messages_that_were_not_reached_come_when_the_session_goes_on() {
    let (server, alice) = server_with(&[]).await;
    retain(&alice).await;
    for (level, qos) in [(4, 1), (5, 2)] {
        let connect = keeping(level, if qos == 1 { "one" } else { "two" }, alice.jwt());
        let (mut mqtt, mut received) = (reopen(&server, &connect).await.0, Received { qos, ..Received::default() });
        assert_eq!(mqtt.subscribe(&[("x/#", qos)]).await, [qos]);
        for cut in [50, 120] {
            received.read(&mut mqtt, cut).await;
            drop(mqtt);
            server.keeps_only(1).await;
            let is_present;
            (mqtt, is_present) = reopen(&server, &connect).await;
            assert!(is_present);
        }
        // Those that were on their way come again, and no others do.
        let again = received.finish(&mut mqtt).await;
        assert!(again <= if qos == 1 { 200 } else { 0 }, "{again} of QoS {qos}");
        drop(mqtt);
        server.keeps_only(1).await;
        let (mut mqtt, is_present) = reopen(&server, &connect).await;
        assert!(is_present);
        mqtt.nothing_comes().await;
        mqtt.send(&packet(0xE0, &[])).await;
        drop(mqtt);
        server.keeps_only(1).await;
    }
}

#[tokio::test]
async fn retained_messages_that_were_not_reached_come_after_a_kill_and_those_of_qos_2_once() {
    let (mut server, mut alice) = server_with(&[]).await;
    retain(&alice).await;
    for qos in [1, 2] {
        let client_id = if qos == 1 { "one" } else { "two" };
        let (mut mqtt, _) = reopen(&server, &keeping(4, client_id, alice.jwt())).await;
        let mut received = Received { qos, ..Received::default() };
        assert_eq!(mqtt.subscribe(&[("x/#", qos)]).await, [qos]);
        for cut in [0, 50, 120] {
            received.read(&mut mqtt, cut).await;
            drop(mqtt);
            server = server.end_and_restart(true).await;
            alice = again(&server, &alice);
            let is_present;
            (mqtt, is_present) = reopen(&server, &keeping(4, client_id, alice.jwt())).await;
            assert!(is_present);
        }
        let again = received.finish(&mut mqtt).await;
        assert!(qos == 1 || again == 0, "{:?}", received.come);
    }
}

#[tokio::test]
async fn two_subscriptions_one_after_the_other_are_each_given_all_that_they_ask_for() {
    let (server, alice) = server_with(&[]).await;
    retain(&alice).await;
    alice.insert("y", json!(1)).await;
    for round in 0..10 {
        let mut mqtt = client(&server, 4, &format!("{round}"), &alice).await;
        // More names than are looked at in one step.
        mqtt.subscribe(&[("x/+", 0)]).await;
        mqtt.subscribe(&[("y", 0)]).await;
        let mut topics = BTreeSet::new();
        for _ in 0..=RETAINED {
            topics.insert(mqtt.message().await.topic);
        }
        assert_eq!(topics.len(), RETAINED + 1, "round {round}");
        mqtt.nothing_comes().await;
    }
}
