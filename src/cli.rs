//! The command line: the server's flags, and the commands for operators. Each command is a file.

mod backup;
mod caller;
mod check;
mod export;
mod failure;
mod health;
mod import;
mod print;
mod support;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Config, Flags, said, variable};

pub use caller::Caller;
pub use failure::Failure;

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "broker",
    version,
    about = "A real-time backend in one binary: accounts, sign-in and live shared data over Server-Sent Events.",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    tool: Option<Tool>,
}

/// The commands besides the server. The doc comments are the text of `--help`.
#[derive(Subcommand)]
pub enum Tool {
    /// Make a backup of a server that runs.
    Backup(backup::Backup),
    /// Restore a backup into a new database.
    Restore(backup::Restore),
    /// Check a backup: restore it into a directory that is removed again, and read all of it.
    Verify(backup::Verify),
    /// Check the configuration, and say what is wrong with it, without starting anything.
    Check(Box<Flags>),
    /// Ask a running server whether it works. Status 0 is yes, and 1 is no.
    Health(health::Health),
    /// Print the completions for a shell.
    Completions(print::Completions),
    /// Export users and events of a server that runs, a JSON object a line (NDJSON).
    Export(export::Export),
    /// Import users and events into a server that runs, from lines as an export has them. It goes on where an earlier one stopped.
    Import(import::Import),
    /// Print the man page, in the format of man(7).
    Man,
    /// Write a bundle for whoever helps with a problem, without secrets.
    Support(support::Support),
}

/// What the command line asks for.
pub enum Command {
    /// Run the server.
    Serve(Box<Config>),
    /// Do something else, and end.
    Tool(Tool),
}

impl Command {
    /// Reads the command line and the variables.
    ///
    /// For `--help` and `--version` it prints the answer and ends the process.
    ///
    /// # Errors
    /// [`Failure::Misused`] with a text that says what to change.
    pub fn read() -> Result<Self, Failure> {
        let refused = |error: clap::Error| match error.use_stderr() {
            true => Failure::Misused(said(&error)),
            false => error.exit(),
        };
        let matches = Cli::command().try_get_matches_from(std::env::args_os()).map_err(refused)?;
        match matches.subcommand() {
            // Its flags are the server's, with all the variables that the server takes.
            Some(("check", of_check)) => {
                let flags = Flags::of_matches(of_check, variable).map_err(Failure::Misused)?;
                return Ok(Self::Tool(Tool::Check(Box::new(flags))));
            }
            Some(_) => return Tool::from_arg_matches(&matches).map(Self::Tool).map_err(refused),
            None => {}
        }
        let flags = Flags::of_matches(&matches, variable);
        flags.and_then(Config::try_from).map(Box::new).map(Self::Serve).map_err(Failure::Misused)
    }
}

impl Tool {
    /// Does it.
    ///
    /// # Errors
    /// [`Failure`], with a text that says why.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Backup(backup) => backup.run(),
            Self::Restore(restore) => restore.run(),
            Self::Verify(verify) => verify.run(),
            Self::Check(flags) => check::run(*flags),
            Self::Export(export) => export.run(),
            Self::Import(import) => import.run(),
            Self::Completions(completions) => completions.run(Cli::command()),
            Self::Health(health) => health.run(),
            Self::Man => print::man(Cli::command()),
            Self::Support(support) => support.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_one_that_clap_takes_and_says_what_broker_is() {
        let mut command = Cli::command();
        command.build();
        assert!(command.get_about().unwrap().to_string().starts_with("A real-time backend in one binary: "));
    }
}
