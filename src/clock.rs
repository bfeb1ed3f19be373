//! Time, disciplined by NTP servers.
//!
//! [`Clock::now`] is a computation: a monotonic clock plus an offset. The servers are asked in the background; a request
//! never waits for one. Until the first answer, and without servers, it is what the local clock says.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sntpc::{NtpContext, NtpTimestampGenerator};
use sntpc_net_tokio::UdpSocketWrapper;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::domain::Timestamp;

/// How often the servers are asked.
const POLL_EVERY: Duration = Duration::from_secs(600);
/// How soon after a round without an answer. A server is asked at most once a minute (RFC 4330, section 10).
const RETRY_AFTER: Duration = Duration::from_secs(64);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A correction above this is not believed on one server's word.
const PLAUSIBLE: Duration = Duration::from_secs(2);
/// How near two servers' answers must be to confirm each other.
const AGREEMENT: Duration = Duration::from_secs(1);
/// A disciplined clock that is ahead by up to this is slowed down until it is right; by more, it is set back.
const SLEWED: Duration = Duration::from_secs(60);

/// The time: a cheap clone.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    started: Instant,
    /// `None` until a server has been believed.
    line: RwLock<Option<Line>>,
}

/// The clock as a function of the time since the start, all in microseconds since the Unix epoch or the start.
#[derive(Clone, Copy)]
struct Line {
    /// What to add to the time since the start.
    offset: i64,
    /// While the clock is ahead it runs at half speed from here: the time since the start, and what the clock said then.
    slew_from: Option<(i64, i64)>,
}

impl Line {
    fn at(&self, elapsed: i64) -> i64 {
        let right = elapsed + self.offset;
        // Half speed loses against the right time, so the larger of the two is the way back to it, without a step.
        self.slew_from.map_or(right, |(since, then)| right.max(then + (elapsed - since) / 2))
    }
}

impl Clock {
    /// A clock that says what the local one says, until a server is believed.
    pub fn from_local() -> Self {
        Self(Arc::new(Inner { started: Instant::now(), line: RwLock::new(None) }))
    }

    /// The time now. Once a server has been believed it is never earlier than what was said before, but for a clock that
    /// was found to be wrong by more than a minute.
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

    /// Moves the clock by a correction that has been believed.
    fn correct(&self, correction: i64) {
        let elapsed = self.elapsed();
        let mut line = self.0.line.write().unwrap_or_else(PoisonError::into_inner);
        let said = line.map_or_else(local, |line| line.at(elapsed));
        let slew = line.is_some() && correction < 0 && -correction <= micros(SLEWED);
        *line = Some(Line { offset: said + correction - elapsed, slew_from: slew.then_some((elapsed, said)) });
    }

    /// Asks the servers for ever, first at once and then every ten minutes.
    pub async fn follow(self, servers: Vec<String>) {
        if servers.is_empty() {
            tracing::warn!("no NTP server is set: the local clock is trusted");
            return;
        }
        tracing::warn!(servers = servers.join(","), "the local clock is trusted until an NTP server has answered");
        let (mut first, mut doubted) = (0, Vec::new());
        loop {
            let believed = self.ask_round(&servers, first, &mut doubted).await;
            // Another one begins next time, so that none is asked more than its share.
            first = (first + 1) % servers.len();
            sleep(if believed { POLL_EVERY } else { RETRY_AFTER }).await;
        }
    }

    /// Asks one server after the other until an answer can be believed. `doubted` are corrections that were not.
    async fn ask_round(&self, servers: &[String], first: usize, doubted: &mut Vec<i64>) -> bool {
        if servers.len() > 1 {
            // Only another server confirms, and it is asked in the same round. One that stands alone has nobody but
            // itself: it is believed when it says the same again a minute later, as after a machine slept.
            doubted.clear();
        }
        for server in servers.iter().cycle().skip(first).take(servers.len()) {
            match self.ask(server).await {
                Ok(correction) => {
                    let seconds = correction as f64 / 1e6;
                    let first_word_of_the_only_one = servers.len() == 1 && self.line().is_none();
                    if first_word_of_the_only_one || is_believed(doubted, correction) {
                        if is_plausible(correction) {
                            tracing::debug!(server, seconds, "the clock is corrected");
                        } else {
                            tracing::warn!(server, seconds, "the clock was wrong and is set");
                        }
                        doubted.clear();
                        self.correct(correction);
                        return true;
                    }
                    tracing::warn!(server, seconds, "this NTP server's time is too far off to be believed alone");
                    doubted.push(correction);
                }
                Err(why) => tracing::info!(server, why, "this NTP server gave no time"),
            }
        }
        doubted.truncate(servers.len());
        false
    }

    /// One SNTP exchange (RFC 4330): by how many microseconds this clock must be moved.
    async fn ask(&self, server: &str) -> Result<i64, String> {
        let exchange = async {
            let address = resolve(server).await?;
            let local: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
            // A fresh port for each question and a connected socket: an answer from elsewhere does not even arrive.
            let socket = UdpSocket::bind(local).await.map_err(|error| error.to_string())?;
            socket.connect(address).await.map_err(|error| error.to_string())?;
            let context = NtpContext::new(Reading { clock: self, micros: 0 });
            let answer = sntpc::get_time(address, &UdpSocketWrapper::new(socket), context).await;
            answer.map(|answer| answer.offset()).map_err(|error| format!("{error:?}"))
        };
        timeout(ANSWER_WITHIN, exchange).await.map_err(|_| "it did not answer in time".to_owned())?
    }
}

/// What the machine's own clock says.
fn local() -> i64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn is_plausible(correction: i64) -> bool {
    correction.unsigned_abs() <= PLAUSIBLE.as_micros() as u64
}

/// Whether an answer counts: a small correction does, a large one only where another answer said the same.
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

/// The clock as sntpc reads it: the answer's offset is then one to this clock, not to the local one.
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
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn a_large_correction_needs_another_answer_that_says_the_same() {
        assert!(is_believed(&[], 1_000_000));
        assert!(!is_believed(&[], HOUR));
        assert!(!is_believed(&[-HOUR], HOUR));
        assert!(is_believed(&[-HOUR, HOUR - 500_000], HOUR));
    }

    #[test]
    fn a_disciplined_clock_that_is_ahead_slows_down_and_never_goes_back() {
        let line = Line { offset: 1000 - 100, slew_from: Some((50, 1050)) };
        let said: Vec<_> = (50..400).map(|elapsed| line.at(elapsed)).collect();
        assert!(said.is_sorted());
        assert_eq!(said[0], 1050);
        assert_eq!(line.at(399), 399 + 900, "it meets the right time again");
    }

    #[test]
    fn the_first_answer_sets_the_clock_either_way_and_later_small_ones_do_not_step_back() {
        let clock = Clock::from_local();
        let before = clock.micros_now();
        clock.correct(-HOUR);
        assert!(clock.micros_now() < before - HOUR + 1_000_000);
        let before = clock.micros_now();
        clock.correct(-10_000_000);
        assert!(clock.micros_now() >= before);
        clock.correct(HOUR);
        assert!(clock.micros_now() >= before + HOUR - 10_000_000);
    }
}
