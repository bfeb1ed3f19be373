//! Guards the table of guesses: what each key may still try, and who waits for a guess under way.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::join_all;

use super::*;

const ALLOWANCE: Allowance = Allowance { burst: 5, refill: Duration::from_secs(10) };

/// A clock that the test moves.
#[derive(Clone, Default)]
struct Time(Arc<Mutex<Duration>>);

impl Time {
    fn pass(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

/// A table that gives out guesses which settle themselves.
struct Rig(Table);

/// A guess, until its result is known.
struct Held {
    rig: Arc<Rig>,
    place: Place,
    was_wrong: bool,
}

impl std::ops::Deref for Rig {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0
    }
}

impl Rig {
    async fn take(self: &Arc<Self>, key: impl Hash) -> Result<Held, Error> {
        let place = self.0.take(key).await?;
        Ok(Held { rig: Arc::clone(self), place, was_wrong: false })
    }
}

impl Held {
    fn was_wrong(mut self) {
        self.was_wrong = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.rig.settle(self.place, self.was_wrong);
    }
}

fn table() -> (Arc<Rig>, Time) {
    let time = Time::default();
    let clock = time.clone();
    (Arc::new(Rig(Table::with_clock(ALLOWANCE, 4, Box::new(move || *clock.0.lock().unwrap())))), time)
}

/// How many of this many wrong guesses are allowed, one after another.
async fn let_through(table: &Arc<Rig>, key: impl Hash + Copy, guesses: usize) -> usize {
    let mut let_through = 0;
    for _ in 0..guesses {
        if let Ok(held) = table.take(key).await {
            held.was_wrong();
            let_through += 1;
        }
    }
    let_through
}

#[tokio::test]
async fn wrong_guesses_are_regained_one_by_one_and_right_ones_never_count() {
    let (table, time) = table();
    for _ in 0..100 {
        drop(table.take("zoe").await.unwrap());
    }
    assert_eq!(let_through(&table, "zoe", 100).await, 5);
    assert_eq!(table.take("zoe").await.err(), Some(Error::TooManyAttempts(10)));
    time.pass(Duration::from_secs(4));
    assert_eq!(table.take("zoe").await.err(), Some(Error::TooManyAttempts(6)));
    time.pass(Duration::from_secs(16));
    assert_eq!(let_through(&table, "zoe", 100).await, 2);
    time.pass(Duration::from_secs(1000));
    assert_eq!(let_through(&table, "zoe", 100).await, 5);
}

/// If a guess takes longer to check than an allowance takes to refill, it adds nothing to the allowance.
#[tokio::test]
async fn guesses_under_way_for_long_do_not_make_the_allowance_larger() {
    let (table, time) = table();
    let under_way = join_all((0..5).map(|_| table.take("zoe"))).await;
    time.pass(Duration::from_secs(1000));
    let mut later = Box::pin(table.take("zoe"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(later.as_mut().poll(&mut context).is_pending());
    under_way.into_iter().for_each(|held| held.unwrap().was_wrong());
    assert_eq!(later.await.err(), Some(Error::TooManyAttempts(10)));
}

#[tokio::test]
async fn no_number_of_other_keys_makes_a_used_bucket_be_forgotten() {
    let (table, time) = table();
    assert_eq!(let_through(&table, "zoe", 10).await, 5);
    let under_way = table.take("max").await.unwrap();
    for other in 0..10_000 {
        let _ = let_through(&table, other, 1).await;
    }
    assert_eq!(let_through(&table, "zoe", 10).await, 0);
    under_way.was_wrong();
    assert_eq!(let_through(&table, "max", 10).await, 4);
    time.pass(Duration::from_secs(60));
    assert_eq!(let_through(&table, "zoe", 10).await, 5, "it has come back by now, and not twice");
}

#[tokio::test]
async fn a_key_that_shared_a_bucket_has_no_second_one_of_its_own() {
    let (table, time) = table();
    for other in 0..1000 {
        let _ = let_through(&table, other, 1).await;
    }
    let first = let_through(&table, "zoe", 10).await;
    // The other buckets have refilled, but the shared one has not.
    time.pass(Duration::from_secs(11));
    assert!(first + let_through(&table, "zoe", 10).await <= 6);
}

/// As many as can be made: with tables of the real size, thousands per second.
#[tokio::test]
async fn guesses_at_many_keys_do_not_use_up_those_of_all_others() {
    let (table, time) = table();
    for _ in 0..60 {
        for other in 0..10 {
            let name = (other, crate::random::bytes::<8>());
            let _ = let_through(&table, name, 1).await;
        }
        time.pass(Duration::from_secs(1));
    }
    let mut refused = 0;
    for honest in 0..100 {
        refused += u8::from(table.take(("honest", honest)).await.is_err());
    }
    assert!(refused < 5, "{refused}");
}

#[tokio::test]
async fn memory_is_bounded() {
    let (table, _) = table();
    for other in 0..50_000 {
        let _ = let_through(&table, other, 1).await;
    }
    for set in &table.sets {
        let set = set.lock().unwrap();
        assert_eq!((set.own.len(), set.shared.len()), (OWN, SHARED));
    }
    assert!((OWN + SHARED) * size_of::<Bucket>() <= 2 << 10, "{}", size_of::<Bucket>());
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that waits for a guess at one key, and how often it was woken.
struct Waiter {
    take: Pin<Box<dyn Future<Output = Result<Held, Error>>>>,
    woken: Arc<Count>,
}

impl Waiter {
    fn begin(table: &Arc<Rig>) -> Self {
        let table = Arc::clone(table);
        let take = Box::pin(async move { table.take("zoe").await });
        let mut waiter = Self { take, woken: Arc::default() };
        assert!(waiter.poll().is_pending());
        waiter
    }

    fn poll(&mut self) -> Poll<Result<Held, Error>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.take.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Ordering::Relaxed)
    }
}

fn waiters(table: &Arc<Rig>, count: u32) -> Vec<Waiter> {
    (0..count).map(|_| Waiter::begin(table)).collect()
}

#[tokio::test]
async fn a_guess_with_a_result_wakes_one_waiter() {
    let (table, _) = table();
    let mut under_way = join_all((0..5).map(|_| table.take("zoe"))).await;
    let mut waiters = waiters(&table, WAITING);
    let woken = |waiters: &[Waiter]| waiters.iter().map(Waiter::woken).sum::<usize>();
    assert_eq!(table.take("zoe").await.err(), Some(Error::Overloaded), "a small number waits");
    drop(under_way.pop());
    assert_eq!((woken(&waiters), waiters[0].woken()), (1, 1));
    let Poll::Ready(Ok(held)) = waiters[0].poll() else { panic!("the first who waits is the next") };
    // A waiter that gives up wakes the next one, which finds nothing.
    assert_eq!((woken(&waiters), waiters[1].woken()), (2, 1));
    assert!(waiters[1].poll().is_pending());
    assert_eq!(woken(&waiters), 2);
    held.was_wrong();
    assert_eq!((woken(&waiters), waiters[2].woken()), (3, 1));
    assert!(waiters[2].poll().is_pending(), "that was wrong, and has left no room");
}

#[tokio::test]
async fn a_woken_waiter_that_gives_up_wakes_the_next_one() {
    let (table, _) = table();
    let under_way = join_all((0..5).map(|_| table.take("zoe"))).await;
    let mut waiters = waiters(&table, 3);
    drop(under_way);
    assert_eq!(waiters[0].woken(), 1);
    drop(waiters.remove(0));
    assert_eq!(waiters[0].woken(), 1);
    assert!(waiters[0].poll().is_ready());
    assert!(waiters[1].poll().is_ready());
}

#[tokio::test]
async fn all_waiters_are_refused_after_all_guesses_were_wrong_and_none_waits_forever() {
    let (table, _) = table();
    let under_way = join_all((0..5).map(|_| table.take("zoe"))).await;
    let waiting: Vec<_> = (0..WAITING)
        .map(|_| {
            let table = Arc::clone(&table);
            tokio::spawn(async move { table.take("zoe").await.map(Held::was_wrong) })
        })
        .collect();
    while table.lock(table.hasher.hash_one("zoe") as usize & 3).own[0].waiting < WAITING {
        tokio::task::yield_now().await;
    }
    under_way.into_iter().for_each(|held| held.unwrap().was_wrong());
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Err(Error::TooManyAttempts(10)));
    }
    let set = table.lock(table.hasher.hash_one("zoe") as usize & 3);
    assert!(set.own[0].settled.is_none() && set.own[0].waiting == 0);
}

#[tokio::test]
async fn concurrent_right_guesses_are_all_allowed_one_after_another() {
    let (table, _) = table();
    let come = (0..60).map(|_| {
        let table = Arc::clone(&table);
        tokio::spawn(async move {
            let held = table.take("zoe").await?;
            tokio::task::yield_now().await;
            drop(held);
            Ok::<_, Error>(())
        })
    });
    for come in come.collect::<Vec<_>>() {
        assert_eq!(come.await.unwrap(), Ok(()));
    }
}
