//! The headline that the mobile broker never showed: 50,000 live subscriptions, and 5,000 messages a second to 10 of them each,
//! for ten minutes. Every client subscribes by a wildcard, and takes messages with QoS 1.
//!
//! It runs only if it is named, and `--subscribers` and `--seconds` make it smaller and shorter. Where a process may not open
//! as many descriptors, it runs several servers side by side, each with a part of the clients and of the messages. There is at
//! least one for each 25,000 clients, because an address has some 28,000 ports.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::Result;
use crate::crowd::{Audience, Command, Crowd, Outcome, Pace, Rooms, Spec};
use crate::lab::Lab;
use crate::process::{self, Process, watched};
use crate::statistics::{bytes, nanos, number};
use crate::table::Row;
use crate::targets::{Running, Target, broker_mqtt::Task, doors::Door};

const SUBSCRIBERS: usize = 50_000;
const SECONDS: u64 = 600;
/// How many subscribers a message is for.
const ROOM: usize = 10;
/// How many messages a second all servers together are sent.
const MESSAGES_PER_SECOND: u32 = 5_000;
const PUBLISHERS: usize = 64;
/// Descriptors that a process needs beside those of the subscribers.
const SPARE: u64 = 1_000;
/// How many subscribers connect from one address.
const PER_ADDRESS: usize = 25_000;
/// For how long messages are sent before anything is measured.
const WARM_UP: Duration = Duration::from_secs(5);
const P99_GOAL: u64 = 20_000_000;
const CORES_GOAL: f64 = 1.0;
/// By which factor memory may have grown in the end.
const GROWTH_GOAL: f64 = 1.1;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let subscribers = lab.options.subscribers.unwrap_or(SUBSCRIBERS);
    let during = Duration::from_secs(lab.options.seconds.unwrap_or(SECONDS));
    let descriptors = usize::try_from(process::raise_descriptor_limit().saturating_sub(SPARE)).unwrap_or(usize::MAX);
    let servers = subscribers.div_ceil(descriptors.clamp(1, PER_ADDRESS)).max(1);
    let rooms = subscribers.div_ceil(servers * ROOM).max(1);
    let audience = Audience { subscribers: rooms * ROOM, rooms, by: Rooms::Names, publishers: PUBLISHERS };
    let door = Door::Mqtt(Task::Deliver { qos: 1, by_wildcards: true });
    let running: Vec<_> = (0..servers).map(|_| door.start(lab, &audience, None)).collect::<Result<_>>()?;
    let mut crowds = Vec::new();
    for (server, Running { server: process, language }) in (0_u8..).zip(&running) {
        let source = Ipv4Addr::new(127, 0, server, 1);
        crowds.push(Crowd::gather(&Spec { source, ..Spec::new(language, process.address, &audience) })?);
    }
    let pace = Pace::PerSecond(MESSAGES_PER_SECOND.div_ceil(u32::try_from(servers).unwrap_or(1)));
    let mut run = |during| -> Result<Vec<Outcome>> {
        crowds.iter_mut().try_for_each(|crowd| crowd.ask(Command::Run(pace, during)))?;
        crowds.iter_mut().map(Crowd::outcome).collect()
    };
    let processes: Vec<_> = running.iter().map(|running| running.server.process()).collect();
    run(WARM_UP)?;
    let before = resident(&processes)?;
    let (outcomes, cpu) = watch_all(&processes, &mut || run(during))?;
    let after = resident(&processes)?;
    crowds.into_iter().try_for_each(Crowd::finish)?;
    let all = servers * audience.subscribers;
    let what = format!(
        "{all} live subscriptions in {servers} process(es), {MESSAGES_PER_SECOND} messages/s to {ROOM} each for {} s",
        during.as_secs()
    );
    report(lab, &what, &outcomes, cpu, [before, after]);
    Ok(())
}

fn report(lab: &mut Lab, what: &str, outcomes: &[Outcome], cpu: u64, [before, after]: [f64; 2]) {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let most = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).max().unwrap_or_default();
    let (published, deliveries) = (sum(|outcome| outcome.published), sum(|outcome| outcome.deliveries));
    lab.table.add(
        Row::new(format!("{what}: messages, deliveries"), format!("{published}, {deliveries}"))
            .goal("none lost", deliveries == published * ROOM as u64),
    );
    let [p50, p99, max] =
        [most(|outcome| outcome.latency.p50), most(|outcome| outcome.latency.p99), most(|outcome| outcome.latency.max)];
    let latency = [p50, p99, max].map(|time| nanos(number(time))).join(" / ");
    lab.table.add(
        Row::new(format!("{what}: to the subscriber, p50 / p99 / max of the slowest process"), latency)
            .goal(format!("p99 < {}", nanos(number(P99_GOAL))), p99 < P99_GOAL),
    );
    let elapsed = outcomes.iter().map(|outcome| outcome.elapsed).max().unwrap_or_default();
    let cores = number(cpu) / 1e9 / elapsed.as_secs_f64();
    lab.table.add(
        Row::new(format!("{what}: cores of all processes"), format!("{cores:.2}"))
            .goal(format!("< {CORES_GOAL}"), cores < CORES_GOAL),
    );
    lab.table.add(
        Row::new(format!("{what}: resident in the end"), bytes(after))
            .beside(format!("after {} s {}", WARM_UP.as_secs(), bytes(before)), after / before)
            .goal(format!("<= {GROWTH_GOAL} x"), after <= GROWTH_GOAL * before),
    );
}

fn resident(processes: &[Process]) -> Result<f64> {
    processes.iter().map(|process| process.resident().map(number)).sum()
}

/// Runs a function, and returns its result with the nanoseconds of CPU of all these processes meanwhile.
fn watch_all(processes: &[Process], run: &mut dyn FnMut() -> Result<Vec<Outcome>>) -> Result<(Vec<Outcome>, u64)> {
    let Some((first, others)) = processes.split_first() else { return Ok((run()?, 0)) };
    let ((outcomes, cpu), usage) = watched(*first, || watch_all(others, run))?;
    Ok((outcomes, cpu + usage.cpu))
}
