use super::damage::damaged;
use super::database::Store;
use super::names::Unread;
use super::{codec, keys};
use crate::domain::{User, Username};
use crate::error::Error;

/// How many users one step looks at, and how many bytes of them, plus one user, so that a step is always short.
const USERS_A_STEP: usize = 512;
const BYTES_A_STEP: usize = 1 << 20;

/// A reading of all users by name, each once, as they are when the reading reaches them.
pub struct Users(Unread);

impl Users {
    /// Begins a reading of all users, or of those whose names come after this one in the order of their bytes. No user
    /// need have that name.
    pub fn new(after: Option<&Username>) -> Self {
        let start = after.map_or_else(|| keys::USERS.to_vec(), |after| keys::after(&keys::user(after)));
        Self(Unread::new(vec![start..keys::end_of(keys::USERS)]))
    }

    /// Gives the next users to `each`, until `each` returns true. Returns whether there may be more. Of a user that
    /// cannot be read, it gives only the name, and the log names the key. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; the errors of `each`.
    pub fn next(
        &mut self,
        store: &Store,
        mut each: impl FnMut(Username, Option<User>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let (mut users, mut bytes) = (0, 0);
        self.0.read(store, |key, value| {
            users += 1;
            bytes += value.len();
            let user = store.unless_damaged(codec::decode_user(value).map_err(|why| damaged(key, why)))?;
            let name = keys::of_user(key).ok_or_else(|| damaged(key, "a username is not one"));
            let is_enough = match store.unless_damaged(name)? {
                Some(name) => each(name, user)?,
                None => false,
            };
            Ok(!is_enough && users < USERS_A_STEP && bytes < BYTES_A_STEP)
        })
    }
}
