//! Whether the tool detects faults: servers that lose, repeat or swap one event for one subscriber. For a server that
//! keeps no order, a swap is not a fault.

use std::time::Duration;

use crate::crowd::{Audience, Crowd, Pace, Spec};
use crate::lab::Lab;
use crate::raw::Fault;
use crate::table::Row;
use crate::targets::Language;
use crate::targets::raw::{self, RawWire, WIRE};
use crate::{Result, options};

const SUBSCRIBERS: usize = 50;
/// Publishes at a fixed rate, so that a subscriber that misses an event receives the next one, which reveals the gap.
const EVENTS_PER_SECOND: u32 = 1_000;
const PUBLISHERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(2);
const DURING: Duration = Duration::from_millis(500);

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let audience = Audience::of_one_room(SUBSCRIBERS, PUBLISHERS);
    let roles = Fault::ALL.map(|(name, _)| format!("{}{name}", options::RAW_WITH));
    let faults = Fault::ALL.into_iter().zip(roles).map(|((_, fault), role)| (role, Some(fault)));
    for (role, fault) in std::iter::once((options::RAW.to_owned(), None)).chain(faults) {
        for keeps_order in [true, false] {
            let is_sound = fault.is_none_or(|fault| !keeps_order && matches!(fault, Fault::Swaps));
            let server = raw::start(&role, None)?;
            let mut crowd = Crowd::gather(&Spec {
                patience: PATIENCE,
                ..Spec::new(
                    &Language::new(WIRE, &RawWire { keeps_order, ..RawWire::default() })?,
                    server.address,
                    &audience,
                )
            })?;
            let ended = crowd.run(Pace::PerSecond(EVENTS_PER_SECOND), DURING).and_then(|_| crowd.finish());
            match (is_sound, ended) {
                (true, Err(why)) => return Err(format!("a correct server {role} was reported as faulty: {why}")),
                (false, Ok(())) => return Err(format!("the fault of a server {role} was not detected")),
                (false, Err(why)) => eprintln!("the fault of a server {role} was detected: {why}"),
                (true, Ok(())) => {}
            }
        }
    }
    lab.table.add(Row::new("a lost, a repeated, a swapped event", "each was noticed").goal("noticed", true));
    Ok(())
}
