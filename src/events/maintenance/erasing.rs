use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use super::rounds::{Desk, Round};
use crate::domain::{TenantName, Username};
use crate::error::Error;
use crate::events::hub::Hub;
use crate::store::{ErasureScan, Finished, Search, Store};
use crate::writer::{Batch, Change, Here};

/// How much longer than a step of a scan the pause after it is, so that it takes a fifth of a core at most.
const PAUSE: u32 = 4;
/// How many names are given free in one round.
const NAMES_A_ROUND: usize = 64;

/// Erases what deleted users left, and gives their names free after a while.
pub struct Erasing {
    hub: Hub,
    desk: Desk,
    /// The scan for the events of some deleted users that is under way.
    scan: Option<ErasureScan>,
    /// Tenants in which the scan has erased events. What memory has of them is forgotten at its end: to forget it at each step would
    /// have every new stream read from the store meanwhile.
    touched: BTreeSet<TenantName>,
    /// Users whose events have been erased. The rest of what they left goes now.
    scanned: HashSet<Username>,
    /// Those of them of whom a row cannot be read. They are tried again at the next start.
    damaged: HashSet<Username>,
    names: Search,
}

impl Erasing {
    pub fn new(hub: Hub, desk: Desk) -> Self {
        Self {
            hub,
            desk,
            scan: None,
            touched: BTreeSet::new(),
            scanned: HashSet::new(),
            damaged: HashSet::new(),
            names: Search::for_free_names(),
        }
    }

    /// One step of each kind.
    pub async fn round(&mut self) -> Result<Round, Error> {
        // None waits for another that fails.
        let (freed, erased, finished) = (self.free_names().await, self.erase_events().await, self.finish().await);
        Ok(if freed? | erased? | finished? { Round::Goes } else { Round::Done })
    }

    /// Takes a step of the scan, or begins one. Returns whether there is more.
    async fn erase_events(&mut self) -> Result<bool, Error> {
        let Some(scan) = self.scan.clone() else {
            let scanned = self.scanned.clone();
            let erasures = self.desk.read(move |store| store.erasures(&scanned)).await?;
            self.scan = (!erasures.is_empty()).then(|| ErasureScan::new(erasures));
            return Ok(self.scan.is_some());
        };
        let (began, of) = (Instant::now(), scan.clone());
        let found = self.desk.read(move |store: &Store| store.find_to_erase(scan)).await?;
        tokio::time::sleep(began.elapsed() * PAUSE).await;
        if !found.keys.is_empty() {
            // Before it is done, since some of it may be committed before it fails.
            self.touched.extend(found.keys.iter().filter_map(|key| Store::tenant_of_event(key)));
            self.desk.with_each(found.keys, |keys| EraseEvents { keys, scan: of.clone() }).await?;
        }
        // Not before it is done: a step that fails is tried again.
        self.scan = found.rest;
        if self.scan.is_none() {
            std::mem::take(&mut self.touched).iter().for_each(|tenant| self.hub.forget_in_memory(tenant));
            self.scanned.extend(of.users().cloned());
        }
        Ok(true)
    }

    /// Takes a step of what is left after the events. Returns whether there is more that does not wait for anything.
    async fn finish(&mut self) -> Result<bool, Error> {
        let mut goes_on = false;
        let waiting: Vec<_> = self.scanned.difference(&self.damaged).cloned().collect();
        for username in waiting {
            let finished = self.desk.writer.submit(FinishErasure(username.clone())).await;
            match self.desk.store.unless_damaged(finished)? {
                Some(Finished::Wholly) => drop(self.scanned.remove(&username)),
                None => drop(self.damaged.insert(username)),
                Some(Finished::Partly) => goes_on = true,
                Some(Finished::Waits) => {}
            }
        }
        Ok(goes_on)
    }

    /// Gives names free. Returns whether there are more.
    async fn free_names(&mut self) -> Result<bool, Error> {
        Ok(self.desk.remove_found(&mut self.names, NAMES_A_ROUND, FreeNames).await?.0)
    }
}

/// Erases events of deleted users. The outcome is how many removals that makes.
struct EraseEvents {
    keys: Vec<Vec<u8>>,
    scan: ErasureScan,
}

impl Change for EraseEvents {
    type Outcome = usize;
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<usize, Error> {
        batch.erase_events(self.keys, &self.scan)
    }
}

/// Erases some of what is left of a deleted user after the events.
struct FinishErasure(Username);

impl Change for FinishErasure {
    type Outcome = Finished;
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Finished, Error> {
        batch.finish_erasure(&self.0)
    }
}

/// Gives names of deleted users free.
struct FreeNames(Vec<Vec<u8>>);

impl Change for FreeNames {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.free_names(self.0)
    }
}
