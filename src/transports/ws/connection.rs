//! The task of a connection.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};

use super::duplex::Duplex;
use super::inlet::Inlet;
use super::outlet::Outlet;
use super::settings::Settings;
use super::shared::{Phase, Shared};

pin_project! {
    /// The work on a connection, until it has ended. It stays on its thread.
    #[must_use = "nothing happens unless it is run"]
    pub struct Run<A> {
        #[pin]
        application: Option<A>,
        #[pin]
        timer: Sleep,
        shared: Rc<Shared>,
    }

    impl<A> PinnedDrop for Run<A> {
        fn drop(this: Pin<&mut Self>) {
            this.project().shared.end_now();
        }
    }
}

/// Has an application run on a connection. `head`, the answer to the handshake, is sent first; `received` is what the client has sent
/// behind its handshake.
///
/// When the application returns, the connection is closed with 1000, or with 1012 if it was [stopped](Outlet::stop), unless it has been
/// closed. When the connection has ended, the
/// application is dropped, whatever it is doing, after it was polled once more: what must be done in any case belongs in a `Drop`.
pub fn run<A: Future<Output = ()>>(
    socket: Box<dyn Duplex>,
    head: Vec<u8>,
    received: impl Into<Bytes>,
    settings: Settings,
    application: impl FnOnce(Inlet, Outlet) -> A,
) -> Run<A> {
    let shared = Rc::new(Shared::new(socket, head, received.into(), settings));
    let application = application(Inlet::new(Rc::clone(&shared)), Outlet::new(Rc::clone(&shared)));
    Run { application: Some(application), timer: sleep_until(shared.due()), shared }
}

impl<A: Future<Output = ()>> Future for Run<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut run = self.project();
        let shared = run.shared;
        shared.set_polled(true, context);
        loop {
            let phase = shared.phase();
            shared.advance(context);
            let told = shared.stuck();
            if run.application.as_mut().as_pin_mut().is_some_and(|application| application.poll(context).is_ready()) {
                run.application.set(None);
                shared.close_after_application();
            }
            shared.poll_rest(context);
            // What the application has queued goes out together, and the answers to pings that came meanwhile.
            shared.advance(context);
            // After that, so that replies to a client that takes them count nowhere.
            shared.count_memory(context);
            poll_timer(run.timer.as_mut(), shared, context);
            // In a new phase there is something else to wait for.
            if shared.phase() == phase && !shared.has_to_tell(told) {
                break;
            }
        }
        shared.set_polled(false, context);
        if shared.phase() == Phase::Ended {
            run.application.set(None);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

fn poll_timer(mut timer: Pin<&mut Sleep>, shared: &Shared, context: &mut Context<'_>) {
    while shared.phase() != Phase::Ended {
        let due = shared.due();
        if due < timer.deadline() || timer.is_elapsed() {
            // One that is later is looked at when the timer fires, and not each time that something was read.
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(context).is_pending() {
            return;
        }
        shared.on_time();
        shared.advance(context);
    }
}
