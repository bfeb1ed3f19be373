//! What is measured: a file for each scenario, which says what its figures mean.

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

/// A measurement that adds its lines to the table.
pub type Scenario = fn(&mut Lab) -> Result<()>;

/// All of them, in the order in which they run.
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

/// Those of these names, or all.
///
/// # Errors
/// Where there is none of a name.
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
