//! One event to all subscribers: the CPU cost of a delivery and the deliveries per second, compared with a server
//! that does nothing else.
//!
//! The server has one core and the clients the other. With one publish in flight no server can join frames; with sixteen
//! it can.

use std::time::Duration;

use super::side::{Score, Side, compete};
use crate::Result;
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::statistics::{count, nanos};
use crate::table::Row;
use crate::targets::{Target, broker::Broker, raw::Raw};

const ROUND: Duration = Duration::from_secs(2);
const SIZES: [usize; 2] = [1_000, 10_000];
/// Publishes in flight, and the goal for deliveries per second, as a ratio to the raw server.
const FLIGHTS: [(usize, f64); 2] = [(1, 0.8), (16, 0.9)];
/// The goal for the CPU cost of a delivery with one publish in flight, as a ratio to the raw server.
const COST_GOAL: f64 = 1.25;
/// The goal for deliveries per second, as a ratio to another durable server: Broker has to be faster.
const PEER_GOAL: f64 = 1.0;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    for size in SIZES {
        // An event may reach all subscribers before its publisher is answered.
        let audience = Audience::of_one_room(size, 2 * FLIGHTS[1].0);
        let mut wanted: Vec<&dyn Target> = vec![&Raw, &Broker];
        wanted.extend(lab.peers.iter().map(|peer| &**peer));
        let start = |target| Side::start(lab, target, &audience);
        let mut sides: Vec<_> = wanted.into_iter().map(start).collect::<Result<_>>()?;
        for (in_flight, rate_goal) in FLIGHTS {
            let scores = compete(lab, &mut sides, in_flight, ROUND)?;
            report(lab, &scores, &format!("{size} subscribers, {in_flight} in flight"), in_flight, rate_goal);
        }
        sides.into_iter().try_for_each(Side::finish)?;
    }
    Ok(())
}

fn report(lab: &mut Lab, scores: &[Score], what: &str, in_flight: usize, rate_goal: f64) {
    let Some((raw, others)) = scores.split_first() else { return };
    for score in others {
        let is_broker = score.name == Broker.name();
        let what = format!("{}, {what}", score.name);
        let ratio = score.cost.median() / raw.cost.median();
        let row = Row::new(format!("{what}: server CPU per delivery"), score.cost.show(nanos))
            .beside(format!("{} {}", raw.name, raw.cost.show(nanos)), ratio);
        let has_goal = is_broker && in_flight == 1;
        lab.table.add(if has_goal { row.goal(format!("<= {COST_GOAL} x"), ratio <= COST_GOAL) } else { row });
        let ratio = score.rate.median() / raw.rate.median();
        let row = Row::new(format!("{what}: deliveries/s"), score.rate.show(count))
            .beside(format!("{} {}", raw.name, raw.rate.show(count)), ratio);
        lab.table.add(if is_broker { row.goal(format!(">= {rate_goal} x"), ratio >= rate_goal) } else { row });
    }
    report_durable(lab, others, what);
    lab.table.add(raw.disturbance(what));
}

/// Compares Broker with the other servers that store events durably.
fn report_durable(lab: &mut Lab, scores: &[Score], what: &str) {
    let Some(broker) = scores.iter().find(|score| score.name == Broker.name()) else { return };
    let durable: Vec<_> = lab.peers.iter().filter(|peer| peer.is_durable()).map(|peer| peer.name()).collect();
    for peer in scores.iter().filter(|score| durable.contains(&score.name)) {
        let ratio = broker.rate.median() / peer.rate.median();
        let row = Row::new(format!("{}, {what}: deliveries/s", broker.name), broker.rate.show(count))
            .beside(format!("{} {}", peer.name, peer.rate.show(count)), ratio);
        lab.table.add(row.goal(format!("> {PEER_GOAL} x"), ratio > PEER_GOAL));
    }
}
