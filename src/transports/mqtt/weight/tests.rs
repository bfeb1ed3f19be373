//! Guards that a packet weighs what it takes in memory, and not what it has in bytes.

use std::num::NonZeroU16;

use super::*;
use crate::transports::mqtt::packet::{Ack, Decoder, Publish, Qos, Reason, Unsubscribe};

/// How many texts a packet of 100 KiB has room for.
const TEXTS: usize = 40_000;

/// A PUBLISH with so many empty user properties, and so many bytes of payload.
fn publish(pairs: usize, payload: usize) -> Packet {
    let user_properties = vec![(String::new(), String::new()); pairs];
    Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "t".to_owned(),
        packet_id: None,
        properties: PublishProperties { user_properties, ..PublishProperties::default() },
        payload: vec![b'x'; payload].into(),
    })
}

fn unsubscribe(filters: usize) -> Packet {
    Packet::Unsubscribe(Unsubscribe { packet_id: NonZeroU16::MIN, filters: vec![String::new(); filters] })
}

/// After its length.
fn section(bytes: &[u8]) -> Vec<u8> {
    let mut length = Vec::new();
    let mut rest = bytes.len();
    while rest > 0x7f {
        length.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    length.push(rest as u8);
    [&length, bytes].concat()
}

#[test]
fn a_packet_of_nothing_but_small_parts_weighs_what_is_made_of_them() {
    let least = TEXTS * size_of::<String>() / BYTES_A_WEIGHT;
    for packet in [publish(TEXTS / 2, 0), unsubscribe(TEXTS)] {
        assert!(of(&packet) > least, "{}", of(&packet));
    }
}

#[test]
fn a_small_packet_weighs_one_and_a_payload_what_it_has_in_bytes() {
    let ack = Packet::PubAck(Ack { packet_id: NonZeroU16::MIN, reason: Reason::Success });
    for packet in [publish(0, 16_000), publish(100, 0), unsubscribe(100), ack] {
        assert_eq!(of(&packet), 1, "{packet:?}");
    }
    assert!((4..=8).contains(&of(&publish(0, 100 << 10))));
}

#[test]
fn of_a_connect_the_properties_of_the_will_take_memory_and_its_own_take_none() {
    let pairs = b"\x26\0\0\0\0".repeat(10_000);
    let [of_will, of_connect] = [(&[][..], &pairs[..]), (&pairs[..], &[][..])].map(|(own, of_will)| {
        let head = b"\0\x04MQTT\x05\x06\0\0";
        let body = [&head[..], &section(own), b"\0\x01c", &section(of_will), b"\0\x01t\0\x01p"].concat();
        let mut packet = [&[0x10][..], &section(&body)].concat().into();
        match Decoder::new(1 << 20).decode(&mut packet) {
            Ok(Some(Packet::Connect(connect))) => of_connect(&connect),
            other => panic!("{other:?}"),
        }
    });
    assert!(of_will > 20_000 * size_of::<String>(), "{of_will}");
    assert!(of_connect < 1000, "{of_connect}");
}
