//! `broker support`: a bundle for whoever helps with a problem. It has no secret in it: values of secrets are never read into it, and what
//! others wrote, such as lines of the log, is searched for them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::caller::Caller;
use super::failure::Failure;
use super::print::{print, say};
use crate::config::{Config, Flags};
use crate::domain::Secret;

/// How many lines of the log are in the bundle.
const LOG_LINES: &str = "2000";
/// How much of an answer of the server is taken, in bytes.
const ANSWER_BYTES: u64 = 1 << 20;
/// How many files of a directory are listed.
const FILES: usize = 10_000;
/// How long a secret is that is searched for, in bytes: a shorter one could be a part of any word, and protects nothing.
const SHORTEST: usize = 8;
/// What stands for a secret that was found.
const HIDDEN: &str = "***";

/// `broker support`.
#[derive(Args)]
pub struct Support {
    #[command(flatten)]
    caller: Caller,
    /// File to write [default: broker-support-SECONDS.tar.gz here].
    #[arg(long)]
    output: Option<PathBuf>,
    /// Unit of systemd whose log is taken.
    #[arg(long, default_value = "broker")]
    unit: String,
}

impl Support {
    /// Writes the bundle. What cannot be had is said in its place.
    ///
    /// # Errors
    /// [`Failure::Failed`] if the file cannot be written.
    pub fn run(self) -> Result<(), Failure> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let path = self.output.clone().unwrap_or_else(|| format!("broker-support-{seconds}.tar.gz").into());
        let (flags, status) = (self.caller.flags(), self.status());
        let mut members = vec![("versions.txt", versions())];
        let mut secrets = Vec::new();
        match flags {
            Ok(flags) => {
                members.push(("flags.txt", settings(&flags)));
                members.push(("files.txt", files(&directories(&flags, &status))));
                secrets = known_secrets(flags, &mut members);
            }
            Err(Failure::Misused(why) | Failure::Failed(why)) => members.push(("flags.txt", why)),
        }
        secrets.extend(self.caller.admin_token().ok());
        members.push(("status.json", status));
        members.push(("processes.txt", processes()));
        members.push((
            "log.txt",
            said_by(
                "journalctl",
                &["--unit", &self.unit, "--lines", LOG_LINES, "--no-pager", "--output", "short-iso-precise"],
            ),
        ));
        let bundle = bundle(&members, &secrets, seconds).map_err(|error| Failure::Failed(error.to_string()))?;
        let unwritten = |error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        // It must be a new file: one that is there may be readable by others, or be a link to another place.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(&bundle).and_then(|()| file.sync_all())).map_err(unwritten)?;
        print(format!("{}\n", path.display()).as_bytes())
    }

    /// What the server says of itself.
    fn status(&self) -> String {
        let answer = match self.caller.post_as_admin("/status", serde_json::Map::new()) {
            Ok(answer) => answer,
            Err(Failure::Misused(why) | Failure::Failed(why)) => {
                // The bundle is of use without it, but who sends it should know.
                say(format_args!("the server does not say how it is: {why}"));
                return serde_json::json!({ "error": why }).to_string();
            }
        };
        let body = answer.into_body().into_with_config().limit(ANSWER_BYTES).read_to_string();
        body.unwrap_or_else(|error| error.to_string())
    }
}

fn versions() -> String {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/version").unwrap_or_default();
    format!("broker {}\n{kernel}\n{system}", env!("CARGO_PKG_VERSION"))
}

/// Every flag with its source. The value of a secret is not among it.
fn settings(flags: &Flags) -> String {
    let lines = flags.settings.iter().map(|setting| {
        let value = setting.value.as_deref().unwrap_or(if setting.is_secret { "(a secret)" } else { "(none)" });
        format!("{} = {value} ({})\n", setting.name, setting.source.as_str())
    });
    lines.collect()
}

/// The secrets, as far as they can be read, and whether the configuration is right.
fn known_secrets(flags: Flags, members: &mut Vec<(&'static str, String)>) -> Vec<Secret> {
    match Config::try_from(flags) {
        Ok(config) => {
            members.push(("check.txt", crate::server::check(&config).err().unwrap_or_else(|| "ok".to_owned())));
            config.secrets().into_iter().map(|(_, secret)| secret.clone()).collect()
        }
        Err(why) => {
            members.push(("check.txt", why));
            Vec::new()
        }
    }
}

/// Where the server has its files: by its own word, and by the flags, which may lack those that only its unit has.
fn directories(flags: &Flags, status: &str) -> BTreeSet<PathBuf> {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
    let said = ["db", "certs"].map(|name| status["flags"][name]["value"].as_str().map(PathBuf::from));
    said.into_iter().flatten().chain([flags.db.clone(), flags.certs.clone()]).collect()
}

/// The files in directories, with their sizes, and the disks that they are on.
fn files(directories: &BTreeSet<PathBuf>) -> String {
    let paths = directories.iter().filter(|path| path.exists()).map(|path| path.as_os_str());
    let mut text = said_by("df", &[OsStr::new("-B1")].into_iter().chain(paths).collect::<Vec<_>>());
    let mut left: Vec<_> = directories.iter().cloned().collect();
    let mut listed = 0;
    while let Some(path) = left.pop() {
        listed += 1;
        match fs::symlink_metadata(&path) {
            _ if listed > FILES => break,
            Ok(file) => {
                // Writing to a text cannot fail.
                let _ = writeln!(
                    text,
                    "{:>14} {:o} {}:{} {}",
                    file.len(),
                    file.mode(),
                    file.uid(),
                    file.gid(),
                    path.display()
                );
                if file.is_dir() {
                    let inside = fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
                    left.extend(inside);
                }
            }
            Err(error) => drop(writeln!(text, "{}: {error}", path.display())),
        }
    }
    text
}

/// The limits and the memory of each Broker that runs here. Their command lines are left out, and their environment.
fn processes() -> String {
    let mut text = String::new();
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_broker = || fs::read_to_string(path.join("comm")).is_ok_and(|command| command.trim() == "broker");
        if name.to_str().is_some_and(|name| name.parse::<u32>().is_ok() && name != own) && is_broker() {
            for file in ["status", "limits"] {
                let read = fs::read_to_string(path.join(file)).unwrap_or_else(|error| error.to_string());
                let _ = writeln!(text, "{}\n{read}", path.join(file).display());
            }
        }
    }
    text
}

/// What a program says on its standard output, or why it says nothing.
fn said_by(program: &str, args: &[impl AsRef<OsStr>]) -> String {
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => format!("{program}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)),
        Err(error) => format!("{program}: {error}\n"),
    }
}

/// The members as one compressed archive, each without the secrets.
fn bundle(members: &[(&'static str, String)], secrets: &[Secret], seconds: u64) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, text) in members {
        let text = without(text, secrets);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        archive.append_data(&mut header, Path::new("broker-support").join(name), text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}

/// A text with each secret replaced.
fn without(text: &str, secrets: &[Secret]) -> String {
    let found = secrets.iter().filter_map(|secret| std::str::from_utf8(secret.expose()).ok());
    found.filter(|secret| secret.len() >= SHORTEST).fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
}
