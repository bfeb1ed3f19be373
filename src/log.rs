//! The log: lines on standard error. A slow reader of the log never delays Broker, and a flood of one kind of line does
//! not hide the others.
//!
//! A line goes into a queue, and one thread writes the queue. If nobody reads the other end, the queue fills, and
//! further lines are dropped and counted. A write that waits would stop the worker that logs, and so every client of
//! that worker. Anybody can cause a line, by sending garbage to a port.

mod limits;
mod request_id;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;

use limits::{Limits, OF_THE_LOG};

pub use limits::{ACCESS, ADMIN};
pub use request_id::RequestId;

/// How many lines may wait to be written. Further ones are dropped.
const QUEUE: usize = 4096;
/// How often dropped lines are counted.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After how many of these checks the limits begin anew: 10 seconds.
const LOOKS_A_ROUND: u32 = 10;
/// How long the end of the program waits for its last lines to be read.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);
/// How much a pipe that has room takes at once, in bytes: PIPE_BUF of Linux (pipe(7)).
const NEVER_WAITS: usize = 4096;
/// How long a write waits before the next try, if the descriptor is non-blocking and full.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// The lines that are wanted.
pub struct Filter(EnvFilter);

impl Filter {
    /// Reads a filter as of `tracing_subscriber`, such as `warn,broker=info`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(wanted: &str) -> Result<Self, String> {
        EnvFilter::try_new(wanted).map(Self).map_err(|error| error.to_string())
    }
}

/// Changes the filter of a log that runs: a cheap clone.
#[derive(Clone)]
pub struct FilterSwitch(reload::Handle<EnvFilter, Registry>);

impl FilterSwitch {
    /// Has the log go by another filter.
    ///
    /// # Errors
    /// If the log has ended.
    pub fn set(&self, Filter(filter): Filter) -> Result<(), String> {
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// The log of this program, until [`Log::end`].
pub struct Log {
    guard: WorkerGuard,
    filter: FilterSwitch,
    /// Ends the checking thread, which returns the counts that it has not reported.
    looking: (mpsc::Sender<()>, thread::JoinHandle<Unreported>),
}

impl Log {
    /// Starts the log.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    ///
    /// # Panics
    /// If it does not even give the first one: `tracing_appender` returns no error.
    pub fn start(Filter(filter): Filter, format: LogFormat) -> io::Result<Self> {
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).thread_name("log");
        let (writer, guard) = builder.finish(Patient(io::stderr()));
        let mut unreported = Unreported { dropped: writer.error_counter(), told: 0, limits: Limits::default() };
        let lines = lines(format, writer);
        let (filter, switch) = reload::Layer::new(filter);
        let log = tracing_subscriber::registry().with(filter).with(unreported.limits.clone()).with(lines);
        log.try_init().map_err(io::Error::other)?;
        let (stop, stopped) = mpsc::channel();
        let look = move || {
            for round in 1_u32.. {
                if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                unreported.tell_dropped();
                if round % LOOKS_A_ROUND == 0 {
                    unreported.limits.begin_anew();
                }
            }
            unreported
        };
        let thread = thread::Builder::new().name("log counts".to_owned()).spawn(look)?;
        Ok(Self { guard, filter: FilterSwitch(switch), looking: (stop, thread) })
    }

    /// What changes its filter.
    pub fn filter(&self) -> FilterSwitch {
        self.filter.clone()
    }

    /// Writes the remaining lines, and finally the reason why the program ends. It returns after 2 seconds in any case:
    /// a log that nobody reads does not keep the program from ending.
    pub fn end(self, why: Option<&str>) {
        let Self { guard, looking: (stop, thread), .. } = self;
        drop(stop);
        if let Ok(mut unreported) = thread.join() {
            unreported.limits.begin_anew();
            unreported.tell_dropped();
        }
        let until = Instant::now() + LAST_WORDS_WITHIN;
        within(LAST_WORDS_WITHIN, move || drop(guard));
        if let Some(why) = why {
            print(why, until);
        }
    }
}

/// Writes the reason why the program ends, if there is no [`Log`] yet. It waits no longer than [`Log::end`].
pub fn say(why: &dyn Display) {
    print(&why.to_string(), Instant::now() + LAST_WORDS_WITHIN);
}

/// Writes the reason why the program ends, as far as it is read by then. It needs no thread, which may be what is lacking.
fn print(why: &str, until: Instant) {
    let (stderr, line) = (io::stderr(), format!("error: {why}\n"));
    for piece in line.as_bytes().chunks(NEVER_WAITS) {
        let has_room = retry_on_intr(|| {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap_or_default();
            poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&left))
        });
        // If it cannot be written, there is no other place to report it.
        if !has_room.is_ok_and(|ready| ready > 0) || stderr.lock().write_all(piece).is_err() {
            return;
        }
    }
}

/// Runs a function that may block forever, and waits for it for a limited time only.
fn within(time: Duration, act: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let act = move || {
        act();
        // The receiver may be gone already.
        let _ = done.send(());
    };
    // Without a thread it is not done at all: a program that cannot end is worse.
    if thread::Builder::new().name("last words".to_owned()).spawn(act).is_ok() {
        let _ = wait.recv_timeout(time);
    }
}

/// The layer that turns events into lines.
fn lines<S>(format: LogFormat, writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    // Otherwise the thread that logs would write the layer's own errors to standard error.
    let layer = fmt::layer().log_internal_errors(false).with_writer(writer);
    match format {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// Dropped lines that are not reported yet.
struct Unreported {
    dropped: ErrorCounter,
    /// How many dropped lines have been reported.
    told: usize,
    limits: Limits,
}

impl Unreported {
    /// Reports how many lines were dropped since the start, if there are new ones.
    fn tell_dropped(&mut self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > self.told {
            tracing::warn!(target: OF_THE_LOG, dropped, "so many lines were dropped since the start: nobody read the log");
            // If the queue has no room for this line either, the next check reports it.
            if self.dropped.dropped_lines() == dropped {
                self.told = dropped;
            }
        }
    }
}

/// Writes all of a line, also to a non-blocking descriptor: another process that shares it may have made it so.
struct Patient<W>(W);

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(TRY_AGAIN),
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
