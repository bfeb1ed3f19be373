//! `broker backup`, `broker restore` and `broker verify`.

use std::fs::{self, File};
use std::io::{self, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::caller::Caller;
use super::failure::Failure;
use crate::domain::{EventId, Position, Timestamp};
use crate::store::{BackupProblem, BackupSet, Restored, Until, restore, unpack, verify};

/// `broker backup`.
#[derive(Args)]
pub struct Backup {
    /// Directory to create with the backup, or - to write it to standard output as one stream (tar).
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    caller: Caller,
}

/// Which backup, and up to where.
#[derive(Args, Clone)]
pub struct Source {
    /// The backup: its directory, an archive, a file with a stream of `broker backup --to -`, or - for standard input.
    from: PathBuf,
    /// Up to the commit before the next event after this one: all 22 digits of its id, or the first 16, its position [default:
    /// everything].
    #[arg(long, value_parser = position, conflicts_with = "time")]
    position: Option<Until>,
    /// Up to this moment: as in 2026-11-28T09:30:00Z, or in seconds since the Unix epoch.
    #[arg(long, value_parser = moment)]
    time: Option<Timestamp>,
}

/// `broker restore`.
#[derive(Args)]
pub struct Restore {
    #[command(flatten)]
    source: Source,
    /// Directory of the new database, which must not exist.
    #[arg(long, env = "BROKER_DB")]
    db: PathBuf,
}

/// `broker verify`.
#[derive(Args)]
pub struct Verify {
    #[command(flatten)]
    source: Source,
    /// Directory for the restored database, which is removed afterwards [default: that of temporary files].
    #[arg(long)]
    scratch: Option<PathBuf>,
}

impl Backup {
    pub fn run(self) -> Result<(), Failure> {
        let is_stream = self.to.as_os_str() == "-";
        if !is_stream && self.to.exists() {
            return Err(problem(&BackupProblem::Exists(self.to)));
        }
        let answer = self.caller.post_as_admin("/backup", serde_json::Map::new())?;
        let mut stream = answer.into_body().into_with_config().limit(u64::MAX).reader();
        if is_stream {
            return pass_on(&mut stream, &mut stdout().lock());
        }
        let manifest = unpack(&mut stream, &self.to).map_err(|why| problem(&why))?;
        say(&format!(
            "{}: everything up to position {:016} (commit {})",
            self.to.display(),
            manifest.end.position,
            manifest.end.commit
        ))
    }
}

/// From here on, a number of seconds is more likely one of milliseconds.
const MILLIS: u64 = 100_000_000_000;
/// How a stream of tar ends: two blocks of zeros.
const TAR_END: usize = 1024;

/// Passes a stream on, and looks whether it is whole.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> Result<(), Failure> {
    let cut_off = |error: io::Error| Failure::Failed(format!("the backup is cut off: {error}"));
    let (mut piece, mut end) = (vec![0; 128 << 10], Vec::new());
    loop {
        let read = from.read(&mut piece).map_err(cut_off)?;
        if read == 0 {
            break;
        }
        to.write_all(&piece[..read]).map_err(|error| Failure::Failed(format!("standard output: {error}")))?;
        end.extend_from_slice(&piece[read.saturating_sub(TAR_END)..read]);
        end.drain(..end.len().saturating_sub(TAR_END));
    }
    to.flush().map_err(|error| Failure::Failed(format!("standard output: {error}")))?;
    if end.len() == TAR_END && end.iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(Failure::Failed("the backup is cut off: the server's log says why".to_owned()))
    }
}

impl Source {
    fn until(&self) -> Until {
        self.position.or(self.time.map(Until::Time)).unwrap_or(Until::Newest)
    }

    /// The set, which a stream is unpacked for into a directory that is removed with what is returned.
    fn open(&self, scratch: &Path) -> Result<(BackupSet, Option<Unpacked>), BackupProblem> {
        let is_input = self.from.as_os_str() == "-";
        // Whatever else there may be, as a pipe of a shell, is a stream.
        if !is_input && (self.from.is_dir() || !self.from.exists()) {
            return Ok((BackupSet::find(&self.from, self.until())?, None));
        }
        let unpacked =
            Unpacked(scratch.join(format!("broker-backup-{:016x}", u64::from_be_bytes(crate::random::bytes()))));
        if is_input {
            unpack(&mut stdin().lock(), &unpacked.0)?;
        } else {
            let mut file = File::open(&self.from).map_err(BackupProblem::of_file(&self.from))?;
            unpack(&mut file, &unpacked.0)?;
        }
        Ok((BackupSet::open(&unpacked.0)?, Some(unpacked)))
    }
}

/// A directory that is removed.
struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Restore {
    pub fn run(self) -> Result<(), Failure> {
        let beside = self.db.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let restored = self.source.open(beside).and_then(|(set, unpacked)| {
            let restored = restore(&set, &self.db, self.source.until(), now())?;
            Ok((restored, if unpacked.is_some() { self.source.from.clone() } else { set.path().to_owned() }))
        });
        let (restored, set) = restored.map_err(|why| problem(&why))?;
        say(&format!("{}: {}, from {}", self.db.display(), told(restored), set.display()))?;
        say("all sign-ins have ended, and codes and invites are void; set a new jwt_secret if the old one may be known")
    }
}

impl Verify {
    pub fn run(self) -> Result<(), Failure> {
        let scratch = tempfile_directory(self.scratch).map_err(|why| problem(&why))?;
        let Source { from, .. } = &self.source;
        let is_whole_archive = from.is_dir() && self.source.until() == Until::Newest;
        let all =
            if is_whole_archive { BackupSet::all(from).map_err(|why| problem(&why))? } else { vec![from.clone()] };
        let mut wrong = Vec::new();
        for from in &all {
            let source = Source { from: from.clone(), ..self.source.clone() };
            let verified = source.open(&scratch.0).and_then(|(set, unpacked)| {
                let restored = verify(&set, &scratch.0, source.until(), now())?;
                // What was unpacked has a name that nobody gave it.
                let name = if unpacked.is_some() { from.clone() } else { set.path().to_owned() };
                Ok((restored, set.manifest.end.position, name))
            });
            let (restored, first, set) = match verified {
                Ok(verified) => verified,
                // The archive has removed it meanwhile.
                Err(_) if all.len() > 1 && !from.exists() => continue,
                Err(why) => {
                    wrong.push(why.to_string());
                    continue;
                }
            };
            let whole = format!("{}: whole, {}", set.display(), told(restored));
            say(&format!("{whole}; it can be restored from position {first:016} on"))?;
        }
        if wrong.is_empty() { Ok(()) } else { Err(Failure::Failed(wrong.join("\nerror: "))) }
    }
}

/// A directory of our own, which is removed.
fn tempfile_directory(within: Option<PathBuf>) -> Result<Unpacked, BackupProblem> {
    let within = within.unwrap_or_else(std::env::temp_dir);
    // Its name is random: in a container, each process may have the same number.
    let path = within.join(format!("broker-verify-{:016x}", u64::from_be_bytes(crate::random::bytes())));
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&path).map_err(BackupProblem::of_file(&path))?;
    Ok(Unpacked(path))
}

fn told(restored: Restored) -> String {
    let Restored { commit, position, made_at, is_end, users } = restored;
    let made_at = made_at.and_then(Timestamp::to_rfc_3339).map(|at| format!(", made at {at}")).unwrap_or_default();
    let end = if is_end { ", the last one in it" } else { "" };
    format!("position {:016} (commit {commit}{made_at}{end}), {users} users", position.get())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn position(text: &str) -> Result<Until, String> {
    let id = EventId::parse(text).map(Until::Event);
    let short = || (text.len() <= 16).then(|| text.parse().ok().map(Position::new)).flatten().map(Until::Position);
    id.or_else(short).ok_or_else(|| "a position is the first 16 digits of an event's id".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let moment = match text.parse() {
        // Nobody means a year so far away, and everything would be restored.
        Ok(MILLIS..) => return Err("a number is in seconds, and not in milliseconds".to_owned()),
        Ok(seconds) => Some(Timestamp::from_secs(seconds)),
        Err(_) => Timestamp::of_rfc_3339(text),
    };
    moment.ok_or_else(|| "a moment is like 2026-11-28T09:30:00Z".to_owned())
}

fn problem(why: &BackupProblem) -> Failure {
    Failure::Failed(why.to_string())
}

fn say(what: &str) -> Result<(), Failure> {
    writeln!(stdout(), "{what}").map_err(|error| Failure::Failed(format!("standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_date_or_as_seconds_and_nothing_else_is() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2025-11-28T09:30:00Z", 1_764_322_200),
            ("2025-11-28T10:30:00+01:00", 1_764_322_200),
            ("1764322200", 1_764_322_200),
        ] {
            assert_eq!(moment(text), Ok(Timestamp::from_secs(seconds)), "{text}");
        }
        for wrong in
            ["", "2026-11-28", "2026-11-28T09:30:00", "2026-13-28T09:30:00Z", "1969-12-31T23:59:59Z", "yesterday"]
        {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        assert!(moment("1764322200000").is_err_and(|why| why.contains("not in milliseconds")));
    }

    #[test]
    fn a_position_is_read_alone_or_from_an_id() {
        let id = "0000000000000005000042";
        assert_eq!(position(id), Ok(Until::Event(EventId::parse(id).unwrap())));
        assert_eq!(position("0000000000000005"), Ok(Until::Position(Position::new(5))));
        assert_eq!(position("5"), Ok(Until::Position(Position::new(5))));
        assert!(position("00000000000000050000").is_err() && position("x").is_err());
    }
}
