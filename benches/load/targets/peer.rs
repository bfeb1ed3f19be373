//! The servers of `benches/peers`, which a script starts.

use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::lab::Lab;
use crate::server::{Server, free_port};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/start.sh");
/// The script's exit status if a peer is not installed.
const NOT_INSTALLED: i32 = 3;
/// The time limit for a start: some peers create a database first.
const START_WITHIN: Duration = Duration::from_secs(30);
/// The content type of publishes.
pub const JSON: &str = "content-type: application/json\r\n";

/// The installed version of a peer, or `None` if it is not installed.
pub fn version(peer: &str) -> Result<Option<String>> {
    let output = Command::new(SCRIPT).arg(peer).output().map_err(|error| format!("cannot start {SCRIPT}: {error}"))?;
    match output.status.code() {
        Some(0) => Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())),
        Some(NOT_INSTALLED) => Ok(None),
        _ => Err(format!("{SCRIPT} {peer}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Starts a peer with a new data directory, which is on the same disk as Broker's.
pub fn start(peer: &str, lab: &Lab, core: Option<usize>) -> Result<Server> {
    start_as(peer, None, lab, core)
}

/// The same with a protocol that is not the peer's first.
pub fn start_as(peer: &str, protocol: Option<&str>, lab: &Lab, core: Option<usize>) -> Result<Server> {
    let port = free_port()?;
    let directory = lab.directory()?.keep();
    // The script detects the number of cores that it may use, and becomes the server.
    let mut arguments = vec![peer.to_owned(), port.to_string(), directory.display().to_string()];
    // No cores: it is pinned already.
    arguments.extend(protocol.into_iter().flat_map(|protocol| [String::new(), protocol.to_owned()]));
    Server::start(SCRIPT.as_ref(), &arguments, port, core, START_WITHIN)
}
