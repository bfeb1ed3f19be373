//! Guards the memory of channels: what is kept for streams that are a little behind, and of the latest events.

use super::*;
use crate::domain::{Epoch, Event, EventId, EventKind};
use crate::events::latest::EVENT_BYTES;

const NOW: Timestamp = Timestamp::from_millis(1);

/// An event of so many bytes at a position.
fn event(position: u64, bytes: usize) -> Arc<SharedEvent> {
    let id = EventId { position: Position::new(position), epoch: Epoch::new(1) };
    let name = format!("name{position}");
    let of_data = |data: &str| SharedEvent::new(Event::example(position, &name, data), id);
    Arc::new(of_data(&"x".repeat(bytes - of_data("").bytes())))
}

#[test]
fn large_events_are_kept_for_the_workers_only_while_those_of_all_tenants_are_not_too_much() {
    const LARGE: usize = 1 << 20;
    let used = Arc::new(Used::default());
    let channels: Vec<_> = (0..100).map(|_| Channel::new(Position::START, Arc::clone(&used))).collect();
    for channel in &channels {
        channel.push(event(1, LARGE));
        assert_eq!(channel.end(), Position::new(1), "it is told whether it is kept or not");
    }
    assert!(used.recent.load(Ordering::Relaxed) <= ALL_RECENT_BYTES);
    let found = |channel: &Channel| channel.between(Position::START, Position::END, 1, NOW);
    let kept = channels.iter().filter(|channel| matches!(found(channel), Found::Events(..))).count();
    assert_eq!(kept, ALL_RECENT_BYTES / LARGE);
    // The others read it from the store, and what comes after it is there again.
    let last = channels.last().unwrap();
    assert!(matches!(found(last), Found::Behind));
    last.push(event(2, 100));
    assert!(
        matches!(last.between(Position::new(1), Position::END, 1, NOW), Found::Events(events, _) if events.len() == 1)
    );
    drop(channels);
    assert_eq!(used.recent.load(Ordering::Relaxed), 0);
}

#[test]
fn a_transient_event_that_has_expired_is_passed_over_and_nothing_else_is() {
    let channel = Channel::new(Position::START, Arc::default());
    let transient = |position: u64, expires_at: Option<u64>| {
        let (kind, expires_at) = (EventKind::Transient, expires_at.map(Timestamp::from_millis));
        let id = EventId { position: Position::new(position), epoch: Epoch::new(1) };
        SharedEvent::new(Event { kind, expires_at, ..Event::example(position, "n", "1") }, id)
    };
    for (position, expires_at) in [(1, Some(5)), (2, None), (3, Some(4)), (4, Some(9)), (5, Some(5))] {
        channel.push(Arc::new(transient(position, expires_at)));
    }
    let found = |after: u64, now: u64| {
        let now = Timestamp::from_millis(now);
        match channel.between(Position::new(after), Position::END, usize::MAX, now) {
            Found::Events(events, until) => {
                let positions = events.iter().map(|event| event.position().get()).collect::<Vec<_>>();
                (positions, until.get())
            }
            _ => panic!("nothing is there"),
        }
    };
    assert_eq!(found(0, 3), (vec![1, 2, 3, 4, 5], 5));
    assert_eq!(found(0, 5), (vec![2, 4], 5));
    assert_eq!(found(4, 5), (vec![], 5));
    assert!(matches!(channel.between(Position::new(5), Position::END, 1, NOW), Found::Nothing));
    // A value stays until its removal, which is an event of its own.
    let id = EventId { position: Position::new(6), epoch: Epoch::new(1) };
    let expires_at = Some(Timestamp::from_millis(4));
    channel.push(Arc::new(SharedEvent::new(Event { expires_at, ..Event::example(6, "n", "1") }, id)));
    assert_eq!(found(5, 5), (vec![6], 6));
}

#[test]
fn what_is_forgotten_is_read_from_the_store_and_a_reading_that_was_under_way_counts_no_more() {
    let used = Arc::new(Used::default());
    let channel = Arc::new(Channel::new(Position::START, Arc::clone(&used)));
    let fill = || match Channel::begin_filling(&channel) {
        Fill::Begun(filling) => Some(filling),
        _ => None,
    };
    let latest = |channel: &Channel| {
        let found = channel.latest(Position::START, Position::new(9), usize::MAX, |_| true);
        found.map(|(events, ..)| events.iter().map(|event| event.position().get()).collect::<Vec<_>>())
    };
    channel.push(event(1, 100));
    let before = fill().unwrap();
    assert!(before.take(&event(1, 100)));
    drop(channel.forget());
    assert!(matches!(channel.between(Position::START, Position::END, 1, NOW), Found::Behind));
    assert!(matches!(channel.between(Position::new(1), Position::END, 1, NOW), Found::Nothing));
    let after = fill().unwrap();
    // What the first one has read may have been erased since.
    assert!(!before.take(&event(1, 100)));
    before.finish(Position::START);
    assert_eq!(latest(&channel), None);
    channel.push(event(2, 100));
    assert!(after.take(&event(1, 100)));
    after.finish(Position::START);
    assert_eq!(latest(&channel), Some(vec![1, 2]));
    drop(channel.forget());
    assert_eq!(latest(&channel), None);
    assert_eq!((used.recent.load(Ordering::Relaxed), used.latest.load(Ordering::Relaxed)), (0, 0));
    // One that is dropped leaves the later one alone.
    let dropped = fill().unwrap();
    drop(channel.forget());
    let last = fill().unwrap();
    drop(dropped);
    assert!(last.take(&event(1, 100)), "it is under way");
}

#[test]
fn the_latest_of_a_small_tenant_stay_in_memory_however_much_large_ones_take() {
    let used = Arc::new(Used::default());
    let filled = |events: &mut dyn Iterator<Item = Arc<SharedEvent>>| {
        let channel = Arc::new(Channel::new(Position::START, Arc::clone(&used)));
        let Fill::Begun(filling) = Channel::begin_filling(&channel) else { panic!("somebody fills it") };
        for event in events {
            filling.take(&event);
        }
        filling.finish(Position::START);
        channel
    };
    let is_there = |channel: &Channel| matches!(lock(&channel.recent).latest, Filled::Wholly(..));
    // Each as much as one tenant may take, to the byte: the names have five or six bytes.
    let large: Vec<_> = (0..4)
        .map(|_| {
            filled(&mut (1..=16).map(|number| event(number, (1 << 20) - EVENT_BYTES - if number < 10 { 5 } else { 6 })))
        })
        .collect();
    assert!(large.iter().filter(|channel| is_there(channel)).count() >= 3);
    let small = filled(&mut [event(1, 100)].into_iter());
    small.push(event(2, 100));
    assert!(is_there(&small));
    drop((large, small));
    assert_eq!(used.latest.load(Ordering::Relaxed), 0);
}
