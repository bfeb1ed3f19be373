//! The right to catch up, which only so many subscriptions of a worker have at a time: when a thousand come back at once, those
//! who are live must not wait until all of them are served, nor those of another tenant.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::domain::TenantName;
use crate::fair::{Lanes, Patience};

/// The turns of a worker. Tenants get them in turn.
pub struct Turns {
    free: Cell<usize>,
    waiting: RefCell<Lanes<TenantName, Rc<Place>>>,
}

/// The right itself, given back when dropped.
pub struct Turn(Rc<Turns>);

/// A place in the queue, given up when dropped.
pub struct Waiting {
    turns: Rc<Turns>,
    place: Rc<Place>,
}

struct Place {
    state: Cell<State>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    /// The turn is given to it, and has not been taken yet.
    Called,
    /// Nobody stands here any more.
    Left,
}

impl Turns {
    /// So many of them.
    pub fn new(count: usize) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(count), waiting: RefCell::default() })
    }

    /// Takes a turn, or a place in the queue for one. Who goes on with something has the first place of their tenant.
    pub fn take(self: &Rc<Self>, tenant: &TenantName, goes_on: bool) -> Result<Turn, Waiting> {
        // Where there are some free nobody waits.
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Ok(Turn(Rc::clone(self)));
        }
        let place = Rc::new(Place { state: Cell::new(State::Waits), waker: RefCell::new(None) });
        let patience = if goes_on { Patience::Unbounded } else { Patience::Refusable };
        self.waiting.borrow_mut().push(tenant.clone(), Rc::clone(&place), patience);
        Err(Waiting { turns: Rc::clone(self), place })
    }

    /// Whether somebody of another tenant may wait.
    pub fn others_wait(&self, tenant: &TenantName) -> bool {
        self.waiting.borrow().has_other(tenant)
    }

    /// Gives a turn to who is next.
    fn pass_on(&self) {
        loop {
            let Some(next) = self.waiting.borrow_mut().pop() else {
                self.free.set(self.free.get() + 1);
                return;
            };
            if next.state.get() == State::Waits {
                next.state.set(State::Called);
                if let Some(waker) = next.waker.take() {
                    waker.wake();
                }
                return;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Future for Waiting {
    type Output = Turn;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn> {
        if self.place.state.get() != State::Called {
            *self.place.waker.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.place.state.set(State::Left);
        Poll::Ready(Turn(Rc::clone(&self.turns)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.place.state.replace(State::Left) == State::Called {
            self.turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_called(waiting: &Waiting) -> bool {
        waiting.place.state.get() == State::Called
    }

    #[test]
    fn one_of_another_tenant_waits_for_one_turn_of_a_crowd() {
        let turns = Turns::new(1);
        let [acme, other] = ["acme", "other"].map(|name| TenantName::parse(name).unwrap());
        let mut held = turns.take(&acme, false).ok();
        assert!(held.is_some() && !turns.others_wait(&acme));
        let crowd: Vec<_> = (0..100).map(|_| turns.take(&acme, false).err().unwrap()).collect();
        let alone = turns.take(&other, false).err().unwrap();
        assert!(turns.others_wait(&acme));
        drop(held.take());
        assert!(is_called(&crowd[0]) && !is_called(&alone));
        // It has had a step, and goes on after the others, but before its own.
        drop(crowd);
        assert!(is_called(&alone));
        let crowd = [false, true].map(|goes_on| turns.take(&acme, goes_on).err().unwrap());
        drop(alone);
        assert!(is_called(&crowd[1]) && !is_called(&crowd[0]));
    }

    #[tokio::test]
    async fn a_turn_that_is_given_to_who_has_left_goes_to_the_next_and_none_is_lost() {
        let turns = Turns::new(1);
        let acme = TenantName::parse("acme").unwrap();
        let held = turns.take(&acme, false).ok();
        let [first, second, third] = [(); 3].map(|()| turns.take(&acme, false).err().unwrap());
        drop(second);
        drop(held);
        assert!(is_called(&first));
        drop(first);
        assert!(is_called(&third));
        drop(third.await);
        assert_eq!(turns.free.get(), 1);
        assert!(!turns.others_wait(&TenantName::parse("other").unwrap()));
    }
}
