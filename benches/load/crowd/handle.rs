//! The tool's handle of a crowd.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::time::Duration;

use super::{Command, Outcome, Pace, Reply, Spec};
use crate::server::own_program;
use crate::{Result, options};

/// A crowd in its process. The process ends when this is dropped.
pub struct Crowd {
    child: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Crowd {
    /// Starts the crowd, and waits until all its clients are subscribed.
    pub fn gather(spec: &Spec) -> Result<Self> {
        let mut crowd = Self::begin(spec)?;
        crowd.gathered()?;
        Ok(crowd)
    }

    /// Starts the crowd without waiting.
    pub fn begin(spec: &Spec) -> Result<Self> {
        let mut child = Program::new(own_program()?)
            .args([options::ROLE, options::CROWD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start a crowd: {error}"))?;
        let (Some(commands), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a crowd has no pipes".to_owned());
        };
        let mut crowd = Self { child, commands, replies: BufReader::new(replies) };
        crowd.say(spec)?;
        Ok(crowd)
    }

    /// Waits until all clients are subscribed.
    pub fn gathered(&mut self) -> Result<()> {
        match self.reply()? {
            Reply::Ready => Ok(()),
            _ => Err("a crowd sent an unexpected reply".to_owned()),
        }
    }

    /// Runs a round of publishes, and waits for its outcome.
    pub fn run(&mut self, pace: Pace, during: Duration) -> Result<Outcome> {
        self.ask(Command::Run(pace, during))?;
        self.outcome()
    }

    /// Sends a command without waiting.
    pub fn ask(&mut self, command: Command) -> Result<()> {
        self.say(&command)
    }

    /// Waits for the outcome of a command.
    pub fn outcome(&mut self) -> Result<Outcome> {
        match self.reply()? {
            Reply::Done(outcome) => Ok(outcome),
            _ => Err("a crowd sent an unexpected reply".to_owned()),
        }
    }

    /// Has the crowd check for surplus events, and ends it.
    pub fn finish(mut self) -> Result<()> {
        self.say(&Command::Finish)?;
        match self.reply()? {
            Reply::Finished => Ok(()),
            _ => Err("a crowd sent an unexpected reply".to_owned()),
        }
    }

    fn say(&mut self, what: &impl serde::Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(what).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.commands.write_all(&line).and_then(|()| self.commands.flush()).map_err(|error| format!("crowd: {error}"))
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.replies.read_line(&mut line).map_err(|error| format!("crowd: {error}"))?;
        if line.is_empty() {
            return Err("a crowd ended without a reply".to_owned());
        }
        match serde_json::from_str(&line).map_err(|error| format!("crowd: {error}"))? {
            Reply::Failed(why) => Err(why),
            reply => Ok(reply),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // If it has already ended, there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
