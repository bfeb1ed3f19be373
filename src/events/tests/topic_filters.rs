//! Guards delivery by topic filters of MQTT: the latest events, what is new, and filters that come and go.

use std::future::Future;

use super::*;
use crate::error::Error;

/// Asks for a change of the filter of the only stream of the user u.
fn ask(house: &House, change: FilterChange) -> impl Future<Output = Result<u32, Error>> + use<> {
    let username = Username::parse("u").unwrap();
    house.hub.change_filter(&username, house.hub.registry().only(&username), change, None).unwrap()
}

/// Opens a stream of the user u by topic filters, and awaits that it is in sync.
async fn open(house: &House, filters: &[&str]) -> Rc<Line> {
    let line = house.open_with(0, "u", "*", usize::MAX, |request| {
        (request.view.filter, request.options.marks) = (topics(filters), true);
    });
    settle(|| is_synced(&line)).await;
    line
}

/// The names of events that came.
fn names(line: &Line) -> Vec<String> {
    let mut names = line.names();
    names.retain(|name| name != "$synced");
    names
}

/// How many groups there are, and entries by which they are found.
fn sizes(house: &House) -> [usize; 2] {
    let [groups, index, ..] = house.workers[0].worker.subscriptions(&tenant("t")).sizes();
    [groups, index]
}

#[test]
fn a_stream_is_given_the_latest_and_the_new_events_that_its_topic_filters_match() {
    run(async {
        let all = ["dev/1/x", "dev/2/x", "dev/2/y", "dev/+/x", "room", "room/1", "rooms", "@u/x", "@v/x"];
        for (filters, expected) in [
            (&["dev/+/x", "+/2/x", "room/#"][..], "dev/1/x dev/2/x room room/1"),
            (&["#"], "dev/1/x dev/2/x dev/2/y room room/1 rooms @u/x"),
            (&["+/+"], "room/1 @u/x"),
            (&["@u/#", "rooms"], "rooms @u/x"),
            (&["@v/x", "dev/2", "+"], "room rooms"),
        ] {
            let mut house = House::holding(&all);
            let line = open(&house, filters).await;
            let expected: Vec<_> = expected.split(' ').collect();
            assert_eq!(names(&line), expected, "{filters:?}");
            house.insert(&all, &[]);
            settle(|| names(&line).len() >= 2 * expected.len()).await;
            rest().await;
            assert_eq!(names(&line), [expected.clone(), expected].concat(), "{filters:?}");
        }
    });
}

#[test]
fn topic_filters_are_added_one_at_a_time_and_each_event_is_given_once() {
    run(async {
        let mut house = House::holding(&["a/1", "a/2", "b/1", "c"]);
        let line = open(&house, &[]).await;
        assert_eq!((names(&line).len(), sizes(&house)), (0, [1, 0]));
        for (filter, given) in [("a/1", 1), ("a/+", 2), ("+/1", 3), ("a/#", 3), ("#", 4)] {
            ask(&house, FilterChange::Add(topics(&[filter]))).await.unwrap();
            settle(|| names(&line).len() == given).await;
        }
        assert_eq!(names(&line), ["a/1", "a/2", "b/1", "c"]);
        // Five entries, and three of what those with wildcards begin with: nothing, `a` and `+`.
        assert_eq!(sizes(&house), [1, 8]);
        house.insert(&["a/1"], &[]);
        settle(|| names(&line).len() == 5).await;
        // What another entry matches is still wanted.
        for (filter, inserted, is_given) in [
            ("#", "c", false),
            ("a/#", "a/1", true),
            ("a/1", "a/1", true),
            ("a/+", "a/2", false),
            ("+/1", "b/1", false),
        ] {
            ask(&house, FilterChange::Remove(topics(&[filter]))).await.unwrap();
            let before = names(&line).len();
            house.insert(&[inserted], &[]);
            rest().await;
            assert_eq!(names(&line).len() - before, usize::from(is_given), "{filter}");
        }
        assert_eq!(sizes(&house), [1, 0]);
    });
}

#[test]
fn one_filter_beside_999_others_adds_its_own_levels_to_the_index_and_streams_share_a_group() {
    run(async {
        let mut house = House::new();
        let some: Vec<_> = (0..999).map(|number| format!("dev/{number}/+")).collect();
        let first = open(&house, &some.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(sizes(&house), [1, 999 + 1001]);
        ask(&house, FilterChange::Add(topics(&["+/id/x"]))).await.unwrap();
        assert_eq!(sizes(&house), [1, 1000 + 1003]);
        assert_eq!(ask(&house, FilterChange::Add(topics(&["more"]))).await, Err(Error::FilterInvalid));
        let full: Vec<_> = some.iter().map(String::as_str).chain(["+/id/x"]).rev().collect();
        let second = house.open_with(0, "v", "*", usize::MAX, |request| request.view.filter = topics(&full));
        rest().await;
        assert_eq!(sizes(&house), [1, 1000 + 1003], "it is in the same group");
        house.insert(&["dev/id/x", "dev/998/y", "dev/999/x", "a/id/x"], &[]);
        settle(|| names(&first).len() == 3 && names(&second).len() == 3).await;
        assert_eq!(names(&first), ["dev/id/x", "dev/998/y", "a/id/x"]);
    });
}

#[test]
fn a_user_whose_filter_is_all_topics_is_given_what_the_scopes_allow() {
    run(async {
        let mut house = House::with(Authorize::Scopes);
        rescope(&mut house, "u", &["a/*:get"]);
        let line = house.open_with(0, "u", "*", usize::MAX, |request| {
            request.view = View { filter: topics(&["#"]), ..view("u", &["a/*:get"]) };
            request.changes = house.hub.registry().user_streams(&Username::parse("u").unwrap()).changes();
            request.options.marks = true;
        });
        settle(|| is_synced(&line)).await;
        assert_eq!(sizes(&house), [1, 2], "one prefix of a length");
        house.insert(&["a/1", "b/1", "@u/x"], &[]);
        settle(|| names(&line) == ["a/1", "@u/x"]).await;
        rescope(&mut house, "u", &["b/*:get"]);
        settle(|| names(&line).last().is_some_and(|last| last == "b/1")).await;
        assert_eq!(sizes(&house), [1, 2]);
        rest().await;
        assert_eq!(names(&line), ["a/1", "@u/x", "$left", "b/1"]);
    });
}
