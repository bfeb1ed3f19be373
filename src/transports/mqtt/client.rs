//! A client that is connected.

mod packets;
mod shared;
mod sys;
mod waiting;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::basics::say;
use super::doing::{Doing, Done, With};
use super::inbound::Inbound;
use super::keeping::Keeper;
use super::log;
use super::outbound::{Due, Unnoted};
use super::packet::{Connect, Decoder, Encoder, Packet, Reason, Version};
use super::reading::Reading;
use super::reasons;
use super::sink::Shared;
use super::subscriptions;
use super::weight::{self, MAX_IN_FLIGHT};
use crate::app::{App, HeldSession, Keeping};
use crate::events::{CatchUp, MqttSessionChange, StreamId, WillFate};
use crate::identity::Principal;
use crate::transports::ws::{Inlet, Message, Outlet, yield_turn};

/// How many bytes of answers are made before they are sent.
const ANSWERS_AT_ONCE: usize = 64 << 10;
/// A client without a keep alive is not expected to say anything.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long nothing may be acknowledged before messages of QoS 0 pass the others.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// A connection, and what has come on it.
pub struct Connection {
    /// Where messages come from.
    pub inlet: Inlet,
    /// Where answers go.
    pub outlet: Outlet,
    /// Makes packets of them.
    pub decoder: Decoder,
    /// What has come and is not decoded.
    pub received: Bytes,
}

/// The stream of a client.
pub struct Streaming {
    /// What it is known by.
    pub stream: StreamId,
    /// The work on it.
    pub catch_up: CatchUp,
    /// What its sink shares.
    pub shared: Rc<Shared>,
    /// What the client's own messages are known by.
    pub publisher: u64,
    /// What of its session is on disk.
    pub keeper: Keeper,
    /// Its session, until another connection wants it.
    pub held: HeldSession,
}

/// A client that is connected.
pub struct Client {
    app: App,
    principal: Principal,
    version: Version,
    encoder: Encoder,
    connection: Connection,
    streaming: Streaming,
    /// What was asked for and is not done yet, in that order; each with what it weighs.
    doing: VecDeque<(Doing, usize)>,
    inbound: Inbound,
    /// A PUBLISH that came behind a SUBSCRIBE which is not done. In a box, since few clients say both at once.
    postponed: Option<Box<Packet>>,
    /// How the session ends with the connection: for how long it goes on, if that was changed, and what becomes of the will.
    leaves: (Option<u32>, WillFate),
    /// Messages of QoS 2 that the session is yet to know of, before they are sent; without a change, they could not be noted.
    noting: Option<(Vec<Unnoted>, Option<Keeping>)>,
    /// When the session is saved, if it has come further.
    save_at: Option<Instant>,
    /// Whether it may authenticate again.
    can_renew: bool,
    /// How long it may be silent: one and a half times the keep alive (MQTT 5.0, 3.1.2-22).
    silent_for: Duration,
    /// When a packet came last.
    heard: Instant,
    timer: Pin<Box<Sleep>>,
    /// Since when the client can be sent nothing that it must acknowledge, without having acknowledged anything.
    full_since: Option<Instant>,
    /// Messages that are to be sent again, or that waited and can be sent now, are being read. In a box, since that is seldom so.
    reading: Option<Box<(Due, Reading)>>,
}

/// Why a connection ends.
enum End {
    /// The client has said so, or the connection is lost.
    Gone,
    /// The client is told why.
    Told(Reason, Option<&'static str>),
}

impl Client {
    /// One that was let in.
    pub fn new(
        app: App,
        connection: Connection,
        connect: &Connect,
        principal: Principal,
        inbound: Inbound,
        streaming: Streaming,
    ) -> Self {
        let heard = Instant::now();
        let silent_for = match connect.keep_alive {
            0 => NEVER,
            seconds => Duration::from_millis(u64::from(seconds) * 1500),
        };
        Self {
            app,
            principal,
            version: connect.version,
            encoder: Encoder::of(connect),
            connection,
            streaming,
            doing: VecDeque::new(),
            inbound,
            postponed: None,
            leaves: (None, WillFate::AfterDelay),
            noting: None,
            save_at: None,
            can_renew: connect.authentication.is_some(),
            silent_for,
            heard,
            timer: Box::pin(sleep_until(heard + silent_for)),
            full_since: None,
            reading: None,
        }
    }

    /// Goes on with everything, until the connection ends.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        // Before anything is acknowledged to it.
        if self.streaming.keeper.poll_forgotten(context).is_ready() {
            return Poll::Ready(End::Told(Reason::QuotaExceeded, Some("the session could not be kept any longer")));
        }
        // A SUBACK goes before the messages that it is for.
        if let Some(end) = self.answer(context) {
            return Poll::Ready(end);
        }
        if self.streaming.held.poll_wanted(context).is_ready() {
            return Poll::Ready(End::Told(Reason::SessionTakenOver, None));
        }
        if Pin::new(&mut self.streaming.catch_up).poll(context).is_ready() {
            return Poll::Ready(match self.streaming.shared.ended.get() {
                Some(ending) => End::Told(reasons::of_end(ending.why), None),
                None => End::Gone,
            });
        }
        if let Poll::Ready(end) = self.poll_packets(context) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.send_waiting(context) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.give_shared(context) {
            return Poll::Ready(end);
        }
        // Some of those that waited, or are of shares, are to be noted.
        if let Some(end) = self.send_noted(context) {
            return Poll::Ready(end);
        }
        self.give_sys(context);
        // The stream waits for this only if it has something to write, too.
        let _ = self.streaming.shared.way_out.poll_sent(context);
        self.poll_time(context)
    }

    /// Answers, and takes packets.
    fn poll_packets(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let mut read = 0;
        while read < MAX_IN_FLIGHT {
            if let Some(end) = self.answer(context) {
                return Poll::Ready(end);
            }
            let in_flight: usize = self.doing.iter().map(|(_, weight)| weight).sum();
            if in_flight >= MAX_IN_FLIGHT {
                // It may have said something: it is this side that does not listen.
                self.heard = Instant::now();
                return Poll::Pending;
            }
            if self.connection.outlet.poll_room(context).is_pending() {
                return Poll::Pending;
            }
            let packet = match self.postponed.take() {
                Some(postponed) => Ok(Some(*postponed)),
                None => self.connection.decoder.decode(&mut self.connection.received),
            };
            match packet {
                // It is for the filters that its client subscribed to before.
                Ok(Some(packet @ Packet::Publish(_))) if self.is_subscribing() => {
                    self.postponed = Some(Box::new(packet));
                    self.heard = Instant::now();
                    return Poll::Pending;
                }
                Ok(Some(packet)) => {
                    self.heard = Instant::now();
                    let weight = weight::of(&packet);
                    read += weight;
                    match self.take(packet) {
                        Ok(doing) => self.doing.extend(doing.map(|doing| (doing, weight))),
                        Err(end) => return Poll::Ready(end),
                    }
                }
                Ok(None) => {
                    self.connection.inlet.hold(self.connection.decoder.held());
                    match self.connection.inlet.poll_next(context) {
                        Poll::Ready(Some(Message::Binary(bytes))) => {
                            self.connection.received = bytes;
                            read += 1;
                        }
                        Poll::Ready(Some(Message::Text(_))) => {
                            return Poll::Ready(End::Told(Reason::ProtocolError, Some("MQTT is binary")));
                        }
                        Poll::Ready(None) => return Poll::Ready(self.closed()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Err(violation) => return Poll::Ready(End::Told(violation.reason, Some(violation.what))),
            }
        }
        yield_turn(context);
        Poll::Pending
    }

    /// Whether a SUBSCRIBE is not done.
    fn is_subscribing(&self) -> bool {
        self.doing.iter().any(|(doing, _)| matches!(doing, Doing::Subscribe { .. }))
    }

    /// Nothing more comes.
    fn closed(&self) -> End {
        match self.connection.inlet.end() {
            Some(crate::transports::ws::End::Ours) => End::Told(Reason::ServerShuttingDown, None),
            _ => End::Gone,
        }
    }

    /// Sends the answers that are due, in order.
    fn answer(&mut self, context: &mut Context<'_>) -> Option<End> {
        let with = With {
            app: &self.app,
            principal: &self.principal,
            stream: self.streaming.stream,
            keeper: &self.streaming.keeper,
            version: self.version,
            encoder: self.encoder,
        };
        let mut out = Vec::new();
        loop {
            // A client may ask for more than it takes of the answers.
            if self.doing.is_empty() || self.connection.outlet.poll_room(context).is_pending() {
                return None;
            }
            let mut end = None;
            while let Some((doing, _)) = self.doing.front_mut()
                && end.is_none()
                && out.len() < ANSWERS_AT_ONCE
            {
                match doing.poll(&with, &mut out, context) {
                    Poll::Pending => break,
                    Poll::Ready(done) => {
                        self.doing.pop_front();
                        match done {
                            Done::Answered => {}
                            Done::NotTaken(id, reason) => {
                                self.inbound.release(id);
                                self.doing.iter_mut().for_each(|(doing, _)| doing.not_taken(id, reason));
                            }
                            Done::NotSubscribed { new, before, is_begun } => {
                                let mut outbound = self.streaming.shared.outbound.borrow_mut();
                                subscriptions::take_out(&mut outbound, &new);
                                before.iter().for_each(|wanted| outbound.filters.restore(wanted.clone()));
                                drop(outbound);
                                if is_begun {
                                    with.keeper.change_later(MqttSessionChange::Unsubscribe(new));
                                }
                                // Those that were asked for since have built on these.
                                self.doing.iter_mut().for_each(|(doing, _)| doing.fail(&before));
                            }
                            Done::Ends(reason) => end = Some(End::Told(reason, None)),
                        }
                    }
                }
            }
            let is_more = out.len() >= ANSWERS_AT_ONCE && end.is_none();
            if !out.is_empty() {
                self.connection.outlet.send_binary(&out);
                self.connection.outlet.go_first();
                out.clear();
            }
            if !is_more {
                return end;
            }
        }
    }

    fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.streaming.shared.keep(context.waker());
        loop {
            let (now, mut due) = (Instant::now(), self.heard + self.silent_for);
            if now >= due {
                return Poll::Ready(End::Told(Reason::KeepAliveTimeout, None));
            }
            let is_full = !self.streaming.shared.outbound.borrow().has_room();
            let full_since = if is_full { Some(self.full_since.unwrap_or(now)) } else { None };
            self.full_since = full_since;
            match full_since.map(|since| since + STALLED_AFTER) {
                Some(stalls_at) if now < stalls_at => due = due.min(stalls_at),
                // Once: it wakes this task.
                Some(_) if self.streaming.shared.outbound.borrow_mut().stall() => self.streaming.shared.wake(),
                Some(_) | None => {}
            }
            if let Some(save_at) = self.save_at(now) {
                due = due.min(save_at);
            }
            if self.timer.is_elapsed() || self.timer.deadline() > due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Future for Client {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let client = &mut *self;
        client.poll_end(context).map(|end| {
            let (reason, why) = match end {
                End::Gone => (None, None),
                End::Told(reason, why) => (Some(reason), why),
            };
            let id = client.streaming.held.key().map(|(_, client_id)| &**client_id);
            log::ended(&client.principal, id, reason, why);
            if let Some(reason) = reason {
                say(&client.connection.outlet, |out| client.encoder.disconnect(out, reason, why));
            }
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Nobody may have looked yet whether they could be noted.
        let (noting, keeping) = self.noting.take().unwrap_or_default();
        let mut context = Context::from_waker(Waker::noop());
        let is_refused = keeping.is_none_or(|mut keeping| {
            matches!(Pin::new(&mut keeping).poll(&mut context), Poll::Ready(Err(_) | Ok(false)))
        });
        let refused = if is_refused { noting } else { Vec::new() };
        let mut progress = self.streaming.shared.outbound.borrow_mut().last_progress(&refused);
        // What was passed over is not to be looked at again; but while filters change, that may have been before the stream had them.
        if let Some(stands) = self.streaming.catch_up.hand_over().filter(|_| self.doing.is_empty()) {
            progress.position = progress.position.max(stands.position);
        }
        let (expiry, will) = self.leaves;
        self.streaming.keeper.end(progress, expiry, will);
    }
}
