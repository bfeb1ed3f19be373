//! Durable inserts from 64 connections, without subscribers, on one core. The reference is the web framework that
//! only parses the same bodies.

use std::time::Duration;

use super::side::{Score, Side, compete};
use crate::crowd::Audience;
use crate::disk::Log;
use crate::lab::{Lab, SERVER_CORE};
use crate::statistics::{Rounds, count, nanos};
use crate::table::Row;
use crate::targets::broker::{self, BrokerWire};
use crate::targets::{Language, raw};
use crate::{Result, options};

const PUBLISHERS: usize = 64;
const EVENT_NAMES: u32 = 1_000;
const ROUND: Duration = Duration::from_secs(2);
/// The number of disk measurements before and after.
const DISK_ROUNDS: usize = 3;
/// The goals for inserts per second: as a ratio to the answers of the framework alone, and as a number.
const FRAMEWORK_GOAL: f64 = 0.6;
const RATE_GOAL: f64 = 60_000.0;
/// The goal for inserts per second, as a ratio to another durable server.
const PEER_GOAL: f64 = 0.7;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let audience = Audience::of_one_room(0, PUBLISHERS);
    let database = lab.directory()?;
    let wire = BrokerWire { names: EVENT_NAMES, ..broker::people(database.path(), &audience)? };
    // The reference receives the same bytes, tokens included.
    let language = Language::new(broker::WIRE, &wire)?;
    let server = broker::start(lab, database.path(), Some(SERVER_CORE), &[])?;
    let mut sides = vec![Side::new("Broker", server, &language, &audience)?];
    let framework = raw::start(options::ACTIX_PARSE, Some(SERVER_CORE))?;
    sides.push(Side::new("actix that parses", framework, &language, &audience)?);
    for peer in lab.peers.iter().filter(|peer| peer.is_durable()) {
        sides.push(Side::start(lab, &**peer, &audience)?);
    }

    let mut log = Log::new(lab.scratch())?;
    let mut flushes = Vec::new();
    let mut ask_disk = || -> Result<()> {
        for _ in 0..DISK_ROUNDS {
            flushes.push(log.rate(Duration::from_millis(300))?);
        }
        Ok(())
    };
    ask_disk()?;
    let scores = compete(lab, &mut sides, PUBLISHERS, ROUND)?;
    ask_disk()?;
    report(lab, &scores);
    let flushes = Rounds::new(flushes).show(count);
    lab.table.add(Row::new("this disk: appends of 256 bytes with fdatasync, one after another, per second", flushes));
    Ok(())
}

fn report(lab: &mut Lab, scores: &[Score]) {
    let [broker, others @ ..] = scores else { return };
    let what = format!("inserts from {PUBLISHERS} connections");
    for (index, other) in others.iter().enumerate() {
        let ratio = broker.rate.median() / other.rate.median();
        let row = Row::new(format!("{what}: inserts/s"), broker.rate.show(count))
            .beside(format!("{} {}", other.name, other.rate.show(count)), ratio);
        lab.table.add(if index == 0 {
            let holds = ratio >= FRAMEWORK_GOAL && broker.rate.median() >= RATE_GOAL;
            row.goal(format!(">= {FRAMEWORK_GOAL} x, >= {}", count(RATE_GOAL)), holds)
        } else {
            row.goal(format!(">= {PEER_GOAL} x"), ratio >= PEER_GOAL)
        });
        let ratio = broker.cost.median() / other.cost.median();
        let row = Row::new(format!("{what}: server CPU per insert"), broker.cost.show(nanos));
        lab.table.add(row.beside(format!("{} {}", other.name, other.cost.show(nanos)), ratio));
    }
    if let Some(framework) = others.first() {
        lab.table.add(framework.disturbance(&what));
    }
}
