//! What inserts notice of a backup: the time from an insert to its subscriber, in rounds with backups, one after another, and in
//! rounds without. Each of them has a checkpoint made, scans the whole database, and is sent to a client that reads it at once.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::beside::{Beside, run_beside};
use crate::crowd::{Audience, Crowd, Pace, Spec};
use crate::lab::Lab;
use crate::process::until_idle;
use crate::seed::{self, Seed};
use crate::statistics::{Rounds, bytes, nanos, number};
use crate::table::Row;
use crate::targets::Language;
use crate::targets::broker::{self, BrokerWire};
use crate::{Result, message};

const EVENTS: usize = 200_000;
const EVENT_BYTES: usize = 1_000;
/// The events are in several tenants, since each retains only so many.
const TENANTS: usize = 8;
const NAMES: usize = 1_000;
/// Enough publishers that the rate does not depend on the time of an answer.
const PUBLISHERS: usize = 32;
const INSERTS_PER_SECOND: u32 = 2_000;
const ROUND: Duration = Duration::from_secs(8);
const GOAL: f64 = 1.2;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let database = lab.directory()?;
    fill(database.path())?;
    let audience = Audience::of_one_room(1, PUBLISHERS);
    let wire = BrokerWire { names: 1_000, ..broker::people(database.path(), &audience)? };
    let language = Language::new(broker::WIRE, &wire)?;
    let server = broker::start(lab, database.path(), None, &[])?;
    until_idle(server.process())?;
    let mut crowd = Crowd::gather(&Spec::new(&language, server.address, &audience))?;
    let pace = Pace::PerSecond(INSERTS_PER_SECOND);
    let (mut beside, mut took, mut sizes) = (Beside::default(), Vec::new(), Vec::new());
    for round in 0..=lab.rounds() {
        let address = server.address;
        let (disturbed, backups) =
            run_beside(|is_over| back_up_until(address, is_over), || crowd.run(pace, lab.time(ROUND)))?;
        let quiet = crowd.run(pace, lab.time(ROUND))?;
        if round > 0 {
            beside.add(&disturbed, &quiet);
            took.extend(backups.iter().map(|backup| backup.took.as_secs_f64() * 1e9));
            sizes.extend(backups.iter().map(|backup| number(backup.bytes)));
        }
    }
    crowd.finish()?;
    let what = format!("{INSERTS_PER_SECOND} inserts/s beside backups of {EVENTS} events of 1 KB");
    beside.show(lab, &what, "one", GOAL, None);
    lab.table.add(Row::new(format!("{what}: a backup takes"), Rounds::new(took).show(nanos)));
    lab.table.add(Row::new(format!("{what}: its size"), Rounds::new(sizes).show(bytes)));
    Ok(())
}

fn fill(database: &std::path::Path) -> Result<()> {
    let mut seed = Seed::open(database)?;
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES));
    for event in 0..EVENTS {
        let (tenant, name) = (event % TENANTS, event / TENANTS % NAMES);
        seed.event(&format!("tenant{tenant}"), "user0", &format!("name{name}"), &data)?;
    }
    seed.close()
}

/// A backup that was made.
struct Backup {
    took: Duration,
    bytes: u64,
}

/// Makes one backup after another until the round is over: all of it lies beside a backup.
fn back_up_until(address: SocketAddr, is_over: &AtomicBool) -> Result<Vec<Backup>> {
    let mut backups = Vec::new();
    while !is_over.load(Ordering::Acquire) {
        backups.push(back_up(address)?);
    }
    Ok(backups)
}

fn back_up(address: SocketAddr) -> Result<Backup> {
    let fail = |error: io::Error| format!("a backup: {error}");
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).map_err(fail)?;
    let (mut request, body) = (Vec::new(), format!(r#"{{"admin_token":"{}"}}"#, seed::ADMIN_TOKEN));
    message::write_post("/backup", "connection: close\r\n", body.as_bytes(), &mut request);
    stream.write_all(&request).map_err(fail)?;
    let mut end = LastBytes::default();
    let bytes = io::copy(&mut stream, &mut end).map_err(fail)?;
    // The last chunk: without it, the backup was cut off.
    if !end.0.ends_with(b"0\r\n\r\n") {
        return Err(format!("a backup of {bytes} bytes is not whole: {}", String::from_utf8_lossy(&end.0)));
    }
    Ok(Backup { took: begun.elapsed(), bytes })
}

/// Keeps the end of what is written to it.
#[derive(Default)]
struct LastBytes(Vec<u8>);

impl Write for LastBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(500)..]);
        self.0.drain(..self.0.len().saturating_sub(500));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
