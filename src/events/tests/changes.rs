//! Guards what the client of an open stream changes about it, and what it is told of the end.

use std::future::Future;

use super::*;
use crate::error::Error;

fn add(filter: &str) -> FilterChange {
    FilterChange::Add(EventFilter::parse(filter).unwrap())
}

fn remove(filter: &str) -> FilterChange {
    FilterChange::Remove(EventFilter::parse(filter).unwrap())
}

/// Asks for a change of the filter of the only stream of the user u.
fn ask(house: &House, change: FilterChange) -> impl Future<Output = Result<u32, Error>> + use<> {
    let username = Username::parse("u").unwrap();
    house.hub.change_filter(&username, house.hub.registry().only(&username), change, None).unwrap()
}

/// Every number that a stream has been told with `$synced`.
fn told(line: &Line) -> Vec<String> {
    line.came().into_iter().filter(|came| came.name == "$synced").map(|came| came.data).collect()
}

#[test]
fn each_change_of_the_filter_has_a_number_and_is_told_to_be_in_force_once() {
    run(async {
        let mut house = House::holding(&["a", "b"]);
        let line = house.open_in_sync("a").await;
        assert_eq!(told(&line), [""]);
        assert_eq!(ask(&house, replace("b")).await, Ok(1));
        settle(|| told(&line) == ["", "1"]).await;
        // One that changes nothing, too.
        assert_eq!(ask(&house, replace("b")).await, Ok(2));
        settle(|| told(&line) == ["", "1", "2"]).await;
        // Of several at once, the last.
        let asked = [replace("a"), add("b"), remove("a")].map(|change| ask(&house, change));
        for (asked, number) in asked.into_iter().zip(3..) {
            assert_eq!(asked.await, Ok(number));
        }
        settle(|| told(&line).last().is_some_and(|last| last == "5")).await;
        rest().await;
        assert!(told(&line).iter().filter(|number| *number == "5").count() == 1, "{:?}", line.came());
        house.insert(&["a", "b"], &[]);
        settle(|| line.names().last().is_some_and(|last| last == "b")).await;
    });
}

#[test]
fn in_sync_after_a_change_that_is_not_the_clients_has_no_number() {
    run(async {
        let mut house = House::with(Authorize::Scopes);
        house.insert(&["a", "b"], &[]);
        rescope(&mut house, "u", &["a:get"]);
        let line = house.open_with(0, "u", "*", usize::MAX, |request| {
            (request.view, request.options.marks) = (view("u", &["a:get"]), true);
            request.changes = house.hub.registry().user_streams(&Username::parse("u").unwrap()).changes();
        });
        settle(|| told(&line) == [""]).await;
        rescope(&mut house, "u", &["*:get"]);
        settle(|| told(&line) == ["", ""]).await;
        assert_eq!(ask(&house, replace("b")).await, Ok(1));
        settle(|| told(&line) == ["", "", "1"]).await;
        rescope(&mut house, "u", &["b:get"]);
        settle(|| told(&line) == ["", "", "1", ""]).await;
    });
}

#[test]
fn a_stream_without_control_events_is_told_nothing_of_a_change() {
    run(async {
        let house = House::holding(&["a"]);
        let line = house.open(0, "u", "a", 0, usize::MAX);
        settle(|| line.names() == ["a"]).await;
        assert_eq!(ask(&house, add("b")).await, Ok(1));
        assert_eq!(ask(&house, add("b")).await, Ok(2));
        rest().await;
        assert_eq!(line.names(), ["a"]);
    });
}

#[test]
fn entries_that_are_added_are_given_once_and_those_that_are_taken_out_are_not_given_any_more() {
    run(async {
        let mut house = House::holding(&["a", "b", "c"]);
        let line = house.open_in_sync("a").await;
        assert_eq!(ask(&house, add("b,a")).await, Ok(1));
        settle(|| told(&line).len() == 2).await;
        assert_eq!(line.names(), ["a", "$synced", "b", "$synced"]);
        assert_eq!(ask(&house, remove("a")).await, Ok(2));
        settle(|| told(&line).len() == 3).await;
        house.insert(&["a", "b", "c"], &[]);
        settle(|| line.names().len() == 6).await;
        rest().await;
        assert_eq!(line.names()[4..], ["$synced", "b"]);
    });
}

#[test]
fn names_that_are_added_one_at_a_time_are_given_once_each_however_far_the_reading_is() {
    run(async {
        let names: Vec<_> = (0..300).map(|number| format!("n{number}")).collect();
        let house = House::holding(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let line = house.open_with(0, "u", "none", usize::MAX, |request| request.options.marks = true);
        settle(|| is_synced(&line)).await;
        // At first nothing of it is read, then the first step is.
        house.hub.after_step().close();
        for some in names.chunks(100) {
            let asked: Vec<_> = some.iter().map(|name| ask(&house, add(name))).collect();
            for asked in asked {
                asked.await.unwrap();
            }
            rest().await;
        }
        assert_eq!(house.hub.after_step().waiting(), 1);
        house.hub.after_step().open();
        settle(|| told(&line).last().is_some_and(|last| last == "300")).await;
        let mut given = line.names();
        given.retain(|name| name != "$synced");
        given.sort_unstable();
        let mut expected = names;
        expected.sort_unstable();
        assert_eq!(given, expected);
    });
}

#[test]
fn a_stream_to_which_names_are_added_keeps_its_group_and_shares_it_with_another_that_has_the_same_names() {
    run(async {
        let mut house = House::new();
        let sizes = |house: &House| {
            let [groups, index, ..] = house.workers[0].worker.subscriptions(&tenant("t")).sizes();
            [groups, index]
        };
        let names: Vec<_> = (0..50).map(|number| format!("n{number}")).collect();
        let first = house.open(0, "u", &names[0], 0, usize::MAX);
        rest().await;
        for (number, name) in names.iter().enumerate() {
            ask(&house, add(name)).await.unwrap();
            assert_eq!(sizes(&house), [1, number + 1]);
        }
        let second = house.open(0, "v", &names.join(","), 0, usize::MAX);
        rest().await;
        assert_eq!(sizes(&house), [1, 50], "it is in the same group");
        // The group of both cannot be changed for one of them.
        ask(&house, add("more")).await.unwrap();
        rest().await;
        assert_eq!(sizes(&house), [2, 101]);
        house.insert(&["more", "n7"], &[]);
        settle(|| first.names() == ["more", "n7"] && second.names() == ["n7"]).await;
        ask(&house, remove("more")).await.unwrap();
        rest().await;
        assert_eq!(sizes(&house), [1, 50]);
        house.insert(&["more", "n8"], &[]);
        settle(|| first.names() == ["more", "n7", "n8"] && second.names() == ["n7", "n8"]).await;
        first.go();
        second.go();
        settle(|| house.hub.registry().is_gone(&Username::parse("u").unwrap())).await;
    });
}

#[test]
fn a_name_that_is_taken_out_and_added_again_is_given_with_what_came_meanwhile() {
    run(async {
        let mut house = House::holding(&["a", "b"]);
        let line = house.open_in_sync("a").await;
        house.hub.after_step().close();
        let first = ask(&house, add("b"));
        settle(|| house.hub.after_step().waiting() == 1).await;
        let second = ask(&house, remove("a"));
        house.insert(&["a"], &[]);
        let third = ask(&house, add("a"));
        for (asked, number) in [first, second, third].into_iter().zip(1..) {
            assert_eq!(asked.await, Ok(number));
        }
        house.hub.after_step().open();
        settle(|| told(&line).last().is_some_and(|last| last == "3")).await;
        let last = |name: &str| line.came().iter().rev().find(|came| came.name == name).map(|came| came.position);
        assert_eq!((last("a"), last("b")), (Some(3), Some(2)));
    });
}

#[test]
fn a_change_that_is_refused_changes_nothing_and_has_no_number() {
    run(async {
        let mut house = House::new();
        let names: Vec<_> = (0..999).map(|number| format!("n{number}")).collect();
        let line = house.open_in_sync(&names.join(",")).await;
        assert_eq!(ask(&house, add("a,b")).await, Err(Error::FilterInvalid));
        assert_eq!(ask(&house, add("a")).await, Ok(1));
        house.insert(&["b", "a"], &[]);
        settle(|| line.names().contains(&"a".to_owned())).await;
        assert!(!line.names().contains(&"b".to_owned()));
    });
}

#[test]
fn a_renewed_stream_goes_on_until_the_later_end() {
    run(async {
        let house = House::new();
        let now = house.workers[0].worker.clock().now();
        let soon = Timestamp::from_millis(now.as_millis() + 600);
        let open = |username| {
            house.open_with(0, username, "*", usize::MAX, |request| {
                let streams = house.hub.registry().user_streams(&Username::parse(username).unwrap());
                let lease = Lease { expires_at: Some(soon), ..Lease::default() };
                request.presence_guard = streams.arrive_by(lease, &tenant("t"), GoesOnFor::None, now);
            })
        };
        let [renewed, shortened, left] = ["a", "b", "c"].map(open);
        let renew = |username: &str, millis: u64| {
            let username = Username::parse(username).unwrap();
            let until = Timestamp::from_millis(now.as_millis() + millis);
            let lease = Lease { expires_at: Some(until), ..Lease::default() };
            let ends_at = house.hub.renew(&username, house.hub.registry().only(&username), lease).unwrap();
            assert_eq!(ends_at, Some(until.max(soon)));
        };
        renew("a", 3_600_000);
        renew("b", 1);
        // That it was not shortened is seen where it outlives what was said.
        settle(|| left.finished.get().is_some()).await;
        settle(|| shortened.finished.get().is_some()).await;
        assert_eq!(left.finished.get(), Some(End::Expired));
        assert!(house.workers[0].worker.clock().now() >= soon);
        rest().await;
        assert_eq!(renewed.finished.get(), None);
    });
}

#[test]
fn a_stream_says_why_it_ends() {
    run(async {
        let mut house = House::new();
        let [ended, gone] = ["ended", "gone"].map(|username| house.open(0, username, "*", 0, usize::MAX));
        let first = house.open_with(0, "many", "*", usize::MAX, |_| {});
        rest().await;
        house.insert(&["a"], &["ended"]);
        gone.go();
        settle(|| ended.finished.get().is_some() && gone.finished.get().is_some()).await;
        assert_eq!([&ended, &gone].map(|line| line.finished.get()), [Some(End::Revoked), Some(End::Gone)]);
        let many = Username::parse("many").unwrap();
        let guard =
            house.hub.registry().user_streams(&many).arrive(&tenant("t"), GoesOnFor::None, Timestamp::from_millis(1));
        guard.open(house.workers[0].worker.mailbox(), 1);
        settle(|| first.finished.get() == Some(End::TooManyStreams)).await;
        let last = house.open(0, "last", "*", 0, usize::MAX);
        rest().await;
        house.hub.close().await;
        settle(|| matches!(last.finished.get(), Some(End::Stopping { .. }))).await;
    });
}

#[test]
fn only_a_client_with_control_events_is_told_of_the_end_and_what_it_resumes_from_is_what_it_was_given() {
    run(async {
        let mut house = House::new();
        let marked = |username: &'static str, room| {
            house.open_with(0, username, "*", room, |request| request.options.marks = true)
        };
        let (live, stalled, expired) = (marked("u", usize::MAX), marked("u", 0), marked("e", usize::MAX));
        let plain = house.open(1, "u", "*", 0, usize::MAX);
        settle(|| is_synced(&live) && is_synced(&expired)).await;
        for _ in 0..20 {
            house.insert(&["a"], &[]);
        }
        settle(|| live.positions().ends_with(&[20]) && plain.positions().ends_with(&[20])).await;
        house.insert(&["b"], &["u"]);
        settle(|| [&live, &stalled, &plain].iter().all(|line| line.finished.get().is_some())).await;
        let position = |line: &Line| line.told.get().map(|id| id.position.get());
        assert_eq!((position(&live), position(&plain)), (Some(20), None));
        // It has taken nothing of what was fetched for it.
        assert_eq!(position(&stalled), Some(0));
        house.hub.close().await;
        settle(|| matches!(expired.finished.get(), Some(End::Stopping { .. }))).await;
        assert_eq!(position(&expired), Some(21));
    });
}

#[test]
fn a_stream_that_another_one_replaces_ends_on_its_worker_or_before_it_has_one() {
    run(async {
        let house = House::new();
        let first = house.open_with(0, "u", "*", usize::MAX, |request| request.options.marks = true);
        settle(|| is_synced(&first)).await;
        let user = Username::parse("u").unwrap();
        let stream = house.hub.registry().only(&user);
        let again = |request: &mut SubscribeRequest| {
            let (streams, now) = (house.hub.registry().user_streams(&user), Timestamp::from_millis(1));
            request.presence_guard = streams.arrive(&tenant("t"), GoesOnFor::Replaces(stream), now);
        };
        // On another worker, and then on the same one.
        let second = house.open_with(1, "u", "*", usize::MAX, again);
        settle(|| first.finished.get() == Some(End::Replaced)).await;
        let third = house.open_with(1, "u", "*", usize::MAX, again);
        settle(|| second.finished.get() == Some(End::Replaced)).await;
        assert_eq!((house.hub.registry().only(&user), third.finished.get()), (stream, None));
        // It was asked for before, and is opened after another one has taken its id.
        let late = house.open_with(0, "u", "*", usize::MAX, |request| {
            again(request);
            let (streams, now) = (house.hub.registry().user_streams(&user), Timestamp::from_millis(1));
            let guard = streams.arrive(&tenant("t"), GoesOnFor::Replaces(stream), now);
            guard.open(house.workers[1].worker.mailbox(), usize::MAX);
            std::mem::forget(guard);
        });
        settle(|| late.finished.get() == Some(End::Replaced) && third.finished.get().is_some()).await;
        assert_eq!(house.hub.registry().only(&user), stream);
    });
}
