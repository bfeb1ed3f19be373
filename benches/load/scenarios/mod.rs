//! The scenarios: one file each, which explains the meaning of its figures.

mod connections;
mod fanout;
mod growth;
mod inserts;
mod latency;
mod memory;
mod million;
mod reconnect;
mod replay;
mod rooms;
mod scopes;
mod self_check;
mod side;
mod size;
mod stalled;
mod start;

use crate::Result;
use crate::lab::Lab;

/// A measurement that adds its rows to the table.
pub type Scenario = fn(&mut Lab) -> Result<()>;

/// All scenarios, in the order in which they run.
const SCENARIOS: [(&str, Scenario); 14] = [
    ("self_check", self_check::run),
    ("fanout", fanout::run),
    ("scopes", scopes::run),
    ("inserts", inserts::run),
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
