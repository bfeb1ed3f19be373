//! As many live subscriptions as this machine allows in one process, then in three servers side by side. Each
//! subscriber receives every event.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::Result;
use crate::crowd::{Audience, Command, Crowd, Pace, Spec};
use crate::lab::Lab;
use crate::process;
use crate::statistics::{bytes, number};
use crate::table::Row;
use crate::targets::{Running, Target, doors::Door};

/// The number of connections in one process, if the system allows it.
const MOST: usize = 50_000;
/// Descriptors that a server needs beside its connections.
const SPARE: u64 = 1_000;
const SERVERS: usize = 3;
/// Clients per address of this machine: an address has some 28,000 ports to one server.
const PER_CROWD: usize = 10_000;
const EVENTS_PER_SECOND: u32 = 5;
const DURING: Duration = Duration::from_secs(2);

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let limit = process::raise_descriptor_limit();
    let one = MOST.min(usize::try_from(limit.saturating_sub(SPARE)).unwrap_or(MOST));
    hold(lab, 1, one)?;
    if one < MOST {
        hold(lab, SERVERS, (MOST / SERVERS + 1).min(one))?;
    }
    Ok(())
}

/// Holds this many connections in each of this many servers at the same time.
fn hold(lab: &mut Lab, servers: usize, each: usize) -> Result<()> {
    let audience = Audience::of_one_room(each, 1);
    let begun = Instant::now();
    let running: Vec<_> = (0..servers).map(|_| Door::Sse.start(lab, &audience, None)).collect::<Result<_>>()?;
    let before = resident(&running)?;
    let mut crowds = Vec::new();
    for (server, running) in (0_u8..).zip(&running) {
        for (part, first) in (0_u8..).zip((0..each).step_by(PER_CROWD)) {
            let subscribers = PER_CROWD.min(each - first);
            // The first crowd publishes.
            let part_audience = Audience::of_one_room(subscribers, usize::from(part == 0));
            crowds.push(Crowd::gather(&Spec {
                source: Ipv4Addr::new(127, 0, server, 1 + part),
                first_subscriber: first,
                others_publish: part > 0,
                ..Spec::new(&running.language, running.server.address, &part_audience)
            })?);
        }
    }
    let gathered = begun.elapsed();
    let parts = crowds.len() / servers;
    let after = resident(&running)?;
    let during = lab.time(DURING);
    let mut published = Vec::new();
    for publisher in crowds.iter_mut().step_by(parts) {
        published.push(publisher.run(Pace::PerSecond(EVENTS_PER_SECOND), during)?.published);
    }
    for (index, crowd) in crowds.iter_mut().enumerate().filter(|(index, _)| index % parts != 0) {
        let last = u32::try_from(published[index / parts]).unwrap_or(u32::MAX).saturating_sub(1);
        crowd.ask(Command::Through(last))?;
        crowd.outcome()?;
    }
    for crowd in crowds {
        crowd.finish()?;
    }
    let events = published.iter().max().copied().unwrap_or_default();
    let (each, all) = (each as u64, (servers * each) as u64);
    lab.table.add(
        Row::new(
            format!("live subscriptions in {servers} process(es), {events} events to each"),
            format!(
                "{all}; {} resident for each; all there after {:.1} s",
                bytes((after - before) / number(all)),
                gathered.as_secs_f64()
            ),
        )
        .goal(format!("{all} ({each} in a process), none lost"), true),
    );
    Ok(())
}

fn resident(running: &[Running]) -> Result<f64> {
    running.iter().map(|running| running.server.process().resident().map(number)).sum()
}
