//! Guards the rows of sessions of MQTT: what was written comes back, and no other bytes are taken for it or stop the server.

use proptest::prelude::*;

use super::*;
use crate::domain::{PayloadFormat, Properties};

fn id() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|id| NonZeroU16::new(id).unwrap())
}

fn position() -> impl Strategy<Value = Position> {
    any::<u64>().prop_map(Position::new)
}

fn moment() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_millis)
}

fn qos() -> impl Strategy<Value = Qos> {
    (0_u8..3).prop_map(|number| Qos::from_number(number).unwrap())
}

fn event() -> impl Strategy<Value = OutgoingEvent> {
    (position(), any::<bool>()).prop_map(|(position, is_from_before)| OutgoingEvent { position, is_from_before })
}

fn outgoing() -> impl Strategy<Value = Outgoing> {
    let state = prop::sample::select(vec![OutgoingState::Sent, OutgoingState::SentOnce, OutgoingState::Released]);
    (id(), event(), state).prop_map(|(id, event, state)| Outgoing { id, event, state })
}

fn row() -> impl Strategy<Value = MqttSessionRow> {
    let names = ("[a-z]{1,40}", "[a-z]{1,9}(:[a-z]{0,9})?", "\\PC{1,40}");
    (names, any::<(u32, u64)>(), (moment(), position()), prop::option::of(moment()), prop::option::of(moment()))
        .prop_map(|((tenant, username, client_id), (expiry, publisher), began, ended_at, due_at)| {
            let key =
                MqttSessionKey { username: Username::from_stored(&username).unwrap(), client_id: client_id.into() };
            let (tenant, publisher) = (TenantName::parse(&tenant).unwrap(), PublisherId(publisher));
            MqttSessionRow { head: MqttSessionHead { key, tenant, publisher, expiry, began, ended_at }, due_at }
        })
}

fn subscription() -> impl Strategy<Value = KeptSubscription> {
    let id = prop::option::of((1..=u32::MAX).prop_map(|id| NonZeroU32::new(id).unwrap()));
    (qos(), any::<[bool; 2]>(), id, position(), (any::<u32>(), position())).prop_map(
        |(qos, flags, id, since, (number, until))| {
            let [no_local, retain_as_published] = flags;
            KeptSubscription {
                filter: "a/+".into(),
                qos,
                no_local,
                retain_as_published,
                id,
                since,
                asked: MqttAsk { number, until },
            }
        },
    )
}

fn asked() -> impl Strategy<Value = MqttAsked> {
    (any::<(u32, u32)>(), position()).prop_map(|((done, through), after)| MqttAsked { done, through, after })
}

fn will() -> impl Strategy<Value = KeptWill> {
    let sign_in = (any::<u64>(), any::<bool>(), prop::option::of(1..=u64::MAX)).prop_map(
        |(generation, by_password_alone, session)| {
            let (generation, session) = (Generation(generation), session.and_then(SessionId::new));
            WillRight::SignIn(SignIn { generation, by_password_alone, session })
        },
    );
    let by = prop_oneof![sign_in, prop::option::of(moment()).prop_map(WillRight::Token)];
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    (payload, qos(), any::<bool>(), prop::option::of(any::<u32>()), any::<u32>(), by, any::<bool>()).prop_map(
        |(payload, qos, retain, expires_in, delay, by, has_properties)| {
            let properties = Properties {
                payload_format: Some(PayloadFormat::Text),
                user_properties: vec![("a".to_owned(), "b".to_owned())],
                ..Properties::default()
            };
            let properties = if has_properties { properties } else { Properties::default() };
            let topic = EventName::parse("gone/1").unwrap();
            KeptWill { topic, payload: payload.into(), qos, retain, properties, expires_in, delay, by }
        },
    )
}

/// Every decoder, on bytes that nobody has written. None may panic; what one accepts is written as it was read.
fn read_anything(bytes: &[u8]) {
    if let Ok(row) = decode_mqtt_session(bytes) {
        assert_eq!(encode_mqtt_session(&row), bytes);
    }
    if let Ok(subscription) = decode_mqtt_subscription("a".into(), bytes) {
        assert_eq!(encode_mqtt_subscription(&subscription), bytes);
    }
    if let Ok(message) = decode_mqtt_outgoing(NonZeroU16::MIN, bytes) {
        assert_eq!(encode_mqtt_outgoing(&message), bytes);
    }
    if let Ok(progress) = decode_mqtt_progress(bytes) {
        assert_eq!(encode_mqtt_progress(&progress), bytes);
    }
    if let Ok(exact) = decode_mqtt_exact(bytes) {
        assert_eq!(encode_mqtt_exact(exact), bytes);
    }
    let _ = decode_mqtt_will(bytes);
    let _ = (decode_mqtt_number(bytes), decode_mqtt_numbers(bytes), decode_mqtt_unreleased(bytes));
}

proptest! {
    #[test]
    fn what_was_written_comes_back(
        row in row(),
        subscription in subscription(),
        message in outgoing(),
        (position, exact_position, last_id) in (position(), position(), any::<u16>()),
        (asked, exact_asked) in (asked(), asked()),
        outgoing in prop::collection::vec(outgoing(), 0..20),
        waiting in prop::collection::vec(event(), 0..20),
        will in will(),
    ) {
        prop_assert_eq!(decode_mqtt_session(&encode_mqtt_session(&row)), Ok(row));
        let value = encode_mqtt_subscription(&subscription);
        prop_assert_eq!(decode_mqtt_subscription(subscription.filter.clone(), &value), Ok(subscription));
        prop_assert_eq!(decode_mqtt_outgoing(message.id, &encode_mqtt_outgoing(&message)), Ok(message));
        let exact = (exact_position, exact_asked);
        prop_assert_eq!(decode_mqtt_exact(&encode_mqtt_exact(exact)), Ok(exact));
        let progress = MqttProgress { position, exact_position, exact_asked, asked, outgoing, waiting, last_id };
        prop_assert_eq!(decode_mqtt_progress(&encode_mqtt_progress(&progress)), Ok(progress));
        prop_assert_eq!(decode_mqtt_will(&encode_mqtt_will(&will)), Ok(will));
    }

    #[test]
    fn whatever_is_cut_short_or_longer_is_damaged(row in row(), subscription in subscription(), will in will()) {
        for value in [encode_mqtt_session(&row), encode_mqtt_will(&will)] {
            for length in 0..value.len() {
                read_anything(&value[..length]);
                prop_assert!(decode_mqtt_session(&value[..length]).is_err() || decode_mqtt_will(&value[..length]).is_err());
            }
        }
        let longer = [&encode_mqtt_session(&row)[..], b"?"].concat();
        prop_assert!(decode_mqtt_session(&longer).is_err());
        let longer = [&encode_mqtt_subscription(&subscription)[..], b"?"].concat();
        prop_assert!(decode_mqtt_subscription("a".into(), &longer).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        read_anything(&bytes);
    }
}
