//! Retained messages of QoS 1 over MQTT, without subscribers, on one core: 64 clients, each of which has 16 messages
//! unacknowledged. The reference is `broker.v1`, over which the same events are inserted.

use super::side::compete;
use super::websocket_inserts::{IN_FLIGHT, ROUND, SOCKETS, report, side};
use crate::Result;
use crate::lab::Lab;
use crate::targets::doors::Door;
use crate::targets::{broker_mqtt, broker_v1};

/// The goal for messages per second, as a ratio to `broker.v1`.
const GOAL: f64 = 1.0;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let doors = [Door::Mqtt(broker_mqtt::Task::Insert), Door::WebSocket(broker_v1::Task::Insert)];
    let mut sides = doors.map(|door| side(lab, door, SOCKETS)).into_iter().collect::<Result<Vec<_>>>()?;
    let scores = compete(lab, &mut sides, IN_FLIGHT, ROUND)?;
    report(lab, &scores, &[GOAL]);
    Ok(())
}
