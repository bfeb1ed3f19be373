//! Thousands of clients in a separate process, on one thread.
//!
//! They have a separate process for two reasons: the clients of two servers under comparison need more descriptors
//! than one process may have, and the tool can pin a process to a core. The first line of JSON on the standard input
//! describes the clients. Each line after it is a [`Command`], and a line on the standard output answers it.

mod handle;
mod ledger;
mod people;
mod stream;

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::statistics::Quantiles;
use crate::targets::Language;
use crate::{Result, process};

pub use handle::Crowd;

/// How often a crowd looks whether its subscribers have been silent for too long, if there is no command.
const LOOK: Duration = Duration::from_secs(1);

/// The subscribers and publishers of a server.
#[derive(Clone, Serialize, Deserialize)]
pub struct Audience {
    /// The number of subscribers.
    pub subscribers: usize,
    /// The number of rooms of equal size that they are divided into. Each publish is for one room.
    pub rooms: usize,
    /// What makes a room.
    pub by: Rooms,
    /// The number of connections for publishing, and so of publishes that may be unanswered.
    pub publishers: usize,
}

/// What makes a room.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Rooms {
    /// Each room is a tenant.
    Tenants,
    /// All rooms are in one tenant, and each room has an event name that its members subscribe to.
    Names,
}

impl Audience {
    /// An audience of one room.
    pub fn of_one_room(subscribers: usize, publishers: usize) -> Self {
        Self { subscribers, rooms: 1, by: Rooms::Tenants, publishers }
    }

    /// The room of a user.
    pub fn room_of(&self, user: usize) -> usize {
        if user < self.subscribers { user * self.rooms / self.subscribers } else { user % self.rooms }
    }

    /// The first user of a room.
    pub fn first_of(&self, room: usize) -> usize {
        (room * self.subscribers).div_ceil(self.rooms)
    }
}

/// The settings of a crowd, which it reads at its start.
#[derive(Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The protocol of its clients.
    pub language: Language,
    /// The server's address.
    pub address: SocketAddr,
    /// The address that the clients connect from: a single address has some 28,000 ports.
    pub source: Ipv4Addr,
    /// The core that the clients share, if they are pinned.
    pub core: Option<usize>,
    /// The audience that the crowd belongs to.
    pub audience: Audience,
    /// The first subscriber of this crowd. The subscribers before and after belong to other crowds.
    pub first_subscriber: usize,
    /// The number of subscribers that stop reading once they are subscribed: the last ones.
    pub stalled: usize,
    /// The first number to publish. Lower numbers were published before.
    pub first_number: u32,
    /// Whether other crowds publish.
    pub others_publish: bool,
    /// The number of clients that may connect at the same time.
    pub at_once: usize,
    /// Whether the clients poll without pause during a run, instead of sleeping until something arrives. Waking them
    /// would cost the server more than sending to them, and no client on another machine causes that cost.
    pub spins: bool,
    /// If an event is expected and nothing arrives for this long, the event counts as lost.
    pub patience: Duration,
    /// The root certificate in PEM, if the clients use TLS.
    pub root: Option<String>,
}

impl Spec {
    /// A crowd of the whole audience of a server, with no stalled client and without TLS.
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

    /// Pins the crowd to one core, which it keeps busy.
    pub fn pinned(self, core: usize) -> Self {
        Self { core: Some(core), spins: true, ..self }
    }
}

/// A command to a crowd.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Command {
    /// Publish for this long, and wait until every event has reached every subscriber.
    Run(Pace, Duration),
    /// Wait until every subscriber has received every event up to this number. Other crowds publish them.
    Through(u32),
    /// Check for surplus events, and end.
    Finish,
}

/// When the next publish is due.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Pace {
    /// As soon as fewer than this many publishes are in flight. A publish is in flight until all its subscribers have
    /// received it, or, if it has none, until it is acknowledged.
    InFlight(usize),
    /// This many per second, whether or not the server keeps up. Latencies count from the moment when a publish was
    /// due.
    PerSecond(u32),
}

/// A crowd's reply to a command.
#[derive(Serialize, Deserialize)]
enum Reply {
    /// All clients are subscribed.
    Ready,
    /// [`Command::Run`] or [`Command::Through`] is done.
    Done(Outcome),
    /// [`Command::Finish`] is done.
    Finished,
    /// A delivery was wrong or missing. The crowd has ended.
    Failed(String),
}

/// The outcome of a run.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The number of published events.
    pub published: u64,
    /// The number of receipts.
    pub deliveries: u64,
    /// The number of bytes that subscribers received, without those of TLS.
    pub bytes: u64,
    /// From the first publish until all subscribers received the last one.
    pub elapsed: Duration,
    /// From the due time of each publish to each of its receipts.
    pub latency: Quantiles,
}

/// Runs this process as a crowd until the standard input ends.
pub fn serve() -> Result<()> {
    process::raise_descriptor_limit();
    let lines = lines();
    let spec = lines.recv().map_err(|_| "a crowd needs its settings on the standard input")?;
    let spec: Spec = serde_json::from_str(&spec).map_err(|error| error.to_string())?;
    if let Some(core) = spec.core {
        process::pin(core)?;
    }
    let mut people = match people::People::gather(spec) {
        Ok(people) => people,
        Err(why) => return say(&Reply::Failed(why)),
    };
    say(&Reply::Ready)?;
    // Why a subscriber was lost between two commands: the answer to the next one.
    let mut lost = None;
    loop {
        let command = match lines.recv_timeout(LOOK) {
            Ok(command) => command,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                lost = lost.or_else(|| people.keep_alive().err());
                continue;
            }
        };
        if let Some(why) = lost {
            return say(&Reply::Failed(why));
        }
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
        // Not within a command, whose cost is measured.
        lost = people.keep_alive().err();
    }
}

/// The lines of the standard input, which a thread reads so that waiting for one can end.
fn lines() -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn say(reply: &Reply) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, reply).map_err(|error| error.to_string())?;
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(|error| error.to_string())
}
