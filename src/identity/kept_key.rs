//! Keys that a database is given once, and that every server which opens it has to agree on.

use crate::domain::wire;
use crate::error::Error;
use crate::store::Store;
use crate::writer::{Anywhere, Batch, Change, Writer};
use serde::{Deserialize, Serialize};

/// Keeps a key in a setting, unless one is there already.
#[derive(Serialize, Deserialize)]
pub(super) struct KeepKey {
    setting: String,
    #[serde(with = "wire::bytes")]
    key: Vec<u8>,
}

impl Change for KeepKey {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        if batch.setting(&self.setting)?.is_none() {
            batch.put_setting(&self.setting, self.key);
        }
        Ok(())
    }
}

/// The key in a setting; a new one is drawn if there is none. Several callers may do that at once: the writer keeps the first key, and
/// all of them read that one back.
///
/// # Errors
/// [`Error::Storage`] if it cannot be read; those of [`Writer::submit`].
pub(super) async fn kept_key(
    setting: &str,
    draw: impl FnOnce() -> Vec<u8>,
    store: &Store,
    writer: &Writer,
) -> Result<Vec<u8>, Error> {
    if let Some(kept) = store.setting(setting)? {
        return Ok(kept);
    }
    writer.submit(KeepKey { setting: setting.to_owned(), key: draw() }).await?;
    store.setting(setting)?.ok_or_else(|| Error::Internal(format!("the setting {setting} was not kept")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn of_keys_that_are_drawn_at_once_the_first_is_kept_and_everybody_gets_that_one() {
        let directory = tempfile::tempdir().unwrap();
        let (store, committer) = Store::open(directory.path(), 64 << 20).unwrap();
        let publish = |committed: crate::store::Durable| drop(committed.reveal());
        let (writer, _failure) =
            Writer::start(committer, Clock::from_local(), crate::writer::Rules::example(), publish).unwrap();
        // Each looks before the writer has decided the other's.
        let keys = tokio::join!(
            kept_key("key", || vec![1], &store, &writer),
            kept_key("key", || vec![2], &store, &writer),
            kept_key("other", || vec![3], &store, &writer),
        );
        assert_eq!(keys, (Ok(vec![1]), Ok(vec![1]), Ok(vec![3])));
        let later = kept_key("key", || unreachable!("there is a key"), &store, &writer).await;
        assert_eq!(later, Ok(vec![1]));
    }
}
