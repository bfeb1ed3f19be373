//! A place for the waker of one task.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

/// Has the task polled again when others on its thread had their turn, and those that wait for a socket, too. To wake it at once would not
/// do: the runtime looks at sockets only when no task is ready, or after some 61 of them.
pub fn yield_turn(context: &mut Context<'_>) {
    // It is pending once, and is what wakes the task.
    let _ = pin!(tokio::task::yield_now()).poll(context);
}

/// The waker of the task that waits here, if one does.
#[derive(Default)]
pub struct WakerSlot(Cell<Option<Waker>>);

impl WakerSlot {
    /// Keeps the waker of the task that waits from now on.
    pub fn keep(&self, waker: &Waker) {
        let kept = self.0.take().filter(|kept| kept.will_wake(waker));
        self.0.set(Some(kept.unwrap_or_else(|| waker.clone())));
    }

    /// Wakes the task, which waits no longer.
    pub fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

/// The waker of the task of a connection. It stays in its place, unlike others, because each write of a stream needs it.
#[derive(Default)]
pub struct TaskWaker(RefCell<Option<Waker>>);

impl TaskWaker {
    /// Keeps the waker of the task.
    pub fn keep(&self, waker: &Waker) {
        let mut slot = self.0.borrow_mut();
        if !slot.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Wakes the task.
    pub fn wake(&self) {
        if let Some(waker) = &*self.0.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Polls something in the name of the task.
    pub fn poll<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let slot = self.0.borrow();
        poll(&mut Context::from_waker(slot.as_ref().unwrap_or(Waker::noop())))
    }
}
