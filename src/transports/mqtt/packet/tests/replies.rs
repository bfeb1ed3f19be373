//! Guards what clients are sent, in each version and in its shortest form.

use std::num::{NonZeroU16, NonZeroU32};

use super::super::{
    AckKind, Connect, Encoder, MAX_REMAINING_LENGTH, Property, Qos, Reason, Version, put_binary, put_properties,
    put_text, remaining_length,
};
use super::{VERSIONS, hex};

use Version::{V5, V31, V311};

const ID: NonZeroU16 = NonZeroU16::new(0x1234).unwrap();

/// What is appended to what is there already.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut buffer = b"before".to_vec();
    write(&mut buffer);
    assert!(buffer.starts_with(b"before"));
    buffer.split_off(6)
}

#[track_caller]
fn check(expected: &str, write: impl FnOnce(&mut Vec<u8>)) {
    let written = written(write);
    assert_eq!(written, hex(expected), "{written:02x?}");
}

/// For a client of MQTT 5 that takes packets of so many bytes, and problem information or not.
fn encoder(most: u32, wants_problem_information: bool) -> Encoder {
    let maximum_packet_size = NonZeroU32::new(most);
    Encoder::of(&Connect { maximum_packet_size, wants_problem_information, ..Connect::new(V5, true, 0) })
}

#[test]
fn a_connack_has_codes_of_its_version() {
    for (reason, v3, v5) in [
        (Reason::Success, "00", "00"),
        (Reason::UnsupportedVersion, "01", "84"),
        (Reason::ClientIdNotValid, "02", "85"),
        (Reason::ServerUnavailable, "03", "88"),
        (Reason::ServerShuttingDown, "03", "8B"),
        (Reason::QuotaExceeded, "03", "97"),
        (Reason::BadUserNameOrPassword, "04", "86"),
        (Reason::NotAuthorized, "05", "87"),
        (Reason::Banned, "05", "8A"),
    ] {
        for version in [V31, V311] {
            check(&format!("20 02 00 {v3}"), |buffer| {
                Encoder::new(version).connack(buffer, false, reason, Some("why"), &[Property::ServerKeepAlive(5)]);
            });
        }
        check(&format!("20 03 00 {v5} 00"), |buffer| Encoder::new(V5).connack(buffer, false, reason, None, &[]));
    }
}

#[test]
fn a_connack_says_whether_there_is_a_session_if_it_may() {
    for (version, reason, expected) in [
        (V31, Reason::Success, "20 02 00 00"),
        (V311, Reason::Success, "20 02 01 00"),
        (V311, Reason::NotAuthorized, "20 02 00 05"),
        (V5, Reason::Success, "20 03 01 00 00"),
        (V5, Reason::NotAuthorized, "20 03 00 87 00"),
    ] {
        check(expected, |buffer| Encoder::new(version).connack(buffer, true, reason, None, &[]));
    }
}

#[test]
fn a_connack_has_properties() {
    let properties = [
        Property::SessionExpiryInterval(10),
        Property::ReceiveMaximum(ID),
        Property::MaximumPacketSize(NonZeroU32::new(4096).unwrap()),
        Property::AssignedClientIdentifier("id"),
        Property::TopicAliasMaximum(7),
        Property::WildcardSubscriptionAvailable(true),
        Property::SubscriptionIdentifierAvailable(false),
        Property::SharedSubscriptionAvailable(false),
        Property::ServerKeepAlive(60),
        Property::AuthenticationMethod("m"),
        Property::AuthenticationData(b"\xff"),
        Property::UserProperty("k", "v"),
    ];
    let expected = "20 34 00 00 31 1F 00 01 'r' 11 00 00 00 0A 21 12 34 27 00 00 10 00 12 00 02 'id' 22 00 07 28 01 29 00 2A 00 \
                    13 00 3C 15 00 01 'm' 16 00 01 FF 26 00 01 'k' 00 01 'v'";
    check(expected, |buffer| Encoder::new(V5).connack(buffer, false, Reason::Success, Some("r"), &properties));
}

#[test]
fn an_acknowledgement_is_as_short_as_it_can_be() {
    for (kind, first) in
        [(AckKind::PubAck, "40"), (AckKind::PubRec, "50"), (AckKind::PubRel, "62"), (AckKind::PubComp, "70")]
    {
        let failure = Reason::PacketIdNotFound;
        for version in VERSIONS {
            check(&format!("{first} 02 12 34"), |buffer| {
                Encoder::new(version).ack(buffer, kind, ID, Reason::Success, None);
            });
        }
        for version in [V31, V311] {
            check(&format!("{first} 02 12 34"), |buffer| {
                Encoder::new(version).ack(buffer, kind, ID, failure, Some("why"));
            });
        }
        check(&format!("{first} 03 12 34 92"), |buffer| Encoder::new(V5).ack(buffer, kind, ID, failure, None));
        check(&format!("{first} 0A 12 34 92 06 1F 00 03 'why'"), |buffer| {
            Encoder::new(V5).ack(buffer, kind, ID, failure, Some("why"));
        });
        check(&format!("{first} 0A 12 34 00 06 1F 00 03 'why'"), |buffer| {
            Encoder::new(V5).ack(buffer, kind, ID, Reason::Success, Some("why"));
        });
    }
}

#[test]
fn a_suback_answers_each_filter() {
    // MQTT 3.1.1 and 5.0, 3.9.3: QoS 0, QoS 2, and a failure.
    let results = [Ok(Qos::AtMostOnce), Ok(Qos::ExactlyOnce), Err(Reason::NotAuthorized)];
    for version in [V31, V311] {
        check("90 05 12 34 00 02 80", |buffer| Encoder::new(version).suback(buffer, ID, &results));
    }
    check("90 06 12 34 00 00 02 87", |buffer| Encoder::new(V5).suback(buffer, ID, &results));
}

#[test]
fn an_unsuback_answers_each_filter_in_5() {
    let reasons = [Reason::Success, Reason::NoSubscriptionExisted];
    for version in [V31, V311] {
        check("B0 02 12 34", |buffer| Encoder::new(version).unsuback(buffer, ID, &reasons));
    }
    check("B0 05 12 34 00 00 11", |buffer| Encoder::new(V5).unsuback(buffer, ID, &reasons));
}

#[test]
fn a_pingresp_has_nothing_else() {
    check("D0 00", |buffer| Encoder::new(V311).pingresp(buffer));
}

#[test]
fn only_in_5_a_server_disconnects_and_authenticates() {
    for version in [V31, V311] {
        check("", |buffer| Encoder::new(version).disconnect(buffer, Reason::SessionTakenOver, Some("why")));
        check("", |buffer| Encoder::new(version).auth(buffer, Reason::Success, &[]));
    }
    check("E0 00", |buffer| Encoder::new(V5).disconnect(buffer, Reason::Success, None));
    check("E0 01 8E", |buffer| Encoder::new(V5).disconnect(buffer, Reason::SessionTakenOver, None));
    check("E0 08 8E 06 1F 00 03 'why'", |buffer| {
        Encoder::new(V5).disconnect(buffer, Reason::SessionTakenOver, Some("why"));
    });
    check("F0 06 18 04 15 00 01 'm'", |buffer| {
        let method = [Property::AuthenticationMethod("m")];
        Encoder::new(V5).auth(buffer, Reason::ContinueAuthentication, &method);
    });
}

#[test]
fn a_client_that_wants_no_reason_strings_gets_none() {
    let encoder = encoder(0, false);
    check("20 03 00 87 00", |buffer| encoder.connack(buffer, false, Reason::NotAuthorized, Some("why"), &[]));
    check("40 03 12 34 87", |buffer| encoder.ack(buffer, AckKind::PubAck, ID, Reason::NotAuthorized, Some("why")));
    check("E0 01 87", |buffer| encoder.disconnect(buffer, Reason::NotAuthorized, Some("why")));
}

#[test]
fn a_reason_string_is_left_out_if_it_makes_a_packet_too_large() {
    for (most, expected) in [(12, "40 0A 12 34 87 06 1F 00 03 'why'"), (11, "40 03 12 34 87")] {
        let encoder = encoder(most, true);
        check(expected, |buffer| encoder.ack(buffer, AckKind::PubAck, ID, Reason::NotAuthorized, Some("why")));
    }
}

#[test]
fn a_length_is_as_in_the_table_of_the_specification() {
    // MQTT 5.0, 1.5.5.
    for (length, expected) in [
        (0, "00"),
        (127, "7F"),
        (128, "80 01"),
        (16_383, "FF 7F"),
        (16_384, "80 80 01"),
        (2_097_151, "FF FF 7F"),
        (2_097_152, "80 80 80 01"),
        (MAX_REMAINING_LENGTH, "FF FF FF 7F"),
    ] {
        let (bytes, end) = remaining_length(length);
        assert_eq!(bytes[..end], hex(expected), "{length}");
    }
}

#[test]
fn a_text_is_cut_between_characters_where_it_is_too_long() {
    check("00 05 'A' F0 AA 9B 94", |buffer| put_text(buffer, "A\u{2A6D4}"));
    let long = written(|buffer| put_text(buffer, &"日".repeat(30_000)));
    assert_eq!((&long[..2], long.len()), (&[0xff, 0xff][..], 2 + 65_535));
    let cut = written(|buffer| put_text(buffer, &("x".to_owned() + &"日".repeat(30_000))));
    assert_eq!((&cut[..2], cut.len()), (&[0xff, 0xfd][..], 2 + 65_533));
    assert_eq!(written(|buffer| put_binary(buffer, &[0; 70_000])).len(), 2 + 65_535);
}

#[test]
fn properties_come_after_their_length() {
    check("00", |buffer| put_properties(buffer, []));
    check("02 01 01", |buffer| put_properties(buffer, [Property::PayloadFormatIndicator(true)]));
    check("03 0B 80 01", |buffer| {
        put_properties(buffer, NonZeroU32::new(128).map(Property::SubscriptionIdentifier));
    });
}

#[test]
fn what_a_client_does_not_take_is_left_out_and_codes_are_counted_before() {
    let small = encoder(4, true);
    assert!(written(|buffer| small.connack(buffer, false, Reason::PacketTooLarge, Some("why"), &[])).is_empty());
    assert!(written(|buffer| small.ack(buffer, AckKind::PubAck, ID, Reason::NotAuthorized, None)).is_empty());
    check("40 02 12 34", |buffer| small.ack(buffer, AckKind::PubAck, ID, Reason::Success, None));
    check("E0 01 95", |buffer| small.disconnect(buffer, Reason::PacketTooLarge, Some("why")));
    for codes in [1, 2, 124, 125, 16_380, 16_381] {
        let (suback, unsuback) = (
            written(|buffer| encoder(u32::MAX, true).suback(buffer, ID, &vec![Ok(Qos::AtMostOnce); codes])),
            written(|buffer| encoder(u32::MAX, true).unsuback(buffer, ID, &vec![Reason::Success; codes])),
        );
        assert_eq!(suback.len(), unsuback.len());
        let most = u32::try_from(suback.len()).unwrap();
        assert_eq!([most, most - 1].map(|most| encoder(most, true).takes_codes(codes)), [true, false], "{codes}");
    }
}
