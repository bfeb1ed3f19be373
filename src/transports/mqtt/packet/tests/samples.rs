//! Guards what packets mean: the examples of the specifications, and packets with everything that they may have.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use super::super::{
    Ack, Auth, Authentication, Connect, Disconnect, Packet, Publish, PublishProperties, Qos, Reason, RetainHandling,
    Secret, Subscribe, Subscription, Unsubscribe, Version, Will,
};
use super::{VERSIONS, data, decode_all, decode_one, hex, owned};

use Version::{V5, V31, V311};

fn id(id: u16) -> NonZeroU16 {
    NonZeroU16::new(id).unwrap()
}

fn secret(bytes: &'static [u8]) -> Option<Secret> {
    Some(Secret(Bytes::from_static(bytes)))
}

fn connect(bytes: &str) -> Connect {
    match decode_one(None, bytes) {
        Packet::Connect(connect) => *connect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connect_of_3_1_1_is_as_in_its_example() {
    // MQTT 3.1.1, 3.1.2.10: user name, password, a will of QoS 1, a clean session, and a keep alive of 10 seconds.
    let sent = "10 25 00 04 'MQTT' 04 CE 00 0A 00 02 'id' 00 03 'w/t' 00 04 'gone' 00 04 'user' 00 04 'pass'";
    let connect = connect(sent);
    let will = Will {
        topic: "w/t".to_owned(),
        payload: Bytes::from_static(b"gone"),
        qos: Qos::AtLeastOnce,
        retain: false,
        delay: 0,
        properties: PublishProperties::default(),
    };
    let expected = Connect {
        client_id: "id".to_owned(),
        username: owned("user"),
        password: secret(b"pass"),
        will: Some(will),
        ..Connect::new(V311, true, 10)
    };
    assert_eq!(connect, expected);
    assert!(!format!("{connect:?}").contains("pass\""), "a log would have the password");
}

#[test]
fn a_connect_of_5_says_all_that_it_may() {
    let properties = "11 00 00 00 0A 21 00 14 27 00 00 10 00 22 00 05 19 01 17 00 26 00 01 'a' 00 01 'b' 26 00 01 'a' 00 00 \
                      15 00 03 'SCR' 16 00 02 00 FF";
    let will = "01 01 02 00 00 00 3C 03 00 04 'text' 08 00 01 'r' 09 00 02 01 00 18 00 00 00 05 26 00 01 'k' 00 01 'v'";
    let (properties_length, will_length) = (hex(properties).len(), hex(will).len());
    let rest = format!(
        "00 04 'MQTT' 05 74 00 00 {properties_length:02x} {properties} 00 00 {will_length:02x} {will} 00 01 't' 00 01 FF 00 01 'p'"
    );
    let connect = connect(&format!("10 {:02x} {rest}", hex(&rest).len()));
    let properties = PublishProperties {
        is_utf8: true,
        message_expiry: Some(60),
        topic_alias: None,
        response_topic: owned("r"),
        correlation_data: data(b"\x01\0"),
        user_properties: vec![("k".to_owned(), "v".to_owned())],
        content_type: owned("text"),
    };
    let expected = Connect {
        version: V5,
        clean_start: false,
        keep_alive: 0,
        client_id: String::new(),
        must_refuse_client_id: false,
        username: None,
        password: secret(b"p"),
        will: Some(Will {
            topic: "t".to_owned(),
            payload: Bytes::from_static(b"\xff"),
            qos: Qos::ExactlyOnce,
            retain: true,
            delay: 5,
            properties,
        }),
        session_expiry: 10,
        receive_maximum: id(20),
        maximum_packet_size: NonZeroU32::new(4096),
        topic_alias_maximum: 5,
        wants_response_information: true,
        wants_problem_information: false,
        authentication: Some(Authentication { method: "SCR".to_owned(), data: secret(b"\0\xff") }),
    };
    assert_eq!(connect, expected);
}

#[test]
fn what_a_connect_leaves_out_has_the_value_that_the_specification_gives() {
    let connect = connect("10 0D 00 04 'MQTT' 05 00 00 00 00 00 00");
    assert_eq!(connect, Connect::new(V5, false, 0));
    assert_eq!((connect.session_expiry, connect.receive_maximum), (0, NonZeroU16::MAX));
    assert!(connect.wants_problem_information && !connect.wants_response_information);
    for version in [V31, V311] {
        assert_eq!(Connect::new(version, false, 0).session_expiry, u32::MAX);
        assert_eq!(Connect::new(version, true, 0).session_expiry, 0);
    }
}

#[test]
fn a_client_identifier_is_refused_where_its_version_says_so() {
    let long = "x".repeat(24);
    for (protocol, flags, client_id, is_refused) in [
        ("00 06 'MQIsdp' 03", "02", "", true),
        ("00 06 'MQIsdp' 03", "00", "", true),
        ("00 06 'MQIsdp' 03", "02", "c", false),
        ("00 06 'MQIsdp' 03", "02", &long[1..], false),
        ("00 06 'MQIsdp' 03", "02", &long, true),
        ("00 04 'MQTT' 04", "02", "", false),
        ("00 04 'MQTT' 04", "00", "", true),
        ("00 04 'MQTT' 04", "00", &long, false),
        ("00 04 'MQTT' 05", "00", "", false),
    ] {
        let none = if protocol.ends_with('5') { "00" } else { "" };
        let rest = format!("{protocol} {flags} 00 0A {none} 00 {:02x} '{client_id}'", client_id.len());
        let connect = connect(&format!("10 {:02x} {rest}", hex(&rest).len()));
        assert_eq!(connect.must_refuse_client_id, is_refused, "{rest}");
    }
}

#[test]
fn in_3_1_a_user_name_or_password_may_be_missing_in_spite_of_its_flag() {
    // MQTT 3.1, "Connect flags": the remaining length counts.
    let without = connect("10 0F 00 06 'MQIsdp' 03 C2 00 0A 00 01 'c'");
    assert_eq!((without.username, without.password), (None, None));
    let with = connect("10 12 00 06 'MQIsdp' 03 C2 00 0A 00 01 'c' 00 01 'u'");
    assert_eq!((with.username, with.password), (owned("u"), None));
}

#[test]
fn a_publish_is_as_in_its_example() {
    // MQTT 3.1.1 and 5.0, 3.3.2: the topic a/b, packet identifier 10.
    let expected = Publish {
        dup: true,
        qos: Qos::AtLeastOnce,
        retain: true,
        topic: "a/b".to_owned(),
        packet_id: Some(id(10)),
        properties: PublishProperties::default(),
        payload: Bytes::from_static(b"hi"),
    };
    for (version, sent) in [
        (V31, "3B 09 00 03 'a/b' 00 0A 'hi'"),
        (V311, "3B 09 00 03 'a/b' 00 0A 'hi'"),
        (V5, "3B 0A 00 03 'a/b' 00 0A 00 'hi'"),
    ] {
        assert_eq!(decode_one(version, sent), Packet::Publish(expected.clone()));
    }
    let Packet::Publish(empty) = decode_one(V311, "30 05 00 03 'a/b'") else { panic!() };
    assert!(empty.payload.is_empty() && empty.packet_id.is_none() && !empty.dup && !empty.retain);
}

#[test]
fn a_publish_of_5_says_all_that_it_may() {
    let properties = "01 01 02 00 00 00 3C 23 00 07 08 00 01 'r' 09 00 01 FF 26 00 01 'k' 00 01 'v' 26 00 01 'k' 00 01 'v' 03 00 01 'c'";
    let rest = format!("00 00 00 01 {:02x} {properties} FE", hex(properties).len());
    let Packet::Publish(publish) = decode_one(V5, &format!("34 {:02x} {rest}", hex(&rest).len())) else { panic!() };
    let pair = ("k".to_owned(), "v".to_owned());
    let properties = PublishProperties {
        is_utf8: true,
        message_expiry: Some(60),
        topic_alias: Some(id(7)),
        response_topic: owned("r"),
        correlation_data: data(b"\xff"),
        user_properties: vec![pair.clone(), pair],
        content_type: owned("c"),
    };
    assert_eq!((publish.properties, &publish.payload[..]), (properties, &b"\xfe"[..]));
    assert_eq!((publish.qos, &*publish.topic, publish.packet_id), (Qos::ExactlyOnce, "", Some(id(1))));
}

#[test]
fn an_acknowledgement_without_a_reason_is_a_success() {
    let ack = |packet_id, reason| Ack { packet_id: id(packet_id), reason };
    let success = ack(0x1234, Reason::Success);
    for version in VERSIONS {
        assert_eq!(decode_one(version, "40 02 12 34"), Packet::PubAck(success));
        assert_eq!(decode_one(version, "50 02 12 34"), Packet::PubRec(success));
        assert_eq!(decode_one(version, "62 02 12 34"), Packet::PubRel(success));
        assert_eq!(decode_one(version, "70 02 12 34"), Packet::PubComp(success));
    }
    assert_eq!(decode_one(V5, "40 03 12 34 00"), Packet::PubAck(success));
    assert_eq!(decode_one(V5, "40 04 12 34 00 00"), Packet::PubAck(success));
    assert_eq!(decode_one(V5, "50 03 00 01 97"), Packet::PubRec(ack(1, Reason::QuotaExceeded)));
    let told = "70 0F 00 01 92 0B 1F 00 01 'r' 26 00 01 'k' 00 01 'v'";
    assert_eq!(decode_one(V5, told), Packet::PubComp(ack(1, Reason::PacketIdNotFound)));
}

#[test]
fn a_subscribe_is_as_in_its_example() {
    // MQTT 3.1.1 and 5.0, 3.8.3: a/b with QoS 1 and c/d with QoS 2.
    let subscription = |filter: &str, qos| Subscription {
        filter: filter.to_owned(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
    };
    let subscriptions = vec![subscription("a/b", Qos::AtLeastOnce), subscription("c/d", Qos::ExactlyOnce)];
    let expected = Packet::Subscribe(Subscribe { packet_id: id(10), subscription_id: None, subscriptions });
    assert_eq!(decode_one(V31, "82 0E 00 0A 00 03 'a/b' 01 00 03 'c/d' 02"), expected);
    assert_eq!(decode_one(V311, "82 0E 00 0A 00 03 'a/b' 01 00 03 'c/d' 02"), expected);
    assert_eq!(decode_one(V5, "82 0F 00 0A 00 00 03 'a/b' 01 00 03 'c/d' 02"), expected);
    // Sent again, as in MQTT 3.1.
    assert_eq!(decode_one(V31, "8A 0E 00 0A 00 03 'a/b' 01 00 03 'c/d' 02"), expected);
    assert!(matches!(decode_one(V31, "6A 02 00 01"), Packet::PubRel(_)));
    assert!(matches!(decode_one(V31, "AA 05 00 01 00 01 'f'"), Packet::Unsubscribe(_)));
}

#[test]
fn a_subscribe_of_5_has_an_identifier_and_options() {
    let sent = "82 23 00 01 0C 0B FF FF FF 7F 26 00 01 'k' 00 01 'v' 00 01 'a' 2D 00 00 18 00 0A '$share/g/f' 02";
    let Packet::Subscribe(subscribe) = decode_one(V5, sent) else { panic!() };
    assert_eq!(subscribe.subscription_id, NonZeroU32::new(268_435_455));
    let options = subscribe
        .subscriptions
        .iter()
        .map(|one| (&*one.filter, one.qos as u8, one.no_local, one.retain_as_published, one.retain_handling));
    let expected = [
        ("a", 1, true, true, RetainHandling::Never),
        ("", 0, false, true, RetainHandling::IfNew),
        ("$share/g/f", 2, false, false, RetainHandling::Always),
    ];
    assert_eq!(options.collect::<Vec<_>>(), expected);
}

#[test]
fn an_unsubscribe_is_as_in_its_example() {
    // MQTT 3.1.1 and 5.0, 3.10.3: a/b and c/d.
    let filters = vec!["a/b".to_owned(), "c/d".to_owned()];
    let expected = Packet::Unsubscribe(Unsubscribe { packet_id: id(10), filters });
    assert_eq!(decode_one(V311, "A2 0C 00 0A 00 03 'a/b' 00 03 'c/d'"), expected);
    assert_eq!(decode_one(V5, "A2 0D 00 0A 00 00 03 'a/b' 00 03 'c/d'"), expected);
    assert_eq!(decode_one(V5, "A2 14 00 0A 07 26 00 01 'k' 00 01 'v' 00 03 'a/b' 00 03 'c/d'"), expected);
}

#[test]
fn a_disconnect_without_a_reason_is_a_normal_end() {
    let disconnect = |reason, session_expiry| Packet::Disconnect(Disconnect { reason, session_expiry });
    for version in VERSIONS {
        assert_eq!(decode_one(version, "E0 00"), disconnect(Reason::Success, None));
        assert_eq!(decode_one(version, "C0 00"), Packet::PingReq);
    }
    assert_eq!(decode_one(V5, "E0 01 04"), disconnect(Reason::DisconnectWithWill, None));
    assert_eq!(decode_one(V5, "E0 02 81 00"), disconnect(Reason::MalformedPacket, None));
    let told = "E0 12 00 10 11 00 00 00 05 1F 00 01 'r' 26 00 01 'k' 00 01 'v'";
    assert_eq!(decode_one(V5, told), disconnect(Reason::Success, Some(5)));
}

#[test]
fn an_auth_goes_on_or_begins_again() {
    let auth =
        |reason, data| Packet::Auth(Auth { reason, authentication: Authentication { method: "m".to_owned(), data } });
    assert_eq!(decode_one(V5, "F0 06 19 04 15 00 01 'm'"), auth(Reason::Reauthenticate, None));
    let told = "F0 0E 18 0C 15 00 01 'm' 16 00 01 'd' 1F 00 01 'r'";
    assert_eq!(decode_one(V5, told), auth(Reason::ContinueAuthentication, secret(b"d")));
}

#[test]
fn several_packets_come_out_one_at_a_time() {
    let (packets, violation) = decode_all(V311, &hex("C0 00 30 03 00 01 't' 40 02 00 01 E0 00 30"));
    assert_eq!((packets.len(), violation), (4, None));
    assert!(matches!(packets[..], [Packet::PingReq, Packet::Publish(_), Packet::PubAck(_), Packet::Disconnect(_)]));
}
