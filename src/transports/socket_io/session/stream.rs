//! The event stream of a session, and whose it is.

use std::sync::Arc;

use super::{Line, Member, Session, Stream, Types, lock};

/// Its event stream: there is one at most, since chunks of two could not be told apart.
impl<T: Types> Session<T> {
    /// Wants one for a member. Returns whether it is the only one.
    pub fn want_stream(&self, member: &Arc<Member<T>>) -> bool {
        self.with(|state| {
            let may = matches!(state.stream, Stream::None) && state.members.has(member);
            if may {
                state.stream = Stream::Wanted(Arc::clone(member));
            }
            may
        })
    }

    /// The member that wants one, if one may begin with this transport: from then on it runs. On a WebSocket, what was written for a poll
    /// comes first.
    pub fn begin_stream(&self, is_websocket: bool) -> Option<Arc<Member<T>>> {
        self.with(|state| {
            let Stream::Wanted(member) = &state.stream else { return None };
            let member = Arc::clone(member);
            let may = if is_websocket { state.line.is_drained_websocket() } else { state.line.is_polling() };
            if !may || !state.members.has(&member) {
                return None;
            }
            state.stream = Stream::Running(Arc::clone(&member));
            Some(member)
        })
    }

    /// Whether this member's is the one that runs. If not, because the member has left, it can write nothing more.
    pub fn has_stream(&self, member: &Arc<Member<T>>) -> bool {
        lock(&self.state).streams_for(member)
    }

    /// Does something with the line for this member's event stream; `None` if it is not the one that runs.
    pub fn stream_line<R>(&self, member: &Arc<Member<T>>, act: impl FnOnce(&mut Line) -> R) -> Option<R> {
        self.with(|state| state.streams_for(member).then(|| act(&mut state.line)))
    }

    /// This member's has ended. If that is because the session has upgraded, another one is wanted.
    pub fn end_stream(&self, member: &Arc<Member<T>>, was_websocket: bool) {
        self.with(|state| {
            if state.streams_for(member) {
                state.stream = Stream::None;
                if state.line.is_websocket() != was_websocket {
                    state.stream = Stream::Wanted(Arc::clone(member));
                    state.line.driver.wake();
                }
            }
        });
    }
}
