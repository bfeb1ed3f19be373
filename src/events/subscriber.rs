use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::ending::End;
use super::registry::UserStreams;
use super::shared_event::SharedEvent;
use super::stream_id::Serial;
use super::survey::Survey;
use crate::domain::{Account, FilterChange, Own, Position, Rights, TenantName, Timestamp, Username};
use crate::error::Error;

/// A subscription, as its worker and its group know it: they give it events and tell it what to do. How it catches up and how it
/// reaches its client is its own matter.
pub trait Subscriber: 'static {
    /// The number by which its worker knows it.
    fn serial(&self) -> Serial;

    /// The streams of its user: whether they may go on, and how often the events that the user may see have changed.
    fn user_streams(&self) -> &UserStreams;

    /// It is live, and stands at this place in the list of its group.
    fn set_place(&self, place: u32);

    /// Gives it the events between two positions, while it is live. Returns whether it took them, or has begun to.
    fn give(&self, bytes: &Bytes, from: Position, until: Position) -> bool;

    /// Has it catch up by itself from now on.
    fn fall_behind(&self);

    /// Ends it. Nothing more is written but the end, if the transport has a way to say it. Only the first reason counts.
    fn end(&self, why: End);

    /// Whether it is to read by itself what the tail has lost: its client is to be told that, or its session needs it.
    fn reads_gaps_alone(&self) -> bool;

    /// Up to here events may come of names that its snapshot had to leave out. It says that it is in sync after that.
    fn left_out(&self) -> Position;

    /// Has it fetch an event of a tenant that only its user may see, if it is live there and wants the event.
    fn fetch_own(&self, tenant: &TenantName, event: &SharedEvent);

    /// A user has come to its tenant or gone from it.
    fn note_presence(&self, username: &Username);

    /// Its timer has come up: it sends a heartbeat, or ends because its time is over. Returns when the timer is to come up again.
    fn beat(&self, now: Timestamp) -> Option<Duration>;

    /// Is counted among the streams that are open, unless it has ended.
    fn tell(&self, survey: &mut Survey);
}

/// A subscription that goes on with another view if its worker says so.
pub trait ChangeView: Subscriber {
    /// Gives it the tenant and the rights that its user had after so many changes.
    fn change_rights(self: &Rc<Self>, account: &Account, rights: (Rights, Own), changes: u64);

    /// Changes its filter, and gives it other rights if there are some: those of a guest. Returns the number of the change.
    ///
    /// # Errors
    /// [`Error::StreamUnknown`] if it has ended; [`Error::FilterInvalid`] for too many entries; [`Error::TooManyFilters`];
    /// [`Error::Overloaded`].
    fn change_filter(self: &Rc<Self>, change: FilterChange, guest: Option<(Rights, Own)>) -> Result<u32, Error>;

    /// Has it go on until a moment, if it would end sooner.
    fn renew(&self, until: Timestamp);
}
