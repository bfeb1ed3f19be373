//! Ten thousand latest events for a new client, compared with a server that sends the same bytes from memory.

use std::time::{Duration, Instant};

use memchr::memmem;

use crate::Result;
use crate::http::{self, Http};
use crate::lab::Lab;
use crate::message;
use crate::options;
use crate::seed::Seed;
use crate::statistics::{Rounds, bytes, nanos, number};
use crate::table::Row;
use crate::targets::{broker, raw};

const EVENTS: u32 = 10_000;
const ROUNDS: usize = 30;
const GOAL: f64 = 2.0;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let database = lab.directory()?;
    let mut seed = Seed::open(database.path())?;
    let token = seed.user("user", "tenant")?;
    let mut payload = Vec::new();
    for event in 0..EVENTS {
        payload.clear();
        message::write_payload(event, &mut payload);
        seed.event("tenant", "user", &format!("name{event}"), &String::from_utf8_lossy(&payload))?;
    }
    seed.close()?;
    let server = broker::start(lab, database.path(), None, &[])?;
    let request = message::get("/sse", &format!("authorization: Bearer {token}\r\n"));
    let raw_request = message::get("/replay", "");
    let (cold, snapshot) = snapshot(&mut Http::connect(server.address)?, &request)?;

    let raw = raw::start(options::RAW, None)?;
    let mut store = Vec::new();
    message::write_post("/replay", "", &snapshot, &mut store);
    Http::connect(raw.address)?.ask(&store)?;

    let (mut warm, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..lab.times(ROUNDS) {
        warm.push(self::snapshot(&mut Http::connect(server.address)?, &request)?.0);
        limit.push(self::snapshot(&mut Http::connect(raw.address)?, &raw_request)?.0);
    }
    let [warm, limit] = [warm, limit]
        .map(|times| Rounds::new(times.into_iter().map(|time: Duration| time.as_secs_f64() * 1e9).collect()));
    let what = format!("{EVENTS} latest events, {}", bytes(number(snapshot.len() as u64)));
    let reference = format!("raw epoll {}", limit.show(nanos));
    let ratio = warm.median() / limit.median();
    lab.table.add(
        Row::new(format!("{what}: from the request to the last byte, warm"), warm.show(nanos))
            .beside(reference.clone(), ratio)
            .goal(format!("<= {GOAL} x"), ratio <= GOAL),
    );
    let cold = cold.as_secs_f64() * 1e9;
    lab.table.add(
        Row::new(format!("{what}: the first after a start"), nanos(cold)).beside(reference, cold / limit.median()),
    );
    Ok(())
}

/// Requests the snapshot on an open connection. Returns the time that it took, and all its bytes. Every event must
/// arrive, in order.
fn snapshot(http: &mut Http, request: &[u8]) -> Result<(Duration, Vec<u8>)> {
    let last = format!("seq={:010};", EVENTS - 1);
    let mut received = Vec::with_capacity(4 << 20);
    let mut buffer = vec![0; 256 * 1024];
    let begun = Instant::now();
    http.send(request)?;
    let took = loop {
        let length = http.receive(&mut buffer)?;
        received.extend_from_slice(&buffer[..length]);
        // The end of the last event is in the new bytes, or shortly before them.
        let recent = received.len().saturating_sub(length + last.len());
        if memmem::rfind(&received[recent..], last.as_bytes()).is_some() {
            break begun.elapsed();
        }
    };
    http::head_length(&received)?;
    let numbers = memmem::find_iter(&received, message::MARKER).map(|at| {
        let digits = at + message::MARKER.len();
        received.get(digits..digits + message::DIGITS).and_then(message::number)
    });
    if numbers.eq((0..EVENTS).map(Some)) {
        Ok((took, received))
    } else {
        Err("the snapshot lacks events, or they are out of order".to_owned())
    }
}
