//! The size of the program on disk, and in memory without clients.

use std::time::Duration;

use crate::Result;
use crate::lab::Lab;
use crate::statistics::{bytes, number};
use crate::table::Row;
use crate::targets::broker;

const BINARY_GOAL: f64 = 25.0 * 1024.0 * 1024.0;
const REST_GOAL: f64 = 40.0 * 1024.0 * 1024.0;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let binary = std::fs::metadata(&lab.broker).map_err(|error| error.to_string())?;
    let size = number(binary.len());
    lab.table.add(Row::new("the binary", bytes(size)).goal(format!("<= {}", bytes(BINARY_GOAL)), size <= BINARY_GOAL));
    let database = lab.directory()?;
    let server = broker::start(lab, database.path(), None, &[])?;
    std::thread::sleep(Duration::from_secs(1));
    let resident = number(server.process().resident()?);
    lab.table.add(
        Row::new("resident at rest, new database, no client", bytes(resident))
            .goal(format!("<= {}", bytes(REST_GOAL)), resident <= REST_GOAL),
    );
    Ok(())
}
