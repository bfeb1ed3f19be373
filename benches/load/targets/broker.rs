//! Broker itself.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Answer, Greeting, Language, Publication, Running, Target, Wire};
use crate::crowd::{Audience, Rooms};
use crate::lab::Lab;
use crate::seed::{self, Seed};
use crate::server::{Server, free_port};
use crate::{Result, http, message};

/// The name of its wire protocol.
pub const WIRE: &str = "broker";
/// The time limit for a start, which reads a database of a million events.
const START_WITHIN: Duration = Duration::from_secs(120);

/// The binary under test with authorization by scopes, and with this many sets of scopes among the users. All of them may read the
/// published events.
pub struct Scoped {
    /// Its name in the table.
    pub name: &'static str,
    /// The number of sets of scopes.
    pub sets: usize,
}

impl Target for Scoped {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, lab: &Lab, audience: &Audience, core: Option<usize>) -> Result<Running> {
        let directory = lab.directory()?.keep();
        let scopes = |user: usize| {
            let own = format!("set{}/*:get", user % self.sets);
            vec!["name*:get".to_owned(), "name*:post".to_owned(), own]
        };
        let people = people_with(&directory, audience, scopes)?;
        let server = start(lab, &directory, core, &["--authorize=scopes".to_owned()])?;
        Ok(Running { server, language: Language::new(WIRE, &people)? })
    }
}

/// Starts the binary on a database, with flags in addition to those of every scenario.
pub fn start(lab: &Lab, database: &Path, core: Option<usize>, flags: &[String]) -> Result<Server> {
    let port = free_port()?;
    let arguments = arguments(database, port, flags);
    Server::start(lab.broker.as_os_str(), &arguments, port, core, START_WITHIN)
}

/// The same for clients that do not speak HTTP, at the port of this flag.
pub fn start_at(flag: &str, lab: &Lab, database: &Path, core: Option<usize>) -> Result<Server> {
    let (http, port) = (free_port()?, free_port()?);
    let arguments = arguments(database, http, &[format!("--{flag}={port}")]);
    Server::start(lab.broker.as_os_str(), &arguments, port, core, START_WITHIN)
}

/// The command line: strong secrets, and no time server on the network.
pub fn arguments(database: &Path, port: u16, flags: &[String]) -> Vec<String> {
    let mut arguments = vec![
        format!("--db={}", database.display()),
        format!("--port={port}"),
        "--host=127.0.0.1".to_owned(),
        format!("--admin_token={}", seed::ADMIN_TOKEN),
        format!("--jwt_secret={}", seed::JWT_SECRET),
        "--ntp_servers=".to_owned(),
        "--log=error".to_owned(),
    ];
    arguments.extend_from_slice(flags);
    arguments
}

/// Creates the users of an audience in a new database. Each subscriber is a separate user.
pub fn people(database: &Path, audience: &Audience) -> Result<BrokerWire> {
    people_with(database, audience, |_| Vec::new())
}

fn people_with(database: &Path, audience: &Audience, scopes: impl Fn(usize) -> Vec<String>) -> Result<BrokerWire> {
    let mut seed = Seed::open(database)?;
    let tenant = |user: usize| match audience.by {
        Rooms::Tenants => format!("room{}", audience.room_of(user)),
        Rooms::Names => "room".to_owned(),
    };
    // A client that only publishes is a user too.
    let users = audience.subscribers.max(audience.publishers);
    let tokens = (0..users)
        .map(|user| seed.user_with(&format!("user{user}"), &tenant(user), &scopes(user)))
        .collect::<Result<_>>()?;
    seed.close()?;
    Ok(BrokerWire { tokens, audience: audience.clone(), names: 1, last_event_id: None })
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct BrokerWire {
    /// The token of each user.
    pub tokens: Vec<String>,
    /// The audience, which maps users to rooms.
    pub audience: Audience,
    /// The number of event names, if rooms are tenants.
    pub names: u32,
    /// The last event id that subscribers send.
    pub last_event_id: Option<String>,
}

impl Wire for BrokerWire {
    fn subscribe(&self, subscriber: usize, out: &mut Vec<u8>) {
        let filter = match self.audience.by {
            Rooms::Tenants => String::new(),
            Rooms::Names => format!("?events=name{}", self.audience.room_of(subscriber)),
        };
        let mut headers = format!("authorization: Bearer {}\r\n", self.tokens[subscriber]);
        if let Some(id) = &self.last_event_id {
            // Writing to a text cannot fail.
            let _ = write!(headers, "last-event-id: {id}\r\n");
        }
        out.extend_from_slice(&message::get(&format!("/sse{filter}"), &headers));
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        Ok(http::head_length(received)?.map_or(Greeting::Incomplete, Greeting::Ready))
    }

    fn publish(&self, Publication { publisher, room, number }: Publication, out: &mut Vec<u8>) {
        let (event, user) = match self.audience.by {
            Rooms::Tenants if self.audience.rooms == 1 => (format!("name{}", number % self.names), publisher),
            Rooms::Tenants => ("name0".to_owned(), self.audience.first_of(room)),
            Rooms::Names => (format!("name{room}"), self.audience.first_of(room)),
        };
        let mut body = Vec::with_capacity(256);
        message::write_insert(&event, number, &mut body);
        let authorization = format!("authorization: Bearer {}\r\n", self.tokens[user % self.tokens.len()]);
        message::write_post("/insert", &authorization, &body, out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        Ok(http::answer_length(received)?.map(Answer::acknowledgement))
    }
}
