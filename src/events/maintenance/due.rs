use std::collections::VecDeque;

use super::rounds::{Desk, Round, step};
use crate::domain::{Position, Timestamp};
use crate::error::Error;
use crate::events::hub::Hub;
use crate::events::registry::GoneStream;
use crate::store::{Found, Search, Store};
use crate::writer::{Batch, Change};

/// How many streams that have gone are looked at in one round. Nothing is bound to most of them, but expired events wait meanwhile.
const STREAMS_A_ROUND: usize = 64;

/// How many sessions are looked at in one round: each may write some KiB, far more than the row that tells of it.
const SESSIONS_A_ROUND: usize = 256;

/// Removes events that have expired, events that were bound to a stream that has gone, sessions that have expired, and answers that
/// no client will ask for again.
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
        let (answers, tokens) = (self.forget_answers(at_most).await, self.forget_channel_tokens(at_most).await);
        let (invites, sessions) = (self.forget_invites(at_most).await, self.forget_sessions(at_most).await);
        let is_more = expired? | gone? | answers? | tokens? | invites? | sessions?;
        Ok(if is_more { Round::Goes } else { Round::Done })
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
        let found = self.find(&self.expired, at_most).await?;
        if !found.keys.is_empty() {
            self.before.1 += self.desk.with_each(found.keys, RemoveExpired).await?.iter().sum::<usize>();
        }
        // Not before it is done: a step that fails is tried again.
        self.expired = found.rest;
        Ok(found.is_more)
    }

    /// Forgets answers. Returns whether there are more.
    async fn forget_answers(&mut self, at_most: usize) -> Result<bool, Error> {
        let found = self.find(&self.answers, at_most).await?;
        if !found.keys.is_empty() {
            self.desk.with_each(found.keys, ForgetAnswers).await?;
        }
        self.answers = found.rest;
        Ok(found.is_more)
    }

    /// Forgets tokens of channels. Returns whether there are more.
    async fn forget_channel_tokens(&mut self, at_most: usize) -> Result<bool, Error> {
        let found = self.find(&self.channel_tokens, at_most).await?;
        if !found.keys.is_empty() {
            self.desk.with_each(found.keys, ForgetChannelTokens).await?;
        }
        self.channel_tokens = found.rest;
        Ok(found.is_more)
    }

    /// Forgets invites. Returns whether there are more.
    async fn forget_invites(&mut self, at_most: usize) -> Result<bool, Error> {
        let found = self.find(&self.invites, at_most).await?;
        if !found.keys.is_empty() {
            self.desk.with_each(found.keys, ForgetInvites).await?;
        }
        self.invites = found.rest;
        Ok(found.is_more)
    }

    /// Removes sessions that have expired. Returns whether there are more.
    async fn forget_sessions(&mut self, at_most: usize) -> Result<bool, Error> {
        let found = self.find(&self.sessions, at_most.min(SESSIONS_A_ROUND)).await?;
        if !found.keys.is_empty() {
            self.desk.with_each(found.keys, ForgetSessions).await?;
        }
        self.sessions = found.rest;
        Ok(found.is_more)
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

    async fn find(&self, search: &Search, at_most: usize) -> Result<Found, Error> {
        let (search, now) = (search.clone(), self.desk.clock.now());
        self.desk.read(move |store| store.find(&search, now, at_most)).await
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

    fn decide(self, _: &mut Batch<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Removes events that have expired. The outcome is how many events that writes.
struct RemoveExpired(Vec<Vec<u8>>);

impl Change for RemoveExpired {
    type Outcome = usize;

    fn decide(self, batch: &mut Batch<'_>) -> Result<usize, Error> {
        batch.remove_expired(self.0)
    }
}

/// Forgets answers that no client will ask for again.
struct ForgetAnswers(Vec<Vec<u8>>);

impl Change for ForgetAnswers {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.forget_answers(self.0)
    }
}

/// Forgets tokens of channels that have expired.
struct ForgetChannelTokens(Vec<Vec<u8>>);

impl Change for ForgetChannelTokens {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.forget_channel_tokens(self.0)
    }
}

/// Forgets invites that have ended.
struct ForgetInvites(Vec<Vec<u8>>);

impl Change for ForgetInvites {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.forget_invites(self.0)
    }
}

/// Removes sessions that have expired.
struct ForgetSessions(Vec<Vec<u8>>);

impl Change for ForgetSessions {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.forget_expired_sessions(self.0)
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

    fn decide(self, batch: &mut Batch<'_>) -> Result<usize, Error> {
        let only = self.of.only.as_ref().map(|(tenant, until)| (tenant, *until));
        batch.remove_bound(self.of.stream.get(), only, self.keys, self.is_last)
    }
}
