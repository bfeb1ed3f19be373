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

/// How many sockets insert.
pub const SOCKETS: usize = 64;
/// How many inserts are under way.
pub const IN_FLIGHT: usize = SOCKETS * PIPELINE;
const EVENT_NAMES: u32 = 1_000;
/// How long a round lasts.
pub const ROUND: Duration = Duration::from_secs(2);
/// The goal for inserts per second, as a ratio to `/insert`.
const GOAL: f64 = 3.0;
/// The goal for inserts per second, as a ratio to another durable server.
const PEER_GOAL: f64 = 1.0;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let over_http = Audience::of_one_room(0, IN_FLIGHT);
    let mut sides = vec![side(lab, Door::WebSocket(Task::Insert), SOCKETS)?, side(lab, Door::Sse, IN_FLIGHT)?];
    for peer in lab.peers.iter().filter(|peer| peer.is_durable()) {
        sides.push(Side::start(lab, &**peer, &over_http)?);
    }
    let scores = compete(lab, &mut sides, IN_FLIGHT, ROUND)?;
    report(lab, &scores, &[GOAL, PEER_GOAL]);
    Ok(())
}

/// Broker with so many connections that insert.
pub fn side(lab: &Lab, door: Door, publishers: usize) -> Result<Side> {
    let audience = Audience::of_one_room(0, publishers);
    let database = lab.directory()?.keep();
    let people = BrokerWire { names: EVENT_NAMES, ..broker::people(&database, &audience)? };
    let server = door.serve(lab, &database, Some(SERVER_CORE))?;
    let language = door.language(people, || Http::connect(server.address))?;
    Side::new(door.name(), server, &language, &audience)
}

/// Compares the first with the others, each of which has a goal for inserts per second.
pub fn report(lab: &mut Lab, scores: &[Score], goals: &[f64]) {
    let [socket, others @ ..] = scores else { return };
    let what = format!("{}, {SOCKETS} sockets with {PIPELINE} inserts in flight each", socket.name);
    for (other, goal) in others.iter().zip(goals) {
        let ratio = socket.rate.median() / other.rate.median();
        let row = Row::new(format!("{what}: inserts/s"), socket.rate.show(count))
            .beside(format!("{}, {IN_FLIGHT} in flight {}", other.name, other.rate.show(count)), ratio);
        lab.table.add(row.goal(format!(">= {goal} x"), ratio >= *goal));
        let ratio = socket.cost.median() / other.cost.median();
        let row = Row::new(format!("{what}: server CPU per insert"), socket.cost.show(nanos));
        lab.table.add(row.beside(format!("{} {}", other.name, other.cost.show(nanos)), ratio));
    }
    if let Some(other) = others.first() {
        lab.table.add(other.disturbance(&what));
    }
}
