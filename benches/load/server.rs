//! A server under test: starts it, waits for it, measures it, stops it.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Result;
use crate::process::Process;

/// The time limit for a server to end its workers.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A server process. Dropping this kills it and its workers.
pub struct Server {
    child: Child,
    /// Its address.
    pub address: SocketAddr,
}

impl Server {
    /// Starts a server program, pinned to a core if one is given, and waits until it accepts connections on the port.
    pub fn start(
        program: &OsStr,
        arguments: &[String],
        port: u16,
        core: Option<usize>,
        within: Duration,
    ) -> Result<Self> {
        let mut server = Self::spawn(program, arguments, port, core)?;
        let started = Instant::now();
        while TcpStream::connect(server.address).is_err() {
            if let Some(status) = server.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("{} ended at once: {status}", program.display()));
            }
            if started.elapsed() > within {
                return Err(format!("{} did not listen within {within:?}", program.display()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    /// Starts a program without waiting.
    pub fn spawn(program: &OsStr, arguments: &[String], port: u16, core: Option<usize>) -> Result<Self> {
        let mut command = match core {
            // `taskset` becomes the program, so the process id stays the same.
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // Only its error output matters.
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        Ok(Self { child, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// The process, for measurements.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Terminates the server, and waits for its end.
    pub fn stop(mut self) -> Result<()> {
        self.process().signal(Signal::TERM)?;
        self.child.wait().map(|_| ()).map_err(|error| error.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let workers = self.process().workers().unwrap_or_default();
        if !workers.is_empty() && self.process().signal(Signal::TERM).is_ok() {
            // The server knows best how to end its workers. If it does not, they are killed after it, so that it
            // cannot start others.
            let begun = Instant::now();
            while begun.elapsed() < END_WITHIN && self.child.try_wait().is_ok_and(|status| status.is_none()) {
                std::thread::sleep(Duration::from_millis(2));
            }
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
        }
        // If it has already ended, there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for worker in workers {
            let _ = worker.signal(Signal::KILL);
        }
    }
}

/// A port that is free on every address: mosquitto listens for WebSocket on all of them, and the clients of the servers
/// that run already have tens of thousands of ports on some.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

/// The path of this program, to start it in another role.
pub fn own_program() -> Result<std::path::PathBuf> {
    std::env::current_exe().map_err(|error| error.to_string())
}
