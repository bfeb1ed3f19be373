//! The program: it reads the flags, and runs a server until a signal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use broker::config::Config;
use broker::log::{self, Log};
use broker::server::Server;
use broker::store::OPENING_THREAD;
use broker::transports::http::LOG_FILTER;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// It frees memory of another thread at little cost, and returns memory after a burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit status for an invalid command line.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let started = Config::from_env().and_then(|config| {
        Server::check(&config)?;
        let log = start_log(&config)?;
        Ok((config, log))
    });
    let (config, log) = match started {
        Ok(started) => started,
        Err(why) => {
            log::say(&why);
            return ExitCode::from(MISUSED);
        }
    };
    // All files hold hashes, keys or certificates, so only the server's own user may read them. sled and the ACME cache
    // would make their files readable to everybody.
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    raise_descriptor_limit();
    log_panics();
    // A panic here is a failure like others: the service manager goes by the exit status.
    let ended = catch_unwind(AssertUnwindSafe(|| serve(config)));
    let ended = ended.unwrap_or_else(|_| Err("the server panicked".to_owned()));
    log.end(ended.as_ref().err().map(String::as_str));
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve(config: Config) -> Result<(), String> {
    actix_web::rt::System::new().block_on(async {
        let server = Server::start(config).await.map_err(|error| error.to_string())?;
        server.run().await.map_err(|error| error.to_string())
    })
}

fn start_log(config: &Config) -> Result<Log, String> {
    // A level alone applies to Broker's own lines. The database never logs below a warning, because its lowest level
    // prints what it stores.
    let wanted = if config.log.contains(['=', ',']) {
        config.log.clone()
    } else {
        format!("warn,{LOG_FILTER},broker={}", config.log)
    };
    Log::start(&format!("{wanted},sled=warn"), config.log_format).map_err(|why| format!("log {:?}: {why}", config.log))
}

/// Logs panics like other errors.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        // A panic of this thread is a damaged database, which the error that follows explains.
        if thread.name() != Some(OPENING_THREAD) {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(thread = thread.name(), place, why = panic.payload_as_str(), "panicked");
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
