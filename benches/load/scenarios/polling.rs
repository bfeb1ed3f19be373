//! One event to all clients of Socket.IO that poll: each delivery answers a request, and the client sends the next one.

use std::time::Duration;

use super::side::{Side, compete};
use crate::Result;
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::statistics::{count, nanos};
use crate::table::Row;
use crate::targets::{Target, doors::Door};

const ROUND: Duration = Duration::from_secs(1);
const CLIENTS: usize = 1_000;
/// The goal for the CPU cost of a delivery, as a ratio to the peer.
const GOAL: f64 = 0.2;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let audience = Audience::of_one_room(CLIENTS, 2);
    let mut wanted: Vec<&dyn Target> = vec![&Door::Polling];
    wanted.extend(lab.polling_peers.iter().map(|peer| &**peer));
    let start = |target| Side::start(lab, target, &audience);
    let mut sides: Vec<_> = wanted.into_iter().map(start).collect::<Result<_>>()?;
    let scores = compete(lab, &mut sides, 1, ROUND)?;
    let Some((broker, peers)) = scores.split_first() else { return Ok(()) };
    let what = format!("{}, {CLIENTS} clients", broker.name);
    for peer in peers {
        let ratio = broker.cost.median() / peer.cost.median();
        let row = Row::new(format!("{what}: server CPU per delivery"), broker.cost.show(nanos))
            .beside(format!("{} {}", peer.name, peer.cost.show(nanos)), ratio);
        lab.table.add(row.goal(format!("<= {GOAL} x"), ratio <= GOAL));
        let ratio = broker.rate.median() / peer.rate.median();
        let row = Row::new(format!("{what}: deliveries/s"), broker.rate.show(count));
        lab.table.add(row.beside(format!("{} {}", peer.name, peer.rate.show(count)), ratio));
    }
    if peers.is_empty() {
        lab.table.add(Row::new(format!("{what}: server CPU per delivery"), broker.cost.show(nanos)));
        lab.table.add(Row::new(format!("{what}: deliveries/s"), broker.rate.show(count)));
    }
    sides.into_iter().try_for_each(Side::finish)
}
