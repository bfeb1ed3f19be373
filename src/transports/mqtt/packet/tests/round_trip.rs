//! Guards that what is encoded is decoded to the same, for any packets.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

use super::super::invariants::{cut, decode, encodes, packets};
use super::super::reason::{OF_AUTH, OF_DISCONNECT, OF_PUBACK, OF_PUBREL};
use super::super::{
    Ack, Auth, Authentication, Connect, Disconnect, Encoder, Packet, Publish, PublishProperties, Qos, Reason,
    RetainHandling, Secret, Subscribe, Subscription, Unsubscribe, Version, Will, client,
};
use super::{LARGE, VERSIONS};

use Version::{V5, V31, V311};

fn text() -> impl Strategy<Value = String> {
    "[a-z/+#$ ß日😀]{0,6}"
}

fn topic() -> impl Strategy<Value = String> {
    "[a-z/$ ß日😀]{1,6}"
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn qos() -> impl Strategy<Value = Qos> {
    select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..])
}

fn user_properties() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(), text()), 0..3)
}

fn properties() -> impl Strategy<Value = PublishProperties> {
    let fields = (
        any::<bool>(),
        any::<Option<u32>>(),
        option::of(topic()),
        option::of(binary()),
        user_properties(),
        option::of(text()),
    );
    fields.prop_map(|(is_utf8, message_expiry, response_topic, correlation_data, user_properties, content_type)| {
        PublishProperties {
            is_utf8,
            message_expiry,
            topic_alias: None,
            response_topic,
            correlation_data,
            user_properties,
            content_type,
        }
    })
}

/// What only MQTT 5 has.
fn only<T: std::fmt::Debug + Default + Clone + 'static>(
    version: Version,
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if version == V5 { value.boxed() } else { Just(T::default()).boxed() }
}

fn publish(version: Version) -> impl Strategy<Value = Packet> {
    let alias = only(version, any::<Option<NonZeroU16>>());
    let message =
        (topic(), only(version, properties()), prop_oneof![binary(), vec(any::<u8>(), 100..200).prop_map(Bytes::from)]);
    (any::<(bool, bool, bool)>(), qos(), any::<NonZeroU16>(), alias, message).prop_map(
        |((dup, retain, has_topic), qos, id, alias, (topic, properties, payload))| {
            let is_acknowledged = qos != Qos::AtMostOnce;
            Packet::Publish(Publish {
                dup: dup && is_acknowledged,
                qos,
                retain,
                topic: if alias.is_none() || has_topic { topic } else { String::new() },
                packet_id: is_acknowledged.then_some(id),
                properties: PublishProperties { topic_alias: alias, ..properties },
                payload,
            })
        },
    )
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    let delay = only(version, any::<u32>());
    (topic(), binary(), qos(), any::<bool>(), delay, only(version, properties())).prop_map(
        |(topic, payload, qos, retain, delay, properties)| Will { topic, payload, qos, retain, delay, properties },
    )
}

fn authentication() -> impl Strategy<Value = Authentication> {
    let data = option::of(binary().prop_map(Secret));
    (text(), data).prop_map(|(method, data)| Authentication { method, data })
}

/// A CONNECT as every version may have it.
fn plain_connect(version: Version) -> impl Strategy<Value = Connect> {
    let credentials = (option::of(text()), option::of(binary().prop_map(Secret)));
    (any::<bool>(), any::<u16>(), "[a-z]{1,23}", option::of(will(version)), credentials).prop_map(
        move |(clean_start, keep_alive, client_id, will, (username, password))| {
            let password = password.filter(|_| version == V5 || username.is_some());
            Connect { client_id, will, username, password, ..Connect::new(version, clean_start, keep_alive) }
        },
    )
}

fn connect(version: Version) -> BoxedStrategy<Packet> {
    let plain = plain_connect(version);
    if version != V5 {
        return plain.prop_map(|connect| Packet::Connect(Box::new(connect))).boxed();
    }
    let numbers = any::<(u32, NonZeroU16, Option<NonZeroU32>, u16, bool, bool)>();
    (plain, numbers, option::of(authentication()))
        .prop_map(|(plain, numbers, authentication)| {
            let (session_expiry, receive_maximum, maximum_packet_size, topic_alias_maximum, response, problem) =
                numbers;
            Packet::Connect(Box::new(Connect {
                session_expiry,
                receive_maximum,
                maximum_packet_size,
                topic_alias_maximum,
                wants_response_information: response,
                wants_problem_information: problem,
                authentication,
                ..plain
            }))
        })
        .boxed()
}

fn ack(version: Version, reasons: &'static [Reason]) -> impl Strategy<Value = Ack> {
    let reasons = if version == V5 { reasons } else { &[Reason::Success][..] };
    (any::<NonZeroU16>(), select(reasons)).prop_map(|(packet_id, reason)| Ack { packet_id, reason })
}

fn subscription(version: Version) -> impl Strategy<Value = Subscription> {
    let handling = select(&[RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never][..]);
    let options = only(version, (any::<bool>(), any::<bool>(), handling));
    (text(), qos(), options).prop_map(|(filter, qos, (no_local, retain_as_published, retain_handling))| Subscription {
        filter,
        qos,
        no_local,
        retain_as_published,
        retain_handling,
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let id = (1..=268_435_455_u32).prop_map(NonZeroU32::new);
    let subscription_id = only(version, prop_oneof![Just(None), id]);
    (any::<NonZeroU16>(), subscription_id, vec(subscription(version), 1..4)).prop_map(
        |(packet_id, subscription_id, subscriptions)| {
            Packet::Subscribe(Subscribe { packet_id, subscription_id, subscriptions })
        },
    )
}

fn unsubscribe() -> impl Strategy<Value = Packet> {
    (any::<NonZeroU16>(), vec(text(), 1..4))
        .prop_map(|(packet_id, filters)| Packet::Unsubscribe(Unsubscribe { packet_id, filters }))
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet> {
    let reasons = if version == V5 { OF_DISCONNECT } else { &[Reason::Success][..] };
    (select(reasons), only(version, any::<Option<u32>>()))
        .prop_map(|(reason, session_expiry)| Packet::Disconnect(Disconnect { reason, session_expiry }))
}

/// Packets that a client of this version may send after its CONNECT.
fn later(version: Version) -> BoxedStrategy<Packet> {
    let of_all = prop_oneof![
        4 => publish(version),
        1 => ack(version, OF_PUBACK).prop_map(Packet::PubAck),
        1 => ack(version, OF_PUBACK).prop_map(Packet::PubRec),
        1 => ack(version, OF_PUBREL).prop_map(Packet::PubRel),
        1 => ack(version, OF_PUBREL).prop_map(Packet::PubComp),
        2 => subscribe(version),
        1 => unsubscribe(),
        1 => disconnect(version),
        1 => Just(Packet::PingReq),
    ];
    if version != V5 {
        return of_all.boxed();
    }
    let auth = (select(OF_AUTH), authentication());
    let auth = auth.prop_map(|(reason, authentication)| Packet::Auth(Auth { reason, authentication }));
    prop_oneof![9 => of_all, 1 => auth].boxed()
}

fn connection() -> impl Strategy<Value = (Version, Packet, Vec<Packet>)> {
    select(&VERSIONS[..]).prop_flat_map(|version| (Just(version), connect(version), vec(later(version), 0..6)))
}

proptest! {
    #[test]
    fn what_a_client_sends_is_what_comes_out((version, connect, later) in connection(), seed in any::<u8>()) {
        let all = [vec![connect], later].concat();
        let sent = all.iter().flat_map(|packet| client::bytes(packet, version)).collect::<Vec<_>>();
        assert_eq!(decode(LARGE, None, [&sent[..]]), (all.clone(), None));
        assert_eq!(decode(LARGE, None, cut(&sent, seed)), (all.clone(), None));
        all.iter().for_each(|packet| encodes(packet, Some(version)));
    }

    #[test]
    fn a_message_that_is_sent_is_the_one_that_came(message in publish(V5), old in publish(V311)) {
        for (version, packet) in [(V5, message), (V311, old.clone()), (V31, old)] {
            let Packet::Publish(publish) = &packet else { panic!("{packet:?}") };
            let mut sent = Vec::new();
            Encoder::new(version).publish(&mut sent, publish);
            assert_eq!(decode(LARGE, Some(version), [&sent[..]]), (vec![packet], None));
        }
    }

    #[test]
    fn any_bytes_keep_the_invariants(bytes in vec(any::<u8>(), 0..64)) {
        packets(&bytes);
    }

    #[test]
    fn packets_that_are_damaged_keep_the_invariants(
        (version, connect, later) in connection(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        options in any::<(u8, u8)>(),
    ) {
        let mut sent = vec![options.0 & !0b11, options.1];
        sent.extend([vec![connect], later].concat().iter().flat_map(|packet| client::bytes(packet, version)));
        changes.into_iter().for_each(|(at, byte)| *at.get_mut(&mut sent[2..]) = byte);
        packets(&sent);
    }
}
