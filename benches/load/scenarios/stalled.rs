//! A hundred subscribers that read beside a thousand that never do: whether the slow ones delay the others.

use std::time::Duration;

use crate::Result;
use crate::crowd::{Audience, Crowd, Pace, Spec};
use crate::lab::Lab;
use crate::server::Server;
use crate::statistics::{Rounds, bytes, nanos, number};
use crate::table::Row;
use crate::targets::{Target, doors::Door};

const HEALTHY: usize = 100;
const STALLED: usize = 1_000;
/// Enough publishers that the rate does not depend on the time of an answer.
const PUBLISHERS: usize = 32;
const EVENTS_PER_SECOND: u32 = 500;
const ROUND: Duration = Duration::from_secs(4);
const GOAL: f64 = 1.2;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let (server_with, mut with) = start(lab, STALLED)?;
    let (_server_without, mut without) = start(lab, 0)?;
    let before = server_with.process().resident()?;
    let pace = Pace::PerSecond(EVENTS_PER_SECOND);
    let (mut late_with, mut late_without, mut half_with, mut half_without) = (vec![], vec![], vec![], vec![]);
    for round in 0..=lab.rounds() {
        let disturbed = with.run(pace, lab.time(ROUND))?.latency;
        let quiet = without.run(pace, lab.time(ROUND))?.latency;
        // The first round fills the buffers of the clients that do not read.
        if round > 0 {
            late_with.push(number(disturbed.p99));
            late_without.push(number(quiet.p99));
            half_with.push(number(disturbed.p50));
            half_without.push(number(quiet.p50));
        }
    }
    let after = server_with.process().resident()?;
    with.finish()?;
    without.finish()?;
    let [late_with, late_without, half_with, half_without] =
        [late_with, late_without, half_with, half_without].map(Rounds::new);
    let ratio = late_with.median() / late_without.median();
    let what = format!("{HEALTHY} who read, beside {STALLED} who do not, {EVENTS_PER_SECOND} events/s");
    lab.table.add(
        Row::new(format!("{what}: p99"), late_with.show(nanos))
            .beside(format!("without those {}", late_without.show(nanos)), ratio)
            .goal(format!("<= {GOAL} x"), ratio <= GOAL),
    );
    lab.table.add(
        Row::new(format!("{what}: p50"), half_with.show(nanos))
            .beside(format!("without those {}", half_without.show(nanos)), half_with.median() / half_without.median()),
    );
    let grown = number(after) - number(before);
    lab.table.add(Row::new(format!("{what}: memory that the server grew by"), bytes(grown)));
    Ok(())
}

fn start(lab: &Lab, stalled: usize) -> Result<(Server, Crowd)> {
    let audience = Audience::of_one_room(HEALTHY + stalled, PUBLISHERS);
    let running = Door::Sse.start(lab, &audience, None)?;
    let spec = Spec { stalled, ..Spec::new(&running.language, running.server.address, &audience) };
    Ok((running.server, Crowd::gather(&spec)?))
}
