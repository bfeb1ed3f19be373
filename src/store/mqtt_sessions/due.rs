//! What maintenance finds and removes of sessions of MQTT.

use crate::domain::{MqttSessionId, TenantName, Timestamp};
use crate::error::Error;
use crate::store::codec::FOUND_BYTES;
use crate::store::damage::damaged;
use crate::store::database::Store;
use crate::store::keys::{self, MqttPart};
use crate::store::rows::Rows;
use crate::store::transaction::Transaction;

/// How many rows of a forgotten session one step removes.
const ROWS_A_STEP: usize = 256;

impl Store {
    /// The rows that are left of a forgotten session, some of them, by the key that [`Store::find`] found. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn left_of_mqtt(&self, left: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let (_, id) = keys::of_mqtt_due(left).ok_or_else(|| damaged(left, "a session's number is none"))?;
        let mut rows = Vec::new();
        self.scan_prefix(&keys::mqtt_parts(id), &mut |key, _| {
            rows.push(key.to_vec());
            Ok(rows.len() < ROWS_A_STEP)
        })?;
        Ok(rows)
    }
}

impl Transaction<'_> {
    /// Whether the connection of a session was lost with the server, and the session has not gone on since.
    pub fn is_mqtt_session_lost(&self, id: MqttSessionId) -> bool {
        self.committer.store.mqtt_cursors.is_lost(id) && !self.tidings.found_again.contains(&id)
    }

    /// Notes that a session goes on whose connection was lost with the server, or that it is ended.
    pub fn find_mqtt_session_again(&mut self, id: MqttSessionId) {
        // Most are not lost, and need no word of it.
        if self.is_mqtt_session_lost(id) {
            self.count(FOUND_BYTES);
            self.tidings.found_again.push(id);
        }
    }

    /// The moment in the key of a row that is due, and the session.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn of_mqtt_due(key: &[u8]) -> Result<(Timestamp, MqttSessionId), Error> {
        keys::of_mqtt_due(key).ok_or_else(|| damaged(key, "a session's moment is none"))
    }

    /// Removes rows of a forgotten session by their keys, which [`Store::left_of_mqtt`] found; if there are none, the row that says so.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remove_left_of_mqtt(&mut self, left: Vec<u8>, rows: Vec<Vec<u8>>) -> Result<(), Error> {
        let Some(tenant) = self.get(&left)? else { return Ok(()) };
        // Of one whose row was damaged nobody knows the tenant, and what is kept for it stays.
        let tenant = std::str::from_utf8(&tenant).ok().and_then(|tenant| TenantName::parse(tenant).ok());
        if rows.is_empty() {
            self.remove(left);
        }
        for key in rows {
            if let (Some(MqttPart::Queued(position)), Some(tenant)) = (keys::of_mqtt_part(&key), &tenant)
                && self.get(&key)?.is_some()
            {
                self.let_go_of_event(tenant, position)?;
            }
            self.remove(key);
        }
        Ok(())
    }
}
