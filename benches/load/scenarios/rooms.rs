//! Many small groups: 5,000 durable inserts per second, each for 10 of 15,000 subscribers, at a rate that does not
//! wait for the server.

use std::time::Duration;

use crate::Result;
use crate::crowd::{Audience, Crowd, Pace, Rooms, Spec};
use crate::lab::Lab;
use crate::process::watched;
use crate::statistics::{nanos, number};
use crate::table::Row;
use crate::targets::{Target, doors::Door};

const SUBSCRIBERS: usize = 15_000;
const ROOMS: usize = 1_500;
const PUBLISHERS: usize = 64;
const INSERTS_PER_SECOND: u32 = 5_000;
const DURING: Duration = Duration::from_secs(10);
const P50_GOAL: u64 = 1_000_000;
const P99_GOAL: u64 = 10_000_000;
const CORES_GOAL: f64 = 0.5;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    for (by, what) in
        [(Rooms::Tenants, "each in a tenant of 10"), (Rooms::Names, "one tenant, each asking for one name")]
    {
        let audience = Audience { subscribers: SUBSCRIBERS, rooms: ROOMS, by, publishers: PUBLISHERS };
        let running = Door::Sse.start(lab, &audience, None)?;
        let mut crowd = Crowd::gather(&Spec::new(&running.language, running.server.address, &audience))?;
        // The server verifies each token once, and fills its caches.
        crowd.run(Pace::PerSecond(INSERTS_PER_SECOND), Duration::from_millis(500))?;
        let during = lab.time(DURING);
        let (outcome, usage) =
            watched(running.server.process(), || crowd.run(Pace::PerSecond(INSERTS_PER_SECOND), during))?;
        crowd.finish()?;
        let cores = number(usage.cpu) / 1e9 / outcome.elapsed.as_secs_f64();
        let latency = outcome.latency;
        let what = format!("{INSERTS_PER_SECOND} inserts/s to 10 of {SUBSCRIBERS}, {what}");
        lab.table.add(
            Row::new(
                format!("{what}: to the subscriber, p50 / p99 / max of {}", latency.count),
                format!(
                    "{} / {} / {}",
                    nanos(number(latency.p50)),
                    nanos(number(latency.p99)),
                    nanos(number(latency.max))
                ),
            )
            .goal("< 1 ms / < 10 ms, none lost", latency.p50 < P50_GOAL && latency.p99 < P99_GOAL),
        );
        lab.table.add(
            Row::new(format!("{what}: cores"), format!("{cores:.2}"))
                .goal(format!("< {CORES_GOAL}"), cores < CORES_GOAL),
        );
    }
    Ok(())
}
