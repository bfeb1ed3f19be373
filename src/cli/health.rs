//! `broker health`: whether a server works, for scripts and containers.

use clap::Args;

use super::caller::{Caller, said};
use super::failure::Failure;
use super::print::print;

/// Whether a server works, or is ready.
#[derive(Args)]
pub struct Health {
    #[command(flatten)]
    caller: Caller,
    /// Ask whether it takes more clients (/readyz), and not whether it works (/healthz).
    #[arg(long)]
    ready: bool,
}

impl Health {
    /// Asks the server, and prints a line.
    ///
    /// # Errors
    /// [`Failure::Failed`] if it cannot be reached, or says no.
    pub fn run(self) -> Result<(), Failure> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let answer = self.caller.probe(path)?;
        let (status, said) = (answer.status(), said(answer));
        if !status.is_success() {
            return Err(Failure::Failed(format!("{path}: {status} {said}")));
        }
        print(format!("{said}\n").as_bytes())
    }
}
