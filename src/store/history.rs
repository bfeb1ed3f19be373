//! Reading what is kept of one name.

use super::chain::Link;
use super::{Store, StoredEvent, codec, damaged, keys, replay};
use crate::domain::{EventName, Position, TenantName};
use crate::error::Error;

/// How many bytes of events are given at once, but for one event more; then there is more, whatever the limit.
const MAX_BYTES: usize = 4 << 20;
/// How many events are looked at for one answer, and how many bytes of them: who asks for what is rare gets it in parts.
const MAX_LOOKED_AT: usize = 20_000;
const MAX_LOOKED_AT_BYTES: usize = 64 << 20;
/// How many newer events of a name are walked over to find one before an event of another name.
const MAX_WALKED: usize = 64;
/// How many positions are looked through at once for the newest event before one: first these, and then twice as many, but never
/// more than those.
const MIN_WINDOW: u64 = 64;
const MAX_WINDOW: u64 = 1024;

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

/// How much is left to be given and to be looked at for one answer.
pub(super) struct Budget {
    events: usize,
    bytes: usize,
    looks: usize,
    looked_at_bytes: usize,
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

impl Budget {
    pub(super) fn new(events: usize) -> Self {
        Self::of(events, MAX_LOOKED_AT)
    }

    pub(super) fn of(events: usize, looks: usize) -> Self {
        Self { events, bytes: MAX_BYTES, looks, looked_at_bytes: MAX_LOOKED_AT_BYTES }
    }

    /// Whether nothing is left for one more.
    fn is_spent(&self, is_wanted: bool) -> bool {
        let is_full = is_wanted && (self.events == 0 || self.bytes == 0);
        is_full || self.looks == 0 || self.looked_at_bytes == 0
    }

    fn spend(&mut self, is_wanted: bool, bytes: usize) {
        self.looks = self.looks.saturating_sub(1);
        self.looked_at_bytes = self.looked_at_bytes.saturating_sub(bytes);
        if is_wanted {
            self.events -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

impl Store {
    /// Gives the kept events of a name, in the order that is asked for; from which position on there may be more. That is
    /// always further on than where this began, also where nothing was given. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; [`Error::Damaged`]; those of `each`.
    pub fn history(
        &self,
        query: &HistoryQuery,
        each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<Option<Position>, Error> {
        self.history_within(query, Budget::new(query.limit), each)
    }

    pub(super) fn history_within(
        &self,
        query: &HistoryQuery,
        budget: Budget,
        each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<Option<Position>, Error> {
        if query.oldest_first { self.oldest_first(query, budget, each) } else { self.newest_first(query, budget, each) }
    }

    /// Begins at the newest that is wanted, and follows the chain from there: what is not given is not walked.
    fn newest_first(
        &self,
        query: &HistoryQuery,
        mut budget: Budget,
        mut each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<Option<Position>, Error> {
        let HistoryQuery { tenant, name, after, .. } = query;
        let mut next = match self.newest_before(query, &mut budget)? {
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
            each(link.event(tenant)?)?;
            budget.spend(true, link.bytes());
            last = Some(link.position);
            next = self.event_before(tenant, name.as_str(), &link)?;
        }
        Ok(None)
    }

    /// The newest event before the position that is asked for.
    fn newest_before(&self, query: &HistoryQuery, budget: &mut Budget) -> Result<Search, Error> {
        let HistoryQuery { tenant, name, after, before, .. } = query;
        let found = |link: Option<Link>| Ok(link.map_or(Search::Nothing, Search::Found));
        // What one page ended with is of this name, so the next begins with what that one knows of.
        if let Some(link) = self.event_of(tenant, name.as_str(), *before)? {
            return found(self.event_before(tenant, name.as_str(), &link)?);
        }
        // It may be an event of any name. Of this one there may have been few since then, or none.
        let mut link = self.latest_event(tenant, name.as_str())?;
        for _ in 0..budget.looks.min(MAX_WALKED) {
            match link {
                Some(later) if later.position >= *before => {
                    link = self.event_before(tenant, name.as_str(), &later)?;
                }
                link => return found(link),
            }
        }
        // Or many: then there was one not long before it, too. What is below the floor is superseded, and gone.
        let lowest = self.floor(tenant)?.max(*after).next();
        let (mut end, mut width) = (*before, MIN_WINDOW);
        while end > lowest {
            let start = lowest.max(Position::new(end.get().saturating_sub(width)));
            let mut newest = None;
            self.scan(&keys::event(tenant, start), &keys::event(tenant, end), &mut |key, value| {
                let parts = codec::event_parts(value).map_err(|why| damaged(key, why))?;
                if parts.name == name.as_str() {
                    newest = keys::position(key);
                }
                budget.spend(false, value.len());
                Ok(true)
            })?;
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
            width = (width * 2).min(MAX_WINDOW);
        }
        Ok(Search::Nothing)
    }

    /// Whether a name had been used by a position; `None` where that is no longer known, or where it takes more looks than are
    /// left: one for each time that the name has changed since. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Store::history`].
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
            let Some(link) = self.event_of(tenant, name, later)? else { return Ok(None) };
            position = link.previous;
        }
        Ok(Some(position.is_some()))
    }

    /// Looks through what is kept of the tenant, from there on and up to the latest of the name: of one name there is no list.
    fn oldest_first(
        &self,
        query: &HistoryQuery,
        mut budget: Budget,
        mut each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<Option<Position>, Error> {
        let HistoryQuery { tenant, name, after, before, .. } = query;
        let floor = self.floor(tenant)?;
        let Some(latest) = self.latest_event(tenant, name.as_str())? else { return Ok(None) };
        // Up to the floor only the latest of each name is kept: this is all there is, or all there is comes after the floor.
        if latest.position <= floor {
            if (after.next()..*before).contains(&latest.position) {
                each(latest.event(tenant)?)?;
            }
            return Ok(None);
        }
        let (first, end) = (floor.max(*after).next(), latest.position.next().min(*before));
        if first >= end {
            return Ok(None);
        }
        let (first, end) = (keys::event(tenant, first), keys::event(tenant, end));
        let (mut last, mut is_more) = (None, false);
        self.scan(&first, &end, &mut |key, value| {
            let parts = codec::event_parts(value).map_err(|why| damaged(key, why))?;
            let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
            let is_wanted = parts.name == name.as_str();
            if budget.is_spent(is_wanted) {
                is_more = true;
                return Ok(false);
            }
            if is_wanted {
                each(replay::stored(position, &parts))?;
            }
            budget.spend(is_wanted, value.len());
            last = Some(position);
            Ok(true)
        })?;
        Ok(last.filter(|_| is_more))
    }
}
