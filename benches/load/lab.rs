//! The environment of a run: its options, a directory on a real disk, and the table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;
use crate::options::Options;
use crate::table::Table;
use crate::targets::Target;

/// The core of the server, if a scenario pins.
pub const SERVER_CORE: usize = 0;
/// The core of the clients, if a scenario pins.
pub const CLIENT_CORE: usize = 1;

/// The environment that every scenario receives.
pub struct Lab {
    /// The options of the command line.
    pub options: Options,
    /// The binary under test.
    pub broker: PathBuf,
    /// The other servers to compare SSE and inserts with.
    pub peers: Vec<Box<dyn Target>>,
    /// The other servers to compare WebSocket with.
    pub websocket_peers: Vec<Box<dyn Target>>,
    /// The other servers to compare MQTT with.
    pub mqtt_peers: Vec<Box<dyn Target>>,
    /// The other servers to compare long polling with.
    pub polling_peers: Vec<Box<dyn Target>>,
    /// The results.
    pub table: Table,
    scratch: TempDir,
}

impl Lab {
    /// Prepares the environment and finds the installed peers.
    pub fn new(options: Options) -> Result<Self> {
        let broker = options.broker.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_broker").into());
        if !broker.is_file() {
            return Err(format!("there is no binary {}", broker.display()));
        }
        // The system's directory for temporary files may be in memory, where a flush costs nothing.
        let scratch = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
        Ok(Self {
            options,
            broker,
            peers: Vec::new(),
            websocket_peers: Vec::new(),
            mqtt_peers: Vec::new(),
            polling_peers: Vec::new(),
            table: Table::default(),
            scratch,
        })
    }

    /// A directory that exists for this run only.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Creates a directory for temporary files.
    pub fn directory(&self) -> Result<TempDir> {
        TempDir::new_in(self.scratch()).map_err(|error| error.to_string())
    }

    /// The number of rounds of a comparison.
    pub fn rounds(&self) -> usize {
        if self.options.quick { 3 } else { 7 }
    }

    /// The duration to use: the whole, or a quarter of it in a quick run.
    pub fn time(&self, whole: Duration) -> Duration {
        if self.options.quick { whole / 4 } else { whole }
    }

    /// The number of repetitions to use: the whole, or fewer in a quick run.
    pub fn times(&self, whole: usize) -> usize {
        if self.options.quick { whole.div_ceil(4) } else { whole }
    }
}
