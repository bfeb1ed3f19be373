//! One event to everybody: what a delivery costs, and how many there are in a second, beside a server that does nothing
//! else.
//!
//! The server has one core and the clients the other. With one publish in flight no server can join frames; with sixteen
//! it can.

use std::time::Duration;

use crate::Result;
use crate::crowd::{Audience, Crowd, Outcome, Pace, Spec};
use crate::lab::{CLIENT_CORE, Lab, SERVER_CORE};
use crate::process::Process;
use crate::server::Server;
use crate::statistics::{Rounds, count, nanos, number};
use crate::table::Row;
use crate::targets::{self, Target, broker::Broker, raw::Raw};

const ROUND: Duration = Duration::from_secs(2);
const SIZES: [usize; 2] = [1_000, 10_000];
/// Publishes in flight.
const FLIGHTS: [usize; 2] = [1, 16];
/// What a delivery may cost, in those of the raw server, with one publish in flight.
const COST_GOAL: f64 = 1.25;
/// How many deliveries there must be, in those of the raw server, for each of [`FLIGHTS`].
const RATE_GOALS: [f64; 2] = [0.8, 0.9];

/// A target with its clients.
struct Side {
    name: &'static str,
    server: Server,
    crowd: Crowd,
    cost: Vec<f64>,
    rate: Vec<f64>,
}

/// See the head of this file.
pub fn run(lab: &mut Lab) -> Result<()> {
    for size in SIZES {
        let audience = Audience::of_one_room(size, 2 * FLIGHTS[1]);
        let mut wanted: Vec<Box<dyn Target>> = vec![Box::new(Broker), Box::new(Raw)];
        if lab.options.peers {
            wanted.extend(targets::peers());
        }
        let start = |target: Box<dyn Target>| Side::start(lab, target.as_ref(), &audience);
        let mut sides: Vec<_> = wanted.into_iter().map(start).collect::<Result<_>>()?;
        for (flight, rate_goal) in FLIGHTS.into_iter().zip(RATE_GOALS) {
            // The first round fills caches and lets the clock speed settle.
            for round in 0..=lab.rounds() {
                for side in &mut sides {
                    side.round(flight, lab.time(ROUND), round > 0)?;
                }
            }
            report(lab, &mut sides, size, flight, rate_goal);
        }
        for side in sides {
            side.crowd.finish().map_err(|why| format!("{}: {why}", side.name))?;
        }
    }
    Ok(())
}

impl Side {
    fn start(lab: &Lab, target: &dyn Target, audience: &Audience) -> Result<Self> {
        let running = target.start(lab, audience, Some(SERVER_CORE))?;
        let spec = Spec::new(&running.language, running.server.address, audience).pinned(CLIENT_CORE);
        let crowd = Crowd::gather(&spec).map_err(|why| format!("{}: {why}", target.name()))?;
        Ok(Self { name: target.name(), server: running.server, crowd, cost: Vec::new(), rate: Vec::new() })
    }

    fn round(&mut self, flight: usize, during: Duration, counts: bool) -> Result<()> {
        let (outcome, cpu) = watched(self.server.process(), || self.crowd.run(Pace::InFlight(flight), during))
            .map_err(|why| format!("{}: {why}", self.name))?;
        if counts {
            self.cost.push(number(cpu) / number(outcome.deliveries));
            self.rate.push(number(outcome.deliveries) / outcome.elapsed.as_secs_f64());
        }
        Ok(())
    }
}

/// What a run came to, and how many nanoseconds of CPU a process used for it.
pub fn watched(process: Process, run: impl FnOnce() -> Result<Outcome>) -> Result<(Outcome, u64)> {
    let before = process.cpu()?;
    let outcome = run()?;
    Ok((outcome, process.cpu()?.since(&before)))
}

fn report(lab: &mut Lab, sides: &mut [Side], size: usize, flight: usize, rate_goal: f64) {
    let sides: Vec<_> = sides
        .iter_mut()
        .map(|side| {
            (side.name, Rounds::new(std::mem::take(&mut side.cost)), Rounds::new(std::mem::take(&mut side.rate)))
        })
        .collect();
    let Some((_, raw_cost, raw_rate)) = sides.iter().find(|(name, ..)| *name == Raw.name()) else { return };
    for (name, cost, rate) in sides.iter().filter(|(name, ..)| *name != Raw.name()) {
        let is_broker = *name == Broker.name();
        let to = format!("{name}, {} subscribers, {flight} in flight", count(number(size as u64)));
        let ratio = cost.median() / raw_cost.median();
        let row = Row::new(format!("{to}: server CPU per delivery"), cost.show(nanos))
            .beside(format!("raw epoll {}", raw_cost.show(nanos)), ratio);
        let goal = is_broker && flight == 1;
        lab.table.add(if goal { row.goal(format!("<= {COST_GOAL} x"), ratio <= COST_GOAL) } else { row });
        let ratio = rate.median() / raw_rate.median();
        let row = Row::new(format!("{to}: deliveries/s"), rate.show(count))
            .beside(format!("raw epoll {}", raw_rate.show(count)), ratio);
        lab.table.add(if is_broker { row.goal(format!(">= {rate_goal} x"), ratio >= rate_goal) } else { row });
    }
}
