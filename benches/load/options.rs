//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use crate::Result;
use crate::raw::Fault;

/// The role of this process. The tool starts itself again for the parts with CPU usage that is counted separately or
/// with a need for descriptors of their own.
pub enum Role {
    /// The tool itself, as a user starts it.
    Tool,
    /// Clients: see [`crate::crowd`].
    Crowd,
    /// The reference for the fan-out, on this port, with a fault if the tool itself is tested: see [`crate::raw`].
    Raw(u16, Option<Fault>),
    /// The reference for the inserts, on this port: see [`crate::actix_parse`].
    ActixParse(u16),
}

/// The options of the command line.
#[derive(Default)]
pub struct Options {
    /// The names of scenarios. Empty means all.
    pub scenarios: Vec<String>,
    /// Fewer and shorter rounds: a check that everything works, without figures to quote.
    pub quick: bool,
    /// Also measures the other servers that are installed.
    pub peers: bool,
    /// A binary to measure instead of the one that cargo built.
    pub broker: Option<PathBuf>,
    /// How many live subscriptions `mqtt_live` holds, and for how many seconds.
    pub subscribers: Option<usize>,
    /// See [`Self::subscribers`].
    pub seconds: Option<u64>,
    /// A directory that keeps the database of a million users between runs, because creating it takes minutes.
    pub keep: Option<PathBuf>,
}

/// The word before a role on the command line.
pub const ROLE: &str = "--role";
/// The names of the roles.
pub const CROWD: &str = "crowd";
/// See [`CROWD`].
pub const RAW: &str = "raw";
/// See [`CROWD`]. The name of a [`Fault`] follows.
pub const RAW_WITH: &str = "raw-that-";
/// See [`CROWD`].
pub const ACTIX_PARSE: &str = "actix-parse";

const USAGE: &str = "usage: cargo bench --bench load -- [SCENARIO...] [--quick] [--peers] [--broker FILE] [--keep DIR] \
    [--subscribers N] [--seconds N]";

impl Options {
    /// Reads the command line of this process.
    pub fn read() -> Result<(Role, Self)> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<(Role, Self)> {
        let (mut role, mut options) = (Role::Tool, Self::default());
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
            match word.as_str() {
                // cargo adds this by itself.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--peers" => options.peers = true,
                "--broker" => options.broker = Some(value()?.into()),
                "--keep" => options.keep = Some(value()?.into()),
                "--subscribers" => options.subscribers = Some(number(&value()?)?),
                "--seconds" => options.seconds = Some(number(&value()?)?),
                ROLE => {
                    role = match value()?.as_str() {
                        CROWD => Role::Crowd,
                        RAW => Role::Raw(number(&value()?)?, None),
                        ACTIX_PARSE => Role::ActixParse(number(&value()?)?),
                        other => match other.strip_prefix(RAW_WITH).and_then(Fault::parse) {
                            Some(fault) => Role::Raw(number(&value()?)?, Some(fault)),
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

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| format!("{text} is not a number that is possible here"))
}
