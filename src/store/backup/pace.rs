//! The pace of a backup: it takes its time, so that others find the processor and the disk free.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

/// How much a backup reads or writes in a second, in bytes. Each byte is read and then written, so that a backup takes twice as long.
const BYTES_A_SECOND: u32 = 32 << 20;
/// Shorter pauses than this are made up into one.
const LEAST_PAUSE: Duration = Duration::from_millis(2);

/// Keeps to the pace.
pub struct Pace {
    /// When the next byte is due.
    due: Instant,
}

impl Pace {
    pub fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// Pauses for as long as so many bytes take. What took longer by itself is not made up for.
    pub fn spend(&mut self, bytes: usize) {
        self.due += Duration::from_secs(1) / BYTES_A_SECOND * u32::try_from(bytes).unwrap_or(u32::MAX);
        let now = Instant::now();
        match self.due.checked_duration_since(now) {
            None => self.due = now,
            Some(early) if early >= LEAST_PAUSE => thread::sleep(early),
            Some(_) => {}
        }
    }

    /// Reads at this pace.
    pub fn reading<'a>(&'a mut self, inner: &'a mut dyn Read) -> impl Read + 'a {
        Paced { inner, pace: self }
    }
}

struct Paced<'a> {
    inner: &'a mut dyn Read,
    pace: &'a mut Pace,
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.pace.spend(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_comes_no_faster_than_the_pace() {
        let (begun, bytes) = (Instant::now(), vec![0; 4 << 20]);
        let read = io::copy(&mut Pace::new().reading(&mut bytes.as_slice()), &mut io::sink()).unwrap();
        // The last pause may be too short to be made.
        let least = Duration::from_secs(1) / (BYTES_A_SECOND >> 22) - LEAST_PAUSE;
        assert!(read == 4 << 20 && begun.elapsed() >= least, "{:?}", begun.elapsed());
    }
}
