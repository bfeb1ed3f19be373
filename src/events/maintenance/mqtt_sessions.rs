//! Sessions of MQTT: those end that have expired, and wills are published that were delayed.

use super::rounds::{Desk, Round};
use crate::domain::MqttSessionId;
use crate::error::Error;
use crate::events::mqtt_sessions::{end, look_after};
use crate::store::{Found, Search, Transaction};
use crate::writer::{Batch, Change, Here};

/// How many sessions are looked at in one change: each may publish a will of some 100 KiB.
const SESSIONS_A_STEP: usize = 16;

/// Ends sessions of MQTT, publishes their wills, and removes what is left of those that were forgotten.
pub struct MqttSessions {
    desk: Desk,
    due: Search,
    left: Search,
}

impl MqttSessions {
    pub fn new(desk: Desk) -> Self {
        Self { desk, due: Search::for_mqtt_due(), left: Search::for_mqtt_left() }
    }

    /// One step of each kind.
    pub async fn round(&mut self) -> Result<Round, Error> {
        // None waits for another that fails.
        let (lost, due, left) = (self.end_lost().await, self.look_after().await, self.remove_left().await);
        Ok(if lost? | due? | left? { Round::Goes } else { Round::Done })
    }

    /// Ends the connections that the server lost when it stopped without ending them. Returns whether there are more.
    async fn end_lost(&self) -> Result<bool, Error> {
        let lost = self.desk.store.mqtt_cursors().some_lost(SESSIONS_A_STEP);
        for id in &lost {
            let ended = self.desk.writer.submit(EndLost(*id)).await;
            if self.desk.store.unless_damaged(ended)?.is_none() {
                // One that is damaged is left as it is, and has no client again.
                self.desk.store.mqtt_cursors().find_again(*id);
            }
        }
        Ok(!lost.is_empty())
    }

    /// Does what is due of sessions. Returns whether there is more.
    async fn look_after(&mut self) -> Result<bool, Error> {
        Ok(self.desk.remove_found(&mut self.due, SESSIONS_A_STEP, LookAfter).await?.0)
    }

    /// Removes what is left of some sessions. Returns whether there is more.
    async fn remove_left(&mut self) -> Result<bool, Error> {
        let (from, now) = (self.left.clone(), self.desk.clock.now());
        let Found { keys, mut is_more, mut rest } =
            self.desk.read(move |store| store.find(&from, now, SESSIONS_A_STEP)).await?;
        for left in keys {
            let of = left.clone();
            let read = self.desk.read(move |store| store.unless_damaged(store.left_of_mqtt(&of))).await?;
            let Some(rows) = read else { continue };
            let is_last = rows.is_empty();
            let (forgotten_at, _) = Transaction::of_mqtt_due(&left)?;
            let removed = self.desk.writer.submit(RemoveLeft { left, rows }).await;
            if self.desk.store.unless_damaged(removed)?.is_some() && !is_last {
                // It is found again.
                rest.go_back(forgotten_at);
                is_more = true;
            }
        }
        // Not before it is done: a step that fails is tried again.
        self.left = rest;
        Ok(is_more)
    }
}

/// Ends the connection of a session that the server lost, unless its client has come back.
struct EndLost(MqttSessionId);

impl Change for EndLost {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let Self(id) = self;
        if !batch.is_mqtt_session_lost(id) {
            return Ok(());
        }
        if let Some(head) = batch.mqtt_head(id)?.filter(|head| head.ended_at.is_none()) {
            end(batch, id, head)?;
        }
        // Here, since its client may be back, and be lost again, before anybody knows of this.
        batch.find_mqtt_session_again(id);
        Ok(())
    }
}

/// Publishes wills and ends sessions that are due, by the keys that were found.
struct LookAfter(Vec<Vec<u8>>);

impl Change for LookAfter {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        for key in self.0 {
            let (at, id) = Transaction::of_mqtt_due(&key)?;
            look_after(batch, id)?;
            batch.pass_mqtt_due(at, id)?;
        }
        Ok(())
    }
}

/// Removes rows that are left of a forgotten session.
struct RemoveLeft {
    left: Vec<u8>,
    rows: Vec<Vec<u8>>,
}

impl Change for RemoveLeft {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.remove_left_of_mqtt(self.left, self.rows)
    }
}
