//! Where a run takes place: options, a directory on a real disk, and the table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;
use crate::options::Options;
use crate::table::Table;
use crate::targets::Target;

/// The core of the server, where a scenario pins.
pub const SERVER_CORE: usize = 0;
/// The core of the clients, where a scenario pins.
pub const CLIENT_CORE: usize = 1;

/// What every scenario is given.
pub struct Lab {
    /// What was asked for.
    pub options: Options,
    /// The binary under test.
    pub broker: PathBuf,
    /// The other servers that are measured beside it.
    pub peers: Vec<Box<dyn Target>>,
    /// What comes out.
    pub table: Table,
    scratch: TempDir,
}

impl Lab {
    /// Looks at the machine.
    pub fn new(options: Options) -> Result<Self> {
        let broker = options.broker.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_broker").into());
        if !broker.is_file() {
            return Err(format!("there is no binary {}", broker.display()));
        }
        // Not the system's directory for temporary files: where that is in memory, a flush costs nothing.
        let scratch = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
        Ok(Self { options, broker, peers: Vec::new(), table: Table::default(), scratch })
    }

    /// A directory of this run that is gone after it.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A new directory in it.
    pub fn directory(&self) -> Result<TempDir> {
        TempDir::new_in(self.scratch()).map_err(|error| error.to_string())
    }

    /// How many rounds a comparison takes.
    pub fn rounds(&self) -> usize {
        if self.options.quick { 3 } else { 7 }
    }

    /// How long something is to be done: so long, or a quarter of it where only a glance is wanted.
    pub fn time(&self, whole: Duration) -> Duration {
        if self.options.quick { whole / 4 } else { whole }
    }

    /// How often something is to be done.
    pub fn times(&self, whole: usize) -> usize {
        if self.options.quick { whole.div_ceil(4) } else { whole }
    }
}
