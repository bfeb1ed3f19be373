//! All sessions, and the clock that their heartbeats go by.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::line::End;
use super::lock::lock;
use super::session::Session;
use super::settings::Settings;
use super::shares::{Share, Shares};
use super::sid::Sid;
use super::types::Types;

/// The clock ticks so often in the shorter of the two times of a heartbeat.
const TICKS: u32 = 40;
/// And at least so often.
const MAX_TICK: Duration = Duration::from_millis(500);

/// All sessions of a server.
pub struct Sessions<T: Types> {
    pub settings: Arc<Settings>,
    /// Draws the ids of sessions and sockets.
    pub random: fn() -> [u8; Sid::BYTES],
    shares: Arc<Shares<T::Client>>,
    table: Mutex<Table<T>>,
    /// When something is due in which session.
    due: Mutex<BinaryHeap<Reverse<(Instant, Sid)>>>,
}

struct Table<T: Types> {
    by_sid: HashSet<BySid<T>>,
    is_stopped: bool,
}

/// A session, found by its id: a map would have each id once more.
struct BySid<T: Types>(Arc<Session<T>>);

impl<T: Types> Borrow<Sid> for BySid<T> {
    fn borrow(&self) -> &Sid {
        &self.0.sid
    }
}

impl<T: Types> PartialEq for BySid<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.sid == other.0.sid
    }
}

impl<T: Types> Eq for BySid<T> {}

impl<T: Types> Hash for BySid<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.sid.hash(state);
    }
}

impl<T: Types> Table<T> {
    fn get(&self, sid: Sid) -> Option<Arc<Session<T>>> {
        self.by_sid.get(&sid).map(|BySid(session)| Arc::clone(session))
    }
}

impl<T: Types> Sessions<T> {
    pub fn new(settings: Settings, shares: Shares<T::Client>, random: fn() -> [u8; Sid::BYTES]) -> Self {
        let table = Mutex::new(Table { by_sid: HashSet::new(), is_stopped: false });
        Self { settings: Arc::new(settings), random, shares: Arc::new(shares), table, due: Mutex::default() }
    }

    /// Opens a session; `None` if there are too many, or the server stops.
    pub fn open(&self, is_websocket: bool, peer: T::Peer, client: T::Client) -> Option<Arc<Session<T>>> {
        let sid = Sid::new((self.random)());
        let share = match is_websocket {
            true => Share::connected(&self.shares, client, sid),
            false => Share::polling(&self.shares, client, sid)?,
        };
        let session = Session::new(sid, peer, &self.settings, is_websocket, share);
        {
            let mut table = lock(&self.table);
            if table.is_stopped {
                return None;
            }
            table.by_sid.insert(BySid(Arc::clone(&session)));
        }
        let first = self.settings.ping_interval.min(self.settings.connect_timeout);
        lock(&self.due).push(Reverse((Instant::now() + first, sid)));
        Some(session)
    }

    /// The session of an id, if it has not ended.
    pub fn get(&self, sid: &str) -> Option<Arc<Session<T>>> {
        let session = lock(&self.table).get(Sid::parse(sid)?)?;
        session.end().is_none().then_some(session)
    }

    /// Drops a session that has ended.
    pub fn forget(&self, session: &Session<T>) {
        drop(self.take(session.sid));
    }

    fn take(&self, sid: Sid) -> Option<Arc<Session<T>>> {
        lock(&self.table).by_sid.take(&sid).map(|BySid(session)| session)
    }

    /// Ends all sessions. None is opened any more.
    pub fn stop(&self) {
        let sessions: Vec<_> = {
            let mut table = lock(&self.table);
            table.is_stopped = true;
            table.by_sid.drain().collect()
        };
        sessions.iter().for_each(|BySid(session)| session.close(End::ServerClosed));
    }

    /// Sends pings, and ends the sessions that do not answer them and those whose memory others need, for ever.
    pub async fn keep_time(&self) {
        let beat = self.settings.ping_interval.min(self.settings.ping_timeout);
        let mut ticks = tokio::time::interval((beat / TICKS).clamp(Duration::from_millis(1), MAX_TICK));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.shares.displaced() => {}
            }
            for session in self.shares.take_displaced().into_iter().filter_map(|sid| self.take(sid)) {
                session.close(End::Overloaded);
            }
            let now = Instant::now();
            while let Some(sid) = self.next_due(now) {
                let session = lock(&self.table).get(sid);
                let Some(session) = session else { continue };
                match session.beat(now) {
                    Some(next) => lock(&self.due).push(Reverse((next, sid))),
                    None => self.forget(&session),
                }
            }
        }
    }

    fn next_due(&self, now: Instant) -> Option<Sid> {
        let mut due = lock(&self.due);
        let is_due = due.peek().is_some_and(|Reverse((at, _))| *at <= now);
        if !is_due {
            return None;
        }
        due.pop().map(|Reverse((_, sid))| sid)
    }
}
