//! The connections of a worker that are no requests: they are closed when the server stops.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::ws::Outlet;

/// The connections of a worker, which are closed when the server stops: without that it would wait for them in vain, and their clients
/// would not know that they can come back.
#[derive(Clone, Default)]
pub struct OpenSockets(Rc<RefCell<Table>>);

#[derive(Default)]
struct Table {
    /// Whether the server stops.
    is_closed: bool,
    next: u64,
    outlets: HashMap<u64, Outlet>,
}

pin_project! {
    /// An application, with the place of its connection. An `async` block would have room for the application twice.
    pub struct Placed<A> {
        #[pin]
        application: A,
        _place: Place,
    }
}

impl<A: Future> Future for Placed<A> {
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A::Output> {
        self.project().application.poll(context)
    }
}

/// The place of a connection among those that are open.
pub struct Place {
    open: OpenSockets,
    number: u64,
}

impl OpenSockets {
    /// Adds a connection, until what is returned is dropped.
    pub fn add(&self, outlet: &Outlet) -> Place {
        let table = &mut *self.0.borrow_mut();
        let number = table.next;
        table.next += 1;
        if table.is_closed {
            outlet.stop();
        }
        table.outlets.insert(number, outlet.clone());
        Place { open: self.clone(), number }
    }

    /// Stops them all, once the server does: each is closed with 1012, but as its protocol says, after what its client has asked for was answered.
    pub async fn close_when(self, stops: impl Future<Output = ()>) {
        stops.await;
        let table = &mut *self.0.borrow_mut();
        table.is_closed = true;
        table.outlets.values().for_each(Outlet::stop);
    }
}

impl Place {
    /// An application that holds the place.
    pub fn with<A>(self, application: A) -> Placed<A> {
        Placed { application, _place: self }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.0.borrow_mut().outlets.remove(&self.number);
    }
}
