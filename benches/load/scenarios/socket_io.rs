//! The fan-out over Socket.IO, whose clients have begun with WebSocket.

use super::fanout::{Goals, compare};
use crate::Result;
use crate::lab::Lab;
use crate::targets::{doors::Door, raw::Raw};

const GOALS: Goals = Goals { cost: 1.5, rates: Some([0.6, 0.6]) };

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    compare(lab, &Raw::SocketIo, &Door::SocketIo, |lab| &lab.websocket_peers, &GOALS)
}
