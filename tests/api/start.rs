//! Guards how the server starts, what it says then, and how it ends.

mod bundle;
mod config;
mod damage;
mod database;
mod failure;
mod flags;
mod log;
mod reload;
mod stop;
mod unread_log;
mod values;

use std::process::{Command, Output, Stdio};

use crate::support::PATIENCE;
pub use values::{ended, replace};

/// Runs a command that must end by itself.
async fn run(mut command: Command) -> Outcome {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = child.id();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let Ok(output) = tokio::time::timeout(PATIENCE, output).await else {
        // Else its output is waited for until it has ended.
        Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
        panic!("{command:?} does not end");
    };
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { status: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// How a command ended.
#[derive(Debug)]
struct Outcome {
    /// None where a signal ended it.
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// It ended with this status, a message that says each of these, and no panic.
    fn assert_refused(&self, status: i32, said: &[&str]) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert!(self.stderr.contains("error: ") && !self.stderr.contains("panicked"), "{self:?}");
        for said in said {
            assert!(self.stderr.contains(said), "it does not say {said:?}: {self:?}");
        }
    }
}
