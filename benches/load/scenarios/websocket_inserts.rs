//! Durable inserts over WebSocket, without subscribers, on one core: 64 sockets, each of which has 16 inserts under way.
//! The reference is `/insert` over HTTP with as many inserts under way, for which it needs a connection each.

use std::time::Duration;

use super::side::{Score, Side, compete};
use crate::Result;
use crate::crowd::Audience;
use crate::http::Http;
use crate::lab::{Lab, SERVER_CORE};
use crate::statistics::{count, nanos};
use crate::table::Row;
use crate::targets::broker::{self, BrokerWire};
use crate::targets::broker_v1::{PIPELINE, Task};
use crate::targets::{Target, doors::Door};

const SOCKETS: usize = 64;
const IN_FLIGHT: usize = SOCKETS * PIPELINE;
const EVENT_NAMES: u32 = 1_000;
const ROUND: Duration = Duration::from_secs(2);
/// The goal for inserts per second, as a ratio to `/insert`.
const GOAL: f64 = 3.0;
/// The goal for inserts per second, as a ratio to another durable server.
const PEER_GOAL: f64 = 1.0;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let over_http = Audience::of_one_room(0, IN_FLIGHT);
    let mut sides = Vec::new();
    for (door, publishers) in [(Door::WebSocket(Task::Insert), SOCKETS), (Door::Sse, IN_FLIGHT)] {
        let audience = Audience::of_one_room(0, publishers);
        let database = lab.directory()?.keep();
        let people = BrokerWire { names: EVENT_NAMES, ..broker::people(&database, &audience)? };
        let server = broker::start(lab, &database, Some(SERVER_CORE), &[])?;
        let language = door.language(people, || Http::connect(server.address))?;
        sides.push(Side::new(door.name(), server, &language, &audience)?);
    }
    for peer in lab.peers.iter().filter(|peer| peer.is_durable()) {
        sides.push(Side::start(lab, &**peer, &over_http)?);
    }
    let scores = compete(lab, &mut sides, IN_FLIGHT, ROUND)?;
    report(lab, &scores);
    Ok(())
}

fn report(lab: &mut Lab, scores: &[Score]) {
    let [socket, others @ ..] = scores else { return };
    let what = format!("{}, {SOCKETS} sockets with {PIPELINE} inserts in flight each", socket.name);
    for (index, other) in others.iter().enumerate() {
        let ratio = socket.rate.median() / other.rate.median();
        let row = Row::new(format!("{what}: inserts/s"), socket.rate.show(count))
            .beside(format!("{}, {IN_FLIGHT} in flight {}", other.name, other.rate.show(count)), ratio);
        let goal = if index == 0 { GOAL } else { PEER_GOAL };
        lab.table.add(row.goal(format!(">= {goal} x"), ratio >= goal));
        let ratio = socket.cost.median() / other.cost.median();
        let row = Row::new(format!("{what}: server CPU per insert"), socket.cost.show(nanos));
        lab.table.add(row.beside(format!("{} {}", other.name, other.cost.show(nanos)), ratio));
    }
    if let Some(http) = others.first() {
        lab.table.add(http.disturbance(&what));
    }
}
