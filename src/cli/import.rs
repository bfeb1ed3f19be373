//! `broker import`: users and events from a file, into a server that runs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use super::caller::{Caller, Unanswered};
use super::failure::Failure;
use super::print::say;

/// How often it is said how far the import has come.
const SAID_EVERY: Duration = Duration::from_secs(5);
/// How long is waited before another try, at first and at most.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_AT_MOST: Duration = Duration::from_secs(16);
/// How many tries in a row may bring the import no further.
const TRIES: u32 = 8;
/// How long the answer may be: the lines that were refused.
const ANSWER_BYTES: u64 = 4 << 20;

/// `broker import`: where from, and where to.
#[derive(Args)]
pub struct Import {
    #[command(flatten)]
    caller: Caller,
    /// File to read, or - for standard input.
    file: PathBuf,
    /// Name of the import, by which the server knows how far it has come [default: the name of the file].
    #[arg(long)]
    name: Option<String>,
}

/// The last line of the server's answer.
#[derive(Deserialize)]
struct Summary {
    lines: u64,
    imported: u64,
    refused: u64,
    complete: bool,
}

impl Import {
    /// Imports, and prints the lines that were refused.
    ///
    /// # Errors
    /// [`Failure::Failed`] if it broke off, or if lines were refused.
    pub fn run(self) -> Result<(), Failure> {
        let name = self.name()?;
        // This tells a wrong token, too, before gigabytes are sent.
        let (mut before, _) = self.send(&name, &mut io::empty()).map_err(|unanswered| unanswered.why)?;
        if before.lines > 0 {
            say(format_args!("{} lines were read before: going on after them", before.lines));
        }
        let (mut tries, mut wait) = (0, WAIT);
        loop {
            let why = match self.send_all(&name)? {
                Ok((summary, refused)) => return finish(&summary, &refused),
                Err(Unanswered { why, may_pass: false }) => return Err(why),
                Err(Unanswered { why, .. }) => why,
            };
            tries += 1;
            if self.is_standard_input() || tries >= TRIES {
                return Err(why);
            }
            let (Failure::Failed(text) | Failure::Misused(text)) = &why;
            say(format_args!("{text}; trying again"));
            thread::sleep(wait);
            wait = (2 * wait).min(WAIT_AT_MOST);
            if let Ok((now, _)) = self.send(&name, &mut io::empty()) {
                if now.lines > before.lines {
                    (tries, wait) = (0, WAIT);
                }
                before = now;
            }
        }
    }

    fn is_standard_input(&self) -> bool {
        self.file == Path::new("-")
    }

    fn name(&self) -> Result<String, Failure> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let name = self.file.file_name().and_then(|name| name.to_str());
        let name = name.filter(|name| !self.is_standard_input() && name.bytes().all(|byte| byte.is_ascii_graphic()));
        name.map(str::to_owned)
            .ok_or_else(|| Failure::Misused("give the import a name of visible characters of ASCII: --name".to_owned()))
    }

    /// Sends everything. The file is read from its beginning: the server knows how much of it it has.
    fn send_all(&self, name: &str) -> Result<Result<(Summary, String), Unanswered>, Failure> {
        if self.is_standard_input() {
            return Ok(self.send(name, &mut Progress::of(io::stdin().lock())));
        }
        let unread = |error| Failure::Failed(format!("{}: {error}", self.file.display()));
        let file = File::open(&self.file).map_err(unread)?;
        // A directory can be opened.
        file.metadata()
            .and_then(|file| if file.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) })
            .map_err(unread)?;
        Ok(self.send(name, &mut Progress::of(file)))
    }

    fn send(&self, name: &str, lines: &mut dyn Read) -> Result<(Summary, String), Unanswered> {
        let answer = self.caller.post_lines("/import", name, lines)?;
        let text = answer.into_body().into_with_config().limit(ANSWER_BYTES).read_to_string();
        let broke_off = |why: String| Unanswered {
            why: Failure::Failed(format!("the answer to the import broke off: {why}")),
            may_pass: true,
        };
        let text = text.map_err(|error| broke_off(error.to_string()))?;
        let (refused, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", &text));
        let summary = serde_json::from_str(last).map_err(|error| broke_off(error.to_string()))?;
        Ok((summary, refused.to_owned()))
    }
}

/// Says how it ended.
fn finish(summary: &Summary, refused: &str) -> Result<(), Failure> {
    let Summary { lines, imported, refused: count, complete } = *summary;
    if !refused.is_empty() {
        let printed = writeln!(io::stdout(), "{refused}");
        printed.map_err(|error| Failure::Failed(format!("standard output: {error}")))?;
    }
    say(format_args!("{lines} lines read, {imported} users and events imported in all, {count} lines refused"));
    match (complete, count) {
        (false, _) => Err(Failure::Failed(
            "not all lines were read: the last one is cut off, or too many were refused".to_owned(),
        )),
        (true, 0) => Ok(()),
        (true, _) => Err(Failure::Failed("lines were refused: mend them in a file of their own".to_owned())),
    }
}

/// Reads something, and says now and then how much.
struct Progress<R> {
    from: R,
    lines: usize,
    bytes: u64,
    said: Instant,
}

impl<R: Read> Progress<R> {
    fn of(from: R) -> Self {
        Self { from, lines: 0, bytes: 0, said: Instant::now() }
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.bytes += read as u64;
        self.lines += memchr::memchr_iter(b'\n', &buffer[..read]).count();
        if self.said.elapsed() >= SAID_EVERY {
            self.said = Instant::now();
            say(format_args!("{} lines sent, {} MiB", self.lines, self.bytes >> 20));
        }
        Ok(read)
    }
}
