//! Thousands of clients in a process of their own, on one thread.
//!
//! A process, since the clients of two servers that are compared together need more descriptors than one may have, and so
//! that the tool can pin them. One line of JSON on its standard input says who they are; each line after it is a
//! [`Command`], and is answered by a line on the standard output.

mod handle;
mod ledger;
mod people;
mod stream;

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::statistics::Quantiles;
use crate::targets::Language;
use crate::{Result, process};

pub use handle::Crowd;

/// Who listens and who publishes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Audience {
    /// How many listen.
    pub subscribers: usize,
    /// Into how many groups of the same size they fall; each publish is for one group.
    pub rooms: usize,
    /// What makes a group.
    pub by: Rooms,
    /// How many connections there are to publish over, and so how many publishes may be unanswered.
    pub publishers: usize,
}

/// What makes a group.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Rooms {
    /// Each is a tenant.
    Tenants,
    /// All are one tenant, and each has an event name that its members ask for.
    Names,
}

impl Audience {
    /// One group.
    pub fn of_one_room(subscribers: usize, publishers: usize) -> Self {
        Self { subscribers, rooms: 1, by: Rooms::Tenants, publishers }
    }

    /// The group of a user.
    pub fn room_of(&self, user: usize) -> usize {
        if user < self.subscribers { user * self.rooms / self.subscribers } else { user % self.rooms }
    }

    /// The first user of a group.
    pub fn first_of(&self, room: usize) -> usize {
        (room * self.subscribers).div_ceil(self.rooms)
    }
}

/// All that a crowd is told when it is started.
#[derive(Clone, Serialize, Deserialize)]
pub struct Spec {
    /// How they speak.
    pub language: Language,
    /// Whom they speak to.
    pub address: SocketAddr,
    /// The address that they come from: one alone has some 28,000 ports.
    pub source: Ipv4Addr,
    /// The core that they share, where they are pinned.
    pub core: Option<usize>,
    /// Who they are.
    pub audience: Audience,
    /// The first of them who are here; the others are in other crowds.
    pub first_subscriber: usize,
    /// How many of them stop reading once they are subscribed: the last ones.
    pub stalled: usize,
    /// The first number that is published now; what is below was there before.
    pub first_number: u32,
    /// Whether others publish.
    pub others_publish: bool,
    /// How many may be connecting at a time.
    pub at_once: usize,
    /// Whether they look without pause while they publish, instead of sleeping until something arrives. To wake them
    /// would cost the server more than to send to them, which no client on another machine does.
    pub spins: bool,
    /// How long nothing may arrive, where something must, before it counts as lost.
    pub patience: Duration,
    /// The root certificate, PEM, where they speak TLS.
    pub root: Option<String>,
}

impl Spec {
    /// An audience of a server, all here, nobody stalled, in plain text.
    pub fn new(language: &Language, address: SocketAddr, audience: &Audience) -> Self {
        Self {
            language: language.clone(),
            address,
            source: Ipv4Addr::LOCALHOST,
            core: None,
            audience: audience.clone(),
            first_subscriber: 0,
            stalled: 0,
            first_number: 0,
            others_publish: false,
            at_once: 64,
            spins: false,
            patience: Duration::from_secs(20),
            root: None,
        }
    }

    /// On this core alone, which they keep busy.
    pub fn pinned(self, core: usize) -> Self {
        Self { core: Some(core), spins: true, ..self }
    }
}

/// What a crowd can be asked to do.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Command {
    /// Publish for so long, and wait until everything has reached everybody.
    Run(Pace, Duration),
    /// Wait until everybody has received everything up to this number, which others publish.
    Through(u32),
    /// Look whether something arrives that should not, and end.
    Finish,
}

/// When the next publish is due.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Pace {
    /// As soon as fewer than this many are under way: published, but not yet received by all whom they are for (or, where
    /// they are for nobody, not yet acknowledged).
    InFlight(usize),
    /// So many a second, whether or not the server keeps up; latencies count from when a publish was due.
    PerSecond(u32),
}

/// What a crowd answers.
#[derive(Serialize, Deserialize)]
enum Reply {
    /// All are subscribed.
    Ready,
    /// [`Command::Run`] or [`Command::Through`] is done.
    Done(Outcome),
    /// [`Command::Finish`] is done.
    Finished,
    /// Something did not arrive as it should. The crowd has ended.
    Failed(String),
}

/// What a run came to.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// How many events were published.
    pub published: u64,
    /// How many times one was received.
    pub deliveries: u64,
    /// From the first publish until the last was received by all.
    pub elapsed: Duration,
    /// From when each was due until each receipt.
    pub latency: Quantiles,
}

/// Serves as a crowd until the standard input ends.
pub fn serve() -> Result<()> {
    process::raise_descriptor_limit();
    let mut lines = std::io::stdin().lock().lines();
    let mut line = move || lines.next().transpose().map_err(|error| error.to_string());
    let spec = line()?.ok_or("a crowd wants to be told who it is")?;
    let spec: Spec = serde_json::from_str(&spec).map_err(|error| error.to_string())?;
    if let Some(core) = spec.core {
        process::pin(core)?;
    }
    let mut people = match people::People::gather(spec) {
        Ok(people) => people,
        Err(why) => return say(&Reply::Failed(why)),
    };
    say(&Reply::Ready)?;
    while let Some(command) = line()? {
        let command: Command = serde_json::from_str(&command).map_err(|error| error.to_string())?;
        let reply = match command {
            Command::Run(pace, during) => people.run(pace, during).map(Reply::Done),
            Command::Through(number) => people.wait_through(number).map(Reply::Done),
            Command::Finish => people.finish().map(|()| Reply::Finished),
        };
        match reply {
            Ok(reply) => say(&reply)?,
            Err(why) => return say(&Reply::Failed(why)),
        }
    }
    Ok(())
}

fn say(reply: &Reply) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, reply).map_err(|error| error.to_string())?;
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(|error| error.to_string())
}
