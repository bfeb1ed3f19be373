//! How a connection is closed: each code tells its client whether to come back (RFC 6455, section 7.4.2, leaves those from 4000 on to
//! applications).

use super::format::Objects;
use crate::error::Error;
use crate::events::{End, Ending, Format};
use crate::transports::ws::{Outlet, code};

/// The frame that should have signed in was wrong. It will be the next time, too.
const SIGN_IN_INVALID: u16 = 4400;
/// The sign-in is refused or over: come back with another token.
const UNAUTHORIZED: u16 = 4401;
/// Nobody signed in within the time for it.
const SIGN_IN_TIMEOUT: u16 = 4408;
/// The user has opened too many streams, and this was the oldest. To come back would end another one.
const TOO_MANY_STREAMS: u16 = 4409;

/// Another connection of the same user has taken the stream over. To come back with its id would take it from there.
const REPLACED: u16 = 4410;

/// Closes a connection whose client was too slow to sign in.
pub fn sign_in_timeout(outlet: &Outlet) {
    outlet.close(SIGN_IN_TIMEOUT, "the first frame must sign in, within 5 seconds");
}

/// Closes a connection whose client could not sign in for this reason.
pub fn sign_in_refused(outlet: &Outlet, error: &Error) {
    let code = match error {
        Error::Unauthorized => UNAUTHORIZED,
        Error::ShuttingDown => code::RESTART,
        error if error.retry_after().is_some() => code::TRY_AGAIN,
        error if error.status() >= 500 => code::INTERNAL,
        _ => SIGN_IN_INVALID,
    };
    outlet.close(code, &error.sentence());
}

/// Closes a connection whose client sent what no client of this protocol sends.
pub fn unsupported(outlet: &Outlet) {
    outlet.close(code::UNSUPPORTED, "broker.v1 is text");
}

/// Closes a connection whose stream has ended. A client with control events is told why before that, if it takes what it is sent.
pub fn stream_ended(outlet: &Outlet, ending: Ending) {
    if outlet.has_room() {
        outlet.send(&(Objects::on(outlet.compresses()) as &dyn Format).ending(ending));
    }
    let (code, reason) = match ending.why {
        End::Expired | End::Revoked => (UNAUTHORIZED, "the sign-in is over"),
        End::Replaced => (REPLACED, "the stream goes on on another connection"),
        End::TooManyStreams => (TOO_MANY_STREAMS, "too many streams of this user: this was the oldest"),
        End::Stopping { .. } => (code::RESTART, "the server stops"),
        End::Unreadable | End::Behind => (code::INTERNAL, "the events cannot be read"),
        End::Gone => (code::NORMAL, ""),
    };
    outlet.close(code, reason);
}
