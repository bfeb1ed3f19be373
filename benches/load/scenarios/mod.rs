//! The scenarios: one file each, which explains the meaning of its figures.

mod compression;
mod connections;
mod fanout;
mod growth;
mod inserts;
mod latency;
mod memory;
mod million;
mod polling;
mod reconnect;
mod replay;
mod rooms;
mod scopes;
mod self_check;
mod side;
mod size;
mod socket_io;
mod stalled;
mod start;
mod websocket;
mod websocket_inserts;

use crate::Result;
use crate::lab::Lab;

/// A measurement that adds its rows to the table.
pub type Scenario = fn(&mut Lab) -> Result<()>;

/// All scenarios, in the order in which they run.
const SCENARIOS: [(&str, Scenario); 19] = [
    ("self_check", self_check::run),
    ("fanout", fanout::run),
    ("websocket", websocket::run),
    ("socket_io", socket_io::run),
    ("polling", polling::run),
    ("compression", compression::run),
    ("scopes", scopes::run),
    ("inserts", inserts::run),
    ("websocket_inserts", websocket_inserts::run),
    ("memory", memory::run),
    ("connections", connections::run),
    ("rooms", rooms::run),
    ("latency", latency::run),
    ("replay", replay::run),
    ("reconnect", reconnect::run),
    ("stalled", stalled::run),
    ("growth", growth::run),
    ("start", start::run),
    ("size", size::run),
];

/// The scenarios of these names, or all if there are no names.
///
/// # Errors
/// If a name is unknown.
pub fn chosen(names: &[String]) -> Result<Vec<(&'static str, Scenario)>> {
    if names.is_empty() {
        return Ok(SCENARIOS.to_vec());
    }
    let find = |name: &String| {
        let all = || SCENARIOS.map(|(name, _)| name).join(", ");
        let found = SCENARIOS.iter().find(|(known, _)| known == name).copied();
        found.ok_or_else(|| format!("there is no scenario {name}; there are {}", all()))
    };
    names.iter().map(find).collect()
}
