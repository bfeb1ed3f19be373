//! Tokens of channels: one row for each channel that has one. The token itself is not stored: it is made again from the row and a key
//! that is not in the database.

use super::damage::damaged;
use super::database::Store;
use super::rows::Rows;
use super::transaction::Transaction;
use super::{codec, keys};
use crate::domain::{ChannelToken, ChannelTokenId};
use crate::error::Error;

impl Store {
    /// The token of a channel. It may have expired.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn channel_token(&self, id: &ChannelTokenId) -> Result<Option<ChannelToken>, Error> {
        self.decoded(&keys::channel_token(id), codec::decode_channel_token)
    }
}

impl Transaction<'_> {
    /// The token of a channel, with every change that was decided before. It may have expired.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn channel_token(&self, id: &ChannelTokenId) -> Result<Option<ChannelToken>, Error> {
        self.decoded(&keys::channel_token(id), codec::decode_channel_token)
    }

    /// Writes a token in the place of the one that the channel had.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn put_channel_token(&mut self, id: &ChannelTokenId, token: &ChannelToken) -> Result<(), Error> {
        if let Some(before) = self.channel_token(id)? {
            self.remove(keys::channel_token_due(before.expires_at(), id));
        }
        self.put(keys::channel_token_due(token.expires_at(), id), Vec::new());
        self.put(keys::channel_token(id), codec::encode_channel_token(token));
        Ok(())
    }

    /// Forgets tokens that have expired, by the keys that [`Store::find`] found.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn forget_channel_tokens(&mut self, due: Vec<Vec<u8>>) -> Result<(), Error> {
        for key in due {
            let (at, id) = keys::of_channel_token_due(&key).ok_or_else(|| damaged(&key, "a token's moment is none"))?;
            // It may have been used since, or be another one.
            if self.channel_token(&id)?.is_some_and(|token| token.expires_at() <= at) {
                self.remove(keys::channel_token(&id));
            }
            self.remove(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventName, TenantName, Timestamp};
    use crate::store::Search;

    #[test]
    fn a_token_is_kept_over_a_restart_and_forgotten_a_week_after_its_last_use() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let token = |serial, used_at| ChannelToken {
            tenant: TenantName::parse("acme").unwrap(),
            channel: EventName::parse("a/b").unwrap(),
            serial,
            used_at: Timestamp::from_millis(used_at),
        };
        let id = [7; 16];
        for (serial, used_at) in [(1, 1000), (1, 5000), (2, 9000)] {
            let mut transaction = committer.begin(Timestamp::from_millis(used_at)).unwrap();
            transaction.put_channel_token(&id, &token(serial, used_at)).unwrap();
            drop(transaction.commit().unwrap().reveal());
            assert_eq!(store.channel_token(&id), Ok(Some(token(serial, used_at))));
        }
        drop((store, committer));
        (store, committer) = Store::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(store.channel_token(&id), Ok(Some(token(2, 9000))));
        let ends = token(2, 9000).expires_at().as_millis();
        let mut found_at = |now: u64| {
            let found = store.find(&Search::for_old_channel_tokens(), Timestamp::from_millis(now), 10).unwrap().keys;
            let count = found.len();
            let mut transaction = committer.begin(Timestamp::from_millis(now)).unwrap();
            transaction.forget_channel_tokens(found).unwrap();
            drop(transaction.commit().unwrap().reveal());
            count
        };
        assert_eq!(found_at(ends - 1), 0, "each use moves it");
        assert_eq!(found_at(ends), 1);
        assert_eq!(found_at(ends), 0);
        assert_eq!(store.channel_token(&id), Ok(None));
    }

    #[test]
    fn a_token_that_was_used_while_it_was_to_be_forgotten_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let token = ChannelToken {
            tenant: TenantName::parse("acme").unwrap(),
            channel: EventName::parse("a").unwrap(),
            serial: 1,
            used_at: Timestamp::from_millis(1),
        };
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        transaction.put_channel_token(&[1; 16], &token).unwrap();
        let due = vec![keys::channel_token_due(token.expires_at(), &[1; 16])];
        let used = ChannelToken { used_at: Timestamp::from_millis(2), ..token };
        transaction.put_channel_token(&[1; 16], &used).unwrap();
        transaction.forget_channel_tokens(due).unwrap();
        drop(transaction.commit().unwrap().reveal());
        assert_eq!(store.channel_token(&[1; 16]), Ok(Some(used)));
    }
}
