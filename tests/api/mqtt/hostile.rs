//! Guards that whatever a client sends is answered with the code that the specification names, takes a bounded amount of memory, and
//! disturbs nobody else.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::super::support::mqtt::{Connect, Mqtt, Packet, packet, property, text};
use super::super::support::until;
use super::{client, code, server_with};

/// How much more the server may have in memory than before, in mebibytes.
const MOST_MEBIBYTES: usize = 100;

#[tokio::test]
async fn reserved_bits_and_packets_out_of_place_are_malformed_or_errors_of_the_protocol() {
    let (server, alice) = server_with(&[]).await;
    for (bytes, expected) in [
        (&b"\x00\x00"[..], 0x81),
        (b"\xC1\x00", 0x81),
        (b"\x36\x05\x00\x01a\x00\x01", 0x81),
        (b"\x80\x07\x00\x01\x00\x00\x01a\x00", 0x81),
        (b"\x82\x07\x00\x01\x00\x00\x01a\x40", 0x81),
        (b"\x82\x07\x00\x01\x00\x00\x01a\x03", 0x82),
        (b"\x82\x03\x00\x01\x00", 0x82),
        (b"\x32\x06\x00\x01a\x00\x00\x00", 0x82),
        (b"\x30\x04\x00\x01\xFF\x00", 0x81),
        (b"\x30\x80\x80\x80\x80\x01", 0x81),
        (b"\xC0\x01\x00", 0x81),
        (b"\x10\x00", 0x82),
        (b"\x20\x02\x00\x00", 0x82),
    ] {
        for level in [4, 5] {
            let mut mqtt = client(&server, level, "x", &alice).await;
            // What MQTT 3 lacks is the length of properties, so that there only the first byte can be the same.
            let bytes = if level == 5 { bytes } else { b"\x00\x00" };
            mqtt.send(bytes).await;
            assert_eq!(mqtt.ended().await, (level == 5).then_some(expected), "{bytes:x?}");
        }
    }
    // The reserved flag of CONNECT.
    let mut mqtt = Mqtt::dial(&server, 5).await;
    mqtt.send(b"\x10\x0D\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00").await;
    assert_eq!(mqtt.packet().await.unwrap().body[1], 0x81);
    assert_eq!(mqtt.packet().await, None);
}

#[tokio::test]
async fn half_a_packet_is_waited_for_as_long_as_a_client_may_be_silent() {
    let (server, alice) = server_with(&[]).await;
    let login = Some(("JWT", alice.jwt()));
    let whole = Connect { level: 5, client_id: "half", login, keep_alive: 1, ..Connect::default() }.bytes();
    // Of CONNECT.
    let mut begun = Mqtt::dial(&server, 5).await;
    begun.send(&whole[..whole.len() / 2]).await;
    // Of a message, of which one more byte comes now and then: no packet is whole, so that nothing counts as heard.
    let mut mqtt = Mqtt::dial(&server, 5).await;
    mqtt.send(&[&whole[..], b"\x30\x80\x02\x00\x01a"].concat()).await;
    assert_eq!(mqtt.packet().await.unwrap().body[1], 0);
    for _ in 0..20 {
        if mqtt.socket.write_all(b"x").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let codes: Vec<_> = mqtt.rest().await.into_iter().map(|packet| (packet.first, packet.body)).collect();
    assert!(codes.is_empty() || codes[0].0 == 0xE0 && codes[0].1[0] == 0x8D, "{codes:x?}");
    assert_eq!(begun.packet().await, None);
}

#[tokio::test]
async fn a_client_that_takes_no_packet_of_the_size_of_a_connack_is_refused_and_leaves_no_session() {
    let (server, alice) = server_with(&[]).await;
    let login = Some(("JWT", alice.jwt()));
    let with = |most: u32| {
        let expiry = [&[property::SESSION_EXPIRY][..], &60_u32.to_be_bytes()].concat();
        let properties = [&expiry[..], &[property::MAXIMUM_PACKET_SIZE], &most.to_be_bytes()].concat();
        Connect { level: 5, client_id: "x", login, keeps_session: true, properties, ..Connect::default() }
    };
    for most in [1, 4] {
        let mut mqtt = Mqtt::dial(&server, 5).await;
        mqtt.send(&with(most).bytes()).await;
        assert_eq!(mqtt.packet().await, None, "{most}");
    }
    for most in [5, 10] {
        assert_eq!(code(&server, &with(most)).await, 0x95, "{most}");
    }
    let (mut mqtt, connack) = Mqtt::open(&server, &with(30)).await;
    assert_eq!(connack.body[..2], [0, 0]);
    // 25 codes fit into a SUBACK, and 26 do not. What cannot be answered is not done.
    let filters: Vec<_> = (0..26).map(|number| format!("f{number}")).collect();
    let asked: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    assert_eq!(mqtt.subscribe(&asked[..25]).await.len(), 25);
    let body: Vec<u8> = filters.iter().flat_map(|filter| [&text(filter)[..], &[0]].concat()).collect();
    mqtt.send(&packet(0x82, &[&b"\x00\x09\x00"[..], &body].concat())).await;
    assert_eq!(mqtt.ended().await, Some(0x95));
    let (mut mqtt, connack) = Mqtt::open(&server, &with(1000)).await;
    assert_eq!(connack.body[..2], [1, 0]);
    let all: Vec<_> = filters.iter().map(String::as_str).collect();
    let [there @ .., last] = &mqtt.unsubscribe(&all).await[1..] else { panic!() };
    assert_eq!((there, *last), (&[0; 25][..], 0x11));
}

#[tokio::test]
async fn very_many_filters_in_one_subscribe_are_too_large_or_all_answered() {
    let filters = (0..65_535).flat_map(|number| [&text(&format!("{number:x}"))[..], &[0]].concat());
    let subscribe = packet(0x82, &[b"\x00\x01\x00".to_vec(), filters.collect()].concat());
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    // The rest of it is on its way when the connection ends.
    let _ = mqtt.socket.write_all(&subscribe).await;
    let told = mqtt.rest().await;
    assert!(told.is_empty() || told == [Packet { first: 0xE0, body: told[0].body.clone() }], "{told:?}");
    assert!(told.first().is_none_or(|packet| packet.body[0] == 0x95), "{told:?}");

    let (server, alice) = server_with(&["--max_event_bytes=1048576"]).await;
    let before = server.resident_mebibytes();
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let mut other = client(&server, 5, "other", &alice).await;
    mqtt.send(&subscribe).await;
    let suback = mqtt.packet().await.unwrap();
    let codes = &suback.body[3..];
    assert_eq!((suback.first, codes.len()), (0x90, 65_535));
    assert!(codes[..1000].iter().all(|code| *code == 0) && codes[1000..].iter().all(|code| *code == 0x97));
    assert!(server.resident_mebibytes() < before + MOST_MEBIBYTES);
    other.publish("3e7", b"1", false).await;
    other.publish("3e8", b"2", false).await;
    assert_eq!(mqtt.message().await.topic, "3e7");
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn a_connect_that_is_too_large_is_told_so_and_the_largest_will_is_published() {
    let (server, alice) = server_with(&[]).await;
    let before = server.resident_mebibytes();
    // 256 MB are announced.
    for (level, name) in [(5, "MQTT"), (4, "MQTT"), (3, "MQIsdp")] {
        let mut mqtt = Mqtt::dial(&server, level).await;
        mqtt.send(&[b"\x10\xFF\xFF\xFF\x7F", &text(name)[..], &[level, 0x36, 0, 0, 0, 0, 0]].concat()).await;
        if level == 5 {
            assert_eq!(mqtt.packet().await.unwrap().body[1], 0x95);
        }
        assert_eq!(mqtt.packet().await, None, "{level}");
    }
    let login = Some(("JWT", alice.jwt()));
    let largest = vec![b'x'; 0xFFFF];
    let will = Some(("gone", &largest[..], 1, true));
    let mut connect = Connect { level: 5, client_id: "x", login, will, ..Connect::default() };
    let (mqtt, connack) = Mqtt::open(&server, &connect).await;
    assert_eq!(connack.body[1], 0);
    drop(mqtt);
    until("the will", async || {
        let events = alice.latest("/events").await;
        (events.len() == 1).then(|| assert_eq!(events[0].event, "gone"))
    })
    .await;
    // With a password that is as large it has more than 128 KiB.
    let password = "x".repeat(0xFFFF);
    connect.login = Some(("JWT", &password));
    let mut mqtt = Mqtt::dial(&server, 5).await;
    let _ = mqtt.socket.write_all(&connect.bytes()).await;
    let told = mqtt.rest().await;
    assert!(told.first().is_none_or(|packet| (packet.first, packet.body[1]) == (0x20, 0x95)), "{told:?}");
    assert!(server.resident_mebibytes() < before + MOST_MEBIBYTES);
}

#[tokio::test]
async fn each_packet_identifier_may_be_used_again_and_again() {
    // More than there are identifiers.
    const PACKETS: usize = 70_000;
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let before = server.resident_mebibytes();
    for kind in [0x90, 0x40] {
        let mut ids = (1..=u16::MAX).cycle();
        for _ in 0..PACKETS / 1000 {
            let batch: Vec<_> = ids.by_ref().take(1000).collect();
            let bytes = batch.iter().flat_map(|id| {
                let id = id.to_be_bytes();
                match kind {
                    0x90 => packet(0x82, &[&id[..], b"\x00\x00\x01a\x00"].concat()),
                    // On a topic that no event can be called, so that nothing is written: it is the identifiers that count.
                    _ => packet(0x32, &[&b"\x00\x01$"[..], &id, b"\x00"].concat()),
                }
            });
            mqtt.send(&bytes.collect::<Vec<u8>>()).await;
            for id in batch {
                let answer = mqtt.packet().await.unwrap();
                assert_eq!((answer.first, &answer.body[..2]), (kind, &id.to_be_bytes()[..]));
            }
        }
    }
    assert!(server.resident_mebibytes() < before + MOST_MEBIBYTES);
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn a_client_that_floods_and_takes_no_answer_is_not_read_any_more_and_nobody_else_notices() {
    const MOST_BYTES: usize = 256 << 20;
    let (server, alice) = server_with(&[]).await;
    let mut other = client(&server, 5, "other", &alice).await;
    for flood in [packet(0xC0, &[]), packet(0x82, b"\x00\x01\x00\x00\x01a\x00"), packet(0x32, b"\x00\x01$\x00\x01\x00")]
    {
        let before = server.resident_mebibytes();
        let mut mqtt = client(&server, 5, "floods", &alice).await;
        let many = flood.repeat(10_000);
        let mut sent = 0;
        // Until nothing goes any more, or the connection has ended.
        while let Ok(Ok(())) = timeout(Duration::from_secs(3), mqtt.socket.write_all(&many)).await {
            sent += many.len();
            assert!(sent < MOST_BYTES, "it goes on being read");
            other.nothing_comes().await;
        }
        let now = server.resident_mebibytes();
        assert!(now < before + MOST_MEBIBYTES, "{before} MiB before, {now} MiB after {sent} bytes of {flood:x?}");
        other.nothing_comes().await;
    }
}
