//! The time of a start with a million users and a million events, and the resident memory after it.

use std::time::{Duration, Instant};

use super::million;
use crate::Result;
use crate::http::Http;
use crate::lab::Lab;
use crate::message;
use crate::server::{Server, free_port};
use crate::statistics::{Rounds, bytes, nanos, number};
use crate::table::Row;
use crate::targets::broker;

const TIME_GOAL: f64 = 3e9;
const MEMORY_GOAL: f64 = 400.0 * 1024.0 * 1024.0;
const WITHIN: Duration = Duration::from_secs(120);

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let database = million::database(lab)?;
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for round in 0..=lab.times(4) {
        let port = free_port()?;
        let begun = Instant::now();
        let server = Server::spawn(lab.broker.as_os_str(), &broker::arguments(&database, port, &[]), port, None)?;
        let mut http = loop {
            match Http::connect(server.address) {
                Ok(http) => break http,
                Err(why) if begun.elapsed() > WITHIN => return Err(why),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        http.ask(&message::get("/", ""))?;
        let took = begun.elapsed();
        std::thread::sleep(Duration::from_millis(500));
        // The first start brings the files into the system's cache.
        if round > 0 {
            times.push(took.as_secs_f64() * 1e9);
            memory.push(number(server.process().resident()?));
        }
        server.stop()?;
    }
    let (times, memory) = (Rounds::new(times), Rounds::new(memory));
    let what = "1,000,000 users and events, files in the system's cache";
    lab.table.add(
        Row::new(format!("{what}: from the start to the first answer"), times.show(nanos))
            .goal(format!("<= {}", nanos(TIME_GOAL)), times.median() <= TIME_GOAL),
    );
    lab.table.add(
        Row::new(format!("{what}: resident then"), memory.show(bytes))
            .goal(format!("< {}", bytes(MEMORY_GOAL)), memory.median() < MEMORY_GOAL),
    );
    Ok(())
}
