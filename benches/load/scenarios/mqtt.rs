//! The fan-out over MQTT, with QoS 0, and with QoS 1, which every subscriber acknowledges. The subscribers of the raw server
//! acknowledge nothing.

use super::fanout::{Goals, compare};
use crate::Result;
use crate::lab::Lab;
use crate::targets::{broker_mqtt::Task, doors::Door, raw::Raw};

const AT_MOST_ONCE: Goals = Goals { cost: 1.25, rates: None };
const AT_LEAST_ONCE: Goals = Goals { cost: 2.5, rates: None };

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    compare(lab, &Raw::Mqtt, &Door::Mqtt(Task::deliver(0)), |lab| &lab.mqtt_peers, &AT_MOST_ONCE)?;
    compare(lab, &Raw::Mqtt, &Door::Mqtt(Task::deliver(1)), |_| &[], &AT_LEAST_ONCE)
}
