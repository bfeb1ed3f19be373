//! What a client asks for by its packets.

use std::num::NonZeroU16;

use super::{Client, End};
use crate::app::InsertOptions;
use crate::domain::{EventFilter, FilterChange, Secret};
use crate::events::{Condition, MqttSessionChange, WillFate};
use crate::identity::Principal;
use crate::transports::mqtt::basics::{METHOD, say};
use crate::transports::mqtt::doing::Doing;
use crate::transports::mqtt::inbound::Take;
use crate::transports::mqtt::packet::{
    AckKind, Auth, Authentication, Disconnect, Packet, Publish, Reason, Subscribe, Unsubscribe,
};
use crate::transports::mqtt::{log, reasons, subscriptions};

impl Client {
    /// Takes a packet. Returns what is then to be done for it, if anything is.
    ///
    /// # Errors
    /// Why the connection ends.
    pub(super) fn take(&mut self, packet: Packet) -> Result<Option<Doing>, End> {
        let mut outbound = self.streaming.shared.outbound.borrow_mut();
        match packet {
            Packet::Publish(publish) => {
                outbound.count_received();
                drop(outbound);
                return self.publish(publish);
            }
            Packet::PubAck(ack) => {
                if outbound.acknowledged(ack.packet_id) {
                    self.full_since = None;
                    self.streaming.shared.wake();
                }
            }
            Packet::PubRec(ack) => {
                let (id, is_taken) = (ack.packet_id, !ack.reason.is_failure());
                let is_known = outbound.received(id, is_taken);
                drop(outbound);
                if !is_taken {
                    if is_known {
                        self.full_since = None;
                        self.streaming.shared.wake();
                        self.streaming.keeper.change_later(MqttSessionChange::ForgetOutgoing(vec![id]));
                    }
                    return Ok(None);
                }
                return self.step(AckKind::PubRel, id, is_known, MqttSessionChange::ReleaseOutgoing(vec![id]));
            }
            Packet::PubComp(ack) => {
                if outbound.completed(ack.packet_id) {
                    self.full_since = None;
                    self.streaming.shared.wake();
                    self.streaming.keeper.change_later(MqttSessionChange::ForgetOutgoing(vec![ack.packet_id]));
                }
            }
            Packet::PubRel(ack) => {
                drop(outbound);
                let (id, is_known) = (ack.packet_id, self.inbound.release(ack.packet_id));
                return self.step(AckKind::PubComp, id, is_known, MqttSessionChange::ReleaseInbound(id));
            }
            // It must not be sent the answer (MQTT 5.0, 3.1.2-24), so that nothing is done that it would never know of.
            Packet::Subscribe(Subscribe { subscriptions, .. }) if !self.encoder.takes_codes(subscriptions.len()) => {
                return Err(End::Told(Reason::PacketTooLarge, Some("a SUBACK larger than the client takes")));
            }
            Packet::Unsubscribe(Unsubscribe { filters, .. }) if !self.encoder.takes_codes(filters.len()) => {
                return Err(End::Told(Reason::PacketTooLarge, Some("an UNSUBACK larger than the client takes")));
            }
            Packet::Subscribe(subscribe) => {
                let keeper = &mut self.streaming.keeper;
                return Ok(Some(subscriptions::subscribe(
                    &self.app,
                    &self.principal,
                    keeper,
                    &mut outbound,
                    subscribe,
                )));
            }
            Packet::Unsubscribe(unsubscribe) => {
                return Ok(Some(subscriptions::unsubscribe(&self.streaming.keeper, &mut outbound, unsubscribe)));
            }
            Packet::PingReq => say(&self.connection.outlet, |out| self.encoder.pingresp(out)),
            Packet::Disconnect(Disconnect { reason, session_expiry }) => {
                // A session that was to end with the connection cannot be kept after all (MQTT 5.0, 3.14.2.2.2).
                if session_expiry.is_some_and(|seconds| seconds > 0) && self.streaming.keeper.expiry() == 0 {
                    return Err(End::Told(Reason::ProtocolError, Some("a session expiry in DISCONNECT alone")));
                }
                let will = match reason {
                    Reason::Success => WillFate::Discarded,
                    // What it reports as an error leaves the will as it is (MQTT 5.0, 3.14.4-3).
                    _ => WillFate::AfterDelay,
                };
                self.leaves = (session_expiry, will);
                return Err(End::Gone);
            }
            Packet::Auth(auth) => {
                drop(outbound);
                return self.renew(&auth).map(Some);
            }
            // The decoder knows only one.
            Packet::Connect(_) => return Err(End::Told(Reason::ProtocolError, None)),
        }
        Ok(None)
    }

    /// Takes a step of a message of QoS 2, once the session knows of it.
    fn step(
        &self,
        kind: AckKind,
        id: NonZeroU16,
        is_known: bool,
        change: MqttSessionChange,
    ) -> Result<Option<Doing>, End> {
        // Of a message that the connection does not know the session knows nothing, either.
        let keeping = if is_known { self.streaming.keeper.change(change) } else { Ok(None) };
        let keeping = keeping.map_err(|_| End::Told(Reason::ServerBusy, None))?;
        Ok(Some(Doing::Step { kind, id, is_known, keeping }))
    }

    fn publish(&mut self, publish: Publish) -> Result<Option<Doing>, End> {
        let topic = log::is_detailed().then(|| publish.topic.as_str().into());
        let (event, answer) = match self.inbound.take(&self.app, publish, self.streaming.publisher) {
            Ok(Take::Insert(event, answer)) => (event, answer),
            Ok(Take::Expired(answer)) => return Ok(Some(Doing::NotInserted { answer, reason: Reason::Success })),
            Ok(Take::Again(id)) => return Ok(Some(Doing::Again { id, reason: Reason::Success })),
            Err(violation) => return Err(End::Told(violation.reason, Some(violation.what))),
        };
        let once = match (self.streaming.keeper.kept(), answer) {
            (Some(session), Some((AckKind::PubRec, id))) => Some((session.id(), id)),
            _ => None,
        };
        let inserting = event.and_then(|event| {
            if let Some((session, id)) = once {
                return self.app.events.insert_once(&self.principal, event, session, id);
            }
            let options = InsertOptions { condition: Condition::None, key: None, stream: None };
            self.app.events.insert(&self.principal, vec![event], false, options)
        });
        match inserting {
            Ok(inserting) => Ok(Some(Doing::Publish { answer, inserting, topic })),
            Err(error) => {
                self.app.metrics().refused(error.code());
                match answer.and_then(|_| reasons::ends(&error, self.version)) {
                    Some(reason) => Err(End::Told(reason, None)),
                    None => {
                        let reason = reasons::of_publish(&error);
                        log::not_taken(&self.principal, topic.as_deref(), reason);
                        Ok(Some(Doing::NotInserted { answer, reason }))
                    }
                }
            }
        }
    }

    /// Authenticates again, so that the connection goes on for longer (MQTT 5.0, 4.12.1).
    fn renew(&mut self, Auth { reason, authentication }: &Auth) -> Result<Doing, End> {
        let Authentication { method, data } = authentication;
        if !self.can_renew || *reason != Reason::Reauthenticate || method != METHOD {
            return Err(End::Told(Reason::ProtocolError, Some("nothing was to be authenticated like this")));
        }
        let token = data.as_ref().map(|data| Secret::new(data.0.to_vec()));
        let renewed = token.and_then(|token| self.app.identity.mqtt_token(&token).ok());
        let renewed = renewed.filter(|renewed| renewed.username == self.principal.username);
        let renewed = renewed.and_then(|renewed| {
            let (events, stream) = (&self.app.events, self.streaming.stream);
            let expires_at = events.renew(&renewed, stream).ok()?;
            // The newer token of a guest may permit less, or more.
            let nothing = EventFilter::topics([]).ok()?;
            let changing = events.change_filter(&renewed, stream, FilterChange::Remove(nothing)).ok()?;
            Some((Principal { expires_at, ..renewed }, changing))
        });
        let Some((renewed, changing)) = renewed else { return Err(End::Told(Reason::NotAuthorized, None)) };
        let keeping = self.streaming.keeper.renew_will(renewed.auth_context.clone());
        let keeping = keeping.map_err(|_| End::Told(Reason::ServerBusy, None))?;
        if let Some(shares) = &self.streaming.shared.outbound.borrow().shares {
            shares.renew(&self.app, &renewed);
        }
        self.principal = renewed;
        Ok(Doing::Renewal { changing, keeping })
    }
}
