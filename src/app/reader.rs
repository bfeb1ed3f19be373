use std::sync::Arc;

use crate::domain::{Authorize, EventFilter, TenantName, View};
use crate::error::Error;
use crate::identity::{Admin, Identity, Principal};
use crate::store::{Lane, Store};

/// How often something is read anew because its reader's rights changed meanwhile.
const TRIES: usize = 10;

/// A principal that reads from the store. What was read is given out only after the rights have been checked once more: a read waits
/// for a thread and for the disk, and meanwhile the user may have been revoked, have lost a scope or gone to another tenant, or the
/// token may have expired.
///
/// A change of rights can be seen before the events of its commit can, so a user that was shut out by then gets none of the events
/// that came after.
#[derive(Clone)]
pub struct Reader {
    identity: Identity,
    store: Store,
    authorize: Authorize,
    principal: Principal,
    filter: EventFilter,
}

/// What a reader may see at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadScope {
    /// The tenant of the events.
    pub tenant: TenantName,
    /// The events of it that are wanted and may be seen.
    pub view: View,
}

impl Reader {
    /// A reader of the events that a filter wants.
    pub(super) fn new(
        identity: Identity,
        store: Store,
        authorize: Authorize,
        principal: Principal,
        filter: EventFilter,
    ) -> Self {
        Self { identity, store, authorize, principal, filter }
    }

    /// What a request of this principal may see now.
    fn scope(&self) -> Result<ReadScope, Error> {
        let account = self.identity.recheck(&self.principal)?;
        let (rights, own) = account.scopes.to_see(self.authorize, &self.principal.username);
        Ok(ReadScope { tenant: account.tenant.clone(), view: View { filter: self.filter.clone(), rights, own } })
    }

    /// Reads something on a thread that may block, and again if the principal may see something else by then. Returns also the scope
    /// that it was read by.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the rights ended; [`Error::Overloaded`] if they change all the time; those of `read`.
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

    /// Reads more of what was begun by a scope; `None` if the principal may see something else by now.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the rights ended; those of `read`.
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

/// An admin that reads from the store. The right to it is the admin token, which is the same for as long as the server runs.
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
    /// [`Error::Overloaded`] if too much waits; those of `read`.
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
        // A request that goes takes no place.
        drop(waiting);
        assert_eq!(reader.read(|_| Ok(())).await, Ok(()));
    }
}
