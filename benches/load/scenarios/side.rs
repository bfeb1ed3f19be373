//! One of several servers that perform the same task in turn, each on the same core with its clients on the other.

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

/// How long a server is watched for remaining work.
const GLANCE: Duration = Duration::from_millis(50);
/// The CPU time within [`GLANCE`] below which a server counts as idle.
const IDLE_BELOW: Duration = Duration::from_millis(2);
/// The time limit for that, because a server may never be idle.
const IDLE_WITHIN: Duration = Duration::from_secs(5);

/// A server with its clients, and the results of its rounds.
pub struct Side {
    /// Its name in the table.
    pub name: &'static str,
    server: Server,
    /// The settings of its clients.
    spec: Spec,
    /// The clients, if they stay connected from round to round.
    crowd: Option<Crowd>,
    streams_last: bool,
    costs: Vec<f64>,
    rates: Vec<f64>,
    waits: Vec<f64>,
    bytes: Vec<f64>,
}

/// The results of the rounds of one task.
pub struct Score {
    /// The server's name in the table.
    pub name: &'static str,
    /// Nanoseconds of the server's CPU per delivery, or per publish if there are no subscribers.
    pub cost: Rounds,
    /// Deliveries per second, or publishes per second if there are no subscribers.
    pub rate: Rounds,
    /// Bytes that a subscriber received per delivery.
    pub bytes: Rounds,
    /// The share of the time in which other programs had the server's core.
    pub wait: Rounds,
}

impl Side {
    /// Starts a server on its core, and connects its clients.
    pub fn start(lab: &Lab, target: &dyn Target, audience: &Audience) -> Result<Self> {
        let running = target.start(lab, audience, Some(SERVER_CORE))?;
        let streams_last = target.streams_last() || audience.subscribers == 0;
        Self::gather(target.name(), running.server, &running.language, audience, streams_last)
    }

    /// Connects the clients of a server that runs on its core.
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
        let [costs, rates, waits, bytes] = [const { Vec::new() }; 4];
        let mut side = Self { name, server, spec, crowd: None, streams_last, costs, rates, waits, bytes };
        if streams_last {
            side.crowd = Some(side.crowd()?);
        }
        Ok(side)
    }

    fn crowd(&self) -> Result<Crowd> {
        Crowd::gather(&self.spec).map_err(|why| format!("{}: {why}", self.name))
    }

    /// Waits until the server has finished its work for clients that connect or leave, because that work would count
    /// against the next server.
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
                // The first event on a connection costs more than later ones. Servers that keep their connections
                // paid that cost in their first round.
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
            self.bytes.push(number(outcome.bytes) / done);
            self.waits.push(number(usage.waited) / 1e9 / elapsed);
        }
        Ok(())
    }

    fn score(&mut self) -> Score {
        let all = [&mut self.costs, &mut self.rates, &mut self.bytes, &mut self.waits];
        let [cost, rate, bytes, wait] = all.map(|values| Rounds::new(std::mem::take(values)));
        Score { name: self.name, cost, rate, bytes, wait }
    }

    /// Has the clients check for surplus events, and ends them and the server.
    pub fn finish(self) -> Result<()> {
        let Some(crowd) = self.crowd else { return Ok(()) };
        crowd.finish().map_err(|why| format!("{}: {why}", self.name))
    }
}

/// The address that the clients of a server connect from. Each server has another one, since several servers need
/// more ports than one address has.
fn home(server: SocketAddr) -> Ipv4Addr {
    let [high, low] = server.port().to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// Runs rounds of all servers in turn.
pub fn compete(lab: &Lab, sides: &mut [Side], in_flight: usize, round: Duration) -> Result<Vec<Score>> {
    // The first round fills caches, and the clock speed settles.
    for nth in 0..=lab.rounds() {
        for side in &mut *sides {
            side.round(in_flight, lab.time(round), nth > 0)?;
        }
    }
    Ok(sides.iter_mut().map(Side::score).collect())
}

impl Score {
    /// How much other programs disturbed the measurement, judged by a server of one thread, which never waits for
    /// itself. If that is much, rates and, to some degree, costs mean nothing.
    pub fn disturbance(&self, what: &str) -> Row {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        Row::new(format!("{what}: how long other programs kept {} from its core", self.name), self.wait.show(percent))
    }
}
