//! One event to all clients of Socket.IO that poll: each delivery answers a request, and the client sends the next one.

use std::time::Duration;

use super::side::{Side, compete};
use crate::Result;
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::statistics::{count, nanos};
use crate::table::Row;
use crate::targets::{Target, doors::Door, raw::Raw};

const ROUND: Duration = Duration::from_secs(1);
const CLIENTS: usize = 1_000;
/// The goal for the CPU cost of a delivery, as a ratio to the peer.
const GOAL: f64 = 0.2;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let audience = Audience::of_one_room(CLIENTS, 2);
    let mut wanted: Vec<&dyn Target> = vec![&Raw::Polling, &Door::Polling];
    wanted.extend(lab.polling_peers.iter().map(|peer| &**peer));
    let start = |target| Side::start(lab, target, &audience);
    let mut sides: Vec<_> = wanted.into_iter().map(start).collect::<Result<_>>()?;
    let scores = compete(lab, &mut sides, 1, ROUND)?;
    let [raw, broker, peers @ ..] = &scores[..] else { return Ok(()) };
    for (one, other) in [(broker, raw)].into_iter().chain(peers.iter().flat_map(|peer| [(broker, peer), (raw, peer)])) {
        let what = format!("{}, {CLIENTS} clients", one.name);
        let ratio = one.cost.median() / other.cost.median();
        let row = Row::new(format!("{what}: server CPU per delivery"), one.cost.show(nanos))
            .beside(format!("{} {}", other.name, other.cost.show(nanos)), ratio);
        let has_goal = std::ptr::eq(one, broker) && !std::ptr::eq(other, raw);
        lab.table.add(if has_goal { row.goal(format!("<= {GOAL} x"), ratio <= GOAL) } else { row });
        let ratio = one.rate.median() / other.rate.median();
        let row = Row::new(format!("{what}: deliveries/s"), one.rate.show(count));
        lab.table.add(row.beside(format!("{} {}", other.name, other.rate.show(count)), ratio));
    }
    lab.table.add(raw.disturbance(&format!("{CLIENTS} clients")));
    sides.into_iter().try_for_each(Side::finish)
}
