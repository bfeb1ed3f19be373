//! Permits to do something that only so many tasks may do at a time. The lanes of those that wait have it in turn.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::fair::Lanes;

/// So many permits, and the lanes `K` of tasks that wait for one.
pub struct Permits<K: Clone + Eq + Hash> {
    free: Cell<usize>,
    waiting: RefCell<Lanes<K, Rc<Place>>>,
}

/// A permit, given back when dropped.
pub struct Permit<K: Clone + Eq + Hash>(Rc<Permits<K>>);

/// A place in the queue, given up when dropped.
pub struct Waiting<K: Clone + Eq + Hash> {
    permits: Rc<Permits<K>>,
    lane: K,
    number: u64,
    place: Rc<Place>,
}

#[derive(Default)]
struct Place {
    /// Whether a permit was given to it that has not been taken yet.
    is_called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl<K: Clone + Eq + Hash> Permits<K> {
    /// So many permits.
    pub fn new(count: usize) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(count), waiting: RefCell::default() })
    }

    /// Takes a permit, or a place in the queue for one.
    pub fn take(self: &Rc<Self>, lane: &K) -> Result<Permit<K>, Waiting<K>> {
        // Nothing waits while a permit is free.
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Ok(Permit(Rc::clone(self)));
        }
        let place = Rc::<Place>::default();
        let number = self.waiting.borrow_mut().push(lane.clone(), Rc::clone(&place));
        Err(Waiting { permits: Rc::clone(self), lane: lane.clone(), number, place })
    }

    /// Takes a permit once there is one.
    pub async fn wait(self: &Rc<Self>, lane: &K) -> Permit<K> {
        match self.take(lane) {
            Ok(permit) => permit,
            Err(waiting) => waiting.await,
        }
    }

    /// Gives a permit to the task that is next.
    fn pass_on(&self) {
        let next = self.waiting.borrow_mut().pop();
        let Some(next) = next else { return self.free.set(self.free.get() + 1) };
        next.is_called.set(true);
        if let Some(waker) = next.waker.take() {
            waker.wake();
        }
    }
}

impl<K: Clone + Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl<K: Clone + Eq + Hash> Future for Waiting<K> {
    type Output = Permit<K>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit<K>> {
        if !self.place.is_called.take() {
            *self.place.waker.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Permit(Rc::clone(&self.permits)))
    }
}

impl<K: Clone + Eq + Hash> Drop for Waiting<K> {
    fn drop(&mut self) {
        if self.place.is_called.get() {
            self.permits.pass_on();
        } else {
            self.permits.waiting.borrow_mut().remove(&self.lane, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_called(waiting: &Waiting<&str>) -> bool {
        waiting.place.is_called.get()
    }

    fn wait(permits: &Rc<Permits<&'static str>>, lane: &'static str) -> Waiting<&'static str> {
        permits.take(&lane).err().unwrap()
    }

    #[tokio::test]
    async fn a_waiting_task_gets_a_permit_after_one_of_each_other_lane_and_before_those_that_had_one() {
        let permits = Permits::new(1);
        let held = permits.take(&"acme").ok();
        let mut crowd: Vec<_> = (0..3).map(|_| wait(&permits, "acme")).collect();
        let alone = wait(&permits, "other");
        drop(held);
        assert!(is_called(&crowd[0]) && !is_called(&alone));
        drop(crowd.remove(0).await);
        // It took a step, and goes on after the others.
        crowd.push(wait(&permits, "acme"));
        assert!(is_called(&alone));
        drop(alone);
        for waiting in crowd {
            assert!(is_called(&waiting));
            drop(waiting.await);
        }
        assert_eq!(permits.free.get(), 1);
    }

    #[tokio::test]
    async fn a_permit_that_is_given_to_a_task_that_has_left_goes_to_the_next_and_a_task_that_leaves_leaves_nothing_behind()
     {
        let permits = Permits::new(1);
        let held = permits.take(&"acme").ok();
        let [first, second, third] = [(); 3].map(|()| wait(&permits, "acme"));
        (0..1000).for_each(|_| drop(wait(&permits, "acme")));
        drop(second);
        drop(held);
        assert!(is_called(&first));
        drop(first);
        assert!(is_called(&third) && permits.waiting.borrow().is_empty());
        drop(third.await);
        assert_eq!(permits.free.get(), 1);
    }
}
