//! Events that are bound to a stream: Broker removes them after their stream has ended.

use super::codec::{self, LatestRow, NameRow};
use super::keys;
use super::rows::Rows;
use super::transaction::Transaction;
use crate::domain::{Event, EventName, Position, TenantName, Username};
use crate::error::Error;

impl Transaction<'_> {
    /// Binds an event of this transaction to a stream: it is removed after the stream has ended, if it is still the
    /// latest of its name.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn bind(&mut self, event: &Event, stream: u64) -> Result<(), Error> {
        let count = self.bound_of(&event.username)? + 1;
        self.put(keys::bound_of(&event.username), codec::encode_count(count));
        let key = keys::bound(stream, &event.tenant, &event.name);
        self.put(key, codec::encode_bound(event.position, &event.username));
        self.amend_latest(event, |latest| LatestRow { stream: Some(stream), ..latest })
    }

    /// Forgets that the latest event of a name is bound to a stream, because another event takes its place.
    pub(super) fn unbind(&mut self, tenant: &TenantName, name: &EventName, stream: u64) -> Result<(), Error> {
        let key = keys::bound(stream, tenant, name);
        if let Some((_, username)) = self.bound_at(&key)? {
            let count = keys::bound_of(&username);
            match self.bound_of(&username)?.saturating_sub(1) {
                0 => self.remove(count),
                left => self.put(count, codec::encode_count(left)),
            }
            self.remove(key);
        }
        Ok(())
    }

    /// How many events are bound to streams of a user.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn bound_of(&self, username: &Username) -> Result<u64, Error> {
        Ok(self.decoded(&keys::bound_of(username), codec::decode_count)?.unwrap_or(0))
    }

    /// The user whose stream the latest event of a name is bound to, if it is bound.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn bound_by(&self, tenant: &TenantName, name: &EventName) -> Result<Option<Username>, Error> {
        let latest = self.latest_row(&keys::name(tenant, name.as_str()))?;
        let Some(stream) = latest.and_then(|latest| latest.stream) else { return Ok(None) };
        Ok(self.bound_at(&keys::bound(stream, tenant, name))?.map(|(_, username)| username))
    }

    /// The position of a bound event, and the user of its stream, from its row.
    pub(super) fn bound_at(&self, key: &[u8]) -> Result<Option<(Position, Username)>, Error> {
        self.decoded(key, codec::decode_bound)
    }

    /// Changes the index entry of an event's name, if the event is still the latest one.
    pub(super) fn amend_latest(
        &mut self,
        event: &Event,
        amend: impl FnOnce(LatestRow) -> LatestRow,
    ) -> Result<(), Error> {
        let key = keys::name(&event.tenant, event.name.as_str());
        let Some(name) = self.name_row(&key)? else { return Ok(()) };
        if let Some(latest) = name.latest.filter(|latest| latest.position == event.position) {
            self.put(key, codec::encode_name(NameRow { latest: Some(amend(latest)), ..name }));
        }
        Ok(())
    }
}
