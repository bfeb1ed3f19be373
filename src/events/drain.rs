//! Ending many streams one after the other, so that their clients do not all come back at once.

use std::time::{Duration, Instant};

use super::stream_id::Serial;

/// The streams of a worker that are to end evenly until a moment.
pub struct Drain {
    began: Instant,
    within: Duration,
    all: usize,
    left: Vec<Serial>,
}

impl Drain {
    /// These streams are to have ended within this time.
    pub fn new(streams: Vec<Serial>, began: Instant, within: Duration) -> Self {
        Self { began, within, all: streams.len(), left: streams }
    }

    /// Takes out those that are to have ended by now.
    pub fn due(&mut self, now: Instant) -> Vec<Serial> {
        let left = self.within.saturating_sub(now.saturating_duration_since(self.began));
        let part = if self.within.is_zero() { 0.0 } else { left.as_secs_f64() / self.within.as_secs_f64() };
        self.left.split_off(((self.all as f64 * part).ceil() as usize).min(self.left.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many end in each tenth of the time.
    fn ends(streams: usize, within: Duration) -> Vec<usize> {
        let mut serial = Serial::default();
        let serials = std::iter::repeat_with(|| {
            serial = serial.next();
            serial
        });
        let began = Instant::now();
        let mut drain = Drain::new(serials.take(streams).collect(), began, within);
        (1..=10).map(|tenth| drain.due(began + within / 10 * tenth).len()).collect()
    }

    #[test]
    fn streams_end_evenly_and_the_last_in_time() {
        assert_eq!(ends(1000, Duration::from_secs(20)), [100; 10]);
        assert_eq!(ends(3, Duration::from_secs(20)).iter().sum::<usize>(), 3);
        assert_eq!(ends(0, Duration::from_secs(20)), [0; 10]);
        assert_eq!(ends(5, Duration::ZERO)[0], 5);
    }
}
