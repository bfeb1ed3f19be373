//! Durable inserts from 64 connections, nobody listening, on one core: beside the web framework that does nothing but
//! parse the same bodies.

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
/// How often the disk is asked, before and after.
const DISK_ROUNDS: usize = 3;
/// How many inserts there must be, in answers of the framework alone, and in a second.
const FRAMEWORK_GOAL: f64 = 0.6;
const RATE_GOAL: f64 = 60_000.0;
/// How many there must be, in those of another durable server.
const PEER_GOAL: f64 = 0.7;

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
