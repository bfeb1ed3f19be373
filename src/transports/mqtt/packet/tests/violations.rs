//! Guards that every fault of a client within one packet is found, and has the reason that the specifications name.

use super::super::invariants::{cut, decode};
use super::super::{Packet, Reason, Version, Violation};
use super::{LARGE, VERSIONS, decode_all, decode_one, hex};

use Reason::{
    MalformedPacket as Malformed, PacketTooLarge, ProtocolError as Protocol, TopicAliasInvalid, UnsupportedVersion,
};
use Version::{V5, V31, V311};

/// Checks what is wrong with these bytes after a CONNECT of this version, however they are cut.
fn check(version: Option<Version>, bytes: &str, reason: Reason, connack: Option<Version>, what: &str) {
    let sent = hex(bytes);
    let (packets, violation) = decode_all(version, &sent);
    assert!(packets.is_empty(), "{bytes}: {packets:?}");
    let Some(violation) = violation else { panic!("{bytes} is taken for a beginning") };
    assert!(violation.what.contains(what), "{bytes}: {violation}");
    assert_eq!((violation.reason, violation.connack), (reason, connack), "{bytes}: {violation}");
    let expected = (packets, Some(violation));
    assert_eq!(decode(LARGE, version, sent.chunks(1)), expected, "{bytes}, byte by byte");
    for seed in 0..10 {
        assert_eq!(decode(LARGE, version, cut(&sent, seed)), expected, "{bytes}, cut by {seed}");
    }
}

/// Checks faults of clients that have connected with this version.
fn check_all(version: Version, table: &[(&str, Reason, &str)]) {
    for (bytes, reason, what) in table {
        check(Some(version), bytes, *reason, None, what);
    }
}

#[test]
fn a_fixed_header_says_what_it_may() {
    for version in VERSIONS {
        check_all(
            version,
            &[
                ("00 00", Malformed, "reserved type"),
                ("10 00", Protocol, "a second CONNECT"),
                ("20 02 00 00", Protocol, "only servers"),
                ("90 03 00 01 00", Protocol, "only servers"),
                ("B0 02 00 01", Protocol, "only servers"),
                ("D0 00", Protocol, "only servers"),
                ("36", Malformed, "QoS 3"),
                ("3F", Malformed, "QoS 3"),
                ("38", Malformed, "QoS 0 that is sent again"),
                ("39", Malformed, "QoS 0 that is sent again"),
                ("41", Malformed, "reserved flags"),
                ("52", Malformed, "reserved flags"),
                ("60", Malformed, "reserved flags"),
                ("63", Malformed, "reserved flags"),
                ("66", Malformed, "reserved flags"),
                ("71", Malformed, "reserved flags"),
                ("80", Malformed, "reserved flags"),
                ("83", Malformed, "reserved flags"),
                ("A0", Malformed, "reserved flags"),
                ("A3", Malformed, "reserved flags"),
                ("C1", Malformed, "reserved flags"),
                ("E1", Malformed, "reserved flags"),
                ("30 FF FF FF FF", Malformed, "more than four bytes"),
                ("C0 80 80 80 80 00", Malformed, "more than four bytes"),
                ("30 FF FF FF 7F", PacketTooLarge, "too large"),
            ],
        );
    }
    for version in [V311, V5] {
        check_all(version, &[("8A", Malformed, "reserved flags"), ("6A", Malformed, "reserved flags")]);
    }
    for version in [V31, V311] {
        check_all(version, &[("F0 00", Malformed, "reserved type")]);
    }
    check_all(V5, &[("F1", Malformed, "reserved flags")]);
    // What comes after this is not looked at.
    for length in ["80 00", "80 80 00", "80 80 80 00"] {
        check_all(V5, &[(&format!("C0 {length}"), Malformed, "shortest form")]);
        assert_eq!(decode_one(V311, &format!("C0 {length}")), Packet::PingReq);
    }
}

#[test]
fn the_first_packet_is_a_connect() {
    for bytes in ["30", "C0", "82", "E0", "'PUT'"] {
        check(None, bytes, Protocol, None, "before CONNECT");
    }
    check(None, "'GET / HTTP/1.1'", Protocol, None, "before CONNECT");
    // TLS, and what no client sends.
    check(None, "16 03 01", Malformed, None, "reserved flags");
    check(None, "00", Malformed, None, "reserved type");
    check(None, "F0", Malformed, None, "reserved type");
    check(None, "20", Protocol, None, "only servers");
    check(None, "10 FF FF FF 7F 00 04 'MQTT' 05 00 00", PacketTooLarge, Some(V5), "too large");
    check(None, "10 FF FF FF 7F 00 04 'MQTT' 04 00 00", PacketTooLarge, None, "too large");
}

/// A packet with this first byte and remainder.
fn packet(first: &str, rest: &str) -> String {
    format!("{first} {:02x} {rest}", hex(rest).len())
}

#[test]
fn a_version_that_is_unknown_is_answered_and_another_protocol_is_not() {
    for level in ["00", "03", "06", "84", "FF"] {
        let connect = packet("10", &format!("00 04 'MQTT' {level} 02 00 00 00 01 'c'"));
        check(None, &connect, UnsupportedVersion, Some(V311), "version");
    }
    for level in ["02", "04", "05", "83"] {
        let connect = packet("10", &format!("00 06 'MQIsdp' {level} 02 00 00 00 01 'c'"));
        check(None, &connect, UnsupportedVersion, Some(V311), "version");
    }
    for name in ["00 04 'mqtt'", "00 05 'MQTT5'", "00 00", "00 06 'MQISDP'"] {
        let connect = packet("10", &format!("{name} 04 02 00 00 00 01 'c'"));
        check(None, &connect, UnsupportedVersion, None, "not MQTT");
    }
    for rest in ["", "00", "00 04 'MQT'", "00 04 'MQTT'"] {
        check(None, &packet("10", rest), Malformed, None, "within a field");
    }
    check(None, &packet("10", "00 04 'MQT' FF"), Malformed, None, "not UTF-8");
}

/// Checks a CONNECT of this version with these bytes after the version.
fn check_connect(version: Version, rest: &str, reason: Reason, what: &str) {
    let (name, level) = version.protocol();
    let connect = packet("10", &format!("00 {:02x} '{name}' {level:02x} {rest}", name.len()));
    check(None, &connect, reason, (version == V5).then_some(V5), what);
}

#[test]
fn a_connect_contradicts_neither_itself_nor_its_version() {
    for version in VERSIONS {
        // In MQTT 5, without properties.
        let none = if version == V5 { "00" } else { "" };
        for (flags, rest, reason, what) in [
            ("03", "00 01 'c'", Malformed, "reserved flag of CONNECT"),
            ("0A", "00 01 'c'", Malformed, "without one"),
            ("12", "00 01 'c'", Malformed, "without one"),
            ("22", "00 01 'c'", Malformed, "without one"),
            ("1E", &format!("00 01 'c' {none} 00 01 't' 00 00"), Malformed, "a will of QoS 3"),
            ("06", &format!("00 01 'c' {none} 00 00 00 00"), Malformed, "a will without a topic"),
            ("06", &format!("00 01 'c' {none} 00 01 '#' 00 00"), Malformed, "wildcard"),
            ("06", &format!("00 01 'c' {none} 00 03 'a/+' 00 00"), Malformed, "wildcard"),
            ("06", &format!("00 01 'c' {none} 00 01 't' 00 05 'x'"), Malformed, "within a field"),
            ("06", &format!("00 01 'c' {none} 00 01 't'"), Malformed, "within a field"),
            ("02", "00 02 'c'", Malformed, "within a field"),
            ("02", "00", Malformed, "within a field"),
            ("02", "00 01 FF", Malformed, "not UTF-8"),
            ("02", "00 03 ED A0 80", Malformed, "not UTF-8"),
            ("02", "00 02 'c' 00", Malformed, "U+0000"),
            ("02", "00 01 'c' 00", Malformed, "after the end"),
            ("82", "00 01 'c' 00 02 'u'", Malformed, "within a field"),
            ("82", "00 01 'c' 00 01 'u' 00 01 'p'", Malformed, "after the end"),
            ("C2", "00 01 'c' 00 01 'u' 00 02 'p'", Malformed, "within a field"),
            ("82", "00 01 'c' 00 01 00", Malformed, "U+0000"),
        ] {
            check_connect(version, &format!("{flags} 00 3C {none} {rest}"), reason, what);
        }
        check_connect(version, "02 00", Malformed, "within a field");
    }
    for version in [V31, V311] {
        check_connect(version, "42 00 3C 00 01 'c' 00 01 'p'", Malformed, "password without a user name");
    }
    for version in [V311, V5] {
        let none = if version == V5 { "00" } else { "" };
        check_connect(version, &format!("82 00 3C {none} 00 01 'c'"), Malformed, "within a field");
        check_connect(version, &format!("C2 00 3C {none} 00 01 'c' 00 01 'u'"), Malformed, "within a field");
    }
    let long = "10 8F 00 00 04 'MQTT' 05 02 00 00 00 00 02 'cc'";
    check(None, long, Malformed, Some(V5), "shortest form");
}

#[test]
fn properties_of_a_connect_are_its_own_and_have_values_that_they_may_have() {
    for (properties, reason, what) in [
        ("11 00 00 00 01 11 00 00 00 01", Protocol, "twice"),
        ("21 00 01 21 00 01", Protocol, "twice"),
        ("27 00 00 00 01 27 00 00 00 01", Protocol, "twice"),
        ("22 00 00 22 00 00", Protocol, "twice"),
        ("19 00 19 00", Protocol, "twice"),
        ("17 00 17 00", Protocol, "twice"),
        ("15 00 01 'm' 15 00 01 'm'", Protocol, "twice"),
        ("15 00 01 'm' 16 00 00 16 00 00", Protocol, "twice"),
        ("21 00 00", Protocol, "must be greater"),
        ("27 00 00 00 00", Protocol, "must be greater"),
        ("17 02", Protocol, "another value"),
        ("19 FF", Protocol, "another value"),
        ("16 00 01 'd'", Protocol, "without a method"),
        ("01 00", Malformed, "does not belong"),
        ("02 00 00 00 01", Malformed, "does not belong"),
        ("03 00 00", Malformed, "does not belong"),
        ("08 00 00", Malformed, "does not belong"),
        ("09 00 00", Malformed, "does not belong"),
        ("0B 01", Malformed, "does not belong"),
        ("12 00 00", Malformed, "does not belong"),
        ("13 00 00", Malformed, "does not belong"),
        ("18 00 00 00 00", Malformed, "does not belong"),
        ("1A 00 00", Malformed, "does not belong"),
        ("1C 00 00", Malformed, "does not belong"),
        ("1F 00 00", Malformed, "does not belong"),
        ("23 00 01", Malformed, "does not belong"),
        ("24 00", Malformed, "does not belong"),
        ("25 00", Malformed, "does not belong"),
        ("28 00", Malformed, "does not belong"),
        ("29 00", Malformed, "does not belong"),
        ("2A 00", Malformed, "does not belong"),
        ("00", Malformed, "unknown"),
        ("7F 00", Malformed, "unknown"),
        ("91 00", Malformed, "unknown"),
        ("11 00 00 00", Malformed, "within a field"),
        ("26 00 01 'a' 00 02 'b'", Malformed, "within a field"),
        ("26 00 01 00 00 00", Malformed, "U+0000"),
        ("15 00 01 FF", Malformed, "not UTF-8"),
    ] {
        let length = hex(properties).len();
        check_connect(V5, &format!("02 00 3C {length:02x} {properties} 00 01 'c'"), reason, what);
    }
    for (properties, reason, what) in [
        ("18 00 00 00 01 18 00 00 00 01", Protocol, "twice"),
        ("02 00 00 00 01 02 00 00 00 01", Protocol, "twice"),
        ("01 02", Protocol, "another value"),
        ("08 00 01 '#'", Malformed, "wildcard"),
        ("23 00 01", Malformed, "does not belong"),
        ("11 00 00 00 01", Malformed, "does not belong"),
        ("1F 00 00", Malformed, "does not belong"),
    ] {
        let length = hex(properties).len();
        check_connect(V5, &format!("06 00 3C 00 00 01 'c' {length:02x} {properties} 00 01 't' 00 00"), reason, what);
    }
    check_connect(V5, "02 00 3C 80 00 00 01 'c'", Malformed, "shortest form");
    check_connect(V5, "02 00 3C 80 80 80 80 00", Malformed, "more than four bytes");
    check_connect(V5, "02 00 3C 05 11 00", Malformed, "within a field");
    check_connect(V5, "02 00 3C 80", Malformed, "within a field");
}

#[test]
fn a_publish_has_a_topic_and_an_identifier_that_it_may_have() {
    for version in VERSIONS {
        check_all(
            version,
            &[
                ("30 00", Malformed, "within a field"),
                ("30 03 00 02 't'", Malformed, "within a field"),
                ("32 04 00 01 't' 00", Malformed, "within a field"),
                ("32 06 00 01 't' 00 00 00", Protocol, "identifier 0"),
                ("34 06 00 01 't' 00 00 00", Protocol, "identifier 0"),
                ("30 05 00 01 '+' 00 00", Malformed, "wildcard"),
                ("30 06 00 03 'a/#' 00", Malformed, "wildcard"),
                ("30 04 00 01 FF 00", Malformed, "not UTF-8"),
                ("30 05 00 02 't' 00 00", Malformed, "U+0000"),
                ("30 03 00 00 00", Protocol, "neither topic nor alias"),
            ],
        );
    }
    check_all(
        V5,
        &[
            ("30 03 00 01 't'", Malformed, "within a field"),
            ("30 04 00 01 't' 02", Malformed, "within a field"),
            ("30 05 00 01 't' 80 00", Malformed, "shortest form"),
            ("30 08 00 01 't' 04 01 00 01 00", Protocol, "twice"),
            ("30 0A 00 01 't' 06 23 00 01 23 00 01", Protocol, "twice"),
            ("30 0A 00 01 't' 06 03 00 00 03 00 00", Protocol, "twice"),
            ("30 0A 00 01 't' 06 08 00 00 08 00 00", Protocol, "twice"),
            ("30 0A 00 01 't' 06 09 00 00 09 00 00", Protocol, "twice"),
            ("30 0E 00 01 't' 0A 02 00 00 00 01 02 00 00 00 01", Protocol, "twice"),
            ("30 06 00 01 't' 02 01 02", Protocol, "another value"),
            ("30 07 00 01 't' 03 23 00 00", TopicAliasInvalid, "alias 0"),
            ("30 08 00 01 't' 04 08 00 01 '+'", Malformed, "wildcard"),
            ("30 06 00 01 't' 02 0B 01", Malformed, "does not belong"),
            ("30 09 00 01 't' 05 11 00 00 00 00", Malformed, "does not belong"),
            ("30 07 00 01 't' 03 1F 00 00", Malformed, "does not belong"),
        ],
    );
}

#[test]
fn an_acknowledgement_says_what_it_may() {
    for version in VERSIONS {
        for first in ["40", "50", "62", "70"] {
            check_all(
                version,
                &[
                    (&format!("{first} 00"), Malformed, "within a field"),
                    (&format!("{first} 01 00"), Malformed, "within a field"),
                    (&format!("{first} 02 00 00"), Protocol, "identifier 0"),
                ],
            );
        }
    }
    for first in ["40", "50", "62", "70"] {
        check_all(V311, &[(&format!("{first} 03 00 01 00"), Malformed, "after the end")]);
        check_all(
            V5,
            &[
                (&format!("{first} 03 00 01 01"), Protocol, "reason code"),
                (&format!("{first} 03 00 01 81"), Protocol, "reason code"),
                (&format!("{first} 05 00 01 00 00 00"), Malformed, "after the end"),
                (&format!("{first} 04 00 01 00 01"), Malformed, "within a field"),
                (&format!("{first} 0A 00 01 00 06 1F 00 00 1F 00 00"), Protocol, "twice"),
                (&format!("{first} 06 00 01 00 02 01 00"), Malformed, "does not belong"),
            ],
        );
    }
    check_all(V5, &[("40 03 00 01 92", Protocol, "reason code"), ("62 03 00 01 10", Protocol, "reason code")]);
}

#[test]
fn a_subscription_has_options_that_it_may_have() {
    for version in VERSIONS {
        let none = if version == V5 { "00" } else { "" };
        for (rest, reason, what) in [
            (format!("00 00 {none} 00 01 'f' 00"), Protocol, "identifier 0"),
            (format!("00 01 {none}"), Protocol, "without a filter"),
            (format!("00 01 {none} 00 01 'f'"), Malformed, "within a field"),
            (format!("00 01 {none} 00 02 'f'"), Malformed, "within a field"),
            (format!("00 01 {none} 00 01 'f' 00 00"), Malformed, "within a field"),
            (format!("00 01 {none} 00 01 FF 00"), Malformed, "not UTF-8"),
            (format!("00 01 {none} 00 01 00 00"), Malformed, "U+0000"),
            (format!("00 01 {none} 00 01 'f' 03"), Protocol, "QoS 3"),
            (format!("00 01 {none} 00 01 'f' 40"), Malformed, "reserved bit"),
            (format!("00 01 {none} 00 01 'f' 80"), Malformed, "reserved bit"),
        ] {
            check(Some(version), &packet("82", &rest), reason, None, what);
        }
    }
    for options in ["04", "08", "10", "20"] {
        check_all(V311, &[(&packet("82", &format!("00 01 00 01 'f' {options}")), Malformed, "reserved bit")]);
    }
    check_all(
        V5,
        &[
            ("82 07 00 01 00 00 01 'f' 30", Protocol, "retain handling 3"),
            ("82 10 00 01 00 00 0A '$share/g/f' 04", Protocol, "No Local"),
            ("82 09 00 01 02 0B 00 00 01 'f' 00", Protocol, "must be greater"),
            ("82 0A 00 01 03 0B 81 00 00 01 'f' 00", Malformed, "shortest form"),
            ("82 0C 00 01 05 0B 80 80 80 80 00 01 'f' 00", Malformed, "more than four bytes"),
            ("82 0B 00 01 04 0B 01 0B 01 00 01 'f' 00", Protocol, "twice"),
            ("82 0A 00 01 03 1F 00 00 00 01 'f' 00", Malformed, "does not belong"),
        ],
    );
}

#[test]
fn an_unsubscribe_has_filters() {
    for version in VERSIONS {
        let none = if version == V5 { "00" } else { "" };
        for (rest, reason, what) in [
            (format!("00 00 {none} 00 01 'f'"), Protocol, "identifier 0"),
            (format!("00 01 {none}"), Protocol, "without a filter"),
            (format!("00 01 {none} 00 02 'f'"), Malformed, "within a field"),
            (format!("00 01 {none} 00 01 'f' 00"), Malformed, "within a field"),
            (format!("00 01 {none} 00 01 FF"), Malformed, "not UTF-8"),
        ] {
            check(Some(version), &packet("A2", &rest), reason, None, what);
        }
    }
    check_all(V5, &[("A2 08 00 01 02 0B 01 00 01 'f'", Malformed, "does not belong")]);
}

#[test]
fn a_ping_a_disconnect_and_an_auth_say_what_they_may() {
    for version in VERSIONS {
        check_all(version, &[("C0 01 00", Malformed, "after the end")]);
    }
    check_all(V31, &[("E0 01 00", Malformed, "after the end")]);
    check_all(V311, &[("E0 01 00", Malformed, "after the end")]);
    check_all(
        V5,
        &[
            ("E0 01 01", Protocol, "reason code"),
            ("E0 01 8E", Protocol, "reason code"),
            ("E0 02 00 01", Malformed, "within a field"),
            ("E0 03 00 00 00", Malformed, "after the end"),
            ("E0 0C 00 0A 11 00 00 00 00 11 00 00 00 00", Protocol, "twice"),
            ("E0 05 00 03 1C 00 00", Malformed, "does not belong"),
            ("E0 04 00 02 01 00", Malformed, "does not belong"),
            ("F0 00", Protocol, "success"),
            ("F0 02 00 00", Protocol, "reason code"),
            ("F0 01 18", Malformed, "within a field"),
            ("F0 02 18 00", Protocol, "without an authentication method"),
            ("F0 05 18 03 16 00 00", Protocol, "without an authentication method"),
            ("F0 0A 18 08 15 00 01 'm' 15 00 01 'm'", Protocol, "twice"),
            ("F0 04 18 02 01 00", Malformed, "does not belong"),
            ("F0 07 18 04 15 00 01 'm' 00", Malformed, "after the end"),
        ],
    );
}

#[test]
fn what_comes_before_a_fault_comes_out() {
    let (packets, violation) = decode_all(V5, &hex("C0 00 C0 00 C1 00"));
    assert_eq!(packets, [Packet::PingReq, Packet::PingReq]);
    assert_eq!(violation.map(|violation| violation.reason), Some(Malformed));
}

#[test]
fn a_violation_is_told_in_words() {
    let violation = Violation { reason: Malformed, connack: None, what: "a text" };
    assert_eq!(violation.to_string(), "a text");
}
