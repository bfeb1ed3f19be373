//! Guards the one way out to a client: what waited, what is sent again and what is new go in their order, as far as the client takes them.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::super::support::mqtt::{Connect, Message, Mqtt, Packet, packet, property};
use super::super::support::{TestServer, User, until};
use super::{client, server_with};

/// A client of MQTT 5 whose session is kept for a while, and that takes so many messages at a time.
async fn opened(server: &TestServer, user: &User, receive_maximum: u16, aliases: u16) -> Mqtt {
    let properties = [
        &[property::SESSION_EXPIRY][..],
        &3600_u32.to_be_bytes(),
        &[property::RECEIVE_MAXIMUM],
        &receive_maximum.to_be_bytes(),
        &[property::TOPIC_ALIAS_MAXIMUM],
        &aliases.to_be_bytes(),
    ];
    let login = Some(("JWT", user.jwt()));
    let properties = properties.concat();
    let connect = Connect { level: 5, client_id: "x", login, keeps_session: true, properties, ..Connect::default() };
    let (mqtt, connack) = Mqtt::open(server, &connect).await;
    assert_eq!(connack.body[1], 0);
    mqtt
}

/// Answers a message as its QoS asks for, and the steps after that.
async fn complete(mqtt: &mut Mqtt, Message { qos, id, .. }: &Message) {
    let Some(id) = id else { return };
    if *qos == 1 {
        return mqtt.acknowledge(*id).await;
    }
    mqtt.send(&packet(0x50, &id.to_be_bytes())).await;
    loop {
        let Packet { first, body } = mqtt.packet().await.unwrap();
        if first == 0x62 && body[..2] == id.to_be_bytes() {
            break;
        }
    }
    mqtt.send(&packet(0x70, &id.to_be_bytes())).await;
}

#[tokio::test]
async fn messages_of_qos_2_that_waited_come_one_after_the_other_without_anything_being_asked_for() {
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = opened(&server, &alice, 1, 0).await;
    mqtt.subscribe(&[("a", 2)]).await;
    for number in 0..4 {
        alice.insert("a", json!(number)).await;
    }
    let mut message = mqtt.message().await;
    // Then they wait.
    sleep(Duration::from_millis(1500)).await;
    for number in 1..4 {
        complete(&mut mqtt, &message).await;
        message = mqtt.message().await;
        assert_eq!(message.brief(), ("a", &*number.to_string(), 2, false));
    }
}

#[tokio::test]
async fn a_client_that_comes_back_is_sent_again_what_it_takes_at_a_time_however_large_that_is() {
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = opened(&server, &alice, 100, 0).await;
    mqtt.subscribe(&[("a", 1)]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let payload = |number: u8| [vec![number], vec![b'x'; 60_000]].concat();
    for number in 0..30 {
        assert_eq!(publisher.publish("a", &payload(number), false).await, 0);
    }
    for number in 0..30 {
        assert_eq!(mqtt.message().await.payload[0], number);
    }
    drop(mqtt);
    server.keeps_only(2).await;
    let mut mqtt = opened(&server, &alice, 2, 0).await;
    let mut unacknowledged = Vec::new();
    for number in 0..30 {
        let message = mqtt.message().await;
        assert_eq!((message.payload[0], message.dup), (number, true));
        unacknowledged.push(message.id.unwrap());
        if unacknowledged.len() == 2 {
            mqtt.nothing_comes().await;
            mqtt.acknowledge(unacknowledged.remove(0)).await;
        }
    }
    // All of them come over one connection that takes all, too, whether or not it reads at once.
    drop(mqtt);
    server.keeps_only(2).await;
    publisher.publish("a", &payload(30), false).await;
    let mut mqtt = opened(&server, &alice, 100, 0).await;
    sleep(Duration::from_millis(200)).await;
    for number in 29..=30 {
        let message = mqtt.message().await;
        assert_eq!((message.payload[0], message.dup), (number, number < 30));
        mqtt.acknowledge(message.id.unwrap()).await;
    }
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_knows_each_alias_and_gets_the_messages_of_a_topic_in_order() {
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = opened(&server, &alice, 40, 20).await;
    mqtt.subscribe(&[("+/0", 0), ("+/1", 1), ("+/2", 2)]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let mut next = 0_u32;
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut aliases: HashMap<Vec<u8>, String> = HashMap::new();
    let mut come = 0;
    while come < 240 {
        // It reads nothing meanwhile.
        for _ in 0..if next < 240 { 60 } else { 0 } {
            let topic = format!("{}/{}", next % 5, next % 3);
            let payload = [&next.to_be_bytes()[..], &[b'x'; 40_000]].concat();
            let id = publisher.id();
            let publish = publisher.publish_bytes((&topic, &payload), 2, false, id, &[]);
            publisher.send(&publish).await;
            for (answers, with) in [(0x50, 0x62), (0x70, 0)] {
                let answer = publisher.packet().await.unwrap();
                assert_eq!((answer.first, &answer.body[..2]), (answers, &id.to_be_bytes()[..]));
                if with > 0 {
                    publisher.send(&packet(with, &id.to_be_bytes())).await;
                }
            }
            next += 1;
        }
        sleep(Duration::from_millis(if next < 240 { 1100 } else { 0 })).await;
        for _ in 0..40 {
            if come == next {
                break;
            }
            let Packet { first, body } = mqtt.packet().await.unwrap();
            let Some(mut message) = mqtt.as_message(&Packet { first, body: body.clone() }) else {
                if first == 0x62 {
                    mqtt.send(&packet(0x70, &body[..2])).await;
                }
                continue;
            };
            if let [alias] = message.property(property::TOPIC_ALIAS)[..] {
                let alias = alias.to_vec();
                match message.topic.is_empty() {
                    true => message.topic = aliases.get(&alias).expect("an alias that is known").clone(),
                    false => drop(aliases.insert(alias, message.topic.clone())),
                }
            }
            let number = u32::from_be_bytes(message.payload[..4].try_into().unwrap());
            assert_eq!(message.topic, format!("{}/{}", number % 5, number % 3));
            let before = seen.insert(message.topic.clone(), number);
            assert!(before.is_none_or(|before| before + 15 == number), "{before:?} {number}");
            come += 1;
            match (message.qos, message.id) {
                (1, Some(id)) => mqtt.acknowledge(id).await,
                (2, Some(id)) => mqtt.send(&packet(0x50, &id.to_be_bytes())).await,
                _ => {}
            }
        }
    }
    assert_eq!(seen.len(), 15);
}

#[tokio::test]
async fn a_client_without_a_session_that_lags_so_far_that_messages_are_gone_is_told_so() {
    let (server, alice) = server_with(&["--retain_events=10"]).await;
    for (level, window, messages) in [(5, 1, 50), (4, 100, 150)] {
        let properties = [&[property::RECEIVE_MAXIMUM][..], &u16::to_be_bytes(window)].concat();
        let properties = if level == 5 { properties } else { Vec::new() };
        let login = Some(("JWT", alice.jwt()));
        let (mut mqtt, _) =
            Mqtt::open(&server, &Connect { level, client_id: "x", login, properties, ..Connect::default() }).await;
        mqtt.subscribe(&[("a", 1)]).await;
        let mut publisher = client(&server, 5, "publisher", &alice).await;
        for _ in 0..messages {
            assert_eq!(publisher.publish("a", b"1", false).await, 0);
        }
        // It acknowledges nothing for so long that the others wait.
        sleep(Duration::from_millis(1500)).await;
        until("retention", async || {
            let history = alice.history("event=a&limit=1000").await;
            (history.events.len() <= 10).then_some(())
        })
        .await;
        let mut come = 0;
        let end = loop {
            let packet = mqtt.packet().await;
            match packet.as_ref().and_then(|packet| mqtt.as_message(packet)) {
                // It may have gone.
                Some(message) => drop(mqtt.socket.try_write(&packet_of_ack(message.id.unwrap()))),
                None => break packet,
            }
            come += 1;
        };
        assert_eq!(end.map(|end| (end.first, end.body[0])), (level == 5).then_some((0xE0, 0x97)), "{come}");
        assert!(come < messages, "{come}");
        drop((mqtt, publisher));
        server.keeps_only(1).await;
    }
}

fn packet_of_ack(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}
