//! The resident memory of an idle, authenticated connection in the server, of each transport, without and with TLS.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::Result;
use crate::crowd::{Audience, Crowd, Pace, Spec};
use crate::http::Http;
use crate::lab::Lab;
use crate::process::Process;
use crate::server::{Server, free_port};
use crate::statistics::{bytes, number};
use crate::table::Row;
use crate::targets::{broker, broker_mqtt, broker_v1, doors::Door};

const CONNECTIONS: usize = 10_000;
/// Clients that connect before the measurement, so that memory that the server takes once, and has not yet given
/// back, is not counted.
const WARM_UP: usize = 9_000;
/// The transports, with their names in the table and the goals without TLS.
const DOORS: [(&str, Door, f64); 4] = [
    ("SSE", Door::Sse, 1.5 * 1024.0),
    ("WebSocket", Door::WebSocket(broker_v1::Task::Small), 2.5 * 1024.0),
    ("Socket.IO over WebSocket", Door::SocketIo, 2.5 * 1024.0),
    ("MQTT", Door::Mqtt(broker_mqtt::Task::deliver(0)), 3.0 * 1024.0),
];
const TLS_GOAL: f64 = 12.0 * 1024.0;
/// How many clients may connect at the same time. Few: if other programs have the processor, a handshake of TLS that waits for its turn
/// among many takes longer than the server allows, which then closes the connection.
const AT_ONCE: usize = 16;
/// The number of checks, and the time between them, until the memory no longer changes.
const SETTLING: (usize, Duration) = (20, Duration::from_millis(500));

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let authority = Authority::new(lab.directory()?.keep().as_path())?;
    for (name, door, goal) in DOORS {
        let plain = measure(lab, door, None)?;
        add(lab, &format!("{name}, plain"), plain, goal);
        let tls = measure(lab, door, Some(&authority))?;
        add(lab, &format!("{name}, TLS 1.3"), tls, TLS_GOAL);
    }
    Ok(())
}

fn add(lab: &mut Lab, how: &str, each: f64, goal: f64) {
    lab.table.add(
        Row::new(format!("resident per idle connection of {CONNECTIONS}, {how}"), bytes(each))
            .goal(format!("<= {}", bytes(goal)), each <= goal),
    );
}

fn measure(lab: &Lab, door: Door, authority: Option<&Authority>) -> Result<f64> {
    let audience = Audience::of_one_room(CONNECTIONS, 0);
    let database = lab.directory()?;
    let people = broker::people(database.path(), &audience)?;
    let (mut flags, http, https) = (door.flags(), free_port()?, free_port()?);
    if let Some(authority) = authority {
        flags.extend_from_slice(&authority.flags);
        flags.push(format!("--https_port={https}"));
    }
    let port = match (door, authority) {
        (Door::Mqtt(_), _) => {
            let (flag, port) = (if authority.is_some() { "mqtts_port" } else { "mqtt_port" }, free_port()?);
            flags.push(format!("--{flag}={port}"));
            port
        }
        (_, Some(_)) => https,
        (_, None) => http,
    };
    let arguments = broker::arguments(database.path(), http, &flags);
    let server = Server::start(lab.broker.as_os_str(), &arguments, port, None, Duration::from_secs(10))?;
    let language = door.language(people, || match authority {
        Some(authority) => Http::connect_tls(server.address, &authority.root),
        None => Http::connect(server.address),
    })?;
    let spec = |subscribers| Spec {
        root: authority.map(|authority| authority.root.clone()),
        at_once: AT_ONCE,
        ..Spec::new(&language, server.address, &Audience::of_one_room(subscribers, 1))
    };
    let _first = Crowd::gather(&spec(WARM_UP))?;
    let before = settled(server.process())?;
    let mut crowd = Crowd::gather(&spec(CONNECTIONS))?;
    let after = settled(server.process())?;
    // Shows that all of them are subscribed.
    crowd.run(Pace::PerSecond(10), Duration::from_millis(300))?;
    crowd.finish()?;
    Ok((number(after) - number(before)) / number(CONNECTIONS as u64))
}

/// The resident memory once it no longer changes.
fn settled(process: Process) -> Result<u64> {
    let mut resident = process.resident()?;
    for _ in 0..SETTLING.0 {
        std::thread::sleep(SETTLING.1);
        let before = std::mem::replace(&mut resident, process.resident()?);
        if before == resident {
            break;
        }
    }
    Ok(resident)
}

/// A certificate made by the tool, and the root that its clients trust.
struct Authority {
    root: String,
    flags: Vec<String>,
}

impl Authority {
    fn new(directory: &Path) -> Result<Self> {
        Self::issue(directory).map_err(|error| format!("a certificate: {error}"))
    }

    fn issue(directory: &Path) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let root_key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&root_key)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &root, &root_key)?;
        let (chain_path, key_path) = (directory.join("chain.pem"), directory.join("key.pem"));
        fs::write(&chain_path, leaf.pem())?;
        fs::write(&key_path, key.serialize_pem())?;
        let flags = vec![
            "--secure".to_owned(),
            "--auto_cert=false".to_owned(),
            format!("--cert_path={}", chain_path.display()),
            format!("--key_path={}", key_path.display()),
        ];
        Ok(Self { root: root.pem(), flags })
    }
}
