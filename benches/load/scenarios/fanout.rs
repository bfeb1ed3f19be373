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
use crate::targets::{Target, doors::Door, raw::Raw};

const ROUND: Duration = Duration::from_secs(2);
const SIZES: [usize; 2] = [1_000, 10_000];
/// The goals over SSE.
const GOALS: Goals = Goals { cost: 1.25, rates: Some([0.8, 0.9]) };
/// The numbers of publishes in flight.
const FLIGHTS: [usize; 2] = [1, 16];

/// What Broker has to reach, as ratios to the raw server.
pub struct Goals {
    /// For the CPU cost of a delivery with one publish in flight.
    pub cost: f64,
    /// For deliveries per second with each number of publishes in flight, if there are such goals.
    pub rates: Option<[f64; FLIGHTS.len()]>,
}

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    compare(lab, &Raw::Sse, &Door::Sse, |lab| &lab.peers, &GOALS)
}

/// Compares Broker with the raw server and with peers.
pub fn compare(
    lab: &mut Lab,
    raw: &Raw,
    broker: &Door,
    peers: impl Fn(&Lab) -> &[Box<dyn Target>],
    goals: &Goals,
) -> Result<()> {
    for size in SIZES {
        // An event may reach all subscribers before its publisher is answered.
        let audience = Audience::of_one_room(size, 2 * FLIGHTS[1]);
        let mut wanted: Vec<&dyn Target> = vec![raw, broker];
        wanted.extend(peers(lab).iter().map(|peer| &**peer));
        let peer_goals: Vec<_> = peers(lab).iter().map(|peer| peer.rate_goals()).collect();
        let start = |target| Side::start(lab, target, &audience);
        let mut sides: Vec<_> = wanted.into_iter().map(start).collect::<Result<_>>()?;
        for (nth, in_flight) in FLIGHTS.into_iter().enumerate() {
            let scores = compete(lab, &mut sides, in_flight, ROUND)?;
            let what = format!("{size} subscribers, {in_flight} in flight");
            let cost_goal = (in_flight == 1).then_some(goals.cost);
            report(lab, &scores, &what, cost_goal, goals.rates.map(|rates| rates[nth]));
            let here: Vec<_> = peer_goals.iter().map(|goals| goals.map(|goals| goals[nth])).collect();
            report_peers(lab, &scores[1..], &what, &here);
            lab.table.add(scores[0].disturbance(&what));
        }
        sides.into_iter().try_for_each(Side::finish)?;
    }
    Ok(())
}

/// Compares all with the first, and the second with its goals.
fn report(lab: &mut Lab, scores: &[Score], what: &str, cost_goal: Option<f64>, rate_goal: Option<f64>) {
    let Some((raw, others)) = scores.split_first() else { return };
    for (index, score) in others.iter().enumerate() {
        let is_broker = index == 0;
        let what = format!("{}, {what}", score.name);
        let ratio = score.cost.median() / raw.cost.median();
        let row = Row::new(format!("{what}: server CPU per delivery"), score.cost.show(nanos))
            .beside(format!("{} {}", raw.name, raw.cost.show(nanos)), ratio);
        lab.table.add(match cost_goal.filter(|_| is_broker) {
            Some(goal) => row.goal(format!("<= {goal} x"), ratio <= goal),
            None => row,
        });
        let ratio = score.rate.median() / raw.rate.median();
        let row = Row::new(format!("{what}: deliveries/s"), score.rate.show(count))
            .beside(format!("{} {}", raw.name, raw.rate.show(count)), ratio);
        lab.table.add(match rate_goal.filter(|_| is_broker) {
            Some(goal) => row.goal(format!(">= {goal} x"), ratio >= goal),
            None => row,
        });
    }
}

/// Compares Broker with the peers that have a goal.
fn report_peers(lab: &mut Lab, scores: &[Score], what: &str, goals: &[Option<f64>]) {
    let Some((broker, peers)) = scores.split_first() else { return };
    for (peer, goal) in peers.iter().zip(goals) {
        let Some(goal) = goal else { continue };
        let ratio = broker.rate.median() / peer.rate.median();
        let row = Row::new(format!("{}, {what}: deliveries/s", broker.name), broker.rate.show(count))
            .beside(format!("{} {}", peer.name, peer.rate.show(count)), ratio);
        lab.table.add(row.goal(format!(">= {goal} x"), ratio >= *goal));
    }
}
