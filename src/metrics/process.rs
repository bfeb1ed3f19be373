//! The process, as Linux tells it in `/proc` (proc(5)). What cannot be read is left out.

use std::fs;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What the operating system says of the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// How many seconds of processors it has used, its own and the system's for it.
    pub cpu_seconds: Option<f64>,
    /// How many bytes of memory it has.
    pub resident_bytes: Option<u64>,
    /// How many bytes of addresses it has.
    pub virtual_bytes: Option<u64>,
    /// How many threads it has.
    pub threads: Option<u64>,
    /// When it started, in seconds since the Unix epoch.
    pub started_at: Option<f64>,
    /// How many files and sockets it has open.
    pub open_descriptors: Option<u64>,
    /// How many of these it may have.
    pub max_descriptors: Option<u64>,
}

impl Process {
    /// Reads it, of this process.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            open_descriptors: open_descriptors(),
            max_descriptors: getrlimit(Resource::Nofile).current,
            ..Self::parse(&stat, booted())
        }
    }

    /// What the file `/proc/self/stat` says, of a system that was booted so many seconds after the Unix epoch.
    fn parse(stat: &str, booted: f64) -> Self {
        // The second field is the name of the program, which may have blanks and brackets.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_whitespace().collect();
        // As proc(5) numbers them.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, kernel)| seconds(user + kernel)),
            threads: field(20),
            started_at: field(22).map(|ticks| booted + seconds(ticks)),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page_size() as u64),
            ..Self::default()
        }
    }
}

/// When the system was booted, in seconds since the Unix epoch. It is looked up once: the time of a start must not change when the clock is
/// set. `/proc/stat`, which says it too, cannot be read with systemd's `ProcSubset=pid`.
fn booted() -> f64 {
    static BOOTED: OnceLock<f64> = OnceLock::new();
    *BOOTED.get_or_init(|| {
        let since_boot = clock_gettime(ClockId::Boottime);
        let since_boot = since_boot.tv_sec as f64 + since_boot.tv_nsec as f64 / 1e9;
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() - since_boot
    })
}

/// Since Linux 6.2 the directory itself says how many there are. Before, each is looked at.
fn open_descriptors() -> Option<u64> {
    let directory = "/proc/self/fd";
    match fs::metadata(directory).ok()?.len() {
        0 => Some(fs::read_dir(directory).ok()?.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name_of_a_program() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 12 0 1000 4096000 25 18446744073709551615";
        let read = Process::parse(stat, 1_700_000_000.0);
        assert_eq!((read.threads, read.virtual_bytes), (Some(12), Some(4_096_000)));
        assert_eq!(read.cpu_seconds, Some(300.0 / clock_ticks_per_second() as f64));
        assert_eq!(read.resident_bytes, Some(25 * page_size() as u64));
        assert_eq!(read.started_at, Some(1_700_000_000.0 + 1000.0 / clock_ticks_per_second() as f64));
        assert_eq!(Process::parse("", 0.0), Process::default());
    }

    #[test]
    fn this_process_has_all_of_them() {
        let Process { cpu_seconds, resident_bytes, virtual_bytes, threads, started_at, open_descriptors, .. } =
            Process::read();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(cpu_seconds.is_some() && started_at.is_some_and(|at| now - 3600.0 < at && at <= now + 0.1));
        assert_eq!(started_at, Process::read().started_at, "it does not move");
        assert!(resident_bytes.zip(virtual_bytes).is_some_and(|(resident, all)| 0 < resident && resident < all));
        assert!(threads.is_some_and(|threads| threads > 0) && open_descriptors.is_some_and(|open| open > 2));
    }
}
