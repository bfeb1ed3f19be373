//! The names in archives and sets of backups.

use std::fs;
use std::path::Path;

/// The file that makes files a backup.
pub const MANIFEST: &str = "manifest.json";

/// The file that whoever reads a set locks, so that the archive does not remove it meanwhile.
pub const LOCK: &str = "lock";

/// Whether a path is that of something that is being made.
pub fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "unfinished")
}

/// Whether something has the name of a set in an archive: its time, and a random number.
pub fn is_named(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('-'));
    let is_hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.is_some_and(|(time, random)| is_hex(time, 16) && is_hex(random, 8))
}

/// When a set was begun, as its name says, in milliseconds since the Unix epoch.
pub fn begun_at(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// The name of a file of the journal in a set, by its first and last commit.
pub fn name_of_journal(first: u64, last: u64) -> String {
    format!("journal.{first:016}-{last:016}")
}

/// The first and last commit in such a name.
pub fn range_in(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_prefix("journal.")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Whether a directory is a backup, or has one in it, as an archive has.
pub fn is_backup(path: &Path) -> bool {
    let has_manifest = |path: &Path| path.join(MANIFEST).exists();
    let is_in_it = |entry: fs::DirEntry| is_named(&entry.path()) && has_manifest(&entry.path());
    has_manifest(path) || fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(is_in_it))
}
