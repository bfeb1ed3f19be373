//! The scenarios: one file each, which explains the meaning of its figures.

mod backup;
mod beside;
mod compression;
mod connections;
mod fanout;
mod growth;
mod import;
mod inserts;
mod latency;
mod memory;
mod million;
mod mqtt;
mod mqtt_inserts;
mod mqtt_live;
mod mqtt_topics;
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

/// The scenarios that run if none is named, in that order.
const SCENARIOS: [(&str, Scenario); 24] = [
    ("self_check", self_check::run),
    ("fanout", fanout::run),
    ("websocket", websocket::run),
    ("socket_io", socket_io::run),
    ("mqtt", mqtt::run),
    ("polling", polling::run),
    ("compression", compression::run),
    ("scopes", scopes::run),
    ("inserts", inserts::run),
    ("websocket_inserts", websocket_inserts::run),
    ("mqtt_inserts", mqtt_inserts::run),
    ("mqtt_topics", mqtt_topics::run),
    ("memory", memory::run),
    ("connections", connections::run),
    ("rooms", rooms::run),
    ("latency", latency::run),
    ("replay", replay::run),
    ("reconnect", reconnect::run),
    ("stalled", stalled::run),
    ("backup", backup::run),
    ("import", import::run),
    ("growth", growth::run),
    ("start", start::run),
    ("size", size::run),
];

/// Those that take too long for that.
const LONG: [(&str, Scenario); 1] = [("mqtt_live", mqtt_live::run)];

/// The scenarios of these names, or all that run without being named if there are no names.
///
/// # Errors
/// If a name is unknown.
pub fn chosen(names: &[String]) -> Result<Vec<(&'static str, Scenario)>> {
    if names.is_empty() {
        return Ok(SCENARIOS.to_vec());
    }
    let find = |name: &String| {
        let known = || SCENARIOS.into_iter().chain(LONG);
        let all = || known().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        let found = known().find(|(known, _)| known == name);
        found.ok_or_else(|| format!("there is no scenario {name}; there are {}", all()))
    };
    names.iter().map(find).collect()
}
