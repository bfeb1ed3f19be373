//! The program: it runs a command, or a server until a signal.

// As in the library.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::todo)
)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use broker::cli::{Command, Failure};
use broker::config::Config;
use broker::log::{self, Log, RequestId};
use broker::server::{Inherited, Reload, Server, StartError, log_filter};
use broker::store::OPENING_THREAD;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// It frees memory of another thread at little cost, and returns memory after a burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit status for an invalid command line.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let mut log = None;
    // A panic here is a failure like others: the service manager goes by the exit status.
    let ended = catch_unwind(AssertUnwindSafe(|| run(&mut log)));
    let ended = ended.unwrap_or_else(|panic| Err(Failure::Failed(panicked(&*panic))));
    let (status, why) = match ended {
        Ok(()) => (ExitCode::SUCCESS, None),
        Err(Failure::Misused(why)) => (ExitCode::from(MISUSED), Some(why)),
        Err(Failure::Failed(why)) => (ExitCode::FAILURE, Some(why)),
    };
    match (log, why) {
        (Some(log), why) => log.end(why.as_deref()),
        (None, Some(why)) => log::say(&why),
        (None, None) => {}
    }
    status
}

/// Says what a panic said, which may have come before there was a log.
fn panicked(panic: &(dyn Any + Send)) -> String {
    let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the server panicked: {}", why.unwrap_or("it did not say why"))
}

/// Does what the command line says. `log` is the log as soon as there is one.
fn run(log: &mut Option<Log>) -> Result<(), Failure> {
    // All files hold hashes, keys or certificates, so only the own user may read them: those of the server, and those that commands
    // write. sled and the ACME cache would make their files readable to everybody.
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    match Command::read()? {
        Command::Serve(config) => serve(*config, log),
        Command::Tool(tool) => tool.run(),
    }
}

/// Runs the server. `log` is the log as soon as there is one.
fn serve(config: Config, log: &mut Option<Log>) -> Result<(), Failure> {
    let filter = log_filter(&config).map_err(Failure::Misused)?;
    // Before there is another thread.
    let inherited = Inherited::take().map_err(Failure::Misused)?;
    raise_descriptor_limit();
    log_panics();
    // A lack of threads passes, so it is no wrong flag: the service manager starts Broker again.
    let started = Log::start(filter, config.log_format);
    let started = started.map_err(|why| Failure::Failed(format!("cannot start the log: {why}")))?;
    let reload = Reload { filter: started.filter(), read: Arc::new(read_again) };
    *log = Some(started);
    let system = actix_web::rt::System::new();
    let ended = system.block_on(async {
        let server = Server::start(config, reload, inherited).await.map_err(|error| match error {
            StartError::Config(why) => Failure::Misused(why),
            other => Failure::Failed(other.to_string()),
        })?;
        server.run().await.map_err(|error| Failure::Failed(error.to_string()))
    });
    // It would wait for what still reads or writes a file, which may be on a disk that hangs. All that counts has been ended.
    std::mem::forget(system);
    ended
}

/// Reads the configuration of a server that runs, as it is now.
fn read_again() -> Result<Config, String> {
    match Command::read() {
        Ok(Command::Serve(config)) => Ok(*config),
        Ok(Command::Tool(_)) => Err("the command line is not that of a server".to_owned()),
        Err(Failure::Misused(why) | Failure::Failed(why)) => Err(why),
    }
}

/// Logs panics like other errors.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        // A panic of this thread is a damaged database, which the error that follows explains.
        if thread.name() != Some(OPENING_THREAD) {
            let place = panic.location().map(ToString::to_string);
            let (why, request_id) = (panic.payload_as_str(), RequestId::current());
            tracing::error!(thread = thread.name(), place, why, request_id = request_id.as_deref(), "panicked");
        }
    }));
}

/// Raises the limit of descriptors to the system's maximum, whatever the shell's soft limit is, because every
/// connection needs one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If it is refused, the server runs with its current limit.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
