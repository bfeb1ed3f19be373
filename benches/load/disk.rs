//! The speed of this disk. Without it, a figure for durable inserts says nothing.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;

/// The bytes appended before each flush: about the size of an event.
const APPENDED: [u8; 256] = [b'x'; 256];

/// A file for appending and flushing.
pub struct Log(File);

impl Log {
    /// Creates the file in a directory.
    pub fn new(directory: &Path) -> Result<Self> {
        File::create(directory.join("flushed")).map(Self).map_err(|error| error.to_string())
    }

    /// Appends and flushes. Returns the time that both took together.
    pub fn flush(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.0.write_all(&APPENDED).map_err(|error| error.to_string())?;
        self.0.sync_data().map_err(|error| error.to_string())?;
        Ok(begun.elapsed())
    }

    /// Measures sequential flushes per second.
    pub fn rate(&mut self, during: Duration) -> Result<f64> {
        let (begun, mut flushes) = (Instant::now(), 0_u32);
        while begun.elapsed() < during {
            self.flush()?;
            flushes += 1;
        }
        Ok(f64::from(flushes) / begun.elapsed().as_secs_f64())
    }
}
