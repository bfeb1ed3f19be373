//! What a client sends, for tests.

use std::num::NonZeroU16;

use super::ack::Ack;
use super::connect::{Authentication, Connect, Will};
use super::connect_flags as flags;
use super::decoder::Packet;
use super::disconnect::{Auth, Disconnect};
use super::property::{Property, put_properties};
use super::reason::Reason;
use super::subscribe::{Subscribe, Subscription, Unsubscribe};
use super::version::Version;
use super::write::{put_binary, put_packet, put_text};

/// A packet as a client of this version sends it.
pub fn bytes(packet: &Packet, version: Version) -> Vec<u8> {
    let mut buffer = Vec::new();
    let first = match packet {
        Packet::Publish(publish) => {
            publish.put(&mut buffer, version);
            return buffer;
        }
        Packet::Connect(_) => 0x10,
        Packet::PubAck(_) => 0x40,
        Packet::PubRec(_) => 0x50,
        Packet::PubRel(_) => 0x62,
        Packet::PubComp(_) => 0x70,
        Packet::Subscribe(_) => 0x82,
        Packet::Unsubscribe(_) => 0xA2,
        Packet::PingReq => 0xC0,
        Packet::Disconnect(_) => 0xE0,
        Packet::Auth(_) => 0xF0,
    };
    put_packet(&mut buffer, first, |buffer| match packet {
        Packet::Connect(connect) => put_connect(buffer, connect),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            put_ack(buffer, ack, version);
        }
        Packet::Subscribe(subscribe) => put_subscribe(buffer, subscribe, version),
        Packet::Unsubscribe(unsubscribe) => put_unsubscribe(buffer, unsubscribe, version),
        Packet::Disconnect(disconnect) => put_disconnect(buffer, disconnect, version),
        Packet::Auth(auth) => put_auth(buffer, auth),
        Packet::Publish(_) | Packet::PingReq => {}
    });
    buffer
}

/// The least that a client of this version connects with.
pub fn connect(version: Version) -> Vec<u8> {
    let mut connect = Connect::new(version, true, 60);
    connect.client_id = "c".into();
    bytes(&Packet::Connect(Box::new(connect)), version)
}

fn put_connect(buffer: &mut Vec<u8>, connect: &Connect) {
    let (name, level) = connect.version.protocol();
    put_text(buffer, name);
    buffer.push(level);
    let will = connect
        .will
        .as_ref()
        .map_or(0, |will| flags::WILL | (will.qos as u8) << 3 | if will.retain { flags::WILL_RETAIN } else { 0 });
    let has = |is_there, flag| if is_there { flag } else { 0 };
    buffer.push(
        will | has(connect.clean_start, flags::CLEAN_START)
            | has(connect.username.is_some(), flags::USER_NAME)
            | has(connect.password.is_some(), flags::PASSWORD),
    );
    buffer.extend(connect.keep_alive.to_be_bytes());
    if connect.version.has_properties() {
        put_connect_properties(buffer, connect);
    }
    put_text(buffer, &connect.client_id);
    if let Some(will) = &connect.will {
        put_will(buffer, will, connect.version);
    }
    connect.username.iter().for_each(|name| put_text(buffer, name));
    connect.password.iter().for_each(|password| put_binary(buffer, &password.0));
}

fn put_connect_properties(buffer: &mut Vec<u8>, connect: &Connect) {
    let mut properties = vec![
        Property::SessionExpiryInterval(connect.session_expiry),
        Property::ReceiveMaximum(connect.receive_maximum),
        Property::TopicAliasMaximum(connect.topic_alias_maximum),
        Property::RequestResponseInformation(connect.wants_response_information),
        Property::RequestProblemInformation(connect.wants_problem_information),
    ];
    properties.extend(connect.maximum_packet_size.map(Property::MaximumPacketSize));
    properties.extend(connect.authentication.iter().flat_map(authentication));
    put_properties(buffer, properties);
}

fn authentication(authentication: &Authentication) -> impl Iterator<Item = Property<'_>> {
    let data = authentication.data.as_ref().map(|data| Property::AuthenticationData(&data.0));
    [Property::AuthenticationMethod(&authentication.method)].into_iter().chain(data)
}

fn put_will(buffer: &mut Vec<u8>, will: &Will, version: Version) {
    if version.has_properties() {
        put_properties(buffer, will.properties.iter().chain([Property::WillDelayInterval(will.delay)]));
    }
    put_text(buffer, &will.topic);
    put_binary(buffer, &will.payload);
}

fn put_id(buffer: &mut Vec<u8>, packet_id: NonZeroU16) {
    buffer.extend(packet_id.get().to_be_bytes());
}

fn put_ack(buffer: &mut Vec<u8>, ack: &Ack, version: Version) {
    put_id(buffer, ack.packet_id);
    if version.has_properties() && ack.reason != Reason::Success {
        buffer.push(ack.reason.code());
    }
}

fn put_subscribe(buffer: &mut Vec<u8>, subscribe: &Subscribe, version: Version) {
    put_id(buffer, subscribe.packet_id);
    if version.has_properties() {
        put_properties(buffer, subscribe.subscription_id.map(Property::SubscriptionIdentifier));
    }
    for subscription in &subscribe.subscriptions {
        put_text(buffer, &subscription.filter);
        buffer.push(options(subscription));
    }
}

fn options(subscription: &Subscription) -> u8 {
    let Subscription { qos, no_local, retain_as_published, retain_handling, .. } = subscription;
    *qos as u8 | u8::from(*no_local) << 2 | u8::from(*retain_as_published) << 3 | (*retain_handling as u8) << 4
}

fn put_unsubscribe(buffer: &mut Vec<u8>, unsubscribe: &Unsubscribe, version: Version) {
    put_id(buffer, unsubscribe.packet_id);
    if version.has_properties() {
        put_properties(buffer, []);
    }
    unsubscribe.filters.iter().for_each(|filter| put_text(buffer, filter));
}

fn put_disconnect(buffer: &mut Vec<u8>, disconnect: &Disconnect, version: Version) {
    if version.has_properties() {
        buffer.push(disconnect.reason.code());
        put_properties(buffer, disconnect.session_expiry.map(Property::SessionExpiryInterval));
    }
}

fn put_auth(buffer: &mut Vec<u8>, auth: &Auth) {
    buffer.push(auth.reason.code());
    put_properties(buffer, authentication(&auth.authentication));
}
