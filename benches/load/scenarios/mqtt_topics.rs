//! Ten thousand clients, each of which has topics of its own, and subscribes to them by a wildcard or to the one that is
//! published to by its exact name: the server's CPU for a client that connects and subscribes, and for a message from its
//! publisher to the one client that it is for.

use std::time::Duration;

use crate::Result;
use crate::crowd::{Audience, Crowd, Pace, Rooms, Spec};
use crate::lab::{CLIENT_CORE, Lab, SERVER_CORE};
use crate::process::{until_idle, watched};
use crate::statistics::{Rounds, nanos, number};
use crate::table::Row;
use crate::targets::{Running, Target, broker_mqtt::Task, doors::Door};

const CLIENTS: usize = 10_000;
const IN_FLIGHT: usize = 16;
const ROUND: Duration = Duration::from_secs(2);
const GOAL: f64 = 1.5;

/// A server, and what its rounds cost, in nanoseconds of its CPU.
struct Side {
    running: Running,
    subscribing: Vec<f64>,
    delivering: Vec<f64>,
}

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let audience = Audience { subscribers: CLIENTS, rooms: CLIENTS, by: Rooms::Names, publishers: 2 * IN_FLIGHT };
    let start = |by_wildcards| {
        let door = Door::Mqtt(Task::Deliver { qos: 0, by_wildcards });
        let running = door.start(lab, &audience, Some(SERVER_CORE))?;
        Ok(Side { running, subscribing: Vec::new(), delivering: Vec::new() })
    };
    let mut sides = [true, false].into_iter().map(start).collect::<Result<Vec<_>>>()?;
    // The first round fills caches.
    for nth in 0..=lab.rounds() {
        for side in &mut sides {
            side.round(&audience, lab.time(ROUND), nth > 0)?;
        }
    }
    let costs = sides.into_iter().map(|side| [side.subscribing, side.delivering].map(Rounds::new));
    let [[subscribing, delivering], [subscribing_exactly, delivering_exactly]] = &costs.collect::<Vec<_>>()[..] else {
        return Ok(());
    };
    let what = format!("{CLIENTS} clients, each with a filter of its own with a wildcard");
    for (how, cost, exactly) in [
        ("to connect and subscribe", subscribing, subscribing_exactly),
        ("a message to one of them, with 16 in flight", delivering, delivering_exactly),
    ] {
        let ratio = cost.median() / exactly.median();
        let row = Row::new(format!("{what}: server CPU, {how}"), cost.show(nanos))
            .beside(format!("exact names {}", exactly.show(nanos)), ratio);
        lab.table.add(row.goal(format!("<= {GOAL} x"), ratio <= GOAL));
    }
    Ok(())
}

impl Side {
    /// Has all clients connect, subscribe, receive messages, and leave.
    fn round(&mut self, audience: &Audience, during: Duration, counts: bool) -> Result<()> {
        let Running { server, language } = &self.running;
        until_idle(server.process())?;
        let spec = Spec::new(language, server.address, audience).pinned(CLIENT_CORE);
        let (mut crowd, subscribing) = watched(server.process(), || Crowd::gather(&spec))?;
        let (outcome, delivering) = watched(server.process(), || crowd.run(Pace::InFlight(IN_FLIGHT), during))?;
        crowd.finish()?;
        if counts {
            self.subscribing.push(number(subscribing.cpu) / number(CLIENTS as u64));
            self.delivering.push(number(delivering.cpu) / number(outcome.deliveries));
        }
        Ok(())
    }
}
