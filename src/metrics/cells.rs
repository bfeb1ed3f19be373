//! The numbers that are counted. None of them orders anything: a reader may see one a moment before another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts so many.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many were counted since the start.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one away.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A time of the day, to the millisecond, or none yet.
#[derive(Debug, Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// Sets it to the time of the local clock.
    pub fn set_now(&self) {
        self.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    }

    /// Sets it to a time since the Unix epoch.
    pub fn set(&self, since_epoch: Duration) {
        self.0.store(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The time in seconds since the Unix epoch; `None` if it was never set.
    pub fn get(&self) -> Option<f64> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis != 0).then(|| millis as f64 / 1000.0)
    }
}

/// How often values came that are at most as large as each of some bounds.
#[derive(Debug)]
pub struct Histogram {
    /// In whole units, the smallest first.
    bounds: &'static [u64],
    /// How many units are one in what is told.
    scale: f64,
    /// One for each bound, and one for what is larger than all of them.
    counts: Box<[Counter]>,
    sum: Counter,
}

/// What a histogram has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// The sum of all values.
    pub sum: f64,
    /// How many values there were.
    pub count: u64,
    /// Each bound, and how many values are at most as large, but larger than the bound before. The last bound is [`f64::INFINITY`].
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Of durations. The bounds are in microseconds.
    pub fn of_durations(micros: &'static [u64]) -> Self {
        Self::with_scale(micros, 1e6)
    }

    /// Of numbers.
    pub fn of_numbers(bounds: &'static [u64]) -> Self {
        Self::with_scale(bounds, 1.0)
    }

    fn with_scale(bounds: &'static [u64], scale: f64) -> Self {
        let counts = std::iter::repeat_with(Counter::default).take(bounds.len() + 1).collect();
        Self { bounds, scale, counts, sum: Counter::default() }
    }

    /// Counts a number.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.increment();
        }
        self.sum.add(value);
    }

    /// Counts a duration.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// What was counted since the start.
    pub fn counted(&self) -> Counted {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / self.scale).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.counts.iter().map(Counter::get)).collect();
        // From the same numbers, so that the last bucket is never less than the count.
        let count = buckets.iter().map(|(_, count)| count).sum();
        Counted { sum: self.sum.get() as f64 / self.scale, count, buckets }
    }
}

impl Counted {
    /// Adds what another histogram with the same bounds has counted.
    pub fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        self.count += other.count;
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
    }
}

/// A cell for each label of a fixed list.
#[derive(Debug)]
pub struct Labelled<T> {
    labels: &'static [&'static str],
    cells: Box<[T]>,
}

impl<T: Default> Labelled<T> {
    /// One for each of these.
    pub fn of(labels: &'static [&'static str]) -> Self {
        Self { labels, cells: std::iter::repeat_with(T::default).take(labels.len()).collect() }
    }

    /// The cell of the label at a place of the list; `None` beyond its end.
    pub fn at(&self, place: usize) -> Option<&T> {
        self.cells.get(place)
    }

    /// Each label with its cell.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        self.labels.iter().copied().zip(&self.cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::of_durations(&[1000, 2000]);
        for micros in [0, 1000, 1001, 2000, 2001, 5_000_000] {
            histogram.observe_duration(Duration::from_micros(micros));
        }
        let mut counted = histogram.counted();
        let buckets = vec![(0.001, 2), (0.002, 2), (f64::INFINITY, 2)];
        assert_eq!(counted, Counted { sum: 5.006_002, count: 6, buckets });
        counted.add(&histogram.counted());
        assert_eq!((counted.count, counted.buckets[0].1), (12, 4));
    }

    #[test]
    fn a_moment_is_none_until_it_is_set() {
        let moment = Moment::default();
        assert_eq!(moment.get(), None);
        moment.set(Duration::from_millis(1500));
        assert_eq!(moment.get(), Some(1.5));
    }
}
