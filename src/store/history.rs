//! Reading what is kept of one name.

use super::chain::Link;
use super::{Store, StoredEvent, chain, keys};
use crate::domain::{EventName, Position, TenantName};
use crate::error::Error;

/// How many bytes of events are on one page, but for one event more; then there is another page, whatever the limit.
const MAX_BYTES: usize = 4 << 20;
/// How many events are looked at for one page, and how many bytes of them: who asks for what is rare gets it in parts.
const MAX_LOOKED_AT: usize = 20_000;
const MAX_LOOKED_AT_BYTES: usize = 64 << 20;
/// The same for one step of a page: others wait for it.
const STEP_LOOKS: usize = 1024;
const STEP_LOOKED_AT_BYTES: usize = 1 << 20;
/// How large an event may be for one look, where only its place is asked for; what is larger takes more of them.
const BYTES_A_LOOK: usize = 4 << 10;
/// How many newer events of a name are walked over to find one before an event of another name.
const MAX_WALKED: usize = 64;
/// How many positions are looked through at once for the newest event before one: first these, then twice as many while they hold
/// fewer bytes than those, but never more than the last.
const MIN_WINDOW: u64 = 16;
const WINDOW_BYTES: usize = 256 << 10;
const MAX_WINDOW: u64 = 512;

/// Which of the kept events of a name are wanted.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// Whose.
    pub tenant: TenantName,
    /// Of which name.
    pub name: EventName,
    /// Only those after this position.
    pub after: Position,
    /// Only those before this position.
    pub before: Position,
    /// How many at most.
    pub limit: usize,
    /// Whether the oldest come first.
    pub oldest_first: bool,
}

/// How much is left to be given and to be looked at.
#[derive(Clone, Copy)]
struct Allowance {
    events: usize,
    bytes: usize,
    looks: usize,
    looked_at_bytes: usize,
}

/// How much is left of a page, and of the step that is being made of it.
struct Budget {
    page: Allowance,
    step: Allowance,
}

/// Where the search for an event before a position came to.
enum Search {
    /// The newest of those there are.
    Found(Link),
    /// None is kept.
    Nothing,
    /// None from here on, and it was enough for one answer.
    SoFar(Position),
}

impl Allowance {
    /// Whether nothing is left for one more.
    fn is_spent(&self, is_wanted: bool) -> bool {
        let is_full = is_wanted && (self.events == 0 || self.bytes == 0);
        is_full || self.looks == 0 || self.looked_at_bytes == 0
    }

    fn spend(&mut self, is_wanted: bool, bytes: usize) {
        self.looks = self.looks.saturating_sub(1);
        self.looked_at_bytes = self.looked_at_bytes.saturating_sub(bytes);
        if is_wanted {
            self.events = self.events.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

impl Budget {
    fn is_spent(&self, is_wanted: bool) -> bool {
        self.page.is_spent(is_wanted) || self.step.is_spent(is_wanted)
    }

    fn spend(&mut self, is_wanted: bool, bytes: usize) {
        self.page.spend(is_wanted, bytes);
        self.step.spend(is_wanted, bytes);
    }
}

/// A page of the kept events of a name, in the order that is asked for: it is read in steps, so that nobody's page is in memory
/// and no step takes long.
pub struct History {
    /// What of it has not been read yet.
    query: HistoryQuery,
    left: Allowance,
    /// Whether the last step was looking for an event, and found none yet.
    is_searching: bool,
}

/// How far the reading of a page has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// There may be more on it.
    GoesOn,
    /// That was all of it. From this position on there may be another page; that is always further on than where this one began,
    /// also if nothing was given.
    Ends(Option<Position>),
}

impl History {
    /// Begins a page.
    pub fn new(query: HistoryQuery) -> Self {
        Self::within(query, MAX_LOOKED_AT)
    }

    /// Begins one for which so many events are looked at.
    pub(super) fn within(query: HistoryQuery, looks: usize) -> Self {
        let left = Allowance { events: query.limit, bytes: MAX_BYTES, looks, looked_at_bytes: MAX_LOOKED_AT_BYTES };
        Self { query, left, is_searching: false }
    }

    /// Gives the next events, of about `bytes` together. A step may give none, and is short all the same. What cannot be read is
    /// left out, and the log names it. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; those of `each`.
    pub fn next(
        &mut self,
        store: &Store,
        bytes: usize,
        each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<Page, Error> {
        let (looks, looked_at_bytes) = (STEP_LOOKS, STEP_LOOKED_AT_BYTES);
        let step = Allowance { events: usize::MAX, bytes, looks, looked_at_bytes };
        let mut budget = Budget { page: self.left, step };
        let next = if self.query.oldest_first {
            store.oldest_first(&self.query, &mut budget, each)?
        } else {
            store.newest_first(&self.query, &mut budget, &mut self.is_searching, each)?
        };
        self.left = budget.page;
        let Some(next) = next else { return Ok(Page::Ends(None)) };
        if self.left.is_spent(true) {
            return Ok(Page::Ends(Some(next)));
        }
        let end = if self.query.oldest_first { &mut self.query.after } else { &mut self.query.before };
        *end = next;
        Ok(Page::GoesOn)
    }
}

impl Store {
    /// Begins at the newest that is wanted, and follows the chain from there: what is not given is not walked.
    fn newest_first(
        &self,
        query: &HistoryQuery,
        budget: &mut Budget,
        is_searching: &mut bool,
        mut each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<Option<Position>, Error> {
        let HistoryQuery { tenant, name, after, .. } = query;
        let found = self.newest_before(query, budget, *is_searching)?;
        *is_searching = matches!(found, Search::SoFar(_));
        let mut next = match found {
            Search::Found(link) => Some(link),
            Search::Nothing => None,
            Search::SoFar(position) => return Ok(Some(position)),
        };
        let mut last = None;
        while let Some(link) = next.filter(|link| link.position > *after) {
            // The first is given whatever it took to find it.
            if last.is_some() && budget.is_spent(true) {
                return Ok(last);
            }
            match self.unless_damaged(link.event(self, tenant))? {
                Some(Some(event)) => each(event)?,
                // It has gone since, and what came before it too. Where it was the newest, another has come in its place.
                Some(None) if last.is_some() => return Ok(None),
                Some(None) => return self.newest_first(query, budget, is_searching, each),
                None => {}
            }
            budget.spend(true, link.bytes);
            last = Some(link.position);
            let Some(before) = self.unless_damaged(self.event_before(tenant, name.as_str(), &link))? else {
                // The chain is broken there. What comes before it must be looked for.
                *is_searching = true;
                return Ok(last);
            };
            next = before;
        }
        Ok(None)
    }

    /// The newest event before the position that is asked for. `is_searching` if an earlier step has come to that position in
    /// search of one.
    fn newest_before(&self, query: &HistoryQuery, budget: &mut Budget, is_searching: bool) -> Result<Search, Error> {
        let HistoryQuery { tenant, name, after, before, .. } = query;
        let found = |link: Option<Link>| Ok(link.map_or(Search::Nothing, Search::Found));
        // Where the chain is broken, too, there is nothing but to look for it.
        if !is_searching && let Some(Some(found)) = self.unless_damaged(self.by_chain(query, budget))? {
            return Ok(found);
        }
        // Or many: then there was one not long before it, too. What is below the floor is superseded, and gone.
        let lowest = self.floor(tenant)?.max(*after).next();
        let (mut end, mut width) = (self.head().next().min(*before), MIN_WINDOW);
        while end > lowest {
            let start = lowest.max(Position::new(end.get().saturating_sub(width)));
            let (mut newest, mut bytes, mut is_too_much) = (None, 0, false);
            self.scan(&keys::event(tenant, start), &keys::event(tenant, end), &mut |key, value| {
                let row = self.unless_damaged(chain::event_row(key, value))?;
                if let Some((position, _)) = row.filter(|(_, parts)| parts.name == name.as_str()) {
                    newest = Some(position);
                }
                bytes += value.len();
                budget.spend(false, value.len());
                // The narrowest is looked through whatever is in it: or the search would come to no end.
                is_too_much = bytes >= STEP_LOOKED_AT_BYTES && width > MIN_WINDOW;
                Ok(!is_too_much)
            })?;
            if is_too_much {
                // What was not come to is the newer part. It was small events that made the window so wide.
                width = MIN_WINDOW;
                continue;
            }
            if let Some(newest) = newest {
                // Where it has gone meanwhile, so has everything before it.
                return found(self.event_of(tenant, name.as_str(), newest)?);
            }
            end = start;
            // Where the tenant has nothing, looking costs something too.
            budget.spend(false, 0);
            if budget.is_spent(false) && end > lowest {
                return Ok(Search::SoFar(end));
            }
            // It is the smaller the larger the events are.
            width = if bytes < WINDOW_BYTES { (width * 2).min(MAX_WINDOW) } else { (width / 2).max(1) };
        }
        Ok(Search::Nothing)
    }

    /// The same, as far as it can be told without looking through other events.
    fn by_chain(&self, query: &HistoryQuery, budget: &mut Budget) -> Result<Option<Search>, Error> {
        let HistoryQuery { tenant, name, before, .. } = query;
        let found = |link: Option<Link>| Ok(Some(link.map_or(Search::Nothing, Search::Found)));
        // What one page ended with is of this name, so the next begins with what that one knows of.
        if let Some(link) = self.event_of(tenant, name.as_str(), *before)? {
            return found(self.event_before(tenant, name.as_str(), &link)?);
        }
        // It may be an event of any name. Of this one there may have been few since then, or none.
        let mut link = self.latest_event(tenant, name.as_str())?;
        for _ in 0..budget.page.looks.min(MAX_WALKED) {
            match link {
                Some(later) if later.position >= *before && !budget.is_spent(false) => {
                    budget.spend(false, later.row_bytes());
                    link = self.event_before(tenant, name.as_str(), &later)?;
                }
                Some(later) if later.position >= *before => break,
                link => return found(link),
            }
        }
        Ok(None)
    }

    /// Whether a name had been used by a position; `None` where that is no longer known, or where it takes more looks than are
    /// left: one for each time that the name has changed since, and some more where that was large. Blocks on the disk.
    ///
    /// # Errors
    /// As [`History::next`].
    pub fn was_used(
        &self,
        tenant: &TenantName,
        name: &str,
        by: Position,
        looks: &mut usize,
    ) -> Result<Option<bool>, Error> {
        let mut position = self.latest(tenant, name)?.map(|latest| latest.position);
        while let Some(later) = position.filter(|position| *position > by) {
            if *looks == 0 {
                return Ok(None);
            }
            *looks -= 1;
            // Nor can it be told where an event of the name cannot be read.
            let link = self.unless_damaged(self.previous_of(tenant, name, later))?.flatten();
            let Some((previous, bytes)) = link else { return Ok(None) };
            *looks = looks.saturating_sub(bytes / BYTES_A_LOOK);
            position = previous;
        }
        Ok(Some(position.is_some()))
    }

    /// Looks through what is kept of the tenant, from there on and up to the latest of the name: of one name there is no list.
    fn oldest_first(
        &self,
        query: &HistoryQuery,
        budget: &mut Budget,
        mut each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<Option<Position>, Error> {
        let HistoryQuery { tenant, name, after, before, .. } = query;
        let (floor, latest) = loop {
            let floor = self.floor(tenant)?;
            let Some(latest) = self.unless_damaged(self.latest_event(tenant, name.as_str()))? else {
                // Nobody knows where it is: up to the end it may be anywhere.
                break (floor, None);
            };
            let Some(latest) = latest else { return Ok(None) };
            if latest.position > floor {
                break (floor, Some(latest.position));
            }
            // Up to the floor only the latest of each name is kept: this is all there is, or all there is comes after the floor.
            if !(after.next()..*before).contains(&latest.position) {
                return Ok(None);
            }
            // Where it has gone since, another has come in its place.
            match self.unless_damaged(latest.event(self, tenant))? {
                Some(Some(event)) => return each(event).map(|()| None),
                Some(None) => {}
                None => return Ok(None),
            }
        };
        let (first, end) = (floor.max(*after).next(), latest.unwrap_or_else(|| self.head()).next().min(*before));
        if first >= end {
            return Ok(None);
        }
        let (first, end) = (keys::event(tenant, first), keys::event(tenant, end));
        let (mut last, mut last_met, mut is_more) = (None, None, false);
        self.scan(&first, &end, &mut |key, value| {
            let row = self.unless_damaged(chain::event_row(key, value))?;
            let is_wanted = row.as_ref().is_some_and(|(_, parts)| parts.name == name.as_str());
            // Also before one that cannot be read, or a run of those would be walked without an end.
            if budget.is_spent(is_wanted) {
                is_more = true;
                return Ok(false);
            }
            let Some((position, parts)) = row else {
                // Its key tells where it stands, so that the next step, or page, goes on behind it.
                last = keys::position(key).or(last);
                budget.spend(false, value.len());
                return Ok(true);
            };
            let read = if is_wanted { self.unless_damaged(self.whole(key, position, &parts))? } else { None };
            last_met = Some(position).filter(|_| is_wanted && !matches!(read, Some(None))).or(last_met);
            last = Some(position);
            match read.flatten() {
                Some(event) => {
                    budget.spend(true, parts.bytes);
                    each(event)?;
                }
                None => budget.spend(false, value.len()),
            }
            Ok(true)
        })?;
        // Where the latest has gone since, another has come in its place.
        let is_gone = !is_more && latest.is_some_and(|latest| latest < *before && last_met != Some(latest));
        match last {
            None if is_gone => self.oldest_first(query, budget, each),
            last => Ok(last.filter(|_| is_more || is_gone)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Payload, Timestamp, Username};

    fn tenant() -> TenantName {
        TenantName::parse("a").unwrap()
    }

    /// A database in which so many events of some names and sizes follow each other.
    fn filled(events: &[(&str, usize, usize)]) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = Store::open(directory.path(), 1 << 30).unwrap();
        for (name, count, bytes) in events {
            for done in (0..*count).step_by(100) {
                let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
                for _ in done..(done + 100).min(*count) {
                    let (user, name) = (Username::parse("u").unwrap(), EventName::parse(name).unwrap());
                    let data = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(*bytes))).unwrap();
                    transaction.insert_event(tenant(), user, name, data).unwrap();
                    transaction.keep().unwrap();
                }
                drop(transaction.commit().unwrap().reveal());
            }
        }
        (directory, store)
    }

    fn query(oldest_first: bool, before: Position) -> HistoryQuery {
        let name = EventName::parse("x").unwrap();
        HistoryQuery { tenant: tenant(), name, after: Position::START, before, limit: 2000, oldest_first }
    }

    #[test]
    fn a_search_that_comes_from_small_events_to_large_ones_stays_short() {
        let (_directory, store) = filled(&[("x", 1, 1), ("large", 200, 50_000), ("small", 600, 1), ("x", 70, 1)]);
        let mut history = History::new(query(false, Position::new(801)));
        let (mut found, mut steps) = (Vec::new(), 0);
        loop {
            let before = history.left.looked_at_bytes;
            let page = history.next(&store, 1 << 20, |event| {
                found.push(event.position.get());
                Ok(())
            });
            let looked_at = before - history.left.looked_at_bytes;
            assert!(looked_at < 3 * STEP_LOOKED_AT_BYTES, "{looked_at} bytes in a step");
            steps += 1;
            if page == Ok(Page::Ends(None)) {
                break;
            }
            assert!(steps < 100, "it comes to no end");
        }
        assert_eq!(found, [1]);
    }

    #[test]
    fn events_that_cannot_be_read_end_no_page_and_take_no_long_step() {
        let (_directory, store) = filled(&[("x", 3000, 1)]);
        for number in 1..=2500 {
            store.smuggle(super::keys::event(&tenant(), Position::new(number)), b"?");
        }
        let mut history = History::within(query(true, Position::END), 2000);
        let (mut found, mut ends) = (Vec::new(), Vec::new());
        for step in 0.. {
            let before = history.left.looks;
            let page = history.next(&store, 1 << 20, |event| {
                found.push(event.position.get());
                Ok(())
            });
            assert!(before - history.left.looks <= STEP_LOOKS);
            match page.unwrap() {
                Page::GoesOn => {}
                Page::Ends(Some(next)) => {
                    ends.push(next.get());
                    history = History::within(HistoryQuery { after: next, ..query(true, Position::END) }, 2000);
                }
                Page::Ends(None) => break,
            }
            assert!(step < 10, "it comes to no end");
        }
        assert!(found.iter().copied().eq(2501..=3000), "{} are found", found.len());
        assert_eq!(ends, [2000]);
    }
}
