//! One of several servers that take turns at the same task, each on the same core with its clients on the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::Result;
use crate::crowd::{Audience, Crowd, Pace, Spec};
use crate::lab::{CLIENT_CORE, Lab, SERVER_CORE};
use crate::process::watched;
use crate::server::Server;
use crate::statistics::{Rounds, number};
use crate::table::Row;
use crate::targets::{Language, Target};

/// How long a server is watched to see whether it still does something, and how much of that it may take.
const GLANCE: Duration = Duration::from_millis(50);
/// See [`GLANCE`].
const IDLE_BELOW: Duration = Duration::from_millis(2);
/// How long is waited for that, since it cannot be promised.
const IDLE_WITHIN: Duration = Duration::from_secs(5);

/// A server with its clients, and what its rounds came to.
pub struct Side {
    /// What it is called in the table.
    pub name: &'static str,
    server: Server,
    /// Who the clients are.
    spec: Spec,
    /// They, where they stay from round to round.
    crowd: Option<Crowd>,
    streams_last: bool,
    costs: Vec<f64>,
    rates: Vec<f64>,
    waits: Vec<f64>,
}

/// What the rounds of one task came to.
pub struct Score {
    /// Of whom.
    pub name: &'static str,
    /// Nanoseconds of the server's CPU for each delivery, or for each publish where nobody listens.
    pub cost: Rounds,
    /// Deliveries, or publishes where nobody listens, in a second.
    pub rate: Rounds,
    /// The share of the time for which the server was kept from its core.
    pub wait: Rounds,
}

impl Side {
    /// Starts a server on its core, and gathers its clients.
    pub fn start(lab: &Lab, target: &dyn Target, audience: &Audience) -> Result<Self> {
        let running = target.start(lab, audience, Some(SERVER_CORE))?;
        let streams_last = target.streams_last() || audience.subscribers == 0;
        Self::gather(target.name(), running.server, &running.language, audience, streams_last)
    }

    /// Gathers the clients of a server that runs on its core.
    pub fn new(name: &'static str, server: Server, language: &Language, audience: &Audience) -> Result<Self> {
        Self::gather(name, server, language, audience, true)
    }

    fn gather(
        name: &'static str,
        server: Server,
        language: &Language,
        audience: &Audience,
        streams_last: bool,
    ) -> Result<Self> {
        let spec = Spec::new(language, server.address, audience).pinned(CLIENT_CORE);
        let spec = Spec { source: home(server.address), ..spec };
        let (costs, rates, waits) = (Vec::new(), Vec::new(), Vec::new());
        let mut side = Self { name, server, spec, crowd: None, streams_last, costs, rates, waits };
        if streams_last {
            side.crowd = Some(side.crowd()?);
        }
        Ok(side)
    }

    fn crowd(&self) -> Result<Crowd> {
        Crowd::gather(&self.spec).map_err(|why| format!("{}: {why}", self.name))
    }

    /// Waits until the server has done what it does for clients that come or leave, which would be on the bill of whoever
    /// is next.
    fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < IDLE_WITHIN {
            let glance = || {
                std::thread::sleep(GLANCE);
                Ok(())
            };
            let ((), usage) = watched(self.server.process(), glance)?;
            if Duration::from_nanos(usage.cpu) < IDLE_BELOW {
                break;
            }
        }
        Ok(())
    }

    fn round(&mut self, in_flight: usize, during: Duration, counts: bool) -> Result<()> {
        let mut crowd = match self.crowd.take() {
            Some(crowd) => crowd,
            None => {
                let mut crowd = self.crowd()?;
                self.settle()?;
                // What is sent first over a connection costs more than what follows. Those of the others have that behind
                // them since their first round.
                crowd.run(Pace::InFlight(in_flight), during).map_err(|why| format!("{}: {why}", self.name))?;
                crowd
            }
        };
        let run = || crowd.run(Pace::InFlight(in_flight), during);
        let (outcome, usage) = watched(self.server.process(), run).map_err(|why| format!("{}: {why}", self.name))?;
        if self.streams_last {
            self.crowd = Some(crowd);
        } else {
            crowd.finish().map_err(|why| format!("{}: {why}", self.name))?;
            self.settle()?;
        }
        if counts {
            let done = number(outcome.deliveries.max(outcome.published));
            let elapsed = outcome.elapsed.as_secs_f64();
            self.costs.push(number(usage.cpu) / done);
            self.rates.push(done / elapsed);
            self.waits.push(number(usage.waited) / 1e9 / elapsed);
        }
        Ok(())
    }

    fn score(&mut self) -> Score {
        let [cost, rate, wait] = [&mut self.costs, &mut self.rates, &mut self.waits];
        let [cost, rate, wait] = [cost, rate, wait].map(|values| Rounds::new(std::mem::take(values)));
        Score { name: self.name, cost, rate, wait }
    }

    /// Lets the clients look for what should not have arrived, and ends both.
    pub fn finish(self) -> Result<()> {
        let Some(crowd) = self.crowd else { return Ok(()) };
        crowd.finish().map_err(|why| format!("{}: {why}", self.name))
    }
}

/// The address that the clients of a server come from. Each has another, since those of several need more ports than one
/// address has.
fn home(server: SocketAddr) -> Ipv4Addr {
    let [high, low] = server.port().to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// Lets all take turns.
pub fn compete(lab: &Lab, sides: &mut [Side], in_flight: usize, round: Duration) -> Result<Vec<Score>> {
    // The first round fills caches and lets the clock speed settle.
    for nth in 0..=lab.rounds() {
        for side in &mut *sides {
            side.round(in_flight, lab.time(round), nth > 0)?;
        }
    }
    Ok(sides.iter_mut().map(Side::score).collect())
}

impl Score {
    /// How much other programs were in the way, told by a server of one thread, which never waits for itself: rates, and
    /// to some degree costs, are worth nothing where that is much.
    pub fn disturbance(&self, what: &str) -> Row {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        Row::new(format!("{what}: how long other programs kept {} from its core", self.name), self.wait.show(percent))
    }
}
