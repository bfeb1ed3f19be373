//! Guards `$synced`: it comes after everything that was there before.

use super::*;

/// Checks that in sync is said only after a name that was always there has come. The stream's worker has not heard of a commit that
/// overwrites the name.
fn synced_with_what_was_always_there(filter: &'static str, of_disk: bool) {
    run(async {
        let mut house = House::holding(&["a", "b", "c"]);
        if of_disk {
            // Only the latest event of each name is kept: one that is overwritten is gone at once.
            house.shorten();
        }
        let committed = house.commit(&["a", "d"]);
        let line = house.open_marked(0, filter, usize::MAX);
        settle(|| line.names().contains(&"b".to_owned())).await;
        rest().await;
        house.publish(committed).join().unwrap();
        settle(|| is_synced(&line)).await;
        assert!(knows(&line).1[0].contains_key("a"), "{:?}", line.came());
        house.insert(&["a"], &[]);
        settle(|| line.positions().last() == Some(&6)).await;
        assert_eq!(line.names().iter().filter(|name| *name == "$synced").count(), 1);
    });
}

#[test]
fn in_sync_is_said_after_a_name_that_was_overwritten_as_the_snapshot_was_read_into_memory() {
    synced_with_what_was_always_there("*", false);
    synced_with_what_was_always_there("*", true);
}

#[test]
fn in_sync_is_said_after_a_name_that_was_overwritten_as_the_snapshot_was_read_for_one() {
    synced_with_what_was_always_there("a,b", false);
    synced_with_what_was_always_there("a,b", true);
}

#[test]
fn in_sync_is_said_after_a_name_that_was_overwritten_in_memory_before_the_worker_heard_of_it() {
    run(async {
        let mut house = House::holding(&["a", "b"]);
        let _first = house.open_in_sync("*").await;
        gate(&house, 0).close();
        house.insert(&["a"], &[]);
        let second = house.open_marked(0, "*", usize::MAX);
        settle(|| second.positions() == [2]).await;
        rest().await;
        gate(&house, 0).open();
        settle(|| is_synced(&second)).await;
        assert!(knows(&second).1[0].keys().eq(["a", "b"]), "{:?}", second.came());
    });
}

#[test]
fn in_sync_is_said_again_after_a_name_that_was_overwritten_as_what_is_new_to_a_stream_was_read() {
    run(async {
        let mut house = House::holding(&["a", "b"]);
        let line = house.open_in_sync("b").await;
        let committed = house.commit(&["a"]);
        change_filter(&house, "u", "*").await;
        rest().await;
        house.publish(committed).join().unwrap();
        settle(|| knows(&line).1.len() == 2).await;
        assert!(knows(&line).1[1].keys().eq(["a", "b"]), "{:?}", line.came());
    });
}

#[test]
fn in_sync_is_said_to_a_client_that_resumes_in_the_middle_of_a_snapshot_after_what_that_left_out() {
    run(async {
        let mut house = House::holding(&["a", "b", "c"]);
        let committed = house.commit(&["a"]);
        // As far as into c.
        let line = house.open_marked(0, "*", 500);
        settle(|| line.names() == ["b"]).await;
        line.go();
        let start = Start::after(Position::new(2), house.hub.store().head());
        let again =
            house.open_with(1, "u", "*", usize::MAX, |request| (request.start, request.options.marks) = (start, true));
        settle(|| again.names() == ["c"]).await;
        rest().await;
        house.publish(committed).join().unwrap();
        settle(|| is_synced(&again)).await;
        assert_eq!(again.names(), ["c", "a", "$synced"]);
    });
}
