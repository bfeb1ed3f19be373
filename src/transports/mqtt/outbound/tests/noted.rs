//! Guards that a message of QoS 2 comes once, and in its turn, however far its note has come when the connection or the server ends.

use super::*;

#[test]
fn a_message_of_qos_2_that_was_not_noted_before_the_connection_ended_is_sent_when_the_session_goes_on() {
    let mut before = Outbound::new(Limits { keeps: true, ..limits(Version::V311, 10) }, Position::START);
    before.filters.put(wanted("a", Qos::ExactlyOnce));
    take(&mut before, &record(1, "a", b"x", 2));
    let mut after = resumed(Version::V311, Qos::ExactlyOnce, before.progress());
    let due = waiting(&after);
    assert_eq!(due.len(), 1);
    after.send_due(&due, &record(1, "a", b"x", 2), NOW, &mut Vec::new());
    assert_eq!(after.take_unnoted().0.len(), 1);
}

#[test]
fn a_message_of_qos_2_whose_note_may_be_refused_is_saved_as_one_that_is_on_its_way() {
    let mut before = Outbound::new(Limits { keeps: true, ..limits(Version::V311, 10) }, Position::START);
    before.filters.put(wanted("a", Qos::ExactlyOnce));
    take(&mut before, &record(1, "a", b"x", 2));
    let (noting, _) = before.take_unnoted();
    take(&mut before, &record(2, "a", b"y", 2));
    // Of the first one nobody knows yet whether it is noted, and the second one waits.
    for progress in [before.progress(), before.last_progress(&[]), before.last_progress(&noting)] {
        assert_eq!(progress.position, Position::new(2));
        let in_flight: Vec<_> = progress.in_flight.iter().map(|one| (one.id, one.message.position.get())).collect();
        let waiting: Vec<_> = progress.waiting.iter().map(|message| message.position.get()).collect();
        assert_eq!((in_flight, waiting), (vec![(id(1), 1)], vec![2]));
    }
}

#[test]
fn what_is_sent_again_is_in_the_order_of_sending_although_one_of_qos_2_waited_for_its_note() {
    let mut outbound = Outbound::new(Limits { keeps: true, ..limits(Version::V311, 10) }, Position::START);
    outbound.filters.put(wanted("a", Qos::ExactlyOnce));
    take(&mut outbound, &record(1, "a", b"x", 2));
    let (unnoted, _) = outbound.take_unnoted();
    assert_eq!(sent(&take(&mut outbound, &record(2, "a", b"x", 1)).1), (0x32, 2));
    outbound.send_noted(&unnoted, NOW, &mut Vec::new());
    let kept: Vec<_> = outbound.progress().in_flight.iter().map(|message| message.id).collect();
    assert_eq!(kept, [id(2), id(1)]);
}
