//! What connecting and a connected client have in common.

use crate::identity::Principal;
use crate::transports::ws::{Memory, Outlet};

/// Whom the memory of a connection is counted for, once a client is let in.
pub type MemoryOf = Box<dyn FnOnce(&Principal) -> Box<dyn Memory>>;

/// The method of enhanced authentication: a token, which can be renewed on the open connection.
pub const METHOD: &str = "JWT";

/// Sends packets.
pub fn say(outlet: &Outlet, write: impl FnOnce(&mut Vec<u8>)) {
    let mut out = Vec::new();
    write(&mut out);
    if !out.is_empty() {
        outlet.send_binary(&out);
    }
}
