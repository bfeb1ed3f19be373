//! Guards what a client is sent: each message once, by an identifier that nothing else has, within its window, and again after it has
//! come back.

mod noted;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::*;
use crate::domain::{
    self, Epoch, Event, EventId, EventKind, MqttAsk, PayloadForm, Properties, Published, PublisherId, TopicFilter,
};
use crate::events::{EventParts, Format};
use crate::transports::mqtt::filters::Wanted;
use crate::transports::mqtt::packet::Version;
use crate::transports::mqtt::records::Records;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn limits(version: Version, receive_maximum: u16) -> Limits {
    Limits {
        version,
        receive_maximum: NonZeroU16::new(receive_maximum).unwrap(),
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        publisher: 7,
        keeps: false,
    }
}

fn wanted(filter: &str, qos: Qos) -> Wanted {
    let filter = TopicFilter::parse(filter).unwrap();
    Wanted {
        filter,
        qos,
        no_local: false,
        retain_as_published: false,
        id: None,
        since: Position::START,
        asked: MqttAsk::default(),
    }
}

/// What goes out to a client of MQTT 3.1.1 with these subscriptions.
fn outbound(receive_maximum: u16, subscriptions: &[(&str, Qos)]) -> Outbound {
    let mut outbound = Outbound::new(limits(Version::V311, receive_maximum), Position::START);
    for (filter, qos) in subscriptions {
        outbound.filters.put(wanted(filter, *qos));
    }
    outbound
}

/// The record of a message that was published with this QoS.
fn record(position: u64, name: &str, payload: &[u8], qos: u8) -> Vec<u8> {
    let (data, form) = PayloadForm::read(payload);
    let qos = domain::Qos::from_number(qos).unwrap();
    let published = Published { form, qos, publisher: PublisherId(9), properties: Properties::default() };
    let event = Event {
        kind: EventKind::Transient,
        data,
        published: Some(Arc::new(published)),
        ..Event::example(position, name, "null")
    };
    let (mut buffer, id) = (Vec::new(), EventId { position: Position::new(position), epoch: Epoch::new(1) });
    Records.event(&EventParts::of(&event, id), &mut buffer);
    buffer
}

/// Has a record taken: what becomes of it, and the packets.
fn take(outbound: &mut Outbound, record: &[u8]) -> (Taken, Vec<u8>) {
    let (mut out, mut ids) = (Vec::new(), Vec::<NonZeroU32>::new());
    let (record, length) = Record::first(record).unwrap();
    assert_eq!(length, record.bytes.len());
    (outbound.take(&record, NOW, &mut ids, &mut out), out)
}

/// The first byte and the identifier of a PUBLISH of the topic `a`.
fn sent(packet: &[u8]) -> (u8, u16) {
    assert_eq!(packet[2..5], *b"\x00\x01a", "{packet:?}");
    (packet[0], u16::from_be_bytes([packet[5], packet[6]]))
}

fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// The messages that waited and can be sent now.
fn waiting(outbound: &Outbound) -> Vec<Message> {
    match outbound.due() {
        Some(Due::Waiting(waiting)) => waiting,
        due => panic!("{due:?}"),
    }
}

/// Sends again what can be: which are gone, and what goes out. A PUBREL is the identifier alone.
fn resend(outbound: &mut Outbound, records: &[u8], out: &mut Vec<u8>) -> Vec<NonZeroU16> {
    let release = |id: NonZeroU16, out: &mut Vec<u8>| out.extend(id.get().to_be_bytes());
    outbound.release_again(out, release);
    let read = outbound.to_resend();
    outbound.resend(&read, records, NOW, out, release)
}

#[test]
fn an_identifier_is_not_used_again_before_its_message_is_acknowledged() {
    let mut outbound = outbound(100, &[("a", Qos::AtLeastOnce)]);
    assert_eq!(sent(&take(&mut outbound, &record(1, "a", b"x", 1)).1), (0x32, 1));
    for position in 2..70_002 {
        let (taken, packet) = take(&mut outbound, &record(position, "a", b"x", 1));
        let (first, number) = sent(&packet);
        assert!(taken == Taken::Yes && first == 0x32 && number != 1 && number != 0);
        assert!(outbound.acknowledged(id(number)) && !outbound.acknowledged(id(number)));
    }
    assert!(outbound.acknowledged(id(1)));
}

#[test]
fn beyond_its_window_a_client_is_sent_nothing_that_it_must_acknowledge() {
    let mut outbound = outbound(2, &[("a", Qos::ExactlyOnce)]);
    for (position, qos) in [(1, 1), (2, 2)] {
        assert_eq!(take(&mut outbound, &record(position, "a", b"x", qos)).0, Taken::Yes);
    }
    assert_eq!(take(&mut outbound, &record(3, "a", b"x", 1)), (Taken::No, Vec::new()));
    assert_eq!(outbound.position, Position::new(2));
    assert_eq!(take(&mut outbound, &record(3, "a", b"x", 0)).0, Taken::Yes, "QoS 0 has no window");
    // A message of QoS 2 counts until it is completed.
    assert!(!outbound.acknowledged(id(2)) && outbound.received(id(2), true) && !outbound.takes_any());
    assert!(outbound.completed(id(2)) && outbound.takes_any());
    assert!(!outbound.received(id(2), true));
}

#[test]
fn a_client_that_acknowledges_nothing_has_a_thousand_waiting_and_then_gets_nothing() {
    let mut outbound = outbound(1, &[("a", Qos::AtLeastOnce)]);
    take(&mut outbound, &record(1, "a", b"x", 1));
    assert!(!outbound.takes_any());
    outbound.stall();
    for position in 2..1_002 {
        assert_eq!(take(&mut outbound, &record(position, "a", b"x", 1)), (Taken::Yes, Vec::new()));
    }
    assert_eq!(take(&mut outbound, &record(1_002, "a", b"x", 1)).0, Taken::No);
    assert!(outbound.due().is_none() && outbound.acknowledged(id(1)));
    let due = waiting(&outbound);
    assert_eq!(due.len(), 1);
    // The first is gone meanwhile, and the second is there.
    let mut out = Vec::new();
    outbound.send_due(&due, &[], NOW, &mut out);
    assert!(out.is_empty());
    let due = waiting(&outbound);
    assert_eq!(due[0].position, Position::new(3));
    outbound.send_due(&due, &record(3, "a", b"3", 1), NOW, &mut out);
    assert_eq!(sent(&out).0, 0x32);
    // It acknowledges again, so that nothing more need wait beside those; and then it does not.
    assert_eq!(take(&mut outbound, &record(1_002, "a", b"x", 1)).0, Taken::No);
    outbound.stall();
    assert_eq!(take(&mut outbound, &record(1_002, "a", b"x", 1)).0, Taken::Yes, "in its turn, behind the others");
    assert_eq!(outbound.progress().waiting.len(), 999);
}

#[test]
fn a_session_goes_on_with_what_was_in_flight_and_leaves_out_what_was_not_meant_for_it() {
    let mut before = outbound(10, &[("a", Qos::ExactlyOnce)]);
    for (position, qos) in [(1, 1), (2, 2), (3, 2), (4, 1)] {
        take(&mut before, &record(position, "a", b"x", qos));
    }
    assert!(before.acknowledged(id(1)) && before.received(id(2), true));
    let progress = before.progress();
    assert_eq!(progress.position, Position::new(4));
    let mut filters = Filters::default();
    filters.put(wanted("a", Qos::ExactlyOnce));
    let mut after = Outbound::resumed(limits(Version::V311, 10), filters, progress, Position::new(8));
    // Nothing new goes before what is sent again.
    assert_eq!(take(&mut after, &record(5, "a", b"x", 1)).0, Taken::No);
    let again: Vec<_> = after.to_resend().iter().map(|message| (message.id.get(), message.state)).collect();
    assert_eq!(again, [(3, State::SentOnce), (4, State::Sent)]);
    let (mut out, records) = (Vec::new(), [record(3, "a", b"x", 2), record(4, "a", b"x", 1)].concat());
    let gone = resend(&mut after, &records, &mut out);
    assert!(gone.is_empty());
    assert_eq!((out[..2].to_vec(), sent(&out[2..10]), sent(&out[10..])), (vec![0, 2], (0x3C, 3), (0x3A, 4)));
    // Of what was published while it was away, it gets what is above QoS 0.
    assert_eq!(take(&mut after, &record(5, "a", b"x", 0)), (Taken::Yes, Vec::new()));
    assert_eq!(sent(&take(&mut after, &record(6, "a", b"x", 1)).1), (0x32, 5));
    assert!(!take(&mut after, &record(9, "a", b"x", 0)).1.is_empty());
}

#[test]
fn a_message_that_is_gone_is_not_sent_again_and_frees_its_identifier() {
    let mut before = outbound(10, &[("a", Qos::AtLeastOnce)]);
    for position in [1, 2] {
        take(&mut before, &record(position, "a", b"x", 1));
    }
    let mut filters = Filters::default();
    filters.put(wanted("a", Qos::AtLeastOnce));
    let mut after = Outbound::resumed(limits(Version::V5, 10), filters, before.progress(), Position::new(2));
    let mut out = Vec::new();
    assert_eq!(resend(&mut after, &record(2, "a", b"x", 1), &mut out), [id(1)]);
    assert_eq!(sent(&out), (0x3A, 2));
    assert!(after.to_resend().is_empty() && !after.acknowledged(id(1)));
}

#[test]
fn of_a_session_that_is_kept_messages_of_qos_2_are_sent_once_they_are_noted_and_only_once() {
    let mut outbound = Outbound::new(Limits { keeps: true, ..limits(Version::V311, 10) }, Position::START);
    outbound.filters.put(wanted("a", Qos::ExactlyOnce));
    assert_eq!(take(&mut outbound, &record(1, "a", b"x", 2)), (Taken::Yes, Vec::new()));
    assert_eq!(outbound.progress().waiting.len(), 1, "not noted yet");
    let (unnoted, exact) = outbound.take_unnoted();
    assert_eq!((unnoted.len(), unnoted[0].id, exact.0), (1, id(1), Position::new(1)));
    let mut out = Vec::new();
    assert!(outbound.send_noted(&unnoted, NOW, &mut out).is_empty());
    assert_eq!(sent(&out), (0x34, 1));
    assert_eq!(outbound.progress().in_flight[0].state, State::SentOnce);
    // From an earlier position on, it is passed over.
    assert_eq!(take(&mut outbound, &record(1, "a", b"x", 2)), (Taken::Yes, Vec::new()));
}

/// A session that is kept and goes on, with a filter `a`.
fn resumed(version: Version, qos: Qos, progress: Progress) -> Outbound {
    let mut filters = Filters::default();
    filters.put(wanted("a", qos));
    let now = progress.position;
    Outbound::resumed(Limits { keeps: true, ..limits(version, 10) }, filters, progress, now)
}

#[test]
fn what_was_noted_before_a_kill_is_not_given_beside_that_by_a_subscription_that_has_another_qos_now() {
    let mut before = Outbound::new(Limits { keeps: true, ..limits(Version::V311, 10) }, Position::START);
    before.filters.put(wanted("a", Qos::ExactlyOnce));
    take(&mut before, &record(2, "a", b"x", 2));
    let (unnoted, _) = before.take_unnoted();
    before.send_noted(&unnoted, NOW, &mut Vec::new());
    // The last save was before it.
    let progress = Progress { position: Position::START, ..before.progress() };
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut after = resumed(Version::V311, qos, progress.clone());
        assert!(after.resend(&after.to_resend(), &record(2, "a", b"x", 2), NOW, &mut Vec::new(), |_, _| ()).is_empty());
        assert!(!take(&mut after, &record(1, "a", b"x", 1)).1.is_empty(), "{qos:?}");
        assert_eq!(take(&mut after, &record(2, "a", b"x", 2)), (Taken::Yes, Vec::new()), "{qos:?}");
        assert_eq!(after.progress().position, Position::new(2));
    }
}

#[test]
fn what_is_acknowledged_while_it_is_read_to_be_sent_again_holds_nothing_back() {
    let mut before = outbound(10, &[("a", Qos::ExactlyOnce)]);
    for (position, qos) in [(1, 1), (2, 2), (3, 1)] {
        take(&mut before, &record(position, "a", b"x", qos));
    }
    let progress = before.progress();
    let records = [record(1, "a", b"x", 1), record(2, "a", b"x", 2), record(3, "a", b"x", 1)].concat();
    let mut after = resumed(Version::V311, Qos::ExactlyOnce, progress.clone());
    let (read, mut out) = (after.to_resend(), Vec::new());
    assert!(after.acknowledged(id(1)) && after.received(id(2), true));
    assert!(after.resend(&read, &records, NOW, &mut out, |_, _| ()).is_empty());
    assert_eq!(sent(&out), (0x3A, 3));
    // If nothing is left, there is nothing to wait for.
    let mut after = resumed(Version::V311, Qos::ExactlyOnce, progress);
    assert!(after.acknowledged(id(1)) && after.received(id(2), true) && after.completed(id(2)));
    assert!(!after.takes_any());
    assert!(after.acknowledged(id(3)) && after.takes_any());
}

#[test]
fn what_was_begun_is_completed_with_its_qos_whatever_becomes_of_the_subscription() {
    let mut before = outbound(10, &[("a", Qos::ExactlyOnce)]);
    for (position, qos) in [(1, 1), (2, 2), (3, 2)] {
        take(&mut before, &record(position, "a", b"x", qos));
    }
    // The third event is gone: the client may have it, and waits for its PUBREL.
    let records = [record(1, "a", b"x", 1), record(2, "a", b"x", 2)].concat();
    for qos in [Some(Qos::AtLeastOnce), None] {
        let mut after = resumed(Version::V311, qos.unwrap_or(Qos::AtMostOnce), before.progress());
        if qos.is_none() {
            after.filters = Filters::default();
        }
        let mut out = Vec::new();
        let gone = resend(&mut after, &records, &mut out);
        let length = (out.len() - 2) / 2;
        assert!(gone.is_empty());
        assert_eq!((sent(&out[..length]), sent(&out[length..2 * length])), ((0x3A, 1), (0x3C, 2)));
        assert_eq!(out[2 * length..], [0, 3]);
        assert!(after.acknowledged(id(1)) && after.received(id(2), true));
        assert!(after.completed(id(2)) && after.completed(id(3)));
    }
}

#[test]
fn a_client_stalls_once_until_it_acknowledges_something() {
    let mut outbound = outbound(1, &[("a", Qos::AtLeastOnce)]);
    take(&mut outbound, &record(1, "a", b"x", 1));
    assert!(outbound.stall() && !outbound.stall());
    assert!(outbound.acknowledged(id(1)) && outbound.stall());
}

#[test]
fn what_came_before_a_subscription_is_not_for_it() {
    let mut outbound = outbound(10, &[]);
    outbound.filters.put(Wanted { since: Position::new(5), ..wanted("a", Qos::AtLeastOnce) });
    assert!(take(&mut outbound, &record(5, "a", b"x", 1)).1.is_empty());
    assert!(!take(&mut outbound, &record(6, "a", b"x", 1)).1.is_empty());
}

#[test]
fn a_session_has_come_further_by_what_it_must_not_lose_and_only_as_far_as_all_of_that_is_done() {
    let mut outbound = outbound(10, &[("a", Qos::AtLeastOnce)]);
    take(&mut outbound, &record(1, "a", b"x", 0));
    take(&mut outbound, &record(2, "b", b"x", 1));
    assert!(!outbound.has_changed() && outbound.done_up_to() == Position::new(2));
    for position in [4, 6] {
        take(&mut outbound, &record(position, "a", b"x", 1));
    }
    assert!(outbound.has_changed() && outbound.done_up_to() == Position::new(3));
    outbound.set_saved();
    assert!(outbound.acknowledged(id(1)) && outbound.has_changed() && outbound.done_up_to() == Position::new(5));
    assert!(outbound.acknowledged(id(2)) && outbound.done_up_to() == Position::new(6));
}

#[test]
fn a_session_is_saved_before_a_subscription_is_raised_to_qos_2_if_something_is_unacknowledged() {
    let mut outbound = Outbound::new(Limits { keeps: true, ..limits(Version::V5, 10) }, Position::START);
    outbound.filters.put(wanted("a", Qos::AtLeastOnce));
    let raised = |outbound: &Outbound, filter: &str, qos| {
        let filter = TopicFilter::parse(filter).unwrap();
        outbound.is_saved_before(&filter, qos)
    };
    assert!(!raised(&outbound, "a", Qos::ExactlyOnce));
    take(&mut outbound, &record(1, "a", b"x", 1));
    assert!(raised(&outbound, "a", Qos::ExactlyOnce));
    assert!(!raised(&outbound, "a", Qos::AtLeastOnce) && !raised(&outbound, "b", Qos::ExactlyOnce));
    outbound.set_saved();
    assert!(!raised(&outbound, "a", Qos::ExactlyOnce));
}

#[test]
fn what_is_sent_again_is_no_more_than_the_client_takes_now_and_pubrels_are_not_counted() {
    let mut before = outbound(10, &[("a", Qos::ExactlyOnce)]);
    for (position, qos) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        take(&mut before, &record(position, "a", b"x", qos));
    }
    assert!(before.received(id(4), true));
    let mut filters = Filters::default();
    filters.put(wanted("a", Qos::ExactlyOnce));
    let mut after = Outbound::resumed(limits(Version::V5, 2), filters, before.progress(), Position::new(4));
    let records = [record(1, "a", b"x", 1), record(2, "a", b"x", 1), record(3, "a", b"x", 2)].concat();
    let mut out = Vec::new();
    resend(&mut after, &records, &mut out);
    assert_eq!(
        (&out[..2], sent(&out[2..]), out.len()),
        (&[0, 4][..], (0x3A, 1), 2 + 9),
        "the PUBREL waits for nothing"
    );
    assert_eq!(after.due(), None);
    let kept: Vec<_> = after.progress().in_flight.iter().map(|message| message.id.get()).collect();
    assert_eq!(kept, [4, 1, 2, 3]);
    // Nothing new overtakes those that are still to be sent again, but for QoS 0 if nothing is acknowledged.
    assert_eq!(take(&mut after, &record(5, "a", b"x", 0)).0, Taken::No);
    after.stall();
    assert_eq!(take(&mut after, &record(5, "a", b"x", 0)).1[0], 0x30);
    assert_eq!(take(&mut after, &record(6, "a", b"x", 1)), (Taken::Yes, Vec::new()));
    for (acknowledged, next) in [(1, 2), (2, 3)] {
        assert!(after.acknowledged(id(acknowledged)));
        let mut out = Vec::new();
        resend(&mut after, &records, &mut out);
        assert_eq!(sent(&out).1, next);
    }
    assert!(after.due().is_none() && after.completed(id(4)));
    assert_eq!(waiting(&after)[0].position, Position::new(6));
}

#[test]
fn messages_of_qos_2_that_are_to_be_noted_are_not_copied_without_end_and_those_that_waited_are_not_lost() {
    let mut outbound = Outbound::new(Limits { keeps: true, ..limits(Version::V311, 100) }, Position::START);
    outbound.filters.put(wanted("a", Qos::ExactlyOnce));
    let large = |position| record(position, "a", &[b'x'; MAX_UNNOTED_BYTES / 2], 2);
    assert_eq!([1, 2, 3].map(|position| take(&mut outbound, &large(position)).0), [Taken::Yes, Taken::Yes, Taken::No]);
    outbound.stall();
    assert_eq!([3, 4, 5, 6].map(|position| take(&mut outbound, &large(position)).0), [Taken::Yes; 4]);
    assert_eq!(outbound.due(), None);
    let mut positions = Vec::new();
    while outbound.has_unnoted() {
        let (unnoted, mut out) = (outbound.take_unnoted().0, Vec::new());
        assert!(!outbound.has_room() && outbound.send_noted(&unnoted, NOW, &mut out).is_empty() && !out.is_empty());
        positions.extend(unnoted.iter().map(|unnoted| unnoted.message.position.get()));
        if let Some(Due::Waiting(due)) = outbound.due() {
            let records: Vec<_> = due.iter().flat_map(|due| large(due.position.get())).collect();
            outbound.send_due(&due, &records, NOW, &mut Vec::new());
        }
    }
    assert_eq!(positions, [1, 2, 3, 4, 5, 6]);
    assert!(outbound.has_room());
}
