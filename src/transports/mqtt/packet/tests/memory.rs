//! Guards how much memory what a client sends may take, and that payloads are not copied.

use bytes::Bytes;

use super::super::invariants::decode;
use super::super::{Decoder, Packet, Reason, Version, client};
use super::{LARGE, hex};

/// A decoder whose client has connected, for packets of at most so many bytes.
fn connected(most: usize) -> Decoder {
    let mut decoder = Decoder::new(100);
    assert!(decoder.decode(&mut client::connect(Version::V311).into()).unwrap().is_some());
    decoder.set_max_packet_bytes(most);
    decoder
}

#[test]
fn what_is_announced_takes_no_memory() {
    let mut decoder = connected(usize::MAX);
    let mut input = Bytes::from(hex("30 FF FF FF 7F 00 01 't'"));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(input.is_empty() && decoder.held() <= 16, "{}", decoder.held());
}

#[test]
fn a_packet_of_just_the_limit_is_taken_and_one_more_byte_is_not() {
    // 2 bytes of header, 3 of topic, and the payload.
    let ping = hex("C0 00");
    for (payload, most) in [(0, 5), (1, 6), (122, 127)] {
        let packet = [&[0x30, 3 + payload][..], b"\0\x01t", &vec![b'x'; payload.into()]].concat();
        let all = [&packet[..], &ping].concat();
        let (packets, violation) = decode(most, Some(Version::V311), [&all[..]]);
        assert!(packets.len() == 2 && violation.is_none(), "{most}: {violation:?}");
        let (packets, violation) = decode(most - 1, Some(Version::V311), [&all[..2]]);
        assert!(packets.is_empty());
        assert_eq!(violation.map(|violation| violation.reason), Some(Reason::PacketTooLarge), "{most}");
    }
}

#[test]
fn the_limit_may_be_small_before_a_client_has_connected() {
    let connect = client::connect(Version::V5);
    let mut decoder = Decoder::new(connect.len());
    let publish = [&hex("30 80 02 00 01 't' 00")[..], &[b'x'; 252]].concat();
    let mut input = Bytes::from([connect, publish].concat());
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Packet::Connect(_)))));
    decoder.set_max_packet_bytes(LARGE);
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Packet::Publish(_)))));
}

#[test]
fn a_payload_is_a_part_of_what_came() {
    let mut decoder = connected(LARGE);
    let came = Bytes::from(hex("30 08 00 01 't' 'hello'"));
    let Ok(Some(Packet::Publish(publish))) = decoder.decode(&mut came.clone()) else { panic!() };
    assert_eq!(publish.payload, "hello");
    assert_eq!(publish.payload.as_ptr(), came[5..].as_ptr());
}

#[test]
fn nothing_is_held_between_packets() {
    let mut decoder = connected(LARGE);
    for piece in hex("30 08 00 01 't' 'hello'").chunks(3) {
        let came = decoder.decode(&mut Bytes::copy_from_slice(piece)).unwrap();
        assert_eq!(came.is_some(), decoder.held() == 0);
    }
    assert_eq!(decoder.held(), 0);
}
