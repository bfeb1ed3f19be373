//! Guards transient events on streams: they come live and to a client that resumes, and to no other; a stream may leave them out.

use super::handover::{FLOOD, change_filter, gate};
use super::*;

impl House {
    /// Opens a stream without transient events.
    fn open_without(&self, worker: usize, start: Start) -> Rc<Line> {
        self.open_with(worker, "u", "*", usize::MAX, |request| {
            (request.start, request.options.transient) = (start, false);
        })
    }

    /// A client that comes back after an event.
    fn resumed(&self, after: u64) -> Start {
        Start::after(Position::new(after), self.hub.store().head())
    }
}

#[test]
fn five_at_once_come_to_each_stream_that_wants_them_once_and_in_order_and_to_none_that_is_new() {
    run(async {
        let mut house = House::holding(&["a"]);
        let (live, other) = (house.open(0, "u", "*", 0, usize::MAX), house.open(1, "u", "b", 0, usize::MAX));
        let without = house.open_without(0, Start::snapshot(None));
        settle(|| live.positions() == [1] && without.positions() == [1]).await;
        house.insert(&["~a", "~a", "~a", "~a", "~a"], &[]);
        settle(|| live.positions() == [1, 2, 3, 4, 5, 6]).await;
        // From memory, and from the store, which a filter is read from.
        let new = ["*", "a"].map(|filter| house.open(1, "u", filter, 0, usize::MAX));
        house.insert(&["b"], &[]);
        settle(|| new[0].positions() == [1, 7] && without.positions() == [1, 7] && other.positions() == [7]).await;
        settle(|| new[1].positions() == [1]).await;
        assert_eq!(live.came().iter().filter(|came| came.is_transient()).count(), 5);
    });
}

#[test]
fn a_client_that_resumes_after_one_gets_the_others_unless_it_leaves_them_out() {
    run(async {
        let mut house = House::holding(&["a", "~a", "~b", "-a", "~a", "b"]);
        let resumed = house.open(0, "u", "*", 2, usize::MAX);
        let without = house.open_without(1, house.resumed(2));
        settle(|| resumed.positions() == [3, 4, 5, 6] && without.positions() == [4, 6]).await;
        // What comes from here on is not read from the store.
        house.insert(&["~c", "c"], &[]);
        settle(|| resumed.positions().ends_with(&[7, 8]) && without.positions() == [4, 6, 8]).await;
        let (resumed, without) = (house.open(0, "u", "*", 7, usize::MAX), house.open_without(1, house.resumed(6)));
        settle(|| resumed.positions() == [8] && without.positions() == [8]).await;
    });
}

#[test]
fn another_filter_makes_no_transient_event_visible_that_was_there_before() {
    run(async {
        let mut house = House::holding(&["a", "b", "~b", "~c"]);
        let line = house.open(0, "u", "a", 0, usize::MAX);
        settle(|| line.positions() == [1]).await;
        change_filter(&house, "u", "*").await;
        house.insert(&["~b"], &[]);
        settle(|| line.positions() == [1, 2, 5]).await;
    });
}

#[test]
fn a_stream_that_missed_some_that_are_no_longer_kept_is_reset_and_one_that_leaves_them_out_is_not() {
    run(async {
        for transient in [true, false] {
            let mut house = House::holding(&["quiet"]);
            let marked = house.open_with(0, "u", "quiet,loud", usize::MAX, |request| {
                (request.options.marks, request.options.transient) = (true, transient);
            });
            settle(|| is_synced(&marked)).await;
            gate(&house, 0).close();
            // Of one of the names something is left, and of the other nothing.
            house.insert(&["~loud", "~quiet"], &[]);
            house.insert(&["b"; FLOOD], &[]);
            house.shorten();
            gate(&house, 0).open();
            rest().await;
            house.insert(&["quiet"], &[]);
            let last = house.hub.store().head().get();
            settle(|| marked.positions().last() == Some(&last)).await;
            let resets = marked.names().iter().filter(|name| *name == "$reset").count();
            assert_eq!(resets, usize::from(transient));
            assert!(!marked.came().iter().any(Came::is_transient));
        }
    });
}

#[test]
fn a_flood_of_them_takes_no_latest_event_out_of_memory_and_a_slow_reader_gets_every_one() {
    run(async {
        let mut house = House::holding(&["a", "b"]);
        let (slow, without) = (house.open(0, "u", "*", 0, 2000), house.open_without(0, Start::snapshot(None)));
        settle(|| slow.positions() == [1, 2] && without.positions() == [1, 2]).await;
        let flood: Vec<_> = (0..20_000).map(|number| format!("~flood{number}")).collect();
        for names in flood.chunks(1000) {
            house.insert(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
            tokio::task::yield_now().await;
        }
        slow.give_room(usize::MAX / 2);
        let last = flood.len() as u64 + 2;
        settle(|| slow.positions().last() == Some(&last)).await;
        assert!(slow.positions().into_iter().eq(1..=last));
        assert_eq!(without.positions(), [1, 2]);
        let channel = &house.workers[0].worker.subscriptions(&tenant("t")).guard.channel;
        let latest = channel.latest(Position::START, Position::new(last), usize::MAX, |_| true);
        assert_eq!(latest.unwrap().0.len(), 2, "they are in memory as before");
    });
}

#[test]
fn one_that_has_expired_comes_to_nobody_also_while_it_is_in_memory() {
    run(async {
        let mut house = House::holding(&["a"]);
        let live = house.open(0, "u", "*", 0, usize::MAX);
        settle(|| live.positions() == [1]).await;
        let mut transaction = house.committer.begin(Timestamp::from_millis(1)).unwrap();
        for expires_at in [2, u64::MAX - 1, 2] {
            let (user, name) = (Username::parse("u").unwrap(), EventName::parse("a").unwrap());
            let expires_at = Some(Timestamp::from_millis(expires_at));
            let draft = Draft::transient(tenant("t"), user, name, Payload::null());
            transaction.insert_event(Draft { expires_at, ..draft }).unwrap();
        }
        let committed = transaction.commit().unwrap();
        house.hub.publish(committed);
        let resumed = house.open(1, "u", "*", 1, usize::MAX);
        settle(|| live.positions() == [1, 3] && resumed.positions() == [3]).await;
        // It stands after the last one all the same.
        house.insert(&["b"], &[]);
        settle(|| live.positions() == [1, 3, 5] && resumed.positions() == [3, 5]).await;
    });
}

#[test]
fn one_in_an_inbox_comes_to_its_owner_alone() {
    run(async {
        let mut house = House::holding(&["a"]);
        let (owner, other) = (house.open(0, "u", "*", 0, usize::MAX), house.open(0, "bob", "*", 0, usize::MAX));
        let without = house.open_without(0, Start::snapshot(None));
        settle(|| [&owner, &other, &without].iter().all(|line| line.positions() == [1])).await;
        house.insert(&["~@u/x", "~@bob/x"], &[]);
        house.insert(&["b"], &[]);
        settle(|| owner.positions() == [1, 2, 4] && other.positions() == [1, 3, 4]).await;
        settle(|| without.positions() == [1, 4]).await;
    });
}
