//! Durable inserts from 64 connections, nobody listening, on one core: beside the web framework that does nothing but
//! parse the same bodies.

use std::time::Duration;

use super::fanout::watched;
use crate::crowd::{Audience, Crowd, Pace, Spec};
use crate::disk::Log;
use crate::lab::{CLIENT_CORE, Lab, SERVER_CORE};
use crate::server::Server;
use crate::statistics::{Rounds, count, nanos, number};
use crate::table::Row;
use crate::targets::broker::{self, BrokerWire};
use crate::targets::{self, Language, raw};
use crate::{Result, options};

const PUBLISHERS: usize = 64;
const EVENT_NAMES: u32 = 1_000;
const ROUND: Duration = Duration::from_secs(2);
/// How many inserts there must be, in answers of the framework alone, and in a second.
const FRAMEWORK_GOAL: f64 = 0.6;
const RATE_GOAL: f64 = 60_000.0;
/// How many there must be, in those of another durable server.
const PEER_GOAL: f64 = 0.7;

/// A server with its clients.
struct Side {
    name: &'static str,
    server: Server,
    crowd: Crowd,
    cost: Vec<f64>,
    rate: Vec<f64>,
}

/// See the head of this file.
pub fn run(lab: &mut Lab) -> Result<()> {
    let audience = Audience::of_one_room(0, PUBLISHERS);
    let database = lab.directory()?;
    let wire = BrokerWire { names: EVENT_NAMES, ..broker::people(database.path(), &audience)? };
    // The reference gets the same bytes, tokens and all.
    let language = Language::new(broker::WIRE, &wire)?;
    let server = broker::start(lab, database.path(), Some(SERVER_CORE), &[])?;
    let mut sides = vec![Side::new("Broker", server, &language, &audience)?];
    let framework = raw::start(options::ACTIX_PARSE, Some(SERVER_CORE))?;
    sides.push(Side::new("actix that parses", framework, &language, &audience)?);
    if lab.options.peers {
        for peer in targets::peers().iter().filter(|peer| peer.is_durable()) {
            let running = peer.start(lab, &audience, Some(SERVER_CORE))?;
            sides.push(Side::new(peer.name(), running.server, &running.language, &audience)?);
        }
    }

    let mut log = Log::new(lab.scratch())?;
    let mut flushes = Vec::new();
    for round in 0..=lab.rounds() {
        for side in &mut sides {
            side.round(lab.time(ROUND), round > 0)?;
        }
        flushes.push(log.rate(lab.time(ROUND / 4))?);
    }
    report(lab, sides);
    let flushes = Rounds::new(flushes).show(count);
    lab.table.add(Row::new("this disk: appends of 256 bytes with fdatasync, one after another, per second", flushes));
    Ok(())
}

impl Side {
    fn new(name: &'static str, server: Server, language: &Language, audience: &Audience) -> Result<Self> {
        let crowd = Crowd::gather(&Spec::new(language, server.address, audience).pinned(CLIENT_CORE))?;
        Ok(Self { name, server, crowd, cost: Vec::new(), rate: Vec::new() })
    }

    fn round(&mut self, during: Duration, counts: bool) -> Result<()> {
        let run = || self.crowd.run(Pace::InFlight(PUBLISHERS), during);
        let (outcome, cpu) = watched(self.server.process(), run).map_err(|why| format!("{}: {why}", self.name))?;
        // The first round fills caches.
        if counts {
            self.cost.push(number(cpu) / number(outcome.published));
            self.rate.push(number(outcome.published) / outcome.elapsed.as_secs_f64());
        }
        Ok(())
    }
}

fn report(lab: &mut Lab, sides: Vec<Side>) {
    let mut sides = sides.into_iter().map(|side| (side.name, Rounds::new(side.cost), Rounds::new(side.rate)));
    let Some((_, cost, rate)) = sides.next() else { return };
    for (index, (name, other_cost, other_rate)) in sides.enumerate() {
        let what = format!("inserts from {PUBLISHERS} connections");
        let ratio = rate.median() / other_rate.median();
        let row = Row::new(format!("{what}: inserts/s"), rate.show(count));
        let row = row.beside(format!("{name} {}", other_rate.show(count)), ratio);
        lab.table.add(if index == 0 {
            let holds = ratio >= FRAMEWORK_GOAL && rate.median() >= RATE_GOAL;
            row.goal(format!(">= {FRAMEWORK_GOAL} x, >= {}", count(RATE_GOAL)), holds)
        } else {
            row.goal(format!(">= {PEER_GOAL} x"), ratio >= PEER_GOAL)
        });
        let ratio = cost.median() / other_cost.median();
        let row = Row::new(format!("{what}: server CPU per insert"), cost.show(nanos));
        lab.table.add(row.beside(format!("{name} {}", other_cost.show(nanos)), ratio));
    }
}
