use std::sync::Arc;

use super::access::Access;
use super::presence::Counted;
use crate::domain::{SessionId, TenantName, Timestamp, Username};
use crate::events::mailbox::WorkerId;
use crate::events::small_map::SmallMap;
use crate::events::stream_id::{Serial, StreamId};

/// A stream, from when its client asks for it until its grace is over.
#[derive(Clone)]
pub struct Record {
    /// That of its user, as it was when the client asked.
    pub access: Arc<Access>,
    /// The tenant that it is in.
    pub tenant: TenantName,
    /// By which sign-in it goes on.
    pub lease: Lease,
    /// The serial of the connection, or of its end.
    pub serial: Serial,
    /// How far it is.
    pub state: State,
}

/// By which sign-in a stream goes on, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The session that it belongs to, if it belongs to one.
    pub session: Option<SessionId>,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Whether it is that of a share, and none of those of which a user may have so many.
    pub is_of_share: bool,
}

/// How far a stream is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its client has been promised it. No worker has it yet.
    Opening,
    /// A worker has it. If its access has been ended, it is about to close, too.
    Open(WorkerId),
    /// It was one too many, or was ended before a worker had it, and counts as open until its connection has closed.
    Ending,
    /// It has ended, and may be taken over.
    Orphaned,
}

/// A user that has a stream, or for whom one is about to be asked.
pub struct User {
    /// What a handle that is taken now goes by.
    pub access: Arc<Access>,
    /// How many handles there are. Every stream has one until it has ended.
    pub handles: usize,
    /// Their open streams, the oldest first. Those with an access that has been ended are not among them.
    pub open: SmallMap<Serial, StreamId>,
    /// Their streams that may be taken over, the one that ended last at the end.
    pub orphaned: SmallMap<Serial, StreamId>,
}

impl User {
    /// A user without streams and handles.
    pub fn new(username: &Username) -> Self {
        let (open, orphaned) = (SmallMap::default(), SmallMap::default());
        Self { access: Arc::new(Access::new(username)), handles: 0, open, orphaned }
    }

    /// The list in which a stream with a record is.
    pub fn list(&mut self, record: &Record) -> Option<&mut SmallMap<Serial, StreamId>> {
        match record.state {
            State::Open(_) if record.access.is_ended() => None,
            State::Open(_) => Some(&mut self.open),
            State::Orphaned => Some(&mut self.orphaned),
            State::Opening | State::Ending => None,
        }
    }
}

impl Lease {
    /// What it becomes by another sign-in: it ends at the later of the two moments. Only a sign-in of its kind renews it: one of the same
    /// session, which expires if it does.
    pub fn renewed_by(self, other: Self) -> Option<Self> {
        let is_of_its_kind = self.session == other.session && self.expires_at.is_some() == other.expires_at.is_some();
        is_of_its_kind.then(|| Self { expires_at: self.expires_at.max(other.expires_at), ..self })
    }
}

impl Record {
    /// Where and how it counts for presence.
    pub fn counts(&self) -> (&TenantName, Counted) {
        (&self.tenant, self.state.counted())
    }
}

impl State {
    /// How a stream counts for presence.
    pub fn counted(self) -> Counted {
        match self {
            Self::Orphaned => Counted::Orphaned,
            Self::Opening | Self::Open(_) | Self::Ending => Counted::Connected,
        }
    }
}
