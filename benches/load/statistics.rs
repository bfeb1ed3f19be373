//! Medians, quantiles and their text form.

use serde::{Deserialize, Serialize};

/// The results of the rounds of one measurement.
pub struct Rounds {
    sorted: Vec<f64>,
}

impl Rounds {
    /// # Panics
    /// If there was no round.
    pub fn new(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a measurement has at least one round");
        values.sort_by(f64::total_cmp);
        Self { sorted: values }
    }

    /// The median.
    pub fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        if self.sorted.len() % 2 == 1 {
            self.sorted[middle]
        } else {
            f64::midpoint(self.sorted[middle - 1], self.sorted[middle])
        }
    }

    /// The median and the spread, written with the same function.
    pub fn show(&self, write: impl Fn(f64) -> String) -> String {
        let (least, most) = (self.sorted[0], self.sorted[self.sorted.len() - 1]);
        format!("{} ({} to {})", write(self.median()), write(least), write(most))
    }
}

/// Quantiles of many times, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// The number of times.
    pub count: usize,
    /// Half are below.
    pub p50: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// None is above.
    pub max: u64,
}

impl Quantiles {
    /// The quantiles of these times, or zeros if there are none.
    pub fn of(times: &mut [u64]) -> Self {
        if times.is_empty() {
            return Self::default();
        }
        times.sort_unstable();
        let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
        Self { count: times.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

/// Nanoseconds in a readable unit.
pub fn nanos(nanos: f64) -> String {
    match nanos {
        n if n < 10_000.0 => format!("{:.2} µs", n / 1e3),
        n if n < 1e6 => format!("{:.0} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

/// A count in a readable form.
pub fn count(count: f64) -> String {
    match count {
        n if n < 10_000.0 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.0}k", n / 1e3),
        n => format!("{:.2}M", n / 1e6),
    }
}

/// Bytes in a readable unit.
pub fn bytes(bytes: f64) -> String {
    match bytes.abs() {
        n if n < 1_048_576.0 => format!("{:.2} KiB", bytes / 1024.0),
        _ => format!("{:.1} MiB", bytes / 1_048_576.0),
    }
}

/// A count as a float for division. It is exact up to 2^53, far beyond any count here.
pub fn number(count: u64) -> f64 {
    count as f64
}
