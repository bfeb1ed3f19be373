//! Guards what a stream has to do with other users, who come and go, and with its own user's other streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// The users of whom a stream has told, and whether they were there at last.
fn told(line: &Line) -> BTreeMap<String, bool> {
    let presence = |came: Came| Some((came.name.strip_prefix("$presence/")?.to_owned(), came.data == "true"));
    line.came().into_iter().filter_map(presence).collect()
}

/// Changes the filter of the only stream of the user u until this is so.
async fn change_filters(house: &House, done: impl Fn() -> bool) {
    let watcher = Username::parse("u").unwrap();
    let id = house.hub.registry().only(&watcher);
    // With many names, so that the way from one group to the next takes long.
    let filter = |first: usize| (first..first + 999).map(|number| format!("n{number}")).collect::<Vec<_>>().join(",");
    let changes = [0, 1].map(|first| replace(&filter(first)));
    for change in changes.iter().cycle() {
        house.hub.change_filter(&watcher, id, change.clone(), None).unwrap().await.unwrap();
        if done() {
            break;
        }
    }
}

#[test]
fn a_stream_whose_filter_changes_all_the_time_is_told_of_every_user_that_comes_and_of_every_one_that_goes() {
    run(async {
        let house = House::new();
        let line = house.open_with(0, "u", "*", usize::MAX, |request| request.options.presence = true);
        settle(|| told(&line).len() == 1).await;
        let are_told = |count: usize, are_there: bool| {
            let told = told(&line);
            told.len() == count + 1 && told.iter().all(|(name, is_there)| name == "u" || *is_there == are_there)
        };

        let (registry, is_enough) = (house.hub.registry().clone(), Arc::new(AtomicBool::new(false)));
        let is_enough_there = Arc::clone(&is_enough);
        let coming = std::thread::spawn(move || {
            let come = |number: usize| {
                let username = Username::parse(&format!("user{number}")).unwrap();
                std::thread::yield_now();
                registry.user_streams(&username).arrive(&tenant("t"), GoesOnFor::None, Timestamp::from_millis(1))
            };
            let may_come = |_: &usize| !is_enough_there.load(Ordering::Relaxed);
            (0..20_000).take_while(may_come).map(come).collect::<Vec<_>>()
        });
        let changes = Cell::new(0);
        change_filters(&house, || changes.replace(changes.get() + 1) == 50).await;
        is_enough.store(true, Ordering::Relaxed);
        let guards = coming.join().unwrap();
        let count = guards.len();
        settle(|| are_told(count, true)).await;

        let registry = house.hub.registry().clone();
        let going = std::thread::spawn(move || {
            for guard in guards {
                drop(guard);
                registry.end_graces();
            }
        });
        change_filters(&house, || going.is_finished()).await;
        going.join().unwrap();
        settle(|| are_told(count, false)).await;
    });
}

#[test]
fn every_stream_of_a_user_on_every_worker_ends_with_their_access_and_one_that_was_opened_since_goes_on() {
    run(async {
        let mut house = House::holding(&["a"]);
        let lines: Vec<_> = (0..20).map(|number| house.open(number % 2, "u", "*", 0, usize::MAX)).collect();
        let other = house.open(0, "other", "*", 0, usize::MAX);
        settle(|| lines.iter().chain([&other]).all(|line| line.positions() == [1])).await;
        let (u, worker) = (Username::parse("u").unwrap(), Rc::clone(&house.workers[0].worker));
        assert_eq!(worker.streams().of_user(&u).len(), 10, "without those of the other worker");
        house.insert(&["b"], &["u"]);
        // Before the worker has looked into its mailbox.
        let later = house.open(0, "u", "*", 0, usize::MAX);
        settle(|| lines.iter().all(|line| line.is_finished())).await;
        house.insert(&["c"], &[]);
        settle(|| [&later, &other].iter().all(|line| line.positions().last() == Some(&3))).await;
        assert!(lines.iter().all(|line| line.positions() == [1]) && !later.is_finished());
        assert_eq!(worker.streams().of_user(&u).len(), 1);
    });
}

#[test]
fn a_stream_that_was_opened_since_its_users_others_ended_goes_by_its_own_count_of_changes() {
    run(async {
        let mut house = House::new();
        let mut transaction = house.committer.begin(Timestamp::from_millis(1)).unwrap();
        transaction.put_user(&user("u", &[]));
        house.hub.publish(transaction.commit().unwrap());
        let ended = house.open(0, "u", "*", 0, usize::MAX);
        rest().await;
        let (u, worker) = (Username::parse("u").unwrap(), Rc::clone(&house.workers[0].worker));
        house.hub.registry().end_streams_of(&u);
        let later = house.open(0, "u", "*", 0, usize::MAX);
        house.hub.registry().change_rights_of(&u);
        // Before the task of the one that has been ended has been polled.
        worker.change_rights(&u);
        assert_eq!(worker.streams().of_user(&u).len(), 2);
        house.insert(&["a"], &[]);
        settle(|| ended.is_finished() && later.positions() == [1]).await;
        assert!(!later.is_finished());
    });
}
