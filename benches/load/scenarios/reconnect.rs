//! A thousand clients reconnect at once, each a thousand events behind, beside a hundred clients that were connected
//! all along.

use std::time::Duration;

use crate::Result;
use crate::crowd::{Audience, Command, Crowd, Pace, Spec};
use crate::lab::Lab;
use crate::message;
use crate::seed::Seed;
use crate::statistics::{nanos, number};
use crate::table::Row;
use crate::targets::broker::BrokerWire;
use crate::targets::{Language, broker};

const LIVE: usize = 100;
const RETURNING: usize = 1_000;
/// Enough publishers that the rate does not depend on the time of an answer.
const PUBLISHERS: usize = 32;
const EVENTS_PER_SECOND: u32 = 100;
/// The number of events before the first client connects.
const BEFORE: u32 = 2_000;
/// The number of events that each reconnecting client has missed.
const MISSED: u32 = 1_000;
/// The time in which the live clients are alone, and the time of the measurement from the moment when the others
/// begin to reconnect. Both are short, so that the effect on the live clients exceeds the hundredth that a p99 leaves
/// out.
const ALONE: Duration = Duration::from_secs(2);
const MEANWHILE: Duration = Duration::from_secs(3);
const GOAL: u64 = 50_000_000;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let live = Audience::of_one_room(LIVE, PUBLISHERS);
    let returning = Audience::of_one_room(RETURNING, 0);
    let database = lab.directory()?;
    let wire = broker::people(database.path(), &returning)?;
    let mut seed = Seed::open(database.path())?;
    let mut payload = Vec::new();
    for event in 0..BEFORE {
        payload.clear();
        message::write_payload(event, &mut payload);
        seed.event("room0", "user0", "name0", &String::from_utf8_lossy(&payload))?;
    }
    // When they reconnect, this many more events have been published.
    let first_missed = BEFORE + events(ALONE) - MISSED;
    // Events are counted from 1, and number 0 is the first.
    let last_seen = seed.id(u64::from(first_missed));
    seed.close()?;
    let server = broker::start(lab, database.path(), None, &[])?;

    let language = Language::new(broker::WIRE, &wire)?;
    let spec = Spec { first_number: BEFORE, ..Spec::new(&language, server.address, &live) };
    let mut live = Crowd::gather(&spec)?;
    live.run(Pace::PerSecond(EVENTS_PER_SECOND), ALONE)?;
    live.ask(Command::Run(Pace::PerSecond(EVENTS_PER_SECOND), MEANWHILE))?;
    let language = Language::new(broker::WIRE, &BrokerWire { last_event_id: Some(last_seen), ..wire })?;
    let mut back = Crowd::gather(&Spec {
        first_number: first_missed,
        others_publish: true,
        at_once: RETURNING,
        ..Spec::new(&language, server.address, &returning)
    })?;
    back.ask(Command::Through(BEFORE + events(ALONE) + events(MEANWHILE) - 1))?;
    let latency = live.outcome()?.latency;
    back.outcome()?;
    live.finish()?;
    back.finish()?;
    lab.table.add(
        Row::new(
            format!("{RETURNING} come back at once, {MISSED} events behind: p99 of {LIVE} live ones, {EVENTS_PER_SECOND} events/s"),
            format!("{} (p50 {}, max {})", nanos(number(latency.p99)), nanos(number(latency.p50)), nanos(number(latency.max))),
        )
        .goal(format!("< {}", nanos(number(GOAL))), latency.p99 < GOAL),
    );
    Ok(())
}

/// The number of events in a duration.
fn events(during: Duration) -> u32 {
    EVENTS_PER_SECOND * u32::try_from(during.as_secs()).unwrap_or_default()
}
