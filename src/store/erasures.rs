//! Deleted users: their names, which nobody gets for a while, and the erasure of what they left.
//!
//! There is no list of the events of a user, which would cost every insert a key. So a reader scans for them, for many deleted
//! users at once, and gives their keys to the writer, which checks each once more. What has been erased is not found again, so a scan
//! that was interrupted begins anew.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::codec::{self, EventParts, LatestRow, StoredData};
use super::damage::damaged;
use super::database::Store;
use super::draft::Draft;
use super::event_data::Step;
use super::keys;
use super::lookalikes::rows_of;
use super::rows::{Rows, event_row};
use super::sizes::{MAX_OWNERS, STEP_BYTES};
use super::transaction::Transaction;
use crate::domain::{
    Erase, Erasure, EventKind, EventName, InviteId, Position, TenantName, Timestamp, User, Username, inbox_owner,
};
use crate::error::Error;

/// How many events one step erases.
const ERASED_A_STEP: usize = 256;
/// How many answers one step forgets.
const ANSWERS_A_STEP: usize = 256;
/// For how many deleted users one scan looks.
const USERS_A_SCAN: usize = 256;

/// A scan for the events of deleted users, and for the events of their inboxes.
#[derive(Clone)]
pub struct ErasureScan {
    of: Arc<HashMap<Username, Erasure>>,
    /// The ranges of keys that are left.
    left: VecDeque<(Vec<u8>, Vec<u8>)>,
}

/// What one step of a scan found.
pub struct ToErase {
    /// The keys for the writer.
    pub keys: Vec<Vec<u8>>,
    /// The rest of the scan; `None` at its end.
    pub rest: Option<ErasureScan>,
}

impl ErasureScan {
    /// A scan for these deleted users.
    pub fn new(erasures: Vec<Erasure>) -> Self {
        let tenants: Option<BTreeSet<_>> = erasures.iter().map(|erasure| erasure.tenant.clone()).collect();
        let of_tenant = |tenant: TenantName| {
            let (first, last) = (Position::START, Position::END);
            let kept = (keys::kept_event(&tenant, first), keys::kept_event(&tenant, last));
            [(keys::event(&tenant, first), keys::event(&tenant, last)), kept]
        };
        let left = match tenants {
            Some(tenants) => tenants.into_iter().flat_map(of_tenant).collect(),
            // One of them has been in several tenants.
            None => [keys::events_of_tenants_after(None), keys::kept_events_of_all()].into(),
        };
        let of = erasures.into_iter().map(|erasure| (erasure.username.clone(), erasure)).collect();
        Self { of: Arc::new(of), left }
    }

    /// The deleted users that it is for.
    pub fn users(&self) -> impl Iterator<Item = &Username> {
        self.of.keys()
    }
}

/// How far the erasure of a deleted user has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Nothing is left.
    Wholly,
    /// There is more to erase.
    Partly,
    /// It waits for events that are bound to streams, which end by themselves.
    Waits,
}

/// What is to happen to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It gets another username.
    Renamed,
    /// It goes.
    Removed,
}

/// What is to happen to an event, and in whose erasure; `None` if it stays as it is.
fn fate_of<'a>(
    parts: &EventParts<'_>,
    (tenant, position): (&TenantName, Position),
    scan: &'a ErasureScan,
) -> Option<(Fate, &'a Erasure)> {
    if parts.data == StoredData::Expired {
        return None;
    }
    // One scan is for many users, who may have been in other tenants.
    let erasure = |name: &str| {
        let is_here = |erasure: &&Erasure| erasure.tenant.as_ref().is_none_or(|of| of == tenant);
        scan.of_name(name).filter(|erasure| position <= erasure.until).filter(is_here)
    };
    let is_removal = parts.kind == EventKind::Removal;
    // An inbox goes whoever inserted its events. Of a removal there only the username is left to erase.
    if !is_removal
        && let Some(owner) = inbox_owner(parts.name)
        && let Some(erasure) = erasure(owner)
    {
        return Some((Fate::Removed, erasure));
    }
    let by = std::str::from_utf8(parts.username).unwrap_or_default();
    let erasure = erasure(by)?;
    // Others have to be told that a name was removed, so a removal stays.
    let fate = if is_removal || erasure.erase == Erase::Anonymise { Fate::Renamed } else { Fate::Removed };
    Some((fate, erasure))
}

impl Store {
    /// Deleted users whose events are to be erased, for one scan: others than these, for whom a scan has ended.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn erasures(&self, but: &HashSet<Username>) -> Result<Vec<Erasure>, Error> {
        let mut erasures = Vec::new();
        self.scan_prefix(keys::ERASURES, &mut |key, value| {
            let erasure = codec::decode_erasure(value).map_err(|why| damaged(key, why));
            erasures.extend(self.unless_damaged(erasure)?.filter(|erasure| !but.contains(&erasure.username)));
            Ok(erasures.len() < USERS_A_SCAN)
        })?;
        Ok(erasures)
    }

    /// The tenant of an event, by a key that was found.
    pub fn tenant_of_event(key: &[u8]) -> Option<TenantName> {
        keys::tenant_of_event(key)
    }

    /// Continues a scan. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn find_to_erase(&self, mut scan: ErasureScan) -> Result<ToErase, Error> {
        let Some((from, until)) = scan.left.pop_front() else { return Ok(ToErase { keys: Vec::new(), rest: None }) };
        let (mut found, mut to_write) = (Vec::new(), 0);
        let next = self.step_through_events(&from, &until, |row| {
            if fate_of(&row.parts, (&row.tenant, row.position), &scan).is_some() {
                to_write += row.key.len() + row.value.len();
                found.push(row.key.to_vec());
            }
            Ok(if to_write >= STEP_BYTES || found.len() >= ERASED_A_STEP { Step::IsEnough } else { Step::Goes })
        })?;
        if let Some(next) = next {
            scan.left.push_front((next, until));
        }
        let rest = (!scan.left.is_empty()).then_some(scan);
        Ok(ToErase { keys: found, rest })
    }
}

impl ErasureScan {
    fn of_name(&self, name: &str) -> Option<&Erasure> {
        // No user has an empty name, which is that of an event that has expired.
        Username::parse(name).ok().and_then(|name| self.of.get(&name))
    }
}

impl Transaction<'_> {
    /// Deletes a user: nobody can sign in, and the name is kept from others until a moment. What the user left is erased
    /// later, in steps, and nobody gets the name before that has ended.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn delete_user(
        &mut self,
        user: &User,
        erase: Erase,
        name_free_at: Timestamp,
        random: [u8; 8],
    ) -> Result<(), Error> {
        let username = &user.username;
        self.forget_sessions_of(username)?;
        self.forget_mqtt_sessions_of(username)?;
        let erasure = Erasure {
            username: username.clone(),
            stand_in: Erasure::stand_in(random),
            erase,
            tenant: (user.tenant_since == Position::START).then(|| user.tenant.clone()),
            until: self.head,
        };
        self.remove_user(username);
        self.put(keys::erasure(username), codec::encode_erasure(&erasure));
        self.put(keys::quarantine(username), codec::encode_moment(name_free_at).to_vec());
        self.put(keys::quarantine_due(name_free_at, username), Vec::new());
        Ok(())
    }

    /// Under which name the server removes an event of a user: another one, if the user was deleted.
    pub(super) fn name_for_removal(&self, username: Username) -> Result<Username, Error> {
        Ok(self.erasure(&username)?.map_or(username, |erasure| erasure.stand_in))
    }

    fn erasure(&self, username: &Username) -> Result<Option<Erasure>, Error> {
        self.decoded(&keys::erasure(username), codec::decode_erasure)
    }

    /// Erases events by the keys that [`Store::find_to_erase`] found. Returns how many removals that makes.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn erase_events(&mut self, events: Vec<Vec<u8>>, scan: &ErasureScan) -> Result<usize, Error> {
        let mut removals = 0;
        for key in events {
            // It may have gone since.
            let Some(value) = self.get(&key)? else { continue };
            let (position, parts) = event_row(&key, &value)?;
            let tenant = keys::tenant_of_event(&key).ok_or_else(|| damaged(&key, "an event's tenant is none"))?;
            let Some((fate, erasure)) = fate_of(&parts, (&tenant, position), scan) else { continue };
            if keys::is_kept_event(&key) {
                match fate {
                    Fate::Renamed => {
                        let renamed = codec::rename_event(&value, &erasure.stand_in);
                        self.put(key.clone(), renamed.map_err(|why| damaged(&key, why))?);
                    }
                    Fate::Removed => self.remove_kept_event(&tenant, position)?,
                }
                continue;
            }
            let name = EventName::parse(parts.name).map_err(|_| damaged(&key, "an event's name is not one"))?;
            let latest = self.latest_row(&keys::name(&tenant, name.as_str()))?;
            let latest = latest.filter(|latest| latest.position == position);
            match fate {
                Fate::Renamed => self.rename(&key, &value, (&tenant, position, &name), latest, &erasure.stand_in)?,
                Fate::Removed => {
                    let left = codec::encode_expired(parts.timestamp, parts.name, parts.previous);
                    if latest.is_some() {
                        // Streams are told, as of any other removal.
                        self.insert_event(Draft::removal(tenant.clone(), erasure.stand_in.clone(), name))?;
                        removals += 1;
                    }
                    if let Some(at) = parts.leaves_at() {
                        self.remove(keys::expiry(at, &tenant, position));
                    }
                    self.empty_event(&tenant, position, parts.chunks(), &left)?;
                }
            }
        }
        Ok(removals)
    }

    /// Gives an event another username.
    fn rename(
        &mut self,
        key: &[u8],
        value: &[u8],
        (tenant, position, name): (&TenantName, Position, &EventName),
        latest: Option<LatestRow>,
        stand_in: &Username,
    ) -> Result<(), Error> {
        self.put(key.to_vec(), codec::rename_event(value, stand_in).map_err(|why| damaged(key, why))?);
        // The removal at the end of its time bears the name that is kept there.
        if let Some(at) = latest.and_then(|latest| latest.expires_at) {
            self.put(keys::expiry(at, tenant, position), codec::encode_expiry(stand_in, name));
        }
        Ok(())
    }

    /// Erases some of what is left of a deleted user beside events, after all events have been erased.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn finish_erasure(&mut self, username: &Username) -> Result<Finished, Error> {
        if !self.forget_answers_of(username, ANSWERS_A_STEP)? {
            return Ok(Finished::Partly);
        }
        if self.bound_of(username)? > 0 {
            return Ok(Finished::Waits);
        }
        // They were made before the user was deleted, so all of them are in the store.
        let mut invites: Vec<InviteId> = Vec::new();
        self.committer.store.scan_prefix(&keys::invites_made_by(username), &mut |key, _| {
            invites.push(keys::of_invite_made_by(key).ok_or_else(|| damaged(key, "an invite's id is none"))?);
            Ok(true)
        })?;
        self.forget_invites_of(username, invites)?;
        self.remove(keys::erasure(username));
        // The moment may have passed meanwhile.
        if let Some(free_at) = self.decoded(&keys::quarantine(username), codec::decode_moment)? {
            self.put(keys::quarantine_due(free_at.max(self.now()), username), Vec::new());
        }
        Ok(Finished::Wholly)
    }

    /// Gives the names of deleted users free, by the keys that [`Store::find`] found.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn free_names(&mut self, due: Vec<Vec<u8>>) -> Result<(), Error> {
        for key in due {
            let (_, username) =
                keys::of_quarantine_due(&key).ok_or_else(|| damaged(&key, "a name's moment is none"))?;
            self.remove(key);
            // The user may have been deleted again, and another moment counts now. While there is something to erase none does: when
            // that is done, the name is due anew.
            let free_at = self.decoded(&keys::quarantine(&username), codec::decode_moment)?;
            if free_at.is_some_and(|free_at| free_at <= self.now()) && self.erasure(&username)?.is_none() {
                self.remove(keys::quarantine(&username));
                self.give_back(&username)?;
            }
        }
        Ok(())
    }

    /// Gives the skeletons of a name back. A name of an earlier version that looks like it
    /// keeps its skeletons.
    fn give_back(&mut self, username: &Username) -> Result<(), Error> {
        for (key, _) in rows_of(keys::NameKind::User, username.as_str()) {
            let Some(owners) = self.decoded(&key, codec::decode_names)? else { continue };
            // A full row may lack a name that looks like these, so it stays.
            if owners.len() >= MAX_OWNERS {
                continue;
            }
            let others: Vec<_> = owners.iter().map(String::as_str).filter(|name| *name != username.as_str()).collect();
            match others.len() {
                0 => self.remove(key),
                _ => self.put(key, codec::encode_names(others)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
