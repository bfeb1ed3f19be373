//! The memory budget of unfinished bodies, and which body is dropped when it is exhausted.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::domain::{ClientAddress, Network, TenantName, Username};
use crate::error::Error;
use crate::identity::Principal;
use crate::transports::ranked::Ranked;

/// Budget of all bodies without a signed-in sender, in bytes.
const OF_STRANGERS: usize = 24 << 20;
/// Budget of all bodies of users, in bytes.
const OF_USERS: usize = 40 << 20;
/// Bytes of each body that are not counted: less than its connection takes anyway. Most sign-ins are smaller.
pub const UNCOUNTED: usize = 1 << 10;

/// The sender of a body, which its bytes are charged to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sender {
    /// A client that has not signed in: its site, and its network within that.
    Stranger(Network, Network),
    /// A user of this tenant.
    User(TenantName, Username),
}

/// Senders that share one part of the budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Group {
    Site(Network),
    Tenant(TenantName),
}

impl Sender {
    /// A client at this address that has not signed in.
    pub fn stranger(from: ClientAddress) -> Self {
        Self::Stranger(from.site(), from.network())
    }

    /// A user.
    pub fn user(principal: &Principal) -> Self {
        Self::User(principal.account.tenant.clone(), principal.username.clone())
    }

    fn group(&self) -> Group {
        match self {
            Self::Stranger(site, _) => Group::Site(*site),
            Self::User(tenant, _) => Group::Tenant(tenant.clone()),
        }
    }
}

/// The memory used by unfinished bodies: a cheap clone, shared by all workers.
///
/// Closes this fault: a client that can fill a shared budget keeps everybody else out, and a limit per sender only
/// tells how many senders that takes. Here a newcomer gets in if it holds less than others: the largest sender of the
/// largest tenant or site loses its oldest body. Honest bodies are complete long before that.
#[derive(Clone)]
pub struct Bodies(Arc<Shares>);

/// Strangers take nothing from signed-in users.
struct Shares {
    strangers: Mutex<Share>,
    users: Mutex<Share>,
}

struct Share {
    most: usize,
    held: usize,
    next: u64,
    groups: Ranked<Group>,
    senders: HashMap<Group, Ranked<Sender>>,
    /// By sender and number, so that each sender's oldest comes first.
    bodies: BTreeMap<(Sender, u64), Counted>,
}

struct Counted {
    bytes: usize,
    /// Dropping it ends the body.
    _keep: oneshot::Sender<()>,
}

/// The part of the budget that one body holds, until this is dropped.
pub struct Held {
    bodies: Bodies,
    sender: Sender,
    place: Option<Place>,
}

struct Place {
    number: u64,
    /// Resolves when the body must be dropped.
    displaced: oneshot::Receiver<()>,
}

impl Share {
    fn of(most: usize) -> Mutex<Self> {
        let (groups, senders, bodies) = (Ranked::default(), HashMap::new(), BTreeMap::new());
        Mutex::new(Self { most, held: 0, next: 0, groups, senders, bodies })
    }

    /// Registers a body.
    fn begin(&mut self, sender: &Sender) -> Place {
        let (keep, displaced) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.bodies.insert((sender.clone(), number), Counted { bytes: 0, _keep: keep });
        Place { number, displaced }
    }

    /// Raises what a body holds to this many bytes. This may drop others, or this one.
    fn grow(&mut self, sender: &Sender, number: u64, bytes: usize) -> Result<(), Error> {
        let key = (sender.clone(), number);
        let counted = self.bodies.get_mut(&key).ok_or(Error::Overloaded)?;
        let more = bytes.saturating_sub(counted.bytes);
        counted.bytes += more;
        self.count(sender, |had| had + more);
        while self.held > self.most {
            let Some(first) = self.first_to_go() else { break };
            self.remove(&first);
        }
        if self.bodies.contains_key(&key) { Ok(()) } else { Err(Error::Overloaded) }
    }

    fn first_to_go(&self) -> Option<(Sender, u64)> {
        let sender = self.senders.get(self.groups.largest()?)?.largest()?;
        let (first, _) = self.bodies.range((sender.clone(), 0)..).next()?;
        Some(first.clone())
    }

    fn remove(&mut self, key: &(Sender, u64)) {
        if let Some(Counted { bytes, .. }) = self.bodies.remove(key) {
            self.count(&key.0, |had| had - bytes);
        }
    }

    fn count(&mut self, sender: &Sender, change: impl Fn(usize) -> usize) {
        let group = sender.group();
        self.held = change(self.held);
        self.groups.change(&group, &change);
        let senders = self.senders.entry(group.clone()).or_default();
        senders.change(sender, &change);
        if senders.is_empty() {
            self.senders.remove(&group);
        }
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self::of(OF_STRANGERS, OF_USERS)
    }
}

impl Bodies {
    pub(super) fn of(strangers: usize, users: usize) -> Self {
        Self(Arc::new(Shares { strangers: Share::of(strangers), users: Share::of(users) }))
    }

    fn share(&self, sender: &Sender) -> MutexGuard<'_, Share> {
        let share = match sender {
            Sender::Stranger(..) => &self.0.strangers,
            Sender::User(..) => &self.0.users,
        };
        share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to charge a body to its sender.
    pub(super) fn hold(&self, sender: Sender) -> Held {
        Held { bodies: self.clone(), sender, place: None }
    }
}

impl Held {
    /// Raises the charge to this many bytes. From then on [`Held::poll_displaced`] must be polled too.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there is no room but what others have who have less, or if it went to others.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = bytes.saturating_sub(UNCOUNTED);
        if bytes == 0 {
            return Ok(());
        }
        let mut share = self.bodies.share(&self.sender);
        let place = self.place.get_or_insert_with(|| share.begin(&self.sender));
        share.grow(&self.sender, place.number, bytes)
    }

    /// Ready when its part of the budget went to others.
    pub fn poll_displaced(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.place {
            Some(place) => Pin::new(&mut place.displaced).poll(context).map(drop),
            None => Poll::Pending,
        }
    }

    /// Runs another future while holding it.
    ///
    /// # Errors
    /// [`Error::Overloaded`] once what it has goes to others; those of the other.
    pub async fn during<T>(&mut self, other: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = other => done,
            () = poll_fn(|context| self.poll_displaced(context)) => Err(Error::Overloaded),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.bodies.share(&self.sender).remove(&(self.sender.clone(), place.number));
        }
    }
}

#[cfg(test)]
impl Bodies {
    /// Bytes held by all senders of this kind.
    pub(super) fn held(&self, sender: &Sender) -> usize {
        self.share(sender).held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;
    /// For each kind of sender.
    const MOST: usize = 400 * KIB;

    fn stranger(address: &str) -> Sender {
        Sender::stranger(ClientAddress::of(address.parse().unwrap()))
    }

    fn user(tenant: &str, name: &str) -> Sender {
        Sender::User(TenantName::parse(tenant).unwrap(), Username::parse(name).unwrap())
    }

    fn body(bodies: &Bodies, sender: &Sender, bytes: usize) -> Held {
        let mut held = bodies.hold(sender.clone());
        held.hold(bytes + UNCOUNTED).unwrap();
        held
    }

    fn is_displaced(held: &mut Held) -> bool {
        held.poll_displaced(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    /// As many bodies as fit, from these senders in turn.
    fn fill(bodies: &Bodies, senders: &[Sender]) -> Vec<Held> {
        (0..MOST / (10 * KIB)).map(|number| body(bodies, &senders[number % senders.len()], 10 * KIB)).collect()
    }

    #[test]
    fn however_many_of_a_tenant_or_a_site_fill_the_room_the_others_get_in_and_keep_what_they_have() {
        let users: Vec<_> = (0..10).map(|number| user("crowd", &format!("user{number}"))).collect();
        let networks: Vec<_> = (0..10).map(|number| stranger(&format!("2001:db8:1:{number}::1"))).collect();
        for (crowd, others) in [
            (users, [user("acme", "alice"), user("crowd", "bob")]),
            (networks, [stranger("2001:db8:2::1"), stranger("2001:db8:1:ff::1")]),
        ] {
            let bodies = Bodies::of(MOST, MOST);
            let mut all = fill(&bodies, &crowd);
            assert_eq!(
                (bodies.held(&crowd[0]), all.iter_mut().map(is_displaced).filter(|displaced| *displaced).count()),
                (MOST, 0)
            );
            let mut kept: Vec<_> = others.iter().map(|other| body(&bodies, other, 20 * KIB)).collect();
            // The largest senders keep sending.
            let again = fill(&bodies, &crowd);
            assert!(!kept.iter_mut().any(is_displaced));
            assert!(bodies.held(&crowd[0]) <= MOST);
            // The oldest bodies were dropped.
            assert!(all.iter_mut().all(is_displaced));
            assert_eq!(all[0].hold(20 * KIB + UNCOUNTED), Err(Error::Overloaded));
            drop((all, again, kept));
            let share = bodies.share(&crowd[0]);
            assert_eq!((share.held, share.bodies.len(), share.senders.len()), (0, 0, 0));
            assert!(share.groups.is_empty());
        }
    }

    #[test]
    fn who_has_less_than_others_gets_in_however_many_those_are_and_who_has_more_does_not() {
        let bodies = Bodies::of(MOST, MOST);
        let strangers: Vec<_> = (0..10).map(|last| stranger(&format!("192.0.2.{last}"))).collect();
        let mut all = fill(&bodies, &strangers);
        let newcomer = stranger("198.51.100.1");
        let mut small = body(&bodies, &newcomer, 30 * KIB);
        assert_eq!(all.iter_mut().map(is_displaced).filter(|displaced| *displaced).count(), 3);
        assert_eq!(small.hold(50 * KIB + UNCOUNTED), Err(Error::Overloaded));
        assert!(is_displaced(&mut small));
        // Users have a budget of their own.
        body(&bodies, &user("acme", "alice"), MOST);
    }

    #[test]
    fn what_is_small_does_not_count_and_more_than_there_is_has_no_room() {
        let bodies = Bodies::of(MOST, MOST);
        let here = stranger("127.0.0.1");
        let mut held = bodies.hold(here.clone());
        for bytes in [100, UNCOUNTED, UNCOUNTED + 1, MOST, MOST + UNCOUNTED] {
            assert!(held.hold(bytes).is_ok());
        }
        assert_eq!(bodies.held(&here), MOST);
        assert_eq!(held.hold(MOST + UNCOUNTED + 1), Err(Error::Overloaded));
        assert_eq!(bodies.held(&here), 0);
    }

    #[tokio::test]
    async fn who_waits_for_something_else_is_told_when_the_room_goes_to_others() {
        let bodies = Bodies::of(MOST, MOST);
        let crowd = stranger("192.0.2.1");
        let mut first = body(&bodies, &crowd, 10 * KIB);
        assert_eq!(first.during(async { Ok(7) }).await, Ok(7));
        let mut waiting = Box::pin(first.during(std::future::pending::<Result<(), Error>>()));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        let _others = fill(&bodies, &[crowd]);
        assert_eq!(waiting.await, Err(Error::Overloaded));
    }
}
