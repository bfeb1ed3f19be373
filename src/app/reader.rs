use std::sync::Arc;

use crate::domain::{Authorize, EventFilter, TenantName, View};
use crate::error::Error;
use crate::identity::{Admin, Identity, Principal};
use crate::store::{Lane, Store};

/// How often something is read anew because its reader's rights changed meanwhile.
const TRIES: usize = 10;

/// Somebody who reads what is kept. What is read for them is given out only after it was looked, once more, whether they may
/// see it: a read waits for a thread and for the disk, and meanwhile they may have been revoked, lost a scope, gone to another
/// tenant, or their token may have expired.
///
/// A change of rights can be seen before the events of its commit can, so whoever was shut out by then gets none of those that
/// came after.
#[derive(Clone)]
pub struct Reader {
    identity: Identity,
    store: Store,
    authorize: Authorize,
    principal: Principal,
    filter: EventFilter,
}

/// What somebody is let see at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadScope {
    /// Of whose events.
    pub tenant: TenantName,
    /// What of them.
    pub view: View,
}

impl Reader {
    /// Somebody who wants to read what the filter says.
    pub(super) fn new(
        identity: Identity,
        store: Store,
        authorize: Authorize,
        principal: Principal,
        filter: EventFilter,
    ) -> Self {
        Self { identity, store, authorize, principal, filter }
    }

    /// What a request of theirs would be let see that came now.
    fn scope(&self) -> Result<ReadScope, Error> {
        let account = self.identity.recheck(&self.principal)?;
        let (rights, own) = account.scopes.to_see(self.authorize, &self.principal.username);
        Ok(ReadScope { tenant: account.tenant.clone(), view: View { filter: self.filter.clone(), rights, own } })
    }

    /// Reads something on a thread that may block, and again where they may see something else by then; under which sight that
    /// was.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where their rights ended; [`Error::Overloaded`] where those change all the time; those of `read`.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&Store, &ReadScope) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<(ReadScope, T), Error> {
        let read = Arc::new(read);
        for _ in 0..TRIES {
            let scope = self.scope()?;
            let (read, by) = (Arc::clone(&read), scope.clone());
            let found = self.store.read(&self.lane(&scope), move |store| read(store, &by)).await?;
            if self.scope()? == scope {
                return Ok((scope, found));
            }
        }
        Err(Error::Overloaded)
    }

    /// Reads more of what was begun under a sight; `None` where they may see something else by now.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where their rights ended; those of `read`.
    pub async fn read_on<T: Send + 'static>(
        &self,
        scope: &ReadScope,
        read: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let found = self.store.read_on(&self.lane(scope), read).await??;
        Ok((self.scope()? == *scope).then_some(found))
    }

    fn lane(&self, scope: &ReadScope) -> Lane {
        Lane::of_request(&scope.tenant, &self.principal.username)
    }
}

/// An admin who reads what is kept. Their right to it is the admin token, which is the same for as long as the server runs.
pub struct AdminReader {
    store: Store,
}

impl AdminReader {
    pub(super) fn new(_: &Admin, store: Store) -> Self {
        Self { store }
    }

    /// Reads something on a thread that may block.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too much waits; those of `read`.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.store.read(&Lane::ADMIN, read).await
    }

    /// Reads more of what was begun.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn read_on<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.store.read_on(&Lane::ADMIN, read).await?
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_admin_who_asks_for_too_much_is_refused_and_what_was_begun_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let reader = AdminReader { store };
        let held = reader.store.hold_readers();
        let mut waiting = Vec::new();
        let refused = loop {
            let mut read = Box::pin(reader.read(|_| Ok(())));
            match read.as_mut().now_or_never() {
                Some(refused) => break refused,
                None => waiting.push(read),
            }
            assert!(waiting.len() < 100_000, "nothing is ever refused");
        };
        assert_eq!(refused, Err(Error::Overloaded));
        let mut begun = Box::pin(reader.read_on(|_| Ok(())));
        assert_eq!(begun.as_mut().now_or_never(), None);
        drop(held);
        assert_eq!(begun.await, Ok(()));
        // Who goes takes nobody's place.
        drop(waiting);
        assert_eq!(reader.read(|_| Ok(())).await, Ok(()));
    }
}
