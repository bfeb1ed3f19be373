//! The load tool: compares Broker with the limits of the machine that it runs on, and prints one table.
//!
//! `cargo bench --bench load` runs every scenario, `cargo bench --bench load -- fanout inserts` these two. A figure
//! that depends on the machine means little alone. So each is measured in alternating rounds with its reference, in
//! the same run, and the goal applies to the ratio of the two medians.
//!
//! The clients check during the measurement that every event reaches every subscriber exactly once and in the same
//! order: a fast server that loses an event fails here.

mod actix_parse;
mod crowd;
mod disk;
mod http;
mod lab;
mod message;
mod mqtt;
mod options;
mod process;
mod raw;
mod scenarios;
mod seed;
mod server;
mod statistics;
mod table;
mod targets;
mod tls;
mod websocket;

use std::process::ExitCode;

use lab::Lab;
use options::{Options, Role};

/// A result with an error message for the reader of the output.
pub type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let ended = match Options::read() {
        Ok((Role::Tool, options)) => measure(options),
        Ok((Role::Crowd, _)) => crowd::serve().map(|()| true),
        Ok((Role::Raw(port, fault), _)) => raw::serve(port, fault).map(|()| true),
        Ok((Role::ActixParse(port), _)) => actix_parse::serve(port).map(|()| true),
        Err(why) => Err(why),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

/// Runs the chosen scenarios. Returns whether each ran to its end. A missed goal is a row in the table and no
/// failure, because the machine may be the reason. A lost event is a failure.
fn measure(options: Options) -> Result<bool> {
    let wanted = scenarios::chosen(&options.scenarios)?;
    let descriptors = process::raise_descriptor_limit();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    eprintln!("{cores} cores, {descriptors} descriptors a process");
    let mut lab = Lab::new(options)?;
    if lab.options.peers {
        lab.peers = targets::installed(targets::peers(), &mut lab.table)?;
        lab.websocket_peers = targets::installed(targets::websocket_peers(), &mut lab.table)?;
        lab.mqtt_peers = targets::installed(targets::mqtt_peers(), &mut lab.table)?;
        lab.polling_peers = targets::installed(targets::polling_peers(), &mut lab.table)?;
    }
    let mut all_ran = true;
    for (name, scenario) in wanted {
        eprintln!("== {name}");
        if let Err(why) = scenario(&mut lab) {
            eprintln!("== {name} FAILED: {why}");
            lab.table.failed(name, &why);
            all_ran = false;
        }
    }
    print!("{}", lab.table);
    Ok(all_ran)
}
