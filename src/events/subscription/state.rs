use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::Subscription;
use crate::domain::{Position, Username};
use crate::error::Error;
use crate::events::reading::{Settled, Step, read_bytes};
use crate::events::subscribe_request::First;
use crate::events::tenant_subscriptions::SubscriptionGroup;
use crate::fair::Task;
use crate::store::{Missing, Replay, Wanted};

/// A step that somebody else takes. Dropped, it is not taken.
pub(super) type Reading<T, R = Replay> = Pin<Box<dyn Future<Output = Result<Step<T, R>, Error>>>>;

/// How far one is that catches up.
pub(super) enum State {
    /// It gets the latest of each name up to a position.
    New(Position),
    /// The same, once they have been read into the channel's memory.
    Filling(Settled, Position),
    /// The same, where that has been tried.
    Filled(Position),
    /// What it is missing is in the channel, or there is nothing.
    Near,
    /// What it is missing, up to a position, must be read from the store.
    Behind(Box<Replay>, Position),
    /// It is being read.
    Reading(Reading<(Bytes, Position)>, Missing, Position),
}

impl State {
    /// How one begins, of what there is up to a position. It is new by what it asked for, not by standing at the very beginning:
    /// there it may also have been told that there is nothing.
    pub(super) fn first(subscription: &Subscription, first: First, until: Position) -> Self {
        if subscription.position.get() >= until {
            return Self::Near;
        }
        match first {
            First::Snapshot => Self::New(until),
            First::Changed => Self::behind(subscription, Missing::Events, until),
            First::Events => Self::Near,
        }
    }

    /// The reading of what is missing up to a position.
    pub(super) fn behind(subscription: &Subscription, missing: Missing, until: Position) -> Self {
        let tenant = subscription.group().subscriptions.guard.tenant().clone();
        let (wanted, after) = (Wanted::Of(Box::new(subscription.view())), subscription.position.get());
        let replay = match missing {
            Missing::Snapshot => Replay::snapshot(tenant, wanted, after, until),
            Missing::Events => Replay::events(tenant, wanted, after, until),
        };
        Self::Behind(Box::new(replay), until)
    }
}

/// Has something read for it, in a turn of its user's that it has until it takes what was read.
pub(super) fn with_permit<T: 'static, R: 'static>(
    subscription: &Subscription,
    read: impl FnOnce(&SubscriptionGroup, &Username) -> Task<Step<T, R>> + 'static,
) -> Reading<T, R> {
    let (group, reader) = (subscription.group(), subscription.user_streams().username().clone());
    Box::pin(async move {
        let _turn = group.subscriptions.readings.wait(&reader).await;
        read(&group, &reader).await
    })
}

/// The same, of what it has missed.
pub(super) fn read(subscription: &Subscription, replay: Replay) -> Reading<(Bytes, Position)> {
    with_permit(subscription, move |group, reader| read_bytes(&group.subscriptions.guard, reader, replay, group.format))
}
