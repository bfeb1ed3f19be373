//! `broker export`: users and events of a server that runs, into a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::caller::Caller;
use super::failure::Failure;

/// `broker export`: where from, what, and where to.
#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    caller: Caller,
    /// File to write, or - for standard output.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Only users, unless --events is given too [default: users and the latest events].
    #[arg(long)]
    users: bool,
    /// Only events, unless --users is given too: the latest of each name, or all that are retained.
    #[arg(long)]
    events: Option<Events>,
    /// With the hashes of passwords and the secrets of authenticator apps. Keep the file secret.
    #[arg(long)]
    hashes: bool,
}

/// The last line of a whole answer: one that was cut off may come to its end as well, behind a proxy.
const END: &[u8] = b"{\"kind\":\"end\"}\n";

#[derive(Clone, Copy, ValueEnum)]
enum Events {
    Latest,
    History,
}

impl Export {
    /// Exports, and says how much.
    pub fn run(self) -> Result<(), Failure> {
        let Self { caller, to, tenant, users, events, hashes } = self;
        let is_all = !users && events.is_none();
        let events = match events {
            Some(Events::History) => Some("history"),
            Some(Events::Latest) => Some("latest"),
            None => is_all.then_some("latest"),
        };
        let mut fields = Map::new();
        let fields_of = [
            ("tenant_name", tenant.map(Value::from)),
            ("users", Some((users || is_all).into())),
            ("hashes", Some(hashes.into())),
            ("events", events.map(Value::from)),
            ("end", Some(true.into())),
        ];
        fields.extend(fields_of.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let answer = caller.post_as_admin("/export", fields)?;
        let mut body = answer.into_body().into_reader();
        let written =
            if to == Path::new("-") { copy(&mut body, &mut io::stdout().lock()) } else { copy_to_file(&mut body, &to) };
        let lines = written.map_err(|error| Failure::Failed(format!("the export broke off: {error}")))?;
        // Not on standard output, which may be the export itself.
        let _ = writeln!(io::stderr(), "{lines} lines exported");
        Ok(())
    }
}

/// Writes a file that is there only once it is whole, and that only its owner can read.
fn copy_to_file(from: &mut impl Read, to: &Path) -> io::Result<u64> {
    let mut part = to.as_os_str().to_owned();
    part.push(format!(".{:08x}.part", u32::from_be_bytes(crate::random::bytes())));
    let part = PathBuf::from(part);
    let mut options = OpenOptions::new();
    let copied = options.write(true).create_new(true).mode(0o600).open(&part).and_then(|mut file: File| {
        let lines = copy(from, &mut file)?;
        file.sync_all()?;
        fs::rename(&part, to)?;
        Ok(lines)
    });
    if copied.is_err() {
        let _ = fs::remove_file(&part);
    }
    copied
}

/// Copies all but the last line, which must be there and say so, and counts the lines.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    // What may be that line is held back, at the beginning of the buffer.
    let (mut buffer, mut held, mut lines) = (vec![0; 64 << 10], 0, 0);
    loop {
        let filled = held + from.read(&mut buffer[held..])?;
        if filled == held {
            break;
        }
        held = filled.min(END.len());
        let whole = filled - held;
        lines += memchr::memchr_iter(b'\n', &buffer[..whole]).count() as u64;
        to.write_all(&buffer[..whole])?;
        buffer.copy_within(whole..filled, 0);
    }
    if buffer[..held] != *END {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its last line is missing"));
    }
    to.flush().map(|()| lines)
}
