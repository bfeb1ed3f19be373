//! What the servers of `benches/peers` have in common: a script that starts them.

use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::lab::Lab;
use crate::server::{Server, free_port};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/start.sh");
/// What the script ends with where a peer is not installed.
const NOT_INSTALLED: i32 = 3;
/// How long a start may take: some make a database first.
const START_WITHIN: Duration = Duration::from_secs(30);
/// The header that says what is published.
pub const JSON: &str = "content-type: application/json\r\n";

/// Which version of a peer is installed; `None` where none is.
pub fn version(peer: &str) -> Result<Option<String>> {
    let output = Command::new(SCRIPT).arg(peer).output().map_err(|error| format!("cannot start {SCRIPT}: {error}"))?;
    match output.status.code() {
        Some(0) => Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())),
        Some(NOT_INSTALLED) => Ok(None),
        _ => Err(format!("{SCRIPT} {peer}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Starts one, with a new data directory, which is on the same disk as Broker's.
pub fn start(peer: &str, lab: &Lab, core: Option<usize>) -> Result<Server> {
    let port = free_port()?;
    let directory = lab.directory()?.keep();
    // The script finds out by itself how many cores it has been given, and becomes the server.
    let arguments = [peer.to_owned(), port.to_string(), directory.display().to_string()];
    Server::start(SCRIPT.as_ref(), &arguments, port, core, START_WITHIN)
}
