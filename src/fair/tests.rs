//! Guards the fair queue and the pool that works it off: no group or lane waits for the whole crowd of another.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use proptest::prelude::*;

use super::*;
use crate::error::Error;

type Named = (u8, u8, usize);

fn push(queue: &Queue<u8, u8, Named>, item: Named) -> Result<Option<Named>, Named> {
    queue.push(item.0, item.1, item, Patience::Refusable).map(|(_, displaced)| displaced)
}

fn is_forgotten<T>(queue: &Queue<u8, u8, T>) -> bool {
    let state = queue.lock();
    state.groups.by_key.is_empty() && state.groups.order.is_empty() && state.groups.length == 0
}

#[test]
fn a_single_item_waits_for_one_item_of_each_other_group() {
    let queue = Queue::new(100);
    for number in 0..50 {
        push(&queue, (1, number % 2, usize::from(number))).unwrap();
    }
    push(&queue, (2, 0, 50)).unwrap();
    push(&queue, (1, 2, 51)).unwrap();
    let order: Vec<_> = (0..8).map(|_| queue.pop().unwrap().2).collect();
    assert_eq!(order, [0, 50, 1, 51, 2, 3, 4, 5]);
}

#[test]
fn a_crowd_fills_the_queue_for_itself_alone() {
    let queue = Queue::new(8);
    for number in 0..8 {
        push(&queue, (1, u8::from(number > 4), number)).unwrap();
    }
    assert_eq!(push(&queue, (1, 0, 8)), Err((1, 0, 8)), "its own lane is the longest");
    assert_eq!(push(&queue, (1, 2, 9)), Ok(Some((1, 0, 4))), "the last of the longest lane");
    for (number, displaced) in [(10, (1, 0, 3)), (11, (1, 1, 7)), (12, (1, 0, 2))] {
        assert_eq!(push(&queue, (2, 0, number)), Ok(Some(displaced)));
    }
    assert_eq!(push(&queue, (3, 0, 13)), Ok(Some((1, 1, 6))));
    assert_eq!(push(&queue, (4, 0, 14)), Ok(Some((1, 0, 1))));
    assert_eq!(push(&queue, (5, 0, 15)), Ok(Some((2, 0, 12))), "a lane for one's own");
    for _ in 0..8 {
        queue.pop().unwrap();
    }
    assert!(is_forgotten(&queue));
}

#[test]
fn no_item_is_displaced_by_one_of_an_equally_long_lane() {
    let queue = Queue::new(3);
    for group in 0..3 {
        push(&queue, (group, 0, 0)).unwrap();
    }
    assert_eq!(push(&queue, (3, 0, 0)), Err((3, 0, 0)));
}

#[test]
fn unbounded_items_are_neither_counted_nor_displaced_and_alternate_with_refusable_ones() {
    let queue = Queue::new(3);
    for number in 0..3 {
        push(&queue, (1, 0, number)).unwrap();
    }
    for number in 3..9 {
        assert!(matches!(queue.push(1, 0, (1, 0, number), Patience::Unbounded), Ok((_, None))));
    }
    assert_eq!(push(&queue, (2, 0, 9)), Ok(Some((1, 0, 2))));
    assert_eq!(push(&queue, (3, 0, 10)), Ok(Some((1, 0, 1))));
    let order: Vec<_> = (0..9).map(|_| queue.pop().unwrap().2).collect();
    assert_eq!(order, [3, 9, 10, 0, 4, 5, 6, 7, 8]);
}

#[test]
fn one_user_with_reads_that_never_end_still_has_new_ones_served() {
    let queue = Queue::new(3);
    let add = |number, patience| assert!(queue.push(1, 0, (1, 0, number), patience).is_ok());
    (0..3).for_each(|number| add(number, Patience::Refusable));
    (3..5).for_each(|number| add(number, Patience::Unbounded));
    let mut served = Vec::new();
    for _ in 0..6 {
        let (_, _, number): Named = queue.pop().unwrap();
        served.push(number);
        if number >= 3 {
            add(number, Patience::Unbounded);
        }
    }
    assert_eq!(served, [3, 0, 4, 1, 3, 2]);
}

#[test]
fn a_removed_item_leaves_nothing_behind_and_removing_a_served_one_removes_nothing() {
    let queue = Queue::<u8, u8, Named>::new(10);
    let add = |item: Named, patience| queue.push(item.0, item.1, item, patience).unwrap().0;
    let first = add((1, 0, 0), Patience::Refusable);
    assert_eq!(queue.pop(), Some((1, 0, 0)));
    let numbers = [0, 1, 2, 3].map(|number| {
        let patience = if number < 2 { Patience::Refusable } else { Patience::Unbounded };
        add((1, 0, number), patience)
    });
    let other = add((1, 1, 4), Patience::Unbounded);
    assert_eq!(queue.remove(&1, &0, first), None);
    assert_eq!(queue.remove(&1, &1, numbers[0]), None);
    assert_eq!(queue.remove(&1, &0, numbers[3]), Some((1, 0, 3)));
    assert_eq!(queue.remove(&1, &0, numbers[0]), Some((1, 0, 0)));
    assert_eq!(queue.remove(&1, &1, other), Some((1, 1, 4)));
    assert_eq!(queue.lock().groups.length(), 1);
    assert_eq!([queue.pop(), queue.pop()], [Some((1, 0, 2)), Some((1, 0, 1))]);
    assert!(is_forgotten(&queue));
}

#[test]
fn a_closed_queue_has_nothing_takes_nothing_and_keeps_nobody_waiting() {
    let queue = Arc::new(Queue::<u8, u8, Arc<()>>::new(10));
    let item = Arc::new(());
    let waiting = {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || while queue.pop().is_some() {})
    };
    queue.push(1, 1, Arc::clone(&item), Patience::Refusable).unwrap();
    queue.close();
    waiting.join().unwrap();
    assert_eq!(Arc::strong_count(&item), 1);
    assert!(queue.push(1, 1, item, Patience::Unbounded).is_err());
    assert!(queue.pop().is_none() && is_forgotten(&queue));
}

proptest! {
    #[test]
    fn no_item_is_lost_the_queue_is_bounded_and_no_lane_waits_longer_than_a_round(
        steps in prop::collection::vec((any::<bool>(), 0..5_u8, 0..4_u8), 1..200),
        capacity in 1..12_usize,
    ) {
        let queue = Queue::new(capacity);
        let mut waiting: HashMap<(u8, u8), Vec<usize>> = HashMap::new();
        // How often other groups, and other lanes of the group, were served since a lane began to wait or was served.
        type Counts = HashMap<u8, usize>;
        let mut served: HashMap<(u8, u8), (Counts, Counts)> = HashMap::new();
        for (number, (is_push, group, lane)) in steps.into_iter().enumerate() {
            let count = |waiting: &HashMap<(u8, u8), Vec<usize>>| waiting.values().map(Vec::len).sum::<usize>();
            if is_push {
                let is_full = count(&waiting) == capacity;
                match push(&queue, (group, lane, number)) {
                    Ok(displaced) => {
                        prop_assert_eq!(displaced.is_some(), is_full);
                        if let Some((group, lane, number)) = displaced {
                            prop_assert_eq!(waiting.get_mut(&(group, lane)).unwrap().pop(), Some(number));
                        }
                        waiting.entry((group, lane)).or_default().push(number);
                    }
                    Err(refused) => {
                        prop_assert!(is_full);
                        prop_assert_eq!(refused, (group, lane, number));
                        let length = |group: u8| -> usize {
                            waiting.iter().filter(|(at, _)| at.0 == group).map(|(_, items)| items.len()).sum()
                        };
                        prop_assert!(length(group) + 1 >= (0..5).map(length).max().unwrap());
                    }
                }
            } else if count(&waiting) > 0 {
                let (group, lane, number) = queue.pop().unwrap();
                prop_assert_eq!(waiting.get_mut(&(group, lane)).unwrap().remove(0), number);
                served.remove(&(group, lane));
                for ((of, at), items) in &waiting {
                    if items.is_empty() || (*of, *at) == (group, lane) {
                        continue;
                    }
                    let (groups, lanes) = served.entry((*of, *at)).or_default();
                    if *of == group {
                        groups.clear();
                        *lanes.entry(lane).or_default() += 1;
                        prop_assert!(lanes[&lane] <= 1, "lane {lane} before {at}");
                    } else {
                        *groups.entry(group).or_default() += 1;
                        prop_assert!(groups[&group] <= 1, "group {group} before {of}");
                    }
                }
            }
            waiting.retain(|_, items| !items.is_empty());
            served.retain(|at, _| waiting.contains_key(at));
            prop_assert!(count(&waiting) <= capacity);
            prop_assert_eq!(count(&waiting), queue.lock().groups.length());
        }
        for _ in 0..waiting.values().map(Vec::len).sum() {
            queue.pop().unwrap();
        }
        prop_assert!(is_forgotten(&queue));
    }
}

#[tokio::test]
async fn a_pool_runs_its_work_and_survives_a_panic() {
    let pool = Pool::<u8, u8>::start("test", 1, 10).unwrap();
    assert_eq!(pool.submit(1, 1, Patience::Refusable, || 42).await, Ok(42));
    let failed = pool.submit(1, 1, Patience::Refusable, || panic!("on purpose")).await;
    assert!(matches!(failed, Err::<(), _>(Error::Internal(_))));
    assert_eq!(pool.submit(1, 1, Patience::Refusable, || 43).await, Ok(43));
}

#[tokio::test]
async fn refused_displaced_or_dropped_work_is_not_run() {
    let pool = Pool::<u8, u8>::start("test", 1, 2).unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let ((go, hold), (started, begun)) = (channel::<()>(), channel());
    let held = pool.submit(0, 0, Patience::Refusable, move || {
        started.send(()).unwrap();
        hold.recv().unwrap();
    });
    begun.recv().unwrap();
    let add = |group| {
        let done = Arc::clone(&done);
        pool.submit(group, 0, Patience::Refusable, move || done.fetch_add(1, Ordering::Relaxed))
    };
    let (first, second) = (add(1), add(1));
    assert_eq!(add(1).await, Err(Error::Overloaded), "refused");
    let third = add(2);
    assert_eq!(second.await, Err(Error::Overloaded), "displaced");
    drop(first);
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(third.await, Ok(0), "the first was not wanted any more");
}

#[tokio::test]
async fn dropping_a_task_removes_its_work_from_the_queue() {
    let pool = Pool::<u8, u8>::start("test", 1, 2).unwrap();
    let ((go, hold), (started, begun)) = (channel::<()>(), channel());
    let held = pool.submit(0, 0, Patience::Refusable, move || {
        started.send(()).unwrap();
        hold.recv().unwrap();
    });
    begun.recv().unwrap();
    let had = Arc::new(());
    for _ in 0..1000 {
        for patience in [Patience::Unbounded, Patience::Refusable] {
            let had = Arc::clone(&had);
            drop(pool.submit(1, 1, patience, move || had));
        }
    }
    assert_eq!(Arc::strong_count(&had), 1);
    assert!(is_forgotten(&pool.0.0));
    go.send(()).unwrap();
    held.await.unwrap();
}

#[tokio::test]
async fn the_threads_of_a_pool_end_with_its_last_handle() {
    let pool = Pool::<u8, u8>::start("test", 2, 2).unwrap();
    let (go, hold) = channel::<()>();
    let (started, begun) = channel();
    let held = pool.submit(0, 0, Patience::Refusable, move || {
        started.send(()).unwrap();
        hold.recv()
    });
    begun.recv().unwrap();
    let queue = Arc::downgrade(&pool.0.0);
    drop(pool.clone());
    assert!(queue.upgrade().is_some());
    drop(pool);
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    while queue.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}
