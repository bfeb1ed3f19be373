//! What this disk can do, without which no figure of a durable insert says anything.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;

/// How much is appended before each flush: about an event.
const APPENDED: [u8; 256] = [b'x'; 256];

/// A file that is appended to and flushed.
pub struct Log(File);

impl Log {
    /// A new one in a directory.
    pub fn new(directory: &Path) -> Result<Self> {
        File::create(directory.join("flushed")).map(Self).map_err(|error| error.to_string())
    }

    /// Appends, flushes, and tells how long both together took.
    pub fn flush(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.0.write_all(&APPENDED).map_err(|error| error.to_string())?;
        self.0.sync_data().map_err(|error| error.to_string())?;
        Ok(begun.elapsed())
    }

    /// How many flushes there are in a second, one after another.
    pub fn rate(&mut self, during: Duration) -> Result<f64> {
        let (begun, mut flushes) = (Instant::now(), 0_u32);
        while begun.elapsed() < during {
            self.flush()?;
            flushes += 1;
        }
        Ok(f64::from(flushes) / begun.elapsed().as_secs_f64())
    }
}
