//! The threads that read for those who must not wait for the disk, and the queue before them.

use std::thread;

use super::Store;
use crate::domain::{TenantName, Username};
use crate::error::Error;
use crate::fair::{Patience, Pool, Task};

/// How many threads there are for each core, and at least: those that wait for a slow disk leave the cores to the others, and
/// where all is in memory more would only take the cores from who serves.
const THREADS_PER_CORE: usize = 2;
const MIN_THREADS: usize = 4;
/// How many first steps of requests may wait, some kilobyte of memory each; who comes then is refused, or takes the place of
/// somebody of the tenant that has most in the queue.
const MAX_WAITING: usize = 8192;

/// For whom something is read. Tenants are served in turn, and so are the users of each.
#[derive(Clone, Debug)]
pub struct Lane {
    whose: Whose,
    /// `None` where it is for several of them.
    user: Option<Username>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    /// What is done unasked.
    Upkeep,
    Admin,
    Tenant(TenantName),
}

impl Lane {
    /// For what is done unasked.
    pub const UPKEEP: Self = Self { whose: Whose::Upkeep, user: None };
    /// For the admin.
    pub const ADMIN: Self = Self { whose: Whose::Admin, user: None };

    /// For several of a tenant.
    pub fn of_tenant(tenant: &TenantName) -> Self {
        Self { whose: Whose::Tenant(tenant.clone()), user: None }
    }

    /// For one user of a tenant.
    pub fn of_user(tenant: &TenantName, username: &Username) -> Self {
        Self { whose: Whose::Tenant(tenant.clone()), user: Some(username.clone()) }
    }
}

/// The threads: a cheap clone.
#[derive(Clone)]
pub(super) struct Readers(Pool<Whose, Option<Username>>);

impl Readers {
    pub(super) fn start() -> std::io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from) * THREADS_PER_CORE;
        Pool::start("reader", threads.max(MIN_THREADS), MAX_WAITING).map(Self)
    }
}

impl Store {
    /// Takes the first step of a reading, on a thread that may wait for the disk, in the lane's turn. A step must be short, some
    /// milliseconds: what takes longer goes on with [`Store::read_on`], behind all others.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too much waits; those of `read`.
    pub async fn read<T: Send + 'static>(
        &self,
        lane: &Lane,
        read: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.submit(lane, Patience::Refusable, read).await?
    }

    /// Takes a step of a reading that has begun, or that belongs to a stream: it is never refused. There must not be more than one
    /// at a time of each.
    pub fn read_on<T: Send + 'static>(&self, lane: &Lane, read: impl FnOnce(&Self) -> T + Send + 'static) -> Task<T> {
        self.submit(lane, Patience::Unbounded, read)
    }

    fn submit<T: Send + 'static>(
        &self,
        lane: &Lane,
        patience: Patience,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Task<T> {
        let (Lane { whose, user }, store) = (lane.clone(), self.clone());
        self.readers.0.submit(whose, user, patience, move || read(&store))
    }
}
