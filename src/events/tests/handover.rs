//! Guards the hand-overs of an event from one part to the next, each held where the event could be lost, told twice, or told too
//! early.

mod synced;

use std::collections::BTreeMap;

use super::*;
use crate::error::Error;

/// More than a channel keeps.
pub(super) const FLOOD: usize = 900;

/// The state of a client that takes events as they come, by name, and its state whenever it was told that it was in sync.
fn knows(line: &Line) -> (BTreeMap<String, u64>, Vec<BTreeMap<String, u64>>) {
    let (mut known, mut synced) = (BTreeMap::new(), Vec::new());
    for came in line.came() {
        let is_removal = came.is_removal();
        let Came { name, position, .. } = came;
        match &*name {
            "$synced" => synced.push(known.clone()),
            "$reset" => known.clear(),
            _ if is_removal => drop(known.remove(&name)),
            _ => drop(known.insert(name, position)),
        }
    }
    (known, synced)
}

pub(super) fn gate(house: &House, worker: usize) -> &super::gate::Gate {
    &house.workers[worker].worker.mailbox().before_dispatch
}

/// Publishes up to the point where the events are revealed and in no channel.
async fn reveal(house: &mut House, names: &[&str]) -> JoinHandle<()> {
    house.hub.before_push().close();
    let committed = house.commit(names);
    let publishing = house.publish(committed);
    settle(|| house.hub.before_push().waiting() == 1).await;
    publishing
}

#[test]
fn events_that_are_revealed_and_in_no_channel_yet_are_given_once_they_are() {
    run(async {
        let mut house = House::holding(&["a"]);
        let live = house.open(0, "u", "*", 1, usize::MAX);
        rest().await;
        gate(&house, 0).close();
        house.insert(&["b"; FLOOD], &[]);
        let publishing = reveal(&mut house, &["late"]).await;
        gate(&house, 0).open();
        settle(|| live.positions().len() >= FLOOD).await;
        // It has everything except what is not in the channel yet.
        let resumed = house.open(0, "u", "*", FLOOD as u64 + 1, usize::MAX);
        rest().await;
        house.hub.before_push().open();
        publishing.join().unwrap();
        let last = FLOOD as u64 + 2;
        settle(|| resumed.positions() == [last] && live.positions().into_iter().eq(2..=last)).await;
    });
}

#[test]
fn a_live_stream_is_reset_if_the_floor_overtakes_its_worker_and_it_has_control_events() {
    run(async {
        let mut house = House::holding(&["a", "gone"]);
        let (marked, plain) = (house.open_marked(0, "*", usize::MAX), house.open(0, "u", "*", 0, usize::MAX));
        settle(|| is_synced(&marked) && plain.positions() == [1, 2]).await;
        gate(&house, 0).close();
        house.insert(&["-gone"], &[]);
        house.insert(&["b"; FLOOD], &[]);
        house.shorten();
        gate(&house, 0).open();
        let last = FLOOD as u64 + 3;
        settle(|| plain.positions().last() == Some(&last) && knows(&marked).1.len() == 2).await;
        let expected = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), last)]);
        assert_eq!(
            knows(&marked),
            (expected.clone(), vec![[("a".to_owned(), 1), ("gone".to_owned(), 2)].into(), expected])
        );
        house.insert(&["c"], &[]);
        settle(|| marked.positions().last() == Some(&(last + 1)) && plain.positions().last() == Some(&(last + 1)))
            .await;
    });
}

#[test]
fn a_stream_that_wants_nothing_of_what_the_floor_overtakes_is_not_reset_unless_a_removal_has_been_forgotten() {
    run(async {
        let mut house = House::holding(&["quiet", "gone"]);
        let marked = house.open_in_sync("quiet").await;
        for (removed, resets) in [(&[][..], 0), (&["-gone"], 1)] {
            gate(&house, 0).close();
            house.insert(removed, &[]);
            house.insert(&["b"; FLOOD], &[]);
            house.shorten();
            gate(&house, 0).open();
            rest().await;
            house.insert(&["quiet"], &[]);
            let last = house.hub.store().head().get();
            settle(|| marked.positions().last() == Some(&last)).await;
            assert_eq!(marked.names().iter().filter(|name| *name == "$reset").count(), resets);
        }
    });
}

#[test]
fn a_live_stream_is_reset_also_if_the_floor_rises_between_two_steps_of_the_workers_reading() {
    run(async {
        let mut house = House::holding(&["a", "gone"]);
        let marked = house.open_in_sync("*").await;
        gate(&house, 0).close();
        house.insert(&["b"; FLOOD], &[]);
        house.insert(&["-gone"], &[]);
        house.insert(&["b"; FLOOD], &[]);
        house.hub.after_step().close();
        gate(&house, 0).open();
        settle(|| house.hub.after_step().waiting() == 1).await;
        house.shorten();
        house.hub.after_step().open();
        settle(|| knows(&marked).0.keys().eq(["a", "b"]) && knows(&marked).1.len() == 2).await;
    });
}

/// Changes the filter of the only stream of a user.
pub(super) async fn change_filter(house: &House, username: &str, filter: &str) {
    let username = Username::parse(username).unwrap();
    let id = house.hub.registry().only(&username);
    house.hub.change_filter(&username, id, replace(filter), None).unwrap().await.unwrap();
}

#[test]
fn a_client_that_changes_the_filter_in_the_middle_of_the_first_snapshot_is_still_new() {
    for (filter, other) in [("*", "n*"), ("n*", "n*,m"), ("n*", "*")] {
        run(async {
            let mut house = House::new();
            let names: Vec<_> = (0..300).map(|number| format!("n{number}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            house.insert(&names, &[]);
            house.insert(&["gone", "m"], &[]);
            house.insert(&names, &[]);
            house.insert(&["-gone"], &[]);
            house.insert(&names[..150], &[]);
            let line = house.open_marked(0, filter, 3000);
            settle(|| line.positions().len() > 3).await;
            change_filter(&house, "u", other).await;
            line.give_room(usize::MAX / 2);
            settle(|| is_synced(&line)).await;
            let mut came = line.names();
            assert!(!came.contains(&"$reset".to_owned()) && !line.came().iter().any(Came::is_removal));
            came.sort_unstable();
            let before = came.len();
            came.dedup();
            assert_eq!(came.len(), before, "each once");
            assert!(before > 300);

            // The same below the floor.
            house.shorten();
            let line = house.open_with(0, "below", filter, 3000, |request| request.options.marks = true);
            settle(|| line.positions().len() > 3).await;
            change_filter(&house, "below", other).await;
            line.give_room(usize::MAX / 2);
            settle(|| is_synced(&line)).await;
            assert_eq!(line.came().len(), before, "{filter} {other}");
            assert!(!line.names().contains(&"$reset".to_owned()));
        });
    }
}

#[test]
fn events_that_a_new_filter_makes_visible_come_before_the_rest_of_a_snapshot_which_is_of_the_new_filter() {
    run(async {
        let mut house = House::new();
        let names: Vec<_> = (0..300).map(|number| format!("n{number}")).collect();
        house.insert(&["m"], &[]);
        house.insert(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        house.insert(&["z"], &[]);
        // In the middle of what was read first.
        let line = house.open_marked(0, "n*", 3000);
        settle(|| line.positions().len() > 3).await;
        change_filter(&house, "u", "*").await;
        line.give_room(usize::MAX / 2);
        settle(|| is_synced(&line)).await;
        let came = line.names();
        assert_eq!(came.len(), 303, "each once");
        let place = |name: &str| came.iter().position(|came| came == name).unwrap();
        assert!(place("m") < place("n299") && place("n299") < place("z"), "{came:?}");
    });
}

#[test]
fn a_read_that_is_under_way_for_another_filter_is_thrown_away() {
    run(async {
        let house = House::holding(&["m", "n", "z"]);
        house.hub.after_step().close();
        let line = house.open_marked(0, "n", usize::MAX);
        settle(|| house.hub.after_step().waiting() == 1).await;
        change_filter(&house, "u", "n,z").await;
        house.hub.after_step().open();
        settle(|| is_synced(&line)).await;
        assert_eq!(line.names(), ["n", "z", "$synced"]);
    });
}

#[test]
fn a_stream_that_is_live_on_an_empty_database_is_not_new_when_it_falls_behind() {
    run(async {
        let mut house = House::new();
        let (fast, slow) = (house.open(0, "u", "*", 0, usize::MAX), house.open(0, "u", "*", 0, usize::MAX));
        rest().await;
        slow.room.set(0);
        gate(&house, 0).close();
        house.insert(&["a", "b", "a", "-b"], &[]);
        house.insert(&["a"; FLOOD], &[]);
        gate(&house, 0).open();
        settle(|| fast.positions().into_iter().eq(1..=FLOOD as u64 + 4)).await;
        slow.give_room(usize::MAX / 2);
        settle(|| slow.positions().into_iter().eq(1..=FLOOD as u64 + 4)).await;
    });
}

#[test]
fn a_client_that_resumes_at_the_very_beginning_gets_everything_that_came_since() {
    run(async {
        let house = House::holding(&["a", "b", "a", "-b"]);
        let start = Start::after(Position::START, house.hub.store().head());
        let line = house.open_with(0, "u", "*", usize::MAX, |request| request.start = start);
        settle(|| line.positions() == [1, 2, 3, 4]).await;
    });
}

#[test]
fn a_presence_event_has_no_id_past_what_is_still_to_be_given() {
    run(async {
        let mut house = House::new();
        // More than one step gives.
        let names: Vec<_> = (0..300).map(|number| format!("a{number}")).collect();
        house.insert(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        house.insert(&["b"], &[]);
        let line = house.open_with(0, "u", "b", usize::MAX, |request| {
            request.options.marks = true;
            request.options.presence = true;
        });
        settle(|| is_synced(&line)).await;
        let before = line.came().len();
        house.hub.after_step().close();
        change_filter(&house, "u", "*").await;
        settle(|| house.hub.after_step().waiting() == 1).await;
        let _other = house.open(1, "other", "*", 2, usize::MAX);
        rest().await;
        house.hub.after_step().open();
        settle(|| line.names().contains(&"$presence/other".to_owned()) && knows(&line).1.len() == 2).await;
        let came = line.came().split_off(before);
        let place = |name: &str| came.iter().position(|came| came.name == name).unwrap();
        let presence = place("$presence/other");
        assert!(presence < place("a299"), "it comes between two steps");
        assert_eq!(came[presence].position, 0, "it is before what is new to it");
    });
}

#[test]
fn a_stream_is_there_while_another_goes_on_for_it() {
    run(async {
        let house = House::new();
        let username = Username::parse("u").unwrap();
        let line = house.open(0, "u", "*", 0, usize::MAX);
        let id = house.hub.registry().only(&username);
        assert!(house.hub.registry().has_stream(&username, id));
        line.go();
        settle(|| house.hub.registry().is_gone(&username)).await;
        assert!(house.hub.registry().has_stream(&username, id), "it may be taken over");
        let presence_guard = house.hub.registry().user_streams(&username).arrive(
            &tenant("t"),
            GoesOnFor::This(id),
            Timestamp::from_millis(1),
        );
        assert_eq!(presence_guard.id, id);
        assert!(house.hub.registry().has_stream(&username, id), "it has been taken over, and is about to be opened");
        drop(presence_guard);
        assert!(house.hub.registry().has_stream(&username, id));
        assert!(!house.hub.registry().has_stream(&Username::parse("other").unwrap(), id));
        assert!(!house.hub.registry().has_stream(&username, StreamId::random()));
    });
}

#[test]
fn a_command_for_a_stream_does_not_reach_the_one_that_goes_on_for_it() {
    run(async {
        let mut house = House::new();
        let username = Username::parse("u").unwrap();
        let line = house.open(0, "u", "a", 0, usize::MAX);
        let id = house.hub.registry().only(&username);
        rest().await;
        // The worker does not come to it before the stream has ended.
        house.workers[0].tasks[0].abort();
        rest().await;
        let mut told = Box::pin(house.hub.change_filter(&username, id, replace("b"), None).unwrap());
        let context = &mut Context::from_waker(Waker::noop());
        assert!(told.as_mut().poll(context).is_pending());
        line.go();
        settle(|| house.hub.registry().is_gone(&username)).await;
        let next = house.open(0, "u", "a", 0, usize::MAX);
        assert_eq!(house.hub.registry().only(&username), id, "it goes on for it");
        house.workers[0].worker.drain_mailbox();
        assert!(matches!(told.await, Err(Error::StreamUnknown)));
        house.insert(&["a", "b"], &[]);
        let worker = &house.workers[0].worker;
        worker.catch_up(&worker.subscriptions(&tenant("t"))).await;
        settle(|| !next.names().is_empty()).await;
        assert_eq!(next.names(), ["a"]);
    });
}
