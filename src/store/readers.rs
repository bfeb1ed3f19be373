//! The reader threads, which read for tasks that must not wait for the disk, and the fair queue before them.

use std::thread;

use crate::domain::{TenantName, Username};
use crate::fair::{Patience, Pool, Task};

/// How many threads there are for each core, and at least. While some wait for a slow disk, others use the cores. If
/// all data is in memory, more threads would only take the cores from the workers.
const THREADS_PER_CORE: usize = 2;
const MIN_THREADS: usize = 4;
/// How many first steps of requests may wait, at about a kilobyte of memory each. Beyond that, a new one is refused, or
/// replaces one of the tenant that has the most in the queue.
const MAX_WAITING: usize = 8192;

/// A place in the queue of the readers. Tenants are served in turn, each with three lanes: its requests, its streams,
/// and the reads that its streams share. Within the first two, users are served in turn. So however much one user asks
/// for, a step waits for two or three steps of each other tenant, and a request or a worker never waits for streams
/// that catch up.
#[derive(Clone, Debug)]
pub struct Lane {
    group: LaneGroup,
    /// `None` if it is for several users.
    user: Option<Username>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LaneGroup {
    /// Background work.
    Maintenance,
    Admin,
    Requests(TenantName),
    Streams(TenantName),
    AllStreams(TenantName),
}

impl Lane {
    /// The lane of background work.
    pub const MAINTENANCE: Self = Self { group: LaneGroup::Maintenance, user: None };
    /// The lane of the admin.
    pub const ADMIN: Self = Self { group: LaneGroup::Admin, user: None };

    /// The lane of a request of a user.
    pub fn of_request(tenant: &TenantName, username: &Username) -> Self {
        Self { group: LaneGroup::Requests(tenant.clone()), user: Some(username.clone()) }
    }

    /// The lane of a stream of a user.
    pub fn of_stream(tenant: &TenantName, username: &Username) -> Self {
        Self { group: LaneGroup::Streams(tenant.clone()), user: Some(username.clone()) }
    }

    /// The lane of the reads that all streams of a tenant share.
    pub fn of_all_streams(tenant: &TenantName) -> Self {
        Self { group: LaneGroup::AllStreams(tenant.clone()), user: None }
    }
}

/// The threads: a cheap clone.
#[derive(Clone)]
pub(super) struct Readers(Pool<LaneGroup, Option<Username>>);

impl Readers {
    pub(super) fn start() -> std::io::Result<Self> {
        Pool::start("reader", threads(), MAX_WAITING).map(Self)
    }

    pub(super) fn submit<T: Send + 'static>(
        &self,
        Lane { group, user }: &Lane,
        patience: Patience,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Task<T> {
        self.0.submit(group.clone(), user.clone(), patience, work)
    }
}

fn threads() -> usize {
    let threads = thread::available_parallelism().map_or(1, usize::from) * THREADS_PER_CORE;
    threads.max(MIN_THREADS)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::store::Store;

    impl Store {
        /// Holds all threads, each until its sender is dropped.
        pub(crate) fn hold_readers(&self) -> Vec<(Sender<()>, Task<()>)> {
            let (started, begun) = channel();
            let hold = |_| {
                let (started, (go, hold)) = (started.clone(), channel::<()>());
                let task = self.read_on(&Lane::MAINTENANCE, move |_| {
                    started.send(()).unwrap();
                    let _ = hold.recv();
                });
                begun.recv().unwrap();
                (go, task)
            };
            (0..threads()).map(hold).collect()
        }
    }

    #[tokio::test]
    async fn neither_a_request_nor_a_worker_waits_for_the_streams_that_catch_up() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let [acme, other] = ["acme", "other"].map(|name| TenantName::parse(name).unwrap());
        let user = |number: usize| Username::parse(&format!("user{number}")).unwrap();
        let mut held = store.hold_readers();
        let order = Arc::new(Mutex::new(Vec::new()));
        let add = |lane: Lane, what: &'static str| {
            let order = Arc::clone(&order);
            store.read_on(&lane, move |_| order.lock().unwrap().push(what))
        };
        let mut tasks: Vec<_> = (0..100).map(|number| add(Lane::of_stream(&acme, &user(number)), "crowd")).collect();
        tasks.push(add(Lane::of_all_streams(&acme), "all streams"));
        tasks.push(add(Lane::of_request(&acme, &user(0)), "request"));
        tasks.push(add(Lane::of_stream(&other, &user(0)), "other"));
        held.pop();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(order.lock().unwrap()[..5], ["crowd", "all streams", "request", "other", "crowd"]);
    }
}
