//! CPU and memory use of a process, read from the kernel.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::CpuSet;

use crate::Result;

/// A running process under measurement.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// The use of the process and its workers until now, all threads together.
    fn so_far(self) -> Result<SoFar> {
        let (mut threads, mut ticks) = (Vec::new(), 0);
        for process in std::iter::once(self).chain(self.workers()?) {
            process.add_threads(&mut threads)?;
            ticks += process.ticks()?;
        }
        threads.sort_unstable_by_key(|thread| thread.0);
        Ok(SoFar { threads, ticks })
    }

    fn add_threads(self, threads: &mut Vec<(u32, Usage)>) -> Result<()> {
        let path = format!("/proc/{}/task", self.0);
        for thread in fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))? {
            let thread = thread.map_err(|error| format!("{path}: {error}"))?;
            // A thread may end while the list is read.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let mut fields = text.split(' ').map_while(|field| field.parse().ok());
            let (Some(cpu), Some(waited)) = (fields.next(), fields.next()) else {
                return Err(format!("cannot read {text:?}"));
            };
            let id = thread.file_name().to_string_lossy().parse().unwrap_or(0);
            threads.push((id, Usage { cpu, waited }));
        }
        Ok(())
    }

    /// Its child processes: nginx works in them.
    pub fn workers(self) -> Result<Vec<Self>> {
        // Not every kernel lists the children of a process, but each process knows its parent.
        let all = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
        let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Self));
        // A process that has ended meanwhile does not count.
        let is_ours = |process: &Self| process.stat(1).is_ok_and(|parent| parent == u64::from(self.0));
        Ok(all.filter(is_ours).collect())
    }

    /// Sends it a signal.
    pub fn signal(self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.0).ok().and_then(Pid::from_raw).ok_or("no process has this id")?;
        kill_process(id, signal).map_err(|error| error.to_string())
    }

    /// Its CPU time so far, which the kernel counts in hundredths of a second and which includes threads that have
    /// ended.
    fn ticks(self) -> Result<u64> {
        // User time and kernel time.
        Ok(self.stat(11)? + self.stat(12)?)
    }

    /// A field of `/proc/<pid>/stat`, counted from the one after the name. The name is the second field, in
    /// parentheses, and may contain anything.
    fn stat(self, at: usize) -> Result<u64> {
        let path = format!("/proc/{}/stat", self.0);
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let field = text.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(at));
        field.and_then(|field| field.parse().ok()).ok_or_else(|| format!("cannot read {path}"))
    }

    /// Its resident memory in bytes.
    pub fn resident(self) -> Result<u64> {
        // This is exact, unlike `VmRSS`, which each thread updates only from time to time.
        let path = format!("/proc/{}/smaps_rollup", self.0);
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("no Rss in {path}"))
    }
}

/// The use of a process between two moments, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// Time on a core.
    pub cpu: u64,
    /// Time in which it was ready to run while others had the core.
    pub waited: u64,
}

/// See [`Process::so_far`].
struct SoFar {
    threads: Vec<(u32, Usage)>,
    ticks: u64,
}

impl SoFar {
    fn since(&self, earlier: &Self) -> Usage {
        let sum = |time: &Self, of: fn(&Usage) -> u64| time.threads.iter().map(|thread| of(&thread.1)).sum::<u64>();
        let between = |of| sum(self, of).saturating_sub(sum(earlier, of));
        let (cpu, waited) = (between(|usage| usage.cpu), between(|usage| usage.waited));
        let is_alive = |id: u32| self.threads.binary_search_by_key(&id, |thread| thread.0).is_ok();
        if earlier.threads.iter().all(|thread| is_alive(thread.0)) {
            Usage { cpu, waited }
        } else {
            // The precise counter of a thread ends with the thread. Only the coarse counter still includes it.
            Usage { cpu: self.ticks.saturating_sub(earlier.ticks) * 10_000_000, waited }
        }
    }
}

/// Runs a function and returns its result with the use of a process meanwhile.
pub fn watched<T>(process: Process, run: impl FnOnce() -> Result<T>) -> Result<(T, Usage)> {
    let before = process.so_far()?;
    let outcome = run()?;
    Ok((outcome, process.so_far()?.since(&before)))
}

/// Waits until a process is almost idle, so that work after its start is not counted as work for requests.
pub fn until_idle(process: Process) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(500);
    let started = Instant::now();
    loop {
        let pause = || {
            std::thread::sleep(LOOK);
            Ok(())
        };
        let ((), usage) = watched(process, pause)?;
        // Less than a hundredth of the time.
        if u128::from(usage.cpu) < LOOK.as_nanos() / 100 {
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(60) {
            return Err("a server without requests does not become idle".to_owned());
        }
    }
}

/// Pins the calling thread, and the threads that it starts, to one core.
pub fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| format!("cannot pin to core {core}: {error}"))
}

/// Raises the limit of open descriptors, for this process and those that it starts, as far as the system allows.
/// Returns the limit.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // If the system refuses, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
