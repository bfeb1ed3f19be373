//! The time from a single insert to its subscriber, compared with the time that the disk needs for a flush.

use std::time::{Duration, Instant};

use crate::Result;
use crate::crowd::Audience;
use crate::disk::Log;
use crate::http::{self, Http};
use crate::lab::Lab;
use crate::message;
use crate::statistics::{Quantiles, nanos, number};
use crate::table::Row;
use crate::targets::broker;
use crate::targets::{Publication, Wire};

const INSERTS: u32 = 2_000;
/// The pause between two inserts, so that every thread sleeps again.
const PAUSE: Duration = Duration::from_millis(3);
/// The allowed time beyond one flush.
const GOAL: Duration = Duration::from_micros(300);

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let database = lab.directory()?;
    let wire = broker::people(database.path(), &Audience::of_one_room(1, 1))?;
    let server = broker::start(lab, database.path(), None, &[])?;
    let (mut publisher, mut subscriber) = (Http::connect(server.address)?, Http::connect(server.address)?);
    let mut log = Log::new(lab.scratch())?;
    let mut request = Vec::new();
    wire.subscribe(0, &mut request);
    subscriber.send(&request)?;
    let mut buffer = [0; 16 * 1024];
    let mut received = Vec::new();
    while http::head_length(&received)?.is_none() {
        let length = subscriber.receive(&mut buffer)?;
        received.extend_from_slice(&buffer[..length]);
    }

    let (mut seen, mut answered, mut flushed) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..u32::try_from(lab.times(INSERTS as usize)).unwrap_or(INSERTS) {
        std::thread::sleep(PAUSE);
        flushed.push(log.flush()?);
        std::thread::sleep(PAUSE);
        request.clear();
        wire.publish(Publication { publisher: 0, room: 0, number }, &mut request);
        let begun = Instant::now();
        publisher.send(&request)?;
        // A heartbeat may come first.
        let arrived = loop {
            let length = subscriber.receive(&mut buffer)?;
            if let Some(at) = memchr::memmem::find(&buffer[..length], message::MARKER) {
                let digits = &buffer[at + message::MARKER.len()..][..message::DIGITS];
                break message::number(digits);
            }
        };
        seen.push(begun.elapsed());
        publisher.answer()?;
        answered.push(begun.elapsed());
        if arrived != Some(number) {
            return Err(format!("{arrived:?} arrived instead of {number}"));
        }
    }
    let [seen, answered, flushed] = [seen, answered, flushed].map(quantiles);
    let beyond = seen.p50.saturating_sub(flushed.p50);
    let goal = u64::try_from(GOAL.as_nanos()).unwrap_or(u64::MAX);
    lab.table.add(
        Row::new("one insert, nothing else going on: from its request to the subscriber, p50", show(seen))
            .beside(format!("append and fdatasync {}", show(flushed)), number(seen.p50) / number(flushed.p50))
            .goal(format!("one flush + {}", nanos(number(goal))), beyond <= goal),
    );
    lab.table.add(Row::new("the same: to its answer, p50", show(answered)));
    Ok(())
}

fn quantiles(times: Vec<Duration>) -> Quantiles {
    let mut times: Vec<_> = times.iter().map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).collect();
    Quantiles::of(&mut times)
}

fn show(quantiles: Quantiles) -> String {
    format!("{} (p99 {})", nanos(number(quantiles.p50)), nanos(number(quantiles.p99)))
}
