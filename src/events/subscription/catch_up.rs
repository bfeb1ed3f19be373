use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::reads::Next;
use super::state::{Phase, Subscription};
use crate::domain::{Position, TenantName};
use crate::events::ending::End;
use crate::events::permits::{Permit, Waiting};
use crate::events::subscribe_request::HandOver;
use crate::events::subscriber::Subscriber;

/// The task of one subscription: catches up whenever the subscription is not live, and notices when its client has gone.
///
/// A step on this thread is taken with a permit of its tenant's, which is given back in the same poll. The task has no permit while it
/// waits for a step that others take: threads that read, or that fill a channel's memory.
#[must_use = "the stream ends if it is not run"]
pub struct CatchUp {
    subscription: Rc<Subscription>,
    /// Its place in the queue for a permit, while it stands in it. In a box, since each stream has one of these tasks.
    queue: Option<Box<Waiting<TenantName>>>,
}

impl Future for CatchUp {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let subscription = Rc::clone(&self.subscription);
        subscription.keep(context.waker());
        if subscription.sink.poll_gone(context).is_ready() {
            subscription.end(End::Gone);
        }
        loop {
            // Looked at after whatever was read and before it is written: streams end before the events of their commit can be seen.
            if subscription.is_over() {
                subscription.end(End::Revoked);
                return Poll::Ready(());
            }
            if !self.may_write(&subscription, context) {
                self.queue = None;
                return Poll::Pending;
            }
            if subscription.write_rest() {
                // Others on this thread have something to write too.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.step(&subscription, context));
            if subscription.rest.borrow().is_empty() && subscription.phase.get() == Phase::CatchingUp {
                // It may have looked at many events of which it wants none, and others on this thread have something to do too.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        // However it ends: nothing else would notice that the client has gone.
        self.subscription.end(End::Gone);
    }
}

impl CatchUp {
    pub(super) fn new(subscription: Rc<Subscription>) -> Self {
        Self { subscription, queue: None }
    }

    /// Up to where everything has been given; `None` of a stream that is not live, or has ended.
    pub fn stands_at(&self) -> Option<Position> {
        let subscription = &self.subscription;
        let is_live = matches!(subscription.phase.get(), Phase::Live(_)) && subscription.rest.borrow().is_empty();
        (is_live && !subscription.is_over()).then(|| subscription.passed())
    }

    /// Ends the stream if it is live, so that another one can go on from where it stands: everything up to there has been given. `None` if
    /// it is not, or has ended; a stream that is not live yet goes on.
    pub fn hand_over(&self) -> Option<HandOver> {
        let (subscription, position) = (&self.subscription, self.stands_at()?);
        subscription.end(End::Gone);
        let (filter, changes) = (subscription.view().filter, subscription.changes_asked.get());
        Some(HandOver { position, filter, changes })
    }

    /// Whether it is this task that writes, and the sink may take something.
    fn may_write(&self, subscription: &Subscription, context: &mut Context<'_>) -> bool {
        match subscription.phase.get() {
            Phase::Live(_) | Phase::Ended => false,
            Phase::CatchingUp => true,
            Phase::Blocked => {
                let is_ready = subscription.sink.poll_ready(context).is_ready();
                if is_ready {
                    subscription.phase.set(Phase::CatchingUp);
                }
                is_ready
            }
        }
    }

    /// Takes the next step.
    fn step(&mut self, subscription: &Rc<Subscription>, context: &mut Context<'_>) -> Poll<()> {
        // Given back when this returns, whatever comes of it.
        let _permit = if subscription.is_step_here() {
            ready!(self.poll_permit(subscription, context))
        } else {
            self.queue = None;
            None
        };
        // A step that is being read comes first: until it has been taken, others of the tenant wait.
        if !subscription.reads.borrow().is_running() && subscription.tell_presence() {
            return Poll::Ready(());
        }
        let next = subscription.reads.borrow().next();
        match next {
            Next::Nothing => subscription.give_new(),
            Next::Anew(reason) => subscription.begin_anew(reason),
            Next::Memory(until, is_filled) => subscription.give_from_memory(until, is_filled),
            Next::Store(until) => {
                subscription.read_missed(until);
                ready!(subscription.poll_read(context));
            }
            Next::Asked => {
                subscription.read_asked();
                ready!(subscription.poll_read(context));
            }
            Next::Wait => ready!(subscription.poll_read(context)),
        }
        Poll::Ready(())
    }

    /// Waits for a permit; `None` if the worker has ended.
    fn poll_permit(
        &mut self,
        subscription: &Subscription,
        context: &mut Context<'_>,
    ) -> Poll<Option<Permit<TenantName>>> {
        let Some(worker) = subscription.worker.upgrade() else { return Poll::Ready(None) };
        let mut waiting = match self.queue.take() {
            Some(waiting) => waiting,
            None => match worker.permits().take(subscription.group().subscriptions.guard.tenant()) {
                Ok(permit) => return Poll::Ready(Some(permit)),
                Err(waiting) => Box::new(waiting),
            },
        };
        let permit = Pin::new(&mut *waiting).poll(context);
        if permit.is_pending() {
            self.queue = Some(waiting);
        }
        permit.map(Some)
    }
}
