//! Time, synchronized by NTP.
//!
//! [`Clock::now`] only computes: a monotonic clock plus an offset. A background task asks the servers, and no request
//! waits for them. Until the first answer, and without servers, the local clock counts.
//!
//! A wrong time does permanent harm, because events that expire are lost. So a time that is more than a day from both
//! the newest one in the database and the local clock is refused, however many servers agree on it, unless the operator
//! allows it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sntpc::{NtpContext, NtpTimestampGenerator};
use sntpc_net_tokio::UdpSocketWrapper;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::domain::Timestamp;

/// How often the servers are asked.
const POLL_EVERY: Duration = Duration::from_secs(600);
/// How soon after a round without an answer they are asked again. A server is asked at most once a minute (RFC 4330,
/// section 10).
const RETRY_AFTER: Duration = Duration::from_secs(64);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A larger correction needs a second answer that agrees.
const PLAUSIBLE: Duration = Duration::from_secs(2);
/// How close the answers of two servers must be to confirm each other.
const AGREEMENT: Duration = Duration::from_secs(1);
/// A clock that is ahead by up to this runs slower until it is right. If it is ahead by more, it is set back.
const SLEWED: Duration = Duration::from_secs(60);

/// A time further than this from the local clock and the database needs the operator's permission.
const STEP: Duration = Duration::from_secs(24 * 3600);

/// The clock: a cheap clone.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    started: Instant,
    /// `None` until a server's answer was accepted.
    line: RwLock<Option<Line>>,
    /// The newest time in the database at the start. It does not follow the clock: otherwise servers could lead it away
    /// from the truth in steps of a day.
    newest: Option<i64>,
    accepts_steps: bool,
    /// Whether there are no servers to ask.
    is_alone: AtomicBool,
    /// Whether the servers have been asked, or need not be.
    settled: watch::Sender<bool>,
    /// The last answer that was accepted: of which server, and when.
    heard: Mutex<Option<(String, Instant)>>,
}

/// What the time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The servers: an answer of one was accepted.
    Ntp,
    /// The local clock, until a server's answer is accepted.
    Waiting,
    /// The local clock, because there are no servers.
    Local,
}

/// How the clock is doing.
#[derive(Clone, Debug)]
pub struct ClockState {
    /// What the time comes from.
    pub source: TimeSource,
    /// The server that gave the last answer that was accepted.
    pub server: Option<String>,
    /// How long ago that was.
    pub heard: Option<Duration>,
    /// By how many milliseconds this clock is ahead of the local one.
    pub offset_millis: i64,
}

/// The clock as a function of the time since the start. All values are in microseconds since the Unix epoch or the
/// start.
#[derive(Clone, Copy)]
struct Line {
    /// The offset to add to the time since the start.
    offset: i64,
    /// While the clock is ahead, it runs at half speed from here: the time since the start, and the time that the clock
    /// showed then.
    slew_from: Option<(i64, i64)>,
}

impl Line {
    fn at(&self, elapsed: i64) -> i64 {
        let right = elapsed + self.offset;
        // At half speed the clock falls behind the right time, so the larger of the two leads back to it without a
        // step.
        self.slew_from.map_or(right, |(since, then)| right.max(then + (elapsed - since) / 2))
    }
}

impl Clock {
    /// A clock that follows the local one until a server's answer is accepted.
    #[cfg(test)]
    pub fn from_local() -> Self {
        Self::measured_by(None, false)
    }

    /// A clock that follows the local one until a server's answer is accepted. `newest` is the newest time in the
    /// database. With `accepts_steps`, an answer is accepted even if it is a day from that and from the local clock.
    pub fn measured_by(newest: Option<Timestamp>, accepts_steps: bool) -> Self {
        let newest = newest.map(|newest| i64::try_from(newest.as_millis()).unwrap_or(i64::MAX).saturating_mul(1000));
        let is_near = newest.is_none_or(|newest| newest.abs_diff(local()) <= micros(STEP).unsigned_abs());
        if let Some(newest) = newest.filter(|newest| *newest > local() && !is_near) {
            let days = days(newest - local());
            tracing::warn!(days, "the local clock is earlier than the newest change in the database by so many days");
        }
        let (settled, _) = watch::channel(is_near);
        let (started, line, is_alone) = (Instant::now(), RwLock::new(None), AtomicBool::new(false));
        let heard = Mutex::default();
        Self(Arc::new(Inner { started, line, newest, accepts_steps, is_alone, settled, heard }))
    }

    /// Waits until the time is as right as it can be. It returns at once if the local clock is within a day of the
    /// newest time in the database. Otherwise it waits until the servers were asked once, because events that expire by
    /// a wrong local clock are lost.
    pub async fn settled(&self) {
        // The sender is in `self`, so it exists.
        let _ = self.0.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Whether the time may be written to the database, where the next start compares its clock with it. It may not if
    /// it comes from the local clock alone and is far from the newest time in the database. Otherwise a wrong time
    /// would look right from then on, and the right one wrong.
    pub fn is_vouched_for(&self) -> bool {
        let is_near_newest = || self.0.newest.is_none_or(|newest| self.is_near(newest, self.micros_now()));
        self.line().is_some() || self.0.is_alone.load(Ordering::Relaxed) || is_near_newest()
    }

    /// How the clock is doing.
    pub fn state(&self) -> ClockState {
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let source = match &heard {
            Some(_) => TimeSource::Ntp,
            None if self.0.is_alone.load(Ordering::Relaxed) => TimeSource::Local,
            None => TimeSource::Waiting,
        };
        let (server, at) = heard.unzip();
        let offset_millis = self.micros_now().saturating_sub(local()) / 1000;
        ClockState { source, server, heard: at.map(|at| at.elapsed()), offset_millis }
    }

    /// Whether a time is too far from the local clock and the database.
    fn is_step(&self, time: i64) -> bool {
        let is_near_local = time.abs_diff(local()) <= micros(STEP).unsigned_abs();
        !is_near_local && !self.0.newest.is_some_and(|newest| self.is_near(newest, time))
    }

    /// Whether a time is close enough to the newest one in the database.
    fn is_near(&self, newest: i64, time: i64) -> bool {
        let step = micros(STEP);
        let latest = newest.saturating_add(self.elapsed()).saturating_add(step);
        (newest.saturating_sub(step)..=latest).contains(&time)
    }

    /// The time now. After a server's answer was accepted, it never decreases, except for a clock that was ahead by
    /// more than a minute.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.micros_now() / 1000).unwrap_or(0))
    }

    fn micros_now(&self) -> i64 {
        self.line().map_or_else(local, |line| line.at(self.elapsed()))
    }

    fn elapsed(&self) -> i64 {
        micros(self.0.started.elapsed())
    }

    fn line(&self) -> Option<Line> {
        *self.0.line.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies an accepted correction.
    fn correct(&self, correction: i64) {
        let elapsed = self.elapsed();
        let mut line = self.0.line.write().unwrap_or_else(PoisonError::into_inner);
        let said = line.map_or_else(local, |line| line.at(elapsed));
        let slew = line.is_some() && correction < 0 && -correction <= micros(SLEWED);
        *line = Some(Line { offset: said + correction - elapsed, slew_from: slew.then_some((elapsed, said)) });
    }

    /// Asks the servers forever, first at once and then every ten minutes.
    pub async fn follow(self, servers: Vec<String>) {
        if servers.is_empty() {
            tracing::warn!("no NTP server is set: the local clock is trusted");
            if self.0.accepts_steps {
                tracing::warn!("accept_clock_step does nothing without an NTP server; leave it out next time");
            }
            self.0.is_alone.store(true, Ordering::Relaxed);
            self.0.settled.send_replace(true);
            return;
        }
        tracing::warn!(servers = servers.join(","), "the local clock is trusted until an NTP server has answered");
        if self.0.accepts_steps {
            tracing::warn!(
                "accept_clock_step is set: the NTP servers are believed however far off; leave it out next time"
            );
        }
        let (mut first, mut learned) = (0, Learned::default());
        loop {
            let believed = self.ask_round(&servers, first, &mut learned).await;
            self.0.settled.send_replace(true);
            // The next round begins with another server, so that none is asked more than its share.
            first = (first + 1) % servers.len();
            sleep(if believed { POLL_EVERY } else { RETRY_AFTER }).await;
        }
    }

    /// Asks one server after the other until an answer is accepted.
    async fn ask_round(&self, servers: &[String], first: usize, learned: &mut Learned) -> bool {
        if servers.len() > 1 {
            // Only another server can confirm an answer, and it is asked in the same round. A single server confirms
            // itself if it gives the same answer a minute later, such as after the machine slept.
            learned.doubted.clear();
        }
        for server in servers.iter().cycle().skip(first).take(servers.len()) {
            match self.ask(server).await {
                Ok(correction) => {
                    let seconds = correction as f64 / 1e6;
                    let first_word_of_the_only_one = servers.len() == 1 && self.line().is_none();
                    if !first_word_of_the_only_one && !is_believed(&learned.doubted, correction) {
                        tracing::warn!(server, seconds, "this NTP server's time is too far off to be believed alone");
                        learned.doubt(correction, servers.len());
                        continue;
                    }
                    if !self.0.accepts_steps && self.is_step(self.micros_now().saturating_add(correction)) {
                        self.refuse_step(server, correction, learned);
                        learned.doubt(correction, servers.len());
                        continue;
                    }
                    if is_plausible(correction) {
                        tracing::debug!(server, seconds, "the clock is corrected");
                    } else {
                        tracing::warn!(server, seconds, "the clock was wrong and is set");
                    }
                    learned.doubted.clear();
                    self.correct(correction);
                    *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some((server.clone(), Instant::now()));
                    return true;
                }
                Err(why) => tracing::info!(server, why, "this NTP server gave no time"),
            }
        }
        false
    }

    /// Logs once what the operator would have to do.
    fn refuse_step(&self, server: &str, correction: i64, learned: &mut Learned) {
        let days = days(correction);
        let what = "the NTP servers would move the clock by so many days, away from the local clock and the newest change in \
                    the database: it stays. If they are right, restart once with --accept_clock_step";
        if std::mem::replace(&mut learned.has_warned, true) {
            tracing::debug!(server, days, "{what}");
        } else {
            tracing::warn!(server, days, "{what}");
        }
    }

    /// One SNTP exchange (RFC 4330). Returns the correction of this clock in microseconds.
    async fn ask(&self, server: &str) -> Result<i64, String> {
        let exchange = async {
            let address = resolve(server).await?;
            let local: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
            // Each question has a new port and a connected socket, so an answer from another address does not even
            // arrive.
            let socket = UdpSocket::bind(local).await.map_err(|error| error.to_string())?;
            socket.connect(address).await.map_err(|error| error.to_string())?;
            let context = NtpContext::new(Reading { clock: self, micros: 0 });
            let answer = sntpc::get_time(address, &UdpSocketWrapper::new(socket), context).await;
            answer.map(|answer| answer.offset()).map_err(|error| format!("{error:?}"))
        };
        timeout(ANSWER_WITHIN, exchange).await.map_err(|_| "it did not answer in time".to_owned())?
    }
}

/// What is remembered of the servers between rounds.
#[derive(Default)]
struct Learned {
    /// Corrections that were not accepted, the newest last.
    doubted: Vec<i64>,
    /// Whether a refused step was logged. It may come up every minute.
    has_warned: bool,
}

impl Learned {
    /// Remembers a correction. It keeps as many as may confirm the next answer, and the newest of them: a correction
    /// from before a pause of the machine is wrong after it.
    fn doubt(&mut self, correction: i64, servers: usize) {
        self.doubted.push(correction);
        let too_many = self.doubted.len().saturating_sub(servers);
        self.doubted.drain(..too_many);
    }
}

/// The machine's own clock.
fn local() -> i64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A time in days, for the log.
fn days(micros: i64) -> f64 {
    (micros as f64 / 8.64e9).round() / 10.0
}

fn is_plausible(correction: i64) -> bool {
    correction.unsigned_abs() <= PLAUSIBLE.as_micros() as u64
}

/// Whether a correction is accepted: a small one always, a large one only if another answer agrees.
fn is_believed(doubted: &[i64], correction: i64) -> bool {
    let agrees = |other: &i64| other.abs_diff(correction) <= AGREEMENT.as_micros() as u64;
    is_plausible(correction) || doubted.iter().any(agrees)
}

async fn resolve(server: &str) -> Result<SocketAddr, String> {
    const NTP_PORT: u16 = 123;
    let bracketed = server.starts_with('[') && server.ends_with(']');
    let has_port = !bracketed && (server.matches(':').count() == 1 || server.contains("]:"));
    let target = if has_port { server.to_owned() } else { format!("{server}:{NTP_PORT}") };
    let mut addresses = tokio::net::lookup_host(&target).await.map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "its name has no address".to_owned())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The clock as sntpc reads it. So the offset in an answer is relative to this clock, and not to the local one.
#[derive(Clone, Copy)]
struct Reading<'a> {
    clock: &'a Clock,
    micros: i64,
}

impl NtpTimestampGenerator for Reading<'_> {
    fn init(&mut self) {
        self.micros = self.clock.micros_now();
    }

    fn timestamp_sec(&self) -> u64 {
        u64::try_from(self.micros / 1_000_000).unwrap_or(0)
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        u32::try_from(self.micros % 1_000_000).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
