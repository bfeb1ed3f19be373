//! The records of streams: taking one over, moving to another tenant, the grace, and presence meanwhile.

use std::time::Duration;

use super::*;
use crate::events::ending::End;
use crate::events::mailbox::Command;

/// A table with one worker, which is told of users that come and go.
struct Rig {
    table: Table,
    worker: Arc<Mailbox>,
    now: Instant,
}

fn tenant(name: &str) -> TenantName {
    TenantName::parse(name).unwrap()
}

fn bob() -> Username {
    Username::parse("bob").unwrap()
}

fn whole(stream: StreamId) -> GoneStream {
    GoneStream { stream, only: None }
}

impl Rig {
    /// In these tenants a stream is told which users are present.
    fn new(watched: &[&str]) -> Self {
        let mut table = Table::default();
        let worker = table.add_worker();
        watched.iter().for_each(|name| table.presence.watch(&tenant(name)));
        Self { table, worker, now: Instant::now() }
    }

    fn after(&self, seconds: u64) -> Instant {
        self.now + Duration::from_secs(seconds)
    }

    fn arrive(&mut self, name: &str, goes_on: GoesOnFor, millis: u64) -> StreamId {
        let access = self.table.take_handle(&bob());
        self.table.arrive((&access, Lease::default()), &tenant(name), goes_on, Timestamp::from_millis(millis)).0
    }

    /// A stream of bob's that a worker has.
    fn open(&mut self, at_most: usize) -> StreamId {
        let id = self.arrive("acme", GoesOnFor::None, 1);
        self.table.open((id, self.table.serial(id)), self.worker.id(), at_most);
        id
    }

    fn leave(&mut self, stream: StreamId, seconds: u64) {
        self.table.leave((stream, self.table.serial(stream)), self.after(seconds));
        self.table.release_handle(&bob());
    }

    /// The position is that of the second.
    fn move_to(&mut self, stream: StreamId, name: &str, seconds: u64) {
        let now = (Timestamp::from_millis(7), self.after(seconds), Position::new(seconds));
        self.table.move_to((stream, self.table.serial(stream)), &tenant(name), now);
    }

    fn gone(&mut self, seconds: u64) -> Vec<GoneStream> {
        self.table.take_gone(self.after(seconds)).0
    }

    /// Since when bob is in a tenant, and with how many streams.
    fn here(&self, name: &str) -> Option<(u64, usize)> {
        self.table.presence.person(&tenant(name), &bob()).map(|bob| (bob.since, bob.streams))
    }

    /// How often the worker has been told that somebody came to a tenant or went from it, since this was asked last.
    fn told(&self, name: &str) -> usize {
        let told = self.worker.pending(&tenant(name)).len();
        self.worker.take();
        told
    }
}

#[test]
fn a_client_that_comes_back_within_the_grace_was_never_gone_and_keeps_its_stream() {
    let mut rig = Rig::new(&["acme"]);
    let first = rig.arrive("acme", GoesOnFor::Last, 1);
    let second = rig.arrive("acme", GoesOnFor::Last, 2);
    assert!(first != second && rig.told("acme") == 1);
    rig.leave(first, 0);
    rig.leave(second, 1);
    assert_eq!(rig.here("acme"), Some((1, 0)));
    assert_eq!(rig.arrive("acme", GoesOnFor::This(first), 3), first);
    assert_eq!((rig.gone(7), rig.here("acme")), (vec![whole(second)], Some((1, 1))));
    rig.leave(first, 7);
    assert!(rig.gone(11).is_empty() && rig.told("acme") == 0);
    assert_eq!((rig.gone(12), rig.here("acme"), rig.told("acme")), (vec![whole(first)], None, 1));
    rig.table.presence.unwatch(&tenant("acme"));
    assert!(rig.table.is_empty());
}

#[test]
fn a_stream_that_goes_to_another_tenant_leaves_nothing_behind_and_may_come_back() {
    let mut rig = Rig::new(&["acme", "other"]);
    let stream = rig.arrive("acme", GoesOnFor::Last, 1);
    rig.told("acme");
    rig.move_to(stream, "other", 0);
    assert_eq!((rig.here("acme"), rig.here("other")), (Some((1, 0)), Some((7, 1))));
    assert_eq!(rig.told("other"), 1);
    // It is open: no other may take it over, there or here.
    assert!(rig.table.has_stream(&bob(), stream));
    assert_ne!(rig.arrive("acme", GoesOnFor::This(stream), 2), stream);

    // Back within the grace, and away again for good.
    rig.move_to(stream, "acme", 1);
    assert_eq!((rig.here("acme"), rig.told("acme")), (Some((1, 2)), 0));
    let of_other = GoneStream { stream, only: Some((tenant("other"), Position::new(1))) };
    assert_eq!((rig.gone(6), rig.here("other"), rig.told("other")), (vec![of_other], None, 1));
    rig.move_to(stream, "other", 7);
    rig.leave(stream, 8);
    let of_acme = GoneStream { stream, only: Some((tenant("acme"), Position::new(7))) };
    assert_eq!((rig.gone(12), rig.told("acme")), (vec![of_acme], 0));
    assert!(rig.table.has_stream(&bob(), stream));
    rig.told("other");
    assert_eq!((rig.gone(13), rig.here("other"), rig.told("other")), (vec![whole(stream)], None, 1));
    assert!(!rig.table.has_stream(&bob(), stream));
}

#[test]
fn a_grace_that_began_anew_is_not_over_with_the_first_one() {
    let mut rig = Rig::new(&[]);
    let stream = rig.arrive("acme", GoesOnFor::Last, 1);
    for seconds in [0, 2] {
        rig.move_to(stream, "other", seconds);
        rig.move_to(stream, "acme", seconds + 1);
    }
    rig.move_to(stream, "other", 4);
    assert_eq!(rig.gone(8), []);
    let of_acme = GoneStream { stream, only: Some((tenant("acme"), Position::new(4))) };
    assert_eq!(rig.gone(9), [of_acme]);
    rig.leave(stream, 10);
    rig.arrive("other", GoesOnFor::This(stream), 2);
    rig.leave(stream, 12);
    assert_eq!(rig.gone(16), []);
    assert_eq!(rig.gone(17), [whole(stream)]);
    assert!(rig.table.is_empty());
}

#[test]
fn a_request_that_names_a_stream_that_cannot_be_taken_over_gets_a_new_one_and_not_another_pages() {
    let mut rig = Rig::new(&[]);
    let [ended, open] = [GoesOnFor::Last; 2].map(|goes_on| rig.arrive("acme", goes_on, 1));
    rig.leave(ended, 0);
    for goes_on in [GoesOnFor::None, GoesOnFor::This(StreamId::random()), GoesOnFor::This(open)] {
        assert!(![ended, open].contains(&rig.arrive("acme", goes_on, 1)), "{goes_on:?}");
    }
    let eve = Username::parse("eve").unwrap();
    for goes_on in [GoesOnFor::Last, GoesOnFor::This(ended)] {
        let access = rig.table.take_handle(&eve);
        assert_ne!(
            rig.table.arrive((&access, Lease::default()), &tenant("acme"), goes_on, Timestamp::from_millis(1)).0,
            ended
        );
        assert_ne!(rig.arrive("other", goes_on, 1), ended);
    }
    assert_eq!(rig.arrive("acme", GoesOnFor::Last, 1), ended);
}

#[test]
fn an_open_stream_is_taken_over_if_that_is_asked_for_and_its_user_was_never_gone() {
    let mut rig = Rig::new(&["acme"]);
    let access = rig.table.take_handle(&bob());
    let replaces = |rig: &mut Rig, id| {
        rig.table.arrive(
            (&access, Lease::default()),
            &tenant("acme"),
            GoesOnFor::Replaces(id),
            Timestamp::from_millis(9),
        )
    };
    // About to be opened, open, and one too many.
    for state in 0..3 {
        let id = if state == 0 { rig.arrive("acme", GoesOnFor::None, 1) } else { rig.open(usize::MAX) };
        let before = (id, rig.table.serial(id));
        if state == 2 {
            rig.table.end(id, End::TooManyStreams);
            rig.worker.take();
        }
        rig.told("acme");
        let (taken, serial) = replaces(&mut rig, id);
        assert!(taken == id && serial > before.1);
        assert_eq!(rig.here("acme"), Some((1, 1)), "state {state}");
        let ends: Vec<_> = rig
            .worker
            .take()
            .commands
            .into_iter()
            .map(|(serial, command)| (serial, matches!(command, Command::End(End::Replaced))))
            .collect();
        assert_eq!(ends, if state == 1 { vec![(before.1, true)] } else { vec![] });
        // The connection of before changes nothing of it any more.
        assert!(!rig.table.open(before, rig.worker.id(), usize::MAX));
        rig.table.move_to(before, &tenant("other"), (Timestamp::from_millis(9), rig.now, Position::new(9)));
        rig.table.leave(before, rig.now);
        rig.table.release_handle(&bob());
        assert!(rig.here("other").is_none() && rig.table.open_stream(&bob(), id).is_none());
        assert!(rig.table.open((id, serial), rig.worker.id(), 1), "the other one does not count");
        assert_eq!(rig.table.open_stream(&bob(), id).map(|(serial, _)| serial), Some(serial));
        assert!(rig.gone(100).is_empty() && rig.told("acme") == 0);
        // Somebody else's is not, nor one of another tenant, nor one that there is not.
        let eve = rig.table.take_handle(&Username::parse("eve").unwrap());
        let now = Timestamp::from_millis(9);
        let others = [(&eve, "acme", id), (&access, "other", id), (&access, "acme", StreamId::new(7))];
        for (access, name, id) in others {
            let (other, serial) =
                rig.table.arrive((access, Lease::default()), &tenant(name), GoesOnFor::Replaces(id), now);
            assert_ne!(other, id);
            rig.table.leave((other, serial), rig.now);
        }
        assert!(rig.worker.take().commands.is_empty());
        rig.table.leave((id, serial), rig.now);
        rig.gone(100);
        rig.told("acme");
    }
}

#[test]
fn the_stream_that_ended_last_is_taken_over_first() {
    let mut rig = Rig::new(&[]);
    let [first, second, third] = [GoesOnFor::Last; 3].map(|goes_on| rig.arrive("acme", goes_on, 1));
    [second, third, first].into_iter().for_each(|stream| rig.leave(stream, 0));
    let taken = [GoesOnFor::Last; 3].map(|goes_on| rig.arrive("acme", goes_on, 1));
    assert_eq!(taken, [first, third, second]);
}

#[test]
fn streams_that_end_all_at_once_are_gone_in_parts() {
    let mut rig = Rig::new(&["acme"]);
    for number in 0..=2 * PEOPLE_AT_ONCE {
        let username = Username::parse(&number.to_string()).unwrap();
        let now = Timestamp::from_millis(1);
        let access = rig.table.take_handle(&username);
        let (stream, _) = rig.table.arrive((&access, Lease::default()), &tenant("acme"), GoesOnFor::Last, now);
        rig.leave(stream, 0);
    }
    rig.told("acme");
    for (count, is_more) in [(PEOPLE_AT_ONCE, true), (PEOPLE_AT_ONCE, true), (1, false)] {
        let (gone, more) = rig.table.take_gone(rig.now + GRACE);
        assert_eq!((gone.len(), rig.told("acme"), more), (count, count, is_more));
    }
}

#[test]
fn one_stream_too_many_ends_the_oldest_that_is_open() {
    let mut rig = Rig::new(&[]);
    let streams = [2, 2, 2, 1].map(|at_most| rig.open(at_most));
    assert_eq!(streams.map(|stream| rig.table.open_stream(&bob(), stream).is_some()), [false, false, false, true]);
    assert_eq!(rig.worker.take().commands.len(), 3);
    // They count until their connections have closed.
    assert!(streams.iter().all(|stream| rig.table.has_stream(&bob(), *stream)));
    assert_eq!(rig.here("acme"), Some((1, 4)));
}

#[test]
fn streams_end_with_their_user_whether_they_are_open_or_about_to_be_and_later_ones_do_not() {
    let mut rig = Rig::new(&[]);
    let open = rig.open(usize::MAX);
    let (opening, access) = (rig.arrive("acme", GoesOnFor::None, 1), rig.table.take_handle(&bob()));
    drop(rig.table.end_user(&bob()));
    let post = rig.worker.take();
    assert!(access.is_ended() && post.ended == [bob()] && post.commands.is_empty());
    rig.table.open((opening, rig.table.serial(opening)), rig.worker.id(), usize::MAX);
    let later = rig.open(usize::MAX);
    assert_eq!(
        [open, opening, later].map(|stream| rig.table.open_stream(&bob(), stream).is_some()),
        [false, false, true]
    );
    rig.table.change_user(&bob());
    assert_eq!(rig.table.only(&bob()), later);
    assert_eq!((access.changes(), rig.worker.take().changed), (0, vec![bob()]));
}

#[test]
fn the_end_of_many_streams_of_a_user_is_one_message_and_they_no_longer_count_as_open() {
    let mut rig = Rig::new(&["acme"]);
    let streams: Vec<_> = (0..1000).map(|_| rig.open(usize::MAX)).collect();
    rig.told("acme");
    assert_eq!(rig.table.end_user(&bob()).len(), 1000);
    let post = rig.worker.take();
    assert_eq!((post.ended, post.commands.len()), (vec![bob()], 0));
    assert!(streams.iter().all(|stream| rig.table.has_stream(&bob(), *stream)));
    assert!(streams.iter().all(|stream| rig.table.open_stream(&bob(), *stream).is_none()));

    // Beside one that comes since they are none too many, and none of them is ended once more.
    let later = rig.open(1);
    assert!(rig.table.only(&bob()) == later && rig.worker.take().commands.is_empty());
    streams.into_iter().chain([later]).for_each(|stream| rig.leave(stream, 0));
    while rig.table.take_gone(rig.after(5)).1 {}
    rig.table.presence.unwatch(&tenant("acme"));
    assert!(rig.table.is_empty());
}

#[test]
fn a_new_stream_never_gets_the_id_of_another() {
    let mut rig = Rig::new(&[]);
    let taken = rig.arrive("acme", GoesOnFor::None, 1);
    let free = StreamId::new(taken.get() ^ 1);
    let mut drawn = [taken, taken, free].into_iter();
    assert_eq!(rig.table.unused(|| drawn.next().unwrap()), free);
}

#[test]
fn a_user_whose_streams_are_of_before_the_start_is_there_once_one_of_them_is_taken_over() {
    let mut rig = Rig::new(&["acme"]);
    let [stream, elsewhere] = [1, 2].map(StreamId::new);
    rig.table.recall(stream, &tenant("acme"), &bob(), None, rig.now);
    rig.table.recall(elsewhere, &tenant("acme"), &bob(), Some(Position::new(9)), rig.now);
    assert!(rig.here("acme").is_none() && rig.table.has_stream(&bob(), stream));
    assert!(!rig.table.has_stream(&bob(), elsewhere));
    assert!(rig.table.presence.people(&tenant("acme"), Bound::Unbounded, 9).is_empty());
    assert_eq!(rig.arrive("acme", GoesOnFor::Last, 3), stream);
    assert_eq!((rig.here("acme"), rig.told("acme")), (Some((3, 1)), 1));
    let gone = rig.gone(5);
    assert_eq!(gone, [GoneStream { stream: elsewhere, only: Some((tenant("acme"), Position::new(9))) }]);
    rig.leave(stream, 5);
    assert_eq!((rig.gone(10), rig.told("acme")), (vec![whole(stream)], 1));
}

#[test]
fn handles_and_guards_that_are_dropped_leave_nothing_behind_after_the_grace() {
    let registry = Registry::default();
    drop(registry.user_streams(&bob()));
    assert!(registry.is_gone(&bob()));
    let guard = registry.user_streams(&bob()).arrive(&tenant("acme"), GoesOnFor::Last, Timestamp::from_millis(1));
    let other = registry.user_streams(&bob());
    registry.end_streams_of(&bob());
    assert!(guard.user_streams().is_ended() && other.is_ended() && !registry.user_streams(&bob()).is_ended());
    drop((guard, other));
    assert!(registry.is_gone(&bob()));
    assert_eq!(lock(&registry.0).take_gone(Instant::now() + GRACE).0.len(), 1);
    assert!(lock(&registry.0).is_empty());
}

#[test]
fn a_stream_that_moves_as_its_user_is_ended_does_not_count_for_how_many_are_open() {
    let mut rig = Rig::new(&[]);
    let ended = rig.open(1);
    drop(rig.table.end_user(&bob()));
    rig.move_to(ended, "other", 1);
    let later = rig.open(2);
    assert_eq!(rig.table.only(&bob()), later);
    rig.leave(ended, 2);
    assert_eq!(rig.table.only(&bob()), later);
}
