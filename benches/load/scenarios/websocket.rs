//! The fan-out over WebSocket, with Broker's own subprotocol.

use super::fanout::{Goals, compare};
use crate::Result;
use crate::lab::Lab;
use crate::targets::{broker_v1::Task, doors::Door, raw::Raw};

const GOALS: Goals = Goals { cost: 1.25, rates: Some([0.8, 0.8]) };

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    compare(lab, &Raw::BrokerV1, &Door::WebSocket(Task::Small), |lab| &lab.websocket_peers, &GOALS)
}
