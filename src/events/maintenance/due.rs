use std::collections::VecDeque;

use super::rounds::{Desk, Round, step};
use crate::domain::{Position, Timestamp};
use crate::error::Error;
use crate::events::hub::Hub;
use crate::events::registry::GoneStream;
use crate::store::{Found, Search, Store};
use crate::writer::{Batch, Change, Here};

/// How many streams that have gone are looked at in one round. Nothing is bound to most of them, but expired events wait meanwhile.
const STREAMS_A_ROUND: usize = 64;

/// How many sessions are looked at in one round: each may write some KiB, far more than [`Store::find`] reckons with.
const SESSIONS_A_ROUND: usize = 256;

/// Removes events that have expired and events that were bound to a stream that has gone, and forgets what is too old: answers,
/// tokens of channels, invites and sessions.
pub struct Due {
    hub: Hub,
    desk: Desk,
    expired: Search,
    answers: Search,
    channel_tokens: Search,
    invites: Search,
    sessions: Search,
    /// Streams that have gone for good. An insert that was decided before and is not yet committed may still be bound to them.
    going: Vec<GoneStream>,
    /// Streams to which nothing more is bound, and how far the events of each have been removed.
    gone: VecDeque<(GoneStream, Search)>,
    /// The head when the last round began, and how many events that round wrote itself.
    before: (Position, usize),
}

impl Due {
    pub fn new(hub: Hub, desk: Desk) -> Self {
        let before = (desk.store.head(), 0);
        let (expired, answers) = (Search::for_expired(), Search::for_old_answers());
        let (channel_tokens, invites) = (Search::for_old_channel_tokens(), Search::for_ended_invites());
        let (sessions, going, gone) = (Search::for_old_sessions(), Vec::new(), VecDeque::new());
        Self { hub, desk, expired, answers, channel_tokens, invites, sessions, going, gone, before }
    }

    /// One step of each kind.
    pub async fn round(&mut self) -> Result<Round, Error> {
        let at_most = self.step();
        // No kind waits for another that fails.
        let (expired, gone) = (self.remove_expired(at_most).await, self.remove_gone(at_most).await);
        let old = self.forget_old(at_most).await;
        Ok(if expired? | gone? | old? { Round::Goes } else { Round::Done })
    }

    /// How many events of a kind this round may remove, by how many others have inserted since the last.
    fn step(&mut self) -> usize {
        let head = self.desk.store.head();
        let (before, own) = std::mem::replace(&mut self.before, (head, 0));
        let came = usize::try_from(head.get().saturating_sub(before.get())).unwrap_or(usize::MAX);
        step(came.saturating_sub(own))
    }

    /// Removes events that have expired. Returns whether there are more.
    async fn remove_expired(&mut self, at_most: usize) -> Result<bool, Error> {
        let due = self.desk.store.activity().take_due();
        self.expired.go_back(due.expiry);
        self.answers.go_back(due.answer);
        let (is_more, removed) = self.desk.remove_found(&mut self.expired, at_most, RemoveExpired).await?;
        self.before.1 += removed.iter().sum::<usize>();
        Ok(is_more)
    }

    /// Forgets what is too old, of each kind. Returns whether there is more.
    async fn forget_old(&mut self, at_most: usize) -> Result<bool, Error> {
        let Self { desk, answers, channel_tokens, invites, sessions, .. } = self;
        let kinds: [(&mut Search, usize, HowToForget); 4] = [
            (answers, at_most, |batch, keys| batch.forget_answers(keys)),
            (channel_tokens, at_most, |batch, keys| batch.forget_channel_tokens(keys)),
            (invites, at_most, |batch, keys| batch.forget_invites(keys)),
            (sessions, at_most.min(SESSIONS_A_ROUND), |batch, keys| batch.forget_expired_sessions(keys)),
        ];
        let mut all = Ok(false);
        for (search, at_most, how) in kinds {
            let forgotten = desk.remove_found(search, at_most, |keys| Forget { keys, how }).await;
            all = all.and_then(|is_more| forgotten.map(|(is_more_of_it, _)| is_more | is_more_of_it));
        }
        all
    }

    /// Takes the streams whose grace is over, and removes the events that were bound to them. Returns whether there is more.
    async fn remove_gone(&mut self, at_most: usize) -> Result<bool, Error> {
        self.going.extend(self.hub.registry().take_gone());
        if !self.going.is_empty() {
            self.desk.writer.submit(AfterAll).await?;
        }
        self.gone.extend(self.going.drain(..).map(|gone| {
            let search = Search::for_bound(gone.stream.get(), gone.only.as_ref().map(|(tenant, _)| tenant.clone()));
            (gone, search)
        }));
        let (mut left, mut looks) = (at_most, STREAMS_A_ROUND);
        while looks > 0 && !self.gone.is_empty() {
            let (streams, now) = (self.gone.iter().take(looks).cloned().collect::<Vec<_>>(), self.desk.clock.now());
            let (passed, found) = self.desk.read(move |store| first_with_something(store, streams, now, left)).await?;
            self.gone.drain(..passed);
            looks = looks.saturating_sub(passed + 1);
            let Some((of, Found { keys, is_more, rest })) = found else { continue };
            left = left.saturating_sub(keys.len());
            let (last, is_last) = (keys.last().cloned(), !is_more);
            let remove = |keys: Vec<_>| {
                let is_last = is_last && keys.last() == last.as_ref();
                RemoveBound { of: of.clone(), keys, is_last }
            };
            self.before.1 += self.desk.with_each(keys, remove).await?.iter().sum::<usize>();
            // A stream with many events does not keep the others waiting.
            if let Some((of, _)) = self.gone.pop_front()
                && is_more
            {
                self.gone.push_back((of, rest));
            }
            if left == 0 || is_more {
                break;
            }
        }
        Ok(!self.gone.is_empty())
    }
}

/// Counts the streams without bound events before the first one that has some, and finds those. Most streams have none: so thousands
/// that end together are looked at in one read of the store, not in one each.
fn first_with_something(
    store: &Store,
    streams: Vec<(GoneStream, Search)>,
    now: Timestamp,
    at_most: usize,
) -> Result<(usize, Option<(GoneStream, Found)>), Error> {
    let count = streams.len();
    for (passed, (of, search)) in streams.into_iter().enumerate() {
        let found = store.find(&search, now, at_most)?;
        let tenant = of.only.as_ref().map(|(tenant, _)| tenant);
        if !found.keys.is_empty() || store.has_ended(of.stream.get(), tenant)? {
            return Ok((passed, Some((of, found))));
        }
    }
    Ok((count, None))
}

/// A change that does nothing: when it is done, everything that was decided before is committed.
struct AfterAll;

impl Change for AfterAll {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, _: &mut Batch<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Removes events that have expired. The outcome is how many events that writes.
struct RemoveExpired(Vec<Vec<u8>>);

impl Change for RemoveExpired {
    type Outcome = usize;
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<usize, Error> {
        batch.remove_expired(self.0)
    }
}

/// How the writer forgets rows of some kind, by their keys.
type HowToForget = fn(&mut Batch<'_>, Vec<Vec<u8>>) -> Result<(), Error>;

/// Forgets rows that are too old.
struct Forget {
    keys: Vec<Vec<u8>>,
    how: HowToForget,
}

impl Change for Forget {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        (self.how)(batch, self.keys)
    }
}

/// Removes some of the events that were bound to a stream that has gone for good. The outcome is how many events that writes.
struct RemoveBound {
    of: GoneStream,
    keys: Vec<Vec<u8>>,
    /// Whether these are all.
    is_last: bool,
}

impl Change for RemoveBound {
    type Outcome = usize;
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<usize, Error> {
        let only = self.of.only.as_ref().map(|(tenant, until)| (tenant, *until));
        batch.remove_bound(self.of.stream.get(), only, self.keys, self.is_last)
    }
}
