//! `broker check`: whether a server would take these flags.

use super::failure::Failure;
use crate::config::{Config, Flags};

/// Checks the flags as a server would at its start.
pub fn check(flags: Flags) -> Result<(), Failure> {
    Config::try_from(flags).map(drop).map_err(Failure::Misused)
}
