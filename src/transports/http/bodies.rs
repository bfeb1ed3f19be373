//! Request bodies, and how much memory the unfinished ones may take.
//!
//! Closes this fault: an unfinished body is kept until its timeout, so a client with many connections could take any
//! amount of memory without a password. A body is only read in somebody's name ([`Sender`]), and counts for them.

mod buffer;
mod messages;
mod shares;

use std::future::poll_fn;
use std::ops::Deref;
use std::task::Poll;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest};
use futures_util::StreamExt;

use super::request::no_services;
use crate::error::Error;

use buffer::{Buffer, Text};
pub use messages::MessageMemory;
use shares::Held;
pub use shares::{Bodies, Sender};

/// Time limit for a body; actix itself limits only the head.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// The bytes of a request's head that are charged while its body is awaited; 0 if not set.
#[derive(Clone, Copy, Default)]
pub struct HeadBytes(pub usize);

/// A body that has not been read.
pub struct Unread {
    payload: Payload,
    length: Option<usize>,
    head: HeadBytes,
    bodies: Option<Bodies>,
}

/// A complete body.
pub struct Body {
    text: Text,
    held: Held,
}

impl Unread {
    /// Takes the body out of a request.
    pub fn of(request: &HttpRequest, payload: &mut Payload) -> Self {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let head = request.extensions().get().copied().unwrap_or_default();
        Self { payload: payload.take(), length, head, bodies: request.app_data::<Bodies>().cloned() }
    }

    /// Reads all of it as text.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] for more than `max_bytes`, before anything is read where it can be known; [`Error::Overloaded`] if
    /// there is too much that has not arrived yet; [`Error::RequestTimeout`]; [`Error::BodyInvalid`].
    pub async fn read(self, sender: Sender, max_bytes: usize) -> Result<Body, Error> {
        let Self { payload, length, head, bodies } = self;
        // A client that has not signed in sends a password or the admin token.
        let buffer = Buffer::new(matches!(sender, Sender::Stranger(..)));
        let mut held = bodies.ok_or_else(no_services)?.hold(sender);
        if length.is_some_and(|length| length > max_bytes) {
            return Err(Error::BodyTooLarge(max_bytes));
        }
        let reading = read(payload, buffer, max_bytes, head, &mut held);
        let body = tokio::time::timeout(BODY_WITHIN, reading).await.map_err(|_| Error::RequestTimeout)??;
        let text = body.into_text().ok_or_else(|| Error::BodyInvalid("it is not UTF-8".to_owned()))?;
        Ok(Body { text, held })
    }
}

async fn read(
    mut payload: Payload,
    mut body: Buffer,
    max_bytes: usize,
    HeadBytes(head): HeadBytes,
    held: &mut Held,
) -> Result<Buffer, Error> {
    loop {
        let next = poll_fn(|context| match payload.poll_next_unpin(context) {
            Poll::Ready(next) => Poll::Ready(Ok(next)),
            // Only bodies that are awaited count: data that is already here is read in one go, before any other body
            // is.
            Poll::Pending => {
                let held = held.hold(head + body.capacity()).map(|()| held.poll_displaced(context));
                match held {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(())) => Poll::Ready(Err(Error::Overloaded)),
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
        });
        let Some(chunk) = next.await? else { return Ok(body) };
        let chunk = chunk.map_err(|_| Error::BodyInvalid("it was cut off".to_owned()))?;
        if !body.push(chunk, max_bytes) {
            return Err(Error::BodyTooLarge(max_bytes));
        }
    }
}

impl Body {
    /// Does something with the body that may take long, while it counts.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there is no room for it any more; those of what is done.
    pub async fn during<T>(&mut self, act: impl AsyncFnOnce(&str) -> Result<T, Error>) -> Result<T, Error> {
        let Self { text, held } = self;
        held.hold(text.capacity())?;
        held.during(act(text)).await
    }
}

impl Deref for Body {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::shares::UNCOUNTED;
    use super::*;
    use crate::domain::{TenantName, Username};

    #[tokio::test]
    async fn a_body_that_is_waited_for_counts_what_it_and_its_head_take_and_is_given_back_however_it_ends() {
        let bodies = Bodies::of(256 << 10, 256 << 10);
        let alice = Sender::User(TenantName::parse("acme").unwrap(), Username::parse("alice").unwrap());
        let held = || bodies.held(&alice);
        let (send, receive) = tokio::sync::mpsc::unbounded_channel();
        let payload = futures_util::stream::unfold(receive, |mut receive| async {
            receive.recv().await.map(|chunk: bytes::Bytes| (Ok(chunk), receive))
        });
        let payload = Payload::Stream { payload: Box::pin(payload) as _ };
        let head = 5 << 10;
        let unread = Unread { payload, length: None, head: HeadBytes(head), bodies: Some(bodies.clone()) };
        let mut reading = Box::pin(unread.read(alice.clone(), 600 << 10));
        assert!(futures_util::poll!(reading.as_mut()).is_pending());
        assert_eq!(held(), head - UNCOUNTED);
        for chunk in 1..=10 {
            send.send(vec![b'x'; 10 << 10].into()).unwrap();
            assert!(futures_util::poll!(reading.as_mut()).is_pending());
            let received = chunk * (10 << 10);
            assert!(
                (head + received - UNCOUNTED..=head + 2 * received).contains(&held()),
                "{received} received, {} held",
                held()
            );
        }
        // More than the budget.
        send.send(vec![b'x'; 200 << 10].into()).unwrap();
        assert_eq!(reading.await.err(), Some(Error::Overloaded));
        assert_eq!(held(), 0);
    }
}
