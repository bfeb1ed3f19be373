//! Invites: one row for each by its hash, one by the moment at which it ends, and one by the user who made it.

use super::damage::damaged;
use super::database::Store;
use super::rows::Rows;
use super::transaction::Transaction;
use super::{codec, keys};
use crate::domain::{Invite, InviteId, Username};
use crate::error::Error;

/// How many invites of a user may be open.
pub const MAX_INVITES_OF_USER: u64 = 100;

impl Store {
    /// The invites that a user made, without those that have been used up. They are not many (`MAX_INVITES_OF_USER`).
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn invites_made_by(&self, username: &Username) -> Result<Vec<Invite>, Error> {
        let mut ids: Vec<InviteId> = Vec::new();
        self.scan_prefix(&keys::invites_made_by(username), &mut |key, _| {
            ids.push(keys::of_invite_made_by(key).ok_or_else(|| damaged(key, "an invite's id is none"))?);
            Ok(true)
        })?;
        ids.iter().filter_map(|id| self.invite(id).transpose()).collect()
    }

    /// An invite. It may have ended.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn invite(&self, id: &InviteId) -> Result<Option<Invite>, Error> {
        self.decoded(&keys::invite(id), codec::decode_invite)
    }
}

impl Transaction<'_> {
    /// An invite, with every change that was decided before. It may have ended.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn invite(&self, id: &InviteId) -> Result<Option<Invite>, Error> {
        self.decoded(&keys::invite(id), codec::decode_invite)
    }

    /// Writes a new invite.
    ///
    /// # Errors
    /// [`Error::TooManyInvites`] if its user has as many as one may have; those of [`Transaction::insert_event`].
    pub fn add_invite(&mut self, id: &InviteId, invite: &Invite) -> Result<(), Error> {
        if let Some(inviter) = &invite.made_by {
            let count = self.invites_of(&inviter.username)?;
            if count >= MAX_INVITES_OF_USER {
                return Err(Error::TooManyInvites(MAX_INVITES_OF_USER));
            }
            self.put(keys::invites_of(&inviter.username), codec::encode_count(count + 1));
            self.put(keys::invite_made_by(&inviter.username, id), Vec::new());
        }
        self.put(keys::invite_due(invite.expires_at, id), Vec::new());
        self.put(keys::invite(id), codec::encode_invite(invite));
        Ok(())
    }

    /// Counts a use of an invite. The last one ends it.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn use_invite(&mut self, id: &InviteId, invite: Invite) -> Result<(), Error> {
        match invite.uses_left.saturating_sub(1) {
            0 => self.forget_invite(id, &invite),
            uses_left => {
                self.put(keys::invite(id), codec::encode_invite(&Invite { uses_left, ..invite }));
                Ok(())
            }
        }
    }

    /// Forgets invites that have ended, by the keys that [`Store::find`] found.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn forget_invites(&mut self, due: Vec<Vec<u8>>) -> Result<(), Error> {
        for key in due {
            let id = keys::of_invite_due(&key).ok_or_else(|| damaged(&key, "an invite's moment is none"))?;
            // Its last use may have ended it since.
            match self.invite(&id)? {
                Some(invite) => self.forget_invite(&id, &invite)?,
                None => self.remove(key),
            }
        }
        Ok(())
    }

    /// Forgets invites of a deleted user.
    pub(super) fn forget_invites_of(&mut self, username: &Username, invites: Vec<InviteId>) -> Result<(), Error> {
        for id in invites {
            match self.invite(&id)? {
                Some(invite) => self.forget_invite(&id, &invite)?,
                None => self.remove(keys::invite_made_by(username, &id)),
            }
        }
        Ok(())
    }

    /// Forgets an invite.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn forget_invite(&mut self, id: &InviteId, invite: &Invite) -> Result<(), Error> {
        if let Some(inviter) = &invite.made_by {
            let count = keys::invites_of(&inviter.username);
            match self.invites_of(&inviter.username)?.saturating_sub(1) {
                0 => self.remove(count),
                left => self.put(count, codec::encode_count(left)),
            }
            self.remove(keys::invite_made_by(&inviter.username, id));
        }
        self.remove(keys::invite_due(invite.expires_at, id));
        self.remove(keys::invite(id));
        Ok(())
    }

    fn invites_of(&self, username: &Username) -> Result<u64, Error> {
        Ok(self.decoded(&keys::invites_of(username), codec::decode_count)?.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Inviter, Scope, TenantName, Timestamp};
    use crate::store::{Committer, Search};

    fn invite(made_by: Option<&str>, uses_left: u16, expires_at: u64) -> Invite {
        Invite {
            tenant: TenantName::parse("acme").unwrap(),
            scopes: Some(Scope::parse_all(&["news:get"]).unwrap()),
            made_at: Timestamp::from_millis(1),
            expires_at: Timestamp::from_millis(expires_at),
            uses_left,
            made_by: made_by
                .map(|name| Inviter { username: Username::parse(name).unwrap(), id: uuid::Uuid::from_u128(7) }),
        }
    }

    fn change(committer: &mut Committer, change: impl FnOnce(&mut Transaction<'_>) -> Result<(), Error>) {
        let mut transaction = committer.begin(Timestamp::from_millis(2)).unwrap();
        change(&mut transaction).unwrap();
        drop(transaction.commit().unwrap().reveal());
    }

    /// All rows that invites write.
    fn rows(store: &Store) -> usize {
        let mut rows = 0;
        for kind in [b"I", b"J", b"M", b"N"] {
            let mut count = |_: &[u8], _: &[u8]| {
                rows += 1;
                Ok(true)
            };
            store.scan_prefix(kind, &mut count).unwrap();
        }
        rows
    }

    #[test]
    fn an_invite_is_kept_over_a_restart_until_its_last_use_or_its_end_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let (used, ended, of_admin) =
            (invite(Some("zoe"), 2, 5000), invite(Some("zoe"), 9, 6000), invite(None, 1, 7000));
        change(&mut committer, |transaction| {
            transaction.add_invite(&[1; 32], &used)?;
            transaction.add_invite(&[2; 32], &ended)?;
            transaction.add_invite(&[3; 32], &of_admin)
        });
        drop((store, committer));
        (store, committer) = Store::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(store.invite(&[1; 32]), Ok(Some(used.clone())));
        change(&mut committer, |transaction| transaction.use_invite(&[1; 32], used.clone()));
        assert_eq!(store.invite(&[1; 32]), Ok(Some(Invite { uses_left: 1, ..used.clone() })));
        change(&mut committer, |transaction| transaction.use_invite(&[1; 32], Invite { uses_left: 1, ..used }));
        assert_eq!(store.invite(&[1; 32]), Ok(None));
        let due_at = |now| store.find(&Search::for_ended_invites(), Timestamp::from_millis(now), 10).unwrap().keys;
        assert_eq!(due_at(5999).len(), 0);
        for (now, left) in [(6000, 2), (7000, 0)] {
            change(&mut committer, |transaction| transaction.forget_invites(due_at(now)));
            assert_eq!(rows(&store), left, "at {now}");
        }
    }

    #[test]
    fn a_user_has_a_bounded_number_of_open_invites_and_an_admin_any_number() {
        let directory = tempfile::tempdir().unwrap();
        let (_store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let id = |number: u64| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        change(&mut committer, |transaction| {
            for number in 0..MAX_INVITES_OF_USER {
                transaction.add_invite(&id(number), &invite(Some("zoe"), 1, 5000))?;
            }
            let refused = transaction.add_invite(&id(1000), &invite(Some("zoe"), 1, 5000));
            assert_eq!(refused, Err(Error::TooManyInvites(MAX_INVITES_OF_USER)));
            transaction.add_invite(&id(1001), &invite(Some("max"), 1, 5000))?;
            transaction.use_invite(&id(0), invite(Some("zoe"), 1, 5000))?;
            transaction.add_invite(&id(1002), &invite(Some("zoe"), 1, 5000))?;
            (2000..2000 + 2 * MAX_INVITES_OF_USER)
                .try_for_each(|n| transaction.add_invite(&id(n), &invite(None, 1, 5000)))
        });
    }
}
