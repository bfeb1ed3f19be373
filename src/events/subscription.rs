use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::channel::{Found, JOINED_BYTES};
use super::frame::write_frame;
use super::hub::{Hub, Seat, Session};
use super::relay::Relay;
use crate::clock::Clock;
use crate::domain::{EventFilter, Position, TenantName, Timestamp};
use crate::error::Error;
use crate::store::{Replay, Store};

/// What keeps a quiet stream alive: a comment without a blank line after it, since `broker-client` 0.0.8 would take
/// `:\n\n` for an event.
pub const HEARTBEAT: Bytes = Bytes::from_static(b":\n");
/// How often it is sent; the contract allows 15 s.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(12);

/// One listener: a position in the order of all events, and how it gets on from there.
///
/// New, it stands before the first event; reconnecting, at its `Last-Event-ID`; having read too slowly, at what it was
/// last given. All three replay what changed since, from the store, and go on live. It keeps no queue: whoever does not
/// read costs nothing but the position.
pub struct Subscription {
    seat: Seat,
    filter: EventFilter,
    position: Position,
    state: State,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: Pin<Box<Sleep>>,
    clock: Clock,
    expires_at: Option<Timestamp>,
    session: Arc<Session>,
}

/// What somebody subscribes to.
pub struct SubscriptionOptions {
    /// Whose events.
    pub tenant: TenantName,
    /// Which of them.
    pub filter: EventFilter,
    /// After which position.
    pub after: Position,
    /// Until when; `None` is for ever.
    pub expires_at: Option<Timestamp>,
}

enum State {
    /// Reading what was missed, on a thread that may block.
    Replaying(JoinHandle<Step>),
    /// Nothing was missed: the channel has all that comes.
    Live,
    Ended,
}

/// One step of a replay, and the replay for the next.
struct Step {
    replay: Replay,
    until: Position,
    /// `None` at the end of the replay.
    bytes: Result<Option<Bytes>, Error>,
}

impl Subscription {
    /// Begins as the options say. Ends with the session.
    pub fn new(hub: &Hub, relay: &Relay, clock: Clock, session: Arc<Session>, options: SubscriptionOptions) -> Self {
        let SubscriptionOptions { tenant, filter, after, expires_at } = options;
        // The seat before the replay: what comes after the replay's end comes to the seat.
        let seat = hub.seat(tenant.clone(), relay);
        let state = replay(hub.store(), tenant, filter.clone(), after);
        let timer = Box::pin(sleep_until(Instant::now()));
        let ended = Box::pin(session.ended().clone().cancelled_owned());
        let mut subscription = Self { seat, filter, position: after, state, ended, timer, clock, expires_at, session };
        subscription.set_timer();
        subscription
    }

    /// The next bytes to send: one or more whole frames, or a heartbeat. `None` when the stream is over.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let next = self.poll_bytes(context);
        // Looked at last: sessions end before the events of their batch can be seen, so whoever has seen one sees this.
        if self.session.ended().is_cancelled() {
            self.state = State::Ended;
            return Poll::Ready(None);
        }
        next
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended.as_mut().poll(context).is_ready() {
            self.state = State::Ended;
        }
        // Before the events: a stream on which there is always something to send must end in time too.
        if self.timer.as_mut().poll(context).is_ready() {
            if self.expires_at.is_some_and(|expires_at| self.clock.now() >= expires_at) {
                self.state = State::Ended;
            } else if !matches!(self.state, State::Ended) {
                self.set_timer();
                return Poll::Ready(Some(HEARTBEAT));
            }
        }
        loop {
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Replaying(step) => {
                    let Poll::Ready(step) = Pin::new(step).poll(context) else { break };
                    if let Some(bytes) = self.stepped(step.map_err(|error| error.to_string())) {
                        return Poll::Ready(Some(bytes));
                    }
                }
                State::Live => {
                    // First the waker, then the look: what comes between the two wakes.
                    self.seat.listener.wait(self.seat.place, context.waker());
                    match self.seat.channel.after(self.position, &self.filter) {
                        Found::Nothing => break,
                        Found::Frames(bytes, position) => {
                            self.position = position;
                            if let Some(bytes) = bytes {
                                return Poll::Ready(Some(bytes));
                            }
                        }
                        Found::Behind => {
                            let (store, tenant) = (self.seat.hub().store(), self.seat.tenant().clone());
                            self.state = replay(store, tenant, self.filter.clone(), self.position);
                        }
                    }
                }
            }
        }
        Poll::Pending
    }

    /// Takes a step of the replay; the bytes it gave.
    fn stepped(&mut self, step: Result<Step, String>) -> Option<Bytes> {
        let failed = match step {
            Ok(Step { replay, until, bytes: Ok(Some(bytes)) }) => {
                let store = self.seat.hub().store().clone();
                self.state = State::Replaying(spawn_step(store, replay, until));
                return (!bytes.is_empty()).then_some(bytes);
            }
            Ok(Step { until, bytes: Ok(None), .. }) => {
                self.position = until;
                self.state = State::Live;
                return None;
            }
            Ok(Step { bytes: Err(error), .. }) => error.to_string(),
            Err(error) => error,
        };
        tracing::error!(tenant = %self.seat.tenant(), error = failed, "a stream ends because its events cannot be read");
        self.state = State::Ended;
        None
    }

    /// To the next heartbeat or the end of the stream's time, whichever is sooner.
    fn set_timer(&mut self) {
        let left = self.expires_at.map(|expires_at| expires_at.since(self.clock.now()));
        let wait = left.map_or(HEARTBEAT_EVERY, |left| left.min(HEARTBEAT_EVERY));
        self.timer.as_mut().reset(Instant::now() + wait);
    }
}

/// Begins to read what changed after a position, up to what is on disk now.
fn replay(store: &Store, tenant: TenantName, filter: EventFilter, after: Position) -> State {
    let until = store.head();
    State::Replaying(spawn_step(store.clone(), Replay::new(tenant, filter, after, until), until))
}

fn spawn_step(store: Store, mut replay: Replay, until: Position) -> JoinHandle<Step> {
    tokio::task::spawn_blocking(move || {
        let events = replay.next(&store, JOINED_BYTES);
        let bytes = events.map(|events| {
            events.map(|events| {
                let mut bytes = BytesMut::new();
                events.iter().for_each(|event| write_frame(&mut bytes, event, store.event_id(event.position)));
                bytes.freeze()
            })
        });
        Step { replay, until, bytes }
    })
}
