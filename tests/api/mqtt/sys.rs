//! Guards `$SYS`: handlers are told of their own tenant, as of retained messages that change; nobody else is told anything.

use std::time::Instant;

use serde_json::json;

use super::super::support::mqtt::{Connect, Mqtt};
use super::{client, server_with};

const KEY: &str = "0123456789abcdef-handler";

#[tokio::test]
async fn a_handler_is_told_of_its_own_tenant_at_once_and_again() {
    let (server, alice) = server_with(&["--mqtt_tenant=acme", &format!("--mqtt_handler_key={KEY}")]).await;
    let eve = server.user("eve", "other").await;
    let mut eves = client(&server, 4, "eve", &eve).await;
    eves.subscribe(&[("#", 0)]).await;
    eves.publish("a", b"1", true).await;
    let mut alices = client(&server, 4, "alice", &alice).await;
    alices.subscribe(&[("x", 0), ("y", 0), ("$share/g/z", 0)]).await;
    alices.publish("a", b"1", true).await;
    alices.publish("b", b"1", true).await;
    alices.publish("x", b"1", false).await;
    alices.message().await;
    let login = Some(("handler", KEY));
    let (mut handler, _) =
        Mqtt::open(&server, &Connect { level: 5, client_id: "h", login, ..Connect::default() }).await;
    // Nothing of it belongs to all topics, and of the second filter nothing is wanted at once.
    assert_eq!(handler.subscribe(&[("#", 0), ("$SYS/broker/uptime", 0x20), ("$SYS/broker/+/+", 2)]).await, [0, 0, 2]);
    let mut told = Vec::new();
    while told.len() < 7 {
        let message = handler.message().await;
        assert!(message.retain && message.qos == 0, "{message:?}");
        told.push((message.topic, String::from_utf8(message.payload).unwrap()));
    }
    told.retain(|(topic, _)| topic.starts_with('$'));
    // The two retained messages may have been sent by then, or not.
    let sent = told.remove(3);
    assert_eq!(sent.0, "$SYS/broker/messages/sent");
    assert!(("1"..="3").contains(&sent.1.as_str()), "{sent:?}");
    let of = |topic: &str, value: &str| (format!("$SYS/broker/{topic}"), value.to_owned());
    assert_eq!(
        told,
        [
            of("clients/connected", "2"),
            of("subscriptions/count", "6"),
            of("messages/received", "3"),
            of("retained messages/count", "2"),
        ]
    );
    // What changes is told again, and that is not retained; what was counted stays, and a client that has gone does not.
    drop(alices);
    loop {
        let message = handler.message().await;
        assert!(!message.retain);
        if message.topic == "$SYS/broker/clients/connected" {
            assert_eq!(message.payload, b"1");
            break;
        }
        assert_eq!(message.topic, "$SYS/broker/uptime");
    }
    handler.unsubscribe(&["$SYS/broker/+/+", "$SYS/broker/uptime"]).await;
}

#[tokio::test]
async fn nobody_else_is_told_anything_and_nobody_publishes_there() {
    let (server, alice) = server_with(&["--mqtt_tenant=acme", &format!("--mqtt_handler_key={KEY}")]).await;
    let mut v5 = client(&server, 5, "x", &alice).await;
    assert_eq!(
        v5.subscribe(&[("$SYS/#", 0), ("$SYS", 1), ("$share/g/$SYS/#", 0), ("#", 0)]).await,
        [0x87, 0x87, 0x87, 0]
    );
    let mut v4 = client(&server, 4, "y", &alice).await;
    assert_eq!(v4.subscribe(&[("$SYS/broker/uptime", 0)]).await, [0x80]);
    let login = Some(("handler", KEY));
    let (mut handler, _) =
        Mqtt::open(&server, &Connect { level: 5, client_id: "h", login, ..Connect::default() }).await;
    assert_eq!(handler.subscribe(&[("$share/g/$SYS/#", 0)]).await, [0x87]);
    assert_eq!(handler.publish("$SYS/broker/uptime", b"1", false).await, 0x90);
    alice.insert("a", json!(1)).await;
    assert_eq!(v5.message().await.topic, "a");
}

#[tokio::test]
async fn the_version_and_the_seconds_since_the_start_are_told_again_every_ten_seconds() {
    let before = Instant::now();
    let (server, _) = server_with(&["--mqtt_tenant=acme", &format!("--mqtt_handler_key={KEY}")]).await;
    let login = Some(("handler", KEY));
    let (mut handler, _) =
        Mqtt::open(&server, &Connect { level: 5, client_id: "h", login, ..Connect::default() }).await;
    assert_eq!(handler.subscribe(&[("$SYS/broker/version", 0), ("$SYS/broker/uptime", 0)]).await, [0, 0]);
    let (mut uptimes, mut at) = (Vec::new(), Instant::now());
    for is_first in [true, false] {
        for _ in 0..2 {
            let message = handler.message().await;
            let (topic, value, qos, retain) = message.brief();
            assert_eq!((qos, retain), (0, is_first), "{topic}");
            match topic {
                "$SYS/broker/version" => assert_eq!(value, concat!("Broker ", env!("CARGO_PKG_VERSION"))),
                "$SYS/broker/uptime" => uptimes.push(value.strip_suffix(" seconds").unwrap().parse::<u64>().unwrap()),
                other => panic!("{other}"),
            }
        }
        if is_first {
            at = Instant::now();
        }
    }
    let waited = at.elapsed().as_millis();
    assert!((9_500..15_000).contains(&waited), "{waited}");
    let [first, second] = uptimes[..] else { panic!("{uptimes:?}") };
    assert!((9..=15).contains(&(second - first)) && second <= before.elapsed().as_secs(), "{uptimes:?}");
}
