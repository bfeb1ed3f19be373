//! Deleting users. Their sign-ins and streams end at once; what they left is erased in the background (`store/erasures.rs`).

use super::{Admin, Identity};
use crate::config::Deletions;
use crate::domain::{Erase, User, Username};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};
use serde::{Deserialize, Serialize};

impl Identity {
    /// Deletes a user. What happens to the events that they inserted is as the flag says, unless the admin says otherwise.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] for another word than `remove` and `anonymise`; [`Error::UserUnknown`]; those of
    /// [`crate::writer::Writer::submit`].
    pub async fn delete_user(&self, admin: &Admin, username: &str, erase: Option<&str>) -> Result<(), Error> {
        let act = admin.act("user", "deleted", username);
        let deleted = async {
            let erase = match erase {
                None => None,
                Some(word) => {
                    let parsed = Erase::parse(word);
                    Some(parsed.ok_or_else(|| Error::BodyInvalid("erase must be remove or anonymise".to_owned()))?)
                }
            };
            let username = Username::parse(username).map_err(|_| Error::UserUnknown)?;
            self.0.writer.submit(DeleteUser { username, how: Deletion::asked(erase) }).await
        };
        act.ends(deleted.await)
    }
}

/// How a user is deleted.
#[derive(Serialize, Deserialize)]
pub(super) struct Deletion {
    /// What happens to the events that they inserted; `None` is as the flag says.
    erase: Option<Erase>,
    /// For the name that takes the place of the user's.
    random: [u8; 8],
}

impl Deletion {
    /// As it is asked for.
    pub(super) fn asked(erase: Option<Erase>) -> Self {
        Self { erase, random: crate::random::bytes() }
    }

    /// Deletes a user, and ends their streams.
    ///
    /// # Errors
    /// Those of [`crate::store::Transaction::delete_user`].
    pub(super) fn of(self, batch: &mut Batch<'_>, user: &User) -> Result<(), Error> {
        let Deletions { name_quarantine, erase } = batch.rules().deletions;
        let free_at = batch.now() + name_quarantine;
        batch.delete_user(user, self.erase.unwrap_or(erase), free_at, self.random)?;
        batch.end_streams_of(&user.username);
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeleteUser {
    username: Username,
    how: Deletion,
}

impl Change for DeleteUser {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let user = batch.user(&self.username)?.ok_or(Error::UserUnknown)?;
        self.how.of(batch, &user)
    }
}
