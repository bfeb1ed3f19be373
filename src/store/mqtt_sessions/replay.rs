//! Reading what a session of MQTT has missed: its queue first, and then the tail.

use crate::domain::{MqttSessionId, Position, TenantName};
use crate::error::Error;
use crate::store::database::Store;
use crate::store::event_data::StoredEvent;
use crate::store::keys;
use crate::store::rows::{Rows, event_row};

/// How many events one step reads at most, wanted or not.
const EVENTS_A_STEP: usize = 1024;

/// The events after a position, in order, as long as the session needs them: from its queue those that the tail has lost, and everything
/// from the tail. The caller selects.
#[derive(Clone, Debug)]
pub struct MqttReplay {
    id: MqttSessionId,
    tenant: TenantName,
    after: Position,
    until: Position,
}

impl MqttReplay {
    /// The events of a session's tenant after one position, up to another.
    pub fn new(id: MqttSessionId, tenant: TenantName, after: Position, until: Position) -> Self {
        Self { id, tenant, after, until }
    }

    /// Everything up to here has been given.
    pub fn position(&self) -> Position {
        self.after
    }

    /// Gives the next events to `each`, about `bytes` together: as many as they are stored in, or as `each` says that it made of them.
    /// Returns whether there are more. Events that cannot be read are left out, and the log names them. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`] if not even the range can be read.
    pub fn next(
        &mut self,
        store: &Store,
        bytes: usize,
        mut each: impl FnMut(StoredEvent<'_>) -> usize,
    ) -> Result<bool, Error> {
        let floor = store.floor(&self.tenant)?.min(self.until);
        if self.after < floor {
            self.next_queued(store, floor, bytes, &mut each)?;
        } else if self.after < self.until {
            self.next_of_tail(store, bytes, &mut each)?;
        }
        Ok(self.after < self.until)
    }

    /// Up to the floor: what was lost there and is needed is in the queue, since one commit puts it there before another raises the
    /// floor.
    fn next_queued(
        &mut self,
        store: &Store,
        floor: Position,
        bytes: usize,
        each: &mut impl FnMut(StoredEvent<'_>) -> usize,
    ) -> Result<(), Error> {
        let mut size = 0;
        for position in store.mqtt_queue(self.id, self.after.next(), floor)? {
            if size >= bytes {
                return Ok(());
            }
            let key = keys::kept_event(&self.tenant, position);
            if let Some(value) = store.get(&key)? {
                size += store.unless_damaged(give(store, &key, &value, each))?.unwrap_or(0);
            }
            self.after = position;
        }
        self.after = floor;
        Ok(())
    }

    fn next_of_tail(
        &mut self,
        store: &Store,
        bytes: usize,
        each: &mut impl FnMut(StoredEvent<'_>) -> usize,
    ) -> Result<(), Error> {
        let (from, until) =
            (keys::event(&self.tenant, self.after.next()), keys::event(&self.tenant, self.until.next()));
        let (mut rows, mut size, mut is_all) = (Vec::new(), 0, true);
        store.scan(&from, &until, &mut |key, value| {
            is_all = size < bytes && rows.len() < EVENTS_A_STEP;
            if is_all {
                size += value.len();
                rows.push((key.to_vec(), value.to_vec()));
            }
            Ok(is_all)
        })?;
        // A scan is no snapshot. If the floor has risen past its beginning, some may be lacking: the queue has them.
        if store.floor(&self.tenant)? > self.after {
            return Ok(());
        }
        let mut given = 0;
        for (key, value) in rows {
            // What is made of them may be larger than they are.
            if given >= bytes {
                return Ok(());
            }
            given += store.unless_damaged(give(store, &key, &value, each))?.unwrap_or(0);
            self.after = keys::position(&key).unwrap_or(self.after);
        }
        if is_all {
            self.after = self.until;
        }
        Ok(())
    }
}

/// Gives one event, unless it has gone. Returns its size.
fn give(
    store: &Store,
    key: &[u8],
    value: &[u8],
    each: &mut impl FnMut(StoredEvent<'_>) -> usize,
) -> Result<usize, Error> {
    let (position, parts) = event_row(key, value)?;
    let event = store.whole(key, position, &parts)?;
    Ok(event.map_or(0, &mut *each).max(parts.bytes))
}
