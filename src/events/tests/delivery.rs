//! Guards delivery: each stream gets each event that it may see once and in order, however it reads.

use super::*;
use crate::events::subscriber::Subscriber;

#[test]
fn a_client_that_comes_from_a_worker_that_was_ahead_gets_nothing_twice() {
    run(async {
        let mut house = House::holding(&["a"]);
        let present = house.open(0, "bob", "*", 1, usize::MAX);
        // It saw the second event on another worker, and is live here before this one has heard of it.
        let ahead = house.open(0, "alice", "*", 2, usize::MAX);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        house.insert(&["b", "c"], &[]);
        settle(|| present.positions() == [2, 3] && ahead.positions() == [3]).await;
    });
}

#[test]
fn a_stream_that_loses_the_right_gets_nothing_of_the_same_commit_and_is_told_the_end() {
    run(async {
        let mut house = House::new();
        let (alice, bob) = (house.open(0, "alice", "*", 0, usize::MAX), house.open(1, "bob", "*", 0, usize::MAX));
        house.insert(&["a"], &[]);
        settle(|| alice.positions() == [1] && bob.positions() == [1]).await;
        house.insert(&["b"], &["alice"]);
        settle(|| bob.positions() == [1, 2] && alice.is_finished()).await;
        assert_eq!(alice.positions(), [1]);
        house.hub.close().await;
        assert!(bob.is_finished());
    });
}

#[test]
fn a_stream_that_loses_the_right_while_many_are_written_to_gets_nothing_of_that_commit_either() {
    run(async {
        let mut house = House::new();
        // The first is written to last.
        let alice = house.open(0, "alice", "*", 0, usize::MAX);
        let others: Vec<_> = (0..600).map(|_| house.open(0, "bob", "*", 0, usize::MAX)).collect();
        house.insert(&["a"], &[]);
        settle(|| others.iter().chain([&alice]).all(|line| line.positions() == [1])).await;
        house.insert(&["b"], &[]);
        while others.iter().all(|line| line.positions() == [1]) {
            tokio::task::yield_now().await;
        }
        assert_eq!(alice.positions(), [1], "the worker is in the middle of it");
        house.insert(&["c"], &["alice"]);
        settle(|| others.iter().all(|line| line.positions() == [1, 2, 3])).await;
        assert_eq!(alice.positions(), [1, 2]);
    });
}

#[test]
fn a_client_that_is_slow_is_told_why_its_stream_ends_unless_it_has_a_part_of_a_write() {
    run(async {
        let whole = Lines.heartbeat().len();
        for (room, more, told) in [(0, 0, true), (whole, 0, true), (whole + 5, 0, false), (whole + 5, 5, false)] {
            let mut house = House::holding(&["a"]);
            let line = house.open(0, "u", "*", 0, room);
            rest().await;
            line.give_room(more);
            rest().await;
            assert_eq!(line.taken.borrow().len(), room + more);
            house.insert(&["b"], &["u"]);
            settle(|| Rc::strong_count(&line) == 1).await;
            assert_eq!(line.finished.get(), told.then_some(End::Revoked), "{room} and {more}");
            assert_eq!(line.taken.borrow().len(), room + more);
        }
    });
}

#[test]
fn as_many_events_are_expected_as_went_out_together_and_were_new_after_that() {
    run(async {
        let mut house = House::new();
        let line = house.open(0, "bob", "*", 0, usize::MAX);
        rest().await;
        let worker = Rc::clone(&house.workers[0].worker);
        let subscriptions = worker.subscriptions(&tenant("t"));
        for task in &house.workers[0].tasks {
            task.abort();
        }
        rest().await;
        for (insert, are_expected) in [(1, false), (3, false), (1, true), (1, false), (2, false), (2, false)] {
            house.insert(&["a"; 3][..insert], &[]);
            assert_eq!(subscriptions.are_more_expected(), are_expected, "{insert}");
            worker.catch_up(&subscriptions).await;
        }
        assert_eq!(line.positions().len(), 10);

        // Two come while three are written: five are under way.
        house.insert(&["a"; 3], &[]);
        let fetched = subscriptions.fetch(worker.clock().now()).unwrap();
        house.insert(&["a"; 2], &[]);
        assert!(!subscriptions.give(fetched, worker.clock()).await, "they have been told anew");
        assert!(subscriptions.are_more_expected());
        house.insert(&["a"; 3], &[]);
        assert!(!subscriptions.are_more_expected());
    });
}

#[test]
fn a_stream_that_wants_nothing_of_what_comes_says_at_its_heartbeat_what_has_passed_it_and_not_more() {
    run(async {
        let mut house = House::holding(&["a"]);
        let quiet = house.open(0, "quiet", "a", 0, usize::MAX);
        let others: Vec<_> = (0..600).map(|_| house.open(0, "bob", "b", 0, usize::MAX)).collect();
        let blocked = house.open(0, "blocked", "b", 0, Lines.heartbeat().len());
        rest().await;
        let worker = Rc::clone(&house.workers[0].worker);
        let beat = |username: &str| {
            let streams = worker.streams().of_user(&Username::parse(username).unwrap());
            streams.iter().for_each(|stream| _ = stream.beat(worker.clock().now()));
        };
        let said = || {
            beat("quiet");
            beat("blocked");
            [&quiet, &blocked].map(|line| line.passed.get().get())
        };
        assert_eq!(said(), [1, 1]);
        house.insert(&["b", "b"], &[]);
        while others.iter().all(|line| line.positions().is_empty()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(said(), [1, 1], "the worker is in the middle of it");
        settle(|| others.iter().all(|line| line.positions() == [2, 3])).await;
        rest().await;
        assert_eq!(said(), [3, 1]);
        assert!(blocked.positions().is_empty());
    });
}

#[test]
fn a_filter_gets_each_event_once_however_many_of_its_patterns_match() {
    run(async {
        let mut house = House::new();
        let lines = ["a", "a,a*,ab*", "ab*,b", "*"].map(|filter| house.open(0, "u", filter, 0, usize::MAX));
        for name in ["a", "ab", "abc", "b", "c"] {
            house.insert(&[name], &[]);
        }
        let expected = [vec![1], vec![1, 2, 3], vec![2, 3, 4], vec![1, 2, 3, 4, 5]];
        settle(|| lines.iter().zip(&expected).all(|(line, expected)| line.positions() == *expected)).await;
    });
}

#[test]
fn a_new_client_gets_the_latest_event_of_each_name_in_order_also_if_they_are_in_memory_already() {
    run(async {
        let mut house = House::holding(&["a", "b", "c", "a"]);
        let first = house.open(0, "u", "*", 0, usize::MAX);
        settle(|| first.positions() == [2, 3, 4]).await;
        // What comes from here on is not read from the store.
        house.insert(&["b", "d"], &[]);
        settle(|| first.positions() == [2, 3, 4, 5, 6]).await;
        let (second, slow) = (house.open(1, "u", "*", 0, usize::MAX), house.open(1, "u", "*", 0, 100));
        settle(|| second.positions() == [3, 4, 5, 6]).await;
        house.insert(&["c"], &[]);
        slow.give_room(usize::MAX / 2);
        settle(|| slow.positions().last() == Some(&7) && second.positions().last() == Some(&7)).await;
        assert!([[3, 4, 5, 6, 7].as_slice(), &[4, 5, 6, 7]].contains(&slow.positions().as_slice()));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A client may read slowly, stop, and come back on another worker: it gets every event after the first, once and in order.
    #[test]
    fn every_subscriber_gets_every_event_once_in_order_however_it_reads(
        steps in prop::collection::vec((0..6_usize, 1..8_usize, 0..3000_usize), 1..60),
    ) {
        run(async {
            let mut house = House::holding(&["start"]);
            let mut lines = [0, 1, 0].map(|worker| house.open(worker, "u", "*", 1, 2000));
            let mut seen: [Vec<u64>; 3] = Default::default();
            let mut head = 1;
            for (step, count, room) in steps {
                match step {
                    0..=2 => {
                        house.insert(&["a", "b", "c", "d", "e", "f", "g"][..count.min(7)], &[]);
                        head += count.min(7) as u64;
                    }
                    3 | 4 => lines[count % 3].give_room(room),
                    _ => {
                        // Comes back after what came whole, on the other worker.
                        let who = count % 3;
                        seen[who].extend(lines[who].positions());
                        let after = seen[who].last().copied().unwrap_or(1);
                        lines[who] = house.open(room % 2, "u", "*", after, room);
                    }
                }
                if room % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            lines.iter().for_each(|line| line.give_room(usize::MAX / 2));
            for (line, mut seen) in lines.iter().zip(seen) {
                settle(|| line.positions().last().or(seen.last()).is_none_or(|last| *last == head)).await;
                seen.extend(line.positions());
                assert!(seen.into_iter().eq(2..=head));
            }
        });
    }
}
