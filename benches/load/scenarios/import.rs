//! What inserts notice of an import: the time from an insert to its subscriber, in rounds beside an import that has more lines than the
//! server can take, and in rounds without one.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::beside::{Beside, run_beside};
use crate::crowd::{Audience, Crowd, Pace, Spec};
use crate::lab::Lab;
use crate::statistics::{Rounds, count, number};
use crate::table::Row;
use crate::targets::Language;
use crate::targets::broker::{self, BrokerWire};
use crate::{Result, seed};

/// Enough publishers that the rate does not depend on the time of an answer.
const PUBLISHERS: usize = 32;
const INSERTS_PER_SECOND: u32 = 2_000;
const ROUND: Duration = Duration::from_secs(8);
/// Into how many names the lines go.
const NAMES: u64 = 1_000;
const LINES_A_CHUNK: u64 = 100;
const GOAL: f64 = 2.0;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let database = lab.directory()?;
    let audience = Audience::of_one_room(1, PUBLISHERS);
    let wire = BrokerWire { names: 1_000, ..broker::people(database.path(), &audience)? };
    let language = Language::new(broker::WIRE, &wire)?;
    let server = broker::start(lab, database.path(), None, &[])?;
    let mut crowd = Crowd::gather(&Spec::new(&language, server.address, &audience))?;
    let pace = Pace::PerSecond(INSERTS_PER_SECOND);
    let (mut beside, mut rates, mut lines) = (Beside::default(), Vec::new(), 0);
    for round in 0..=lab.rounds() {
        let address = server.address;
        let importing =
            |is_over: &AtomicBool| import(address, round, is_over).map_err(|error| format!("an import: {error}"));
        let (disturbed, imported) = run_beside(importing, || crowd.run(pace, lab.time(ROUND)))?;
        let quiet = crowd.run(pace, lab.time(ROUND))?;
        if round > 0 {
            beside.add(&disturbed, &quiet);
            rates.push(number(imported.lines) / imported.took.as_secs_f64());
            lines += imported.lines;
        }
    }
    crowd.finish()?;
    let what = format!("{INSERTS_PER_SECOND} inserts/s beside an import");
    beside.show(lab, &what, "one", GOAL, Some(GOAL));
    let of_all = format!("{what}: its lines per second, {} in all", count(number(lines)));
    lab.table.add(Row::new(of_all, Rounds::new(rates).show(count)));
    Ok(())
}

/// What was imported.
struct Imported {
    lines: u64,
    took: Duration,
}

/// Imports as many lines as the server takes until the round is over.
fn import(address: SocketAddr, round: usize, is_over: &AtomicBool) -> io::Result<Imported> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /import HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         idempotency-key: round-{round}\r\ntransfer-encoding: chunked\r\n\r\n",
        seed::ADMIN_TOKEN
    )?;
    let (mut lines, mut chunk) = (0, Vec::new());
    while !is_over.load(Ordering::Acquire) {
        chunk.clear();
        for line in lines..lines + LINES_A_CHUNK {
            let (name, data) = (line % NAMES, "x".repeat(100));
            writeln!(
                chunk,
                r#"{{"kind":"event","tenant_name":"imported","event":"name{name}","data":{{"n":{line},"text":"{data}"}}}}"#
            )?;
        }
        write!(stream, "{:x}\r\n", chunk.len())?;
        stream.write_all(&chunk)?;
        stream.write_all(b"\r\n")?;
        lines += LINES_A_CHUNK;
    }
    stream.write_all(b"0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let whole = format!(r#"{{"lines":{lines},"imported":{lines},"refused":0,"complete":true}}"#);
    if !answer.contains(&whole) {
        return Err(io::Error::other(format!("{lines} lines were answered by {answer}")));
    }
    Ok(Imported { lines, took: begun.elapsed() })
}
