//! What a process uses: CPU and memory, read from the kernel.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CpuSet;

use crate::Result;

/// A running process that is watched.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// How long it has been on a core so far, all its threads together, in nanoseconds.
    pub fn cpu(self) -> Result<CpuTime> {
        let path = format!("/proc/{}/task", self.0);
        let mut threads = Vec::new();
        for thread in fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))? {
            let thread = thread.map_err(|error| format!("{path}: {error}"))?;
            // A thread may end while the list is read.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
            let id = thread.file_name().to_string_lossy().parse().unwrap_or(0);
            threads.push((id, nanos.ok_or_else(|| format!("cannot read {text:?}"))?));
        }
        threads.sort_unstable();
        Ok(CpuTime { threads, ticks: self.ticks()? })
    }

    /// The same, counted by the kernel in hundredths of a second, threads that have ended included.
    fn ticks(self) -> Result<u64> {
        let path = format!("/proc/{}/stat", self.0);
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        // The second field is a name in parentheses, which may hold anything; utime and stime are the 14th and 15th.
        let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        field(11).zip(field(12)).map(|(user, system)| user + system).ok_or_else(|| format!("cannot read {path}"))
    }

    /// How much memory of its own it has resident, in bytes.
    pub fn resident(self) -> Result<u64> {
        // Exact, unlike `VmRSS`, which each thread tells the kernel only from time to time.
        let path = format!("/proc/{}/smaps_rollup", self.0);
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("no Rss in {path}"))
    }
}

/// See [`Process::cpu`].
pub struct CpuTime {
    threads: Vec<(u32, u64)>,
    ticks: u64,
}

impl CpuTime {
    /// Nanoseconds between an earlier moment and this one.
    pub fn since(&self, earlier: &Self) -> u64 {
        let alive = |id: u32| self.threads.binary_search_by_key(&id, |thread| thread.0).is_ok();
        if earlier.threads.iter().all(|thread| alive(thread.0)) {
            let sum = |time: &Self| time.threads.iter().map(|thread| thread.1).sum::<u64>();
            sum(self) - sum(earlier)
        } else {
            // What a thread had used is gone with it; only the coarse counter still knows.
            (self.ticks - earlier.ticks) * 10_000_000
        }
    }
}

/// Keeps the calling thread, and those it starts, on one core.
pub fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| format!("cannot pin to core {core}: {error}"))
}

/// Lets this process, and those it starts, open as many descriptors as the system allows: how many that is.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the limit stays what it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
