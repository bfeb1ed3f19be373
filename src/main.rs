//! The program: flags, then a server until a signal.

use std::io::IsTerminal;
use std::process::ExitCode;

use broker::config::{Config, LogFormat};
use broker::server::Server;
use broker::store::OPENING_THREAD;
use broker::transports::http::LOG_FILTER;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use tracing_subscriber::EnvFilter;

/// Frees on one thread what was allocated on another at little cost, and gives back what a burst took.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = Config::from_env();
    if let Err(why) = Server::check(&config) {
        eprintln!("error: {why}");
        return ExitCode::from(2);
    }
    // Hashes, keys, certificates: whatever is written is for the server's own user. sled and the ACME cache would leave
    // their files readable to everybody.
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    raise_descriptor_limit();
    if let Err(why) = start_log(&config) {
        eprintln!("error: {why}");
        return ExitCode::from(2);
    }
    log_panics();
    let ended = actix_web::rt::System::new().block_on(async {
        let server = Server::start(config).await.map_err(|error| error.to_string())?;
        server.run().await.map_err(|error| error.to_string())
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(config: &Config) -> Result<(), String> {
    // A level alone is meant for Broker. Whatever is set, the database says nothing below a warning: at its lowest level it
    // prints what it stores.
    let wanted = if config.log.contains(['=', ',']) {
        config.log.clone()
    } else {
        format!("warn,{LOG_FILTER},broker={}", config.log)
    };
    let filter =
        EnvFilter::try_new(format!("{wanted},sled=warn")).map_err(|error| format!("log {:?}: {error}", config.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// A panic is a line in the log like any other.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        // A damaged database, of which the error that follows says all that is known.
        if thread.name() != Some(OPENING_THREAD) {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(thread = thread.name(), place, why = panic.payload_as_str(), "panicked");
        }
    }));
}

/// Every connection is a descriptor: as many as the system allows, whatever the shell's soft limit.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused the server runs with what it has.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
