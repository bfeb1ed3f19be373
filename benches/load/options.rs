//! The command line.

use std::path::PathBuf;

use crate::Result;
use crate::raw::Fault;

/// What this process is. The tool starts itself anew for the parts whose CPU is counted apart, or that need descriptors
/// of their own.
pub enum Role {
    /// What a person starts.
    Tool,
    /// Clients: see [`crate::crowd`].
    Crowd,
    /// The reference of the fan-out, on this port, with a fault where the tool itself is tested: see [`crate::raw`].
    Raw(u16, Option<Fault>),
    /// The reference of the inserts, on this port: see [`crate::actix_parse`].
    ActixParse(u16),
}

/// What a person asked for.
#[derive(Default)]
pub struct Options {
    /// The names of scenarios; all where empty.
    pub scenarios: Vec<String>,
    /// Fewer and shorter rounds: to see that all works, not to quote.
    pub quick: bool,
    /// Other servers beside Broker too, where they are installed.
    pub peers: bool,
    /// Another binary than the one that cargo built.
    pub broker: Option<PathBuf>,
    /// Where the database of a million users is kept between runs, since making it takes minutes.
    pub keep: Option<PathBuf>,
}

/// The word before a role on the command line.
pub const ROLE: &str = "--role";
/// The names of the roles.
pub const CROWD: &str = "crowd";
/// See [`CROWD`].
pub const RAW: &str = "raw";
/// See [`CROWD`]. With the name of a [`Fault`] behind it, it has that fault.
pub const RAW_WITH: &str = "raw-that-";
/// See [`CROWD`].
pub const ACTIX_PARSE: &str = "actix-parse";

const USAGE: &str = "usage: cargo bench --bench load -- [SCENARIO...] [--quick] [--peers] [--broker FILE] [--keep DIR]";

impl Options {
    /// Reads the command line of this process.
    pub fn read() -> Result<(Role, Self)> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<(Role, Self)> {
        let (mut role, mut options) = (Role::Tool, Self::default());
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value; {USAGE}"));
            match word.as_str() {
                // cargo adds this by itself.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--peers" => options.peers = true,
                "--broker" => options.broker = Some(value()?.into()),
                "--keep" => options.keep = Some(value()?.into()),
                ROLE => {
                    role = match value()?.as_str() {
                        CROWD => Role::Crowd,
                        RAW => Role::Raw(port(&value()?)?, None),
                        ACTIX_PARSE => Role::ActixParse(port(&value()?)?),
                        other => match other.strip_prefix(RAW_WITH).and_then(Fault::parse) {
                            Some(fault) => Role::Raw(port(&value()?)?, Some(fault)),
                            None => return Err(format!("there is no role {other}")),
                        },
                    }
                }
                flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}; {USAGE}")),
                _ => options.scenarios.push(word),
            }
        }
        Ok((role, options))
    }
}

fn port(text: &str) -> Result<u16> {
    text.parse().map_err(|_| format!("{text} is no port"))
}
