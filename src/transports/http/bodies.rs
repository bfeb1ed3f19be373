//! Bodies of requests as they arrive, and how much memory all of them may take that are waited for.
//!
//! Closes this fault: a body that never ends is kept until its time is up, and whoever has many connections would have as much
//! memory as they like, without a password. So a body is only read in somebody's name ([`Sender`]), and counts for them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use futures_util::StreamExt;

use super::extract::no_services;
use super::socket::Socket;
use crate::domain::{Network, Username};
use crate::error::Error;

/// How long a body may take to arrive; actix itself limits only the head.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// What bodies may take together that nobody has signed in for, in bytes.
const OF_STRANGERS: usize = 24 << 20;
/// What those of users may take together.
const OF_USERS: usize = 40 << 20;
/// One in so many bytes of either may be of the same network, or the same user.
const PART_OF_ONE: usize = 4;
/// So much of each is not counted: less than what its connection takes anyway. A sign-in is seldom more, so it can always be read.
const UNCOUNTED: usize = 1 << 10;

/// In whose name a body is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// Somebody of this network who has not signed in; `None` if the address may be everybody's.
    Stranger(Option<Network>),
    /// A user.
    User(Username),
}

/// What the bodies take that are waited for: a cheap clone, on all workers the same.
#[derive(Clone)]
pub struct Bodies(Arc<Shares>);

/// Those whom nobody knows cannot keep out those who have signed in.
struct Shares {
    strangers: Mutex<Share>,
    users: Mutex<Share>,
}

struct Share {
    most: usize,
    held: usize,
    by_sender: HashMap<Sender, usize>,
}

/// What one body has of its share, until it is dropped.
struct Held {
    bodies: Bodies,
    sender: Sender,
    bytes: usize,
}

impl Default for Bodies {
    fn default() -> Self {
        Self::of(OF_STRANGERS, OF_USERS)
    }
}

impl Bodies {
    fn of(strangers: usize, users: usize) -> Self {
        let share = |most| Mutex::new(Share { most, held: 0, by_sender: HashMap::new() });
        Self(Arc::new(Shares { strangers: share(strangers), users: share(users) }))
    }

    fn share(&self, sender: &Sender) -> MutexGuard<'_, Share> {
        let share = match sender {
            Sender::Stranger(_) => &self.0.strangers,
            Sender::User(_) => &self.0.users,
        };
        share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, sender: Sender) -> Held {
        Held { bodies: self.clone(), sender, bytes: 0 }
    }
}

impl Held {
    /// Takes so much of the share in all.
    fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        let more = bytes.saturating_sub(UNCOUNTED).saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut share = self.bodies.share(&self.sender);
        let of_sender = share.by_sender.get(&self.sender).copied().unwrap_or_default() + more;
        let is_one = self.sender != Sender::Stranger(None);
        if share.held + more > share.most || is_one && of_sender > share.most / PART_OF_ONE {
            return Err(Error::Overloaded);
        }
        share.held += more;
        share.by_sender.insert(self.sender.clone(), of_sender);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut share = self.bodies.share(&self.sender);
        share.held -= self.bytes;
        if let Some(of_sender) = share.by_sender.get_mut(&self.sender) {
            *of_sender -= self.bytes;
            if *of_sender == 0 {
                share.by_sender.remove(&self.sender);
            }
        }
    }
}

/// Whether a request of HTTP/1 has a body (RFC 9112, section 6.3).
pub fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// A body of which nothing has been read.
pub struct Unread {
    payload: Payload,
    length: Option<usize>,
    bodies: Option<Bodies>,
    /// Where it comes on, with HTTP/1.
    socket: Option<Socket>,
}

/// A whole body.
pub struct Body {
    text: String,
    held: Held,
}

impl Unread {
    /// Takes the body of a request.
    pub fn of(request: &HttpRequest, payload: &mut Payload) -> Self {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let (bodies, socket) = (request.app_data::<Bodies>().cloned(), request.conn_data::<Socket>().cloned());
        Self { payload: payload.take(), length, bodies, socket }
    }

    /// Reads all of it, as text.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] for more than `max_bytes`, before anything is read where it can be known; [`Error::Overloaded`] if
    /// there is too much that has not arrived yet; [`Error::RequestTimeout`]; [`Error::BodyInvalid`].
    pub async fn read(self, sender: Sender, max_bytes: usize) -> Result<Body, Error> {
        let Self { payload, length, bodies, socket } = self;
        let mut held = bodies.ok_or_else(no_services)?.hold(sender);
        if length.is_some_and(|length| length > max_bytes) {
            return Err(Error::BodyTooLarge(max_bytes));
        }
        let reading = read(payload, max_bytes, &mut held);
        let body = tokio::time::timeout(BODY_WITHIN, reading).await.map_err(|_| Error::RequestTimeout)??;
        if let Some(socket) = socket {
            socket.heads().body_ended();
        }
        let text = String::from_utf8(body).map_err(|_| Error::BodyInvalid("it is not UTF-8".to_owned()))?;
        Ok(Body { text, held })
    }
}

async fn read(mut payload: Payload, max_bytes: usize, held: &mut Held) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    loop {
        let next = poll_fn(|context| match payload.poll_next_unpin(context) {
            Poll::Ready(next) => Poll::Ready(Ok(next)),
            // Only what is waited for counts: what is here already is read in one go, and is gone again before anybody else's is.
            Poll::Pending => {
                held.hold(body.capacity()).map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
            }
        });
        let Some(chunk) = next.await? else { return Ok(body) };
        let chunk = chunk.map_err(|_| Error::BodyInvalid("it was cut off".to_owned()))?;
        let length = body.len() + chunk.len();
        if length > max_bytes {
            return Err(Error::BodyTooLarge(max_bytes));
        }
        if length > body.capacity() {
            // Doubled, or it would be moved with each chunk, and no more than it may ever need.
            let capacity = (2 * body.capacity()).clamp(length, max_bytes);
            body.reserve_exact(capacity - body.len());
        }
        body.extend_from_slice(&chunk);
    }
}

impl Body {
    /// Counts it from here on, where something else is waited for with it in hand.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    pub fn hold(&mut self) -> Result<(), Error> {
        self.held.hold(self.text.capacity())
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
    use super::*;

    fn stranger(last: u8) -> Sender {
        Sender::Stranger(Some(Network::of([192, 0, 2, last].into())))
    }

    fn user(name: &str) -> Sender {
        Sender::User(Username::parse(name).unwrap())
    }

    #[test]
    fn strangers_cannot_keep_out_users_nor_one_of_either_the_others_and_all_is_given_back() {
        const MOST: usize = 400 << 10;
        let bodies = Bodies::of(MOST, MOST);
        let body = |sender: &Sender| {
            let mut held = bodies.hold(sender.clone());
            held.hold((10 << 10) + UNCOUNTED).map(|()| held)
        };
        for of_one in [stranger as fn(u8) -> Sender, |last| user(&format!("user{last}"))] {
            let mut all = Vec::new();
            // A quarter each, so there are four of them.
            for last in 0..5 {
                let of_one: Vec<_> = (0..15).map_while(|_| body(&of_one(last)).ok()).collect();
                assert_eq!(of_one.len(), if last < 4 { 10 } else { 0 }, "{last}");
                all.push(of_one);
            }
            all.remove(2);
            assert!(body(&of_one(2)).is_ok() && body(&of_one(3)).is_err());
            std::mem::forget(all);
        }
        let bodies = Bodies::of(MOST, MOST);
        let mut held = bodies.hold(Sender::Stranger(None));
        for bytes in [100, UNCOUNTED, UNCOUNTED + 1, MOST, MOST + UNCOUNTED] {
            assert!(held.hold(bytes).is_ok());
        }
        assert_eq!(held.hold(MOST + UNCOUNTED + 1), Err(Error::Overloaded));
        // It has what it had.
        assert_eq!(bodies.share(&held.sender).held, MOST);
        drop(held);
        let share = bodies.share(&Sender::Stranger(None));
        assert_eq!((share.held, share.by_sender.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_body_that_is_waited_for_counts_what_it_takes_and_is_given_back_however_it_ends() {
        let bodies = Bodies::of(1 << 20, 1 << 20);
        let held = || bodies.share(&user("alice")).held;
        let (send, receive) = tokio::sync::mpsc::unbounded_channel();
        let payload = futures_util::stream::unfold(receive, |mut receive| async {
            receive.recv().await.map(|chunk: bytes::Bytes| (Ok(chunk), receive))
        });
        let payload = Payload::Stream { payload: Box::pin(payload) as _ };
        let unread = Unread { payload, length: None, bodies: Some(bodies.clone()), socket: None };
        let mut reading = Box::pin(unread.read(user("alice"), 600 << 10));
        assert!(futures_util::poll!(reading.as_mut()).is_pending());
        for chunk in 1..=10 {
            send.send(vec![b'x'; 10 << 10].into()).unwrap();
            assert!(futures_util::poll!(reading.as_mut()).is_pending());
            let received = chunk * (10 << 10);
            assert!((received - UNCOUNTED..=2 * received).contains(&held()), "{received} received, {} held", held());
        }
        // A user may have a quarter.
        send.send(vec![b'x'; 200 << 10].into()).unwrap();
        assert_eq!(reading.await.err(), Some(Error::Overloaded));
        assert_eq!(held(), 0);
    }
}
