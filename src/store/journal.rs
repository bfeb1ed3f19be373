//! The journal: each commit as one record at the end of a file, synced before anybody is told.
//!
//! What is in the journal is also in memory ([`super::overlay`]) until a checkpoint has moved it into sled; then its file
//! goes. To write one record costs a tenth of what sled costs, and a name that changes a thousand times between two
//! checkpoints costs sled one write.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Directory, refusal, set_aside, synced};
use super::overlay::Write;
use super::progress::Progress;
use super::sizes::{HEAD_BYTES, MAX_RECORD_BYTES};
use crate::domain::Position;
use crate::error::Error;

/// What a journal's file begins with: its format.
const MAGIC: &[u8; 8] = b"brokerj1";
/// How much room on the disk is set aside at once: for the largest record, and for many small ones, which then ask for none.
const ROOM_BYTES: u64 = MAX_RECORD_BYTES as u64 + (2 << 20);
/// In place of a value's length: the key is removed.
const REMOVED: u32 = u32::MAX;

/// The writer's end of the journal.
pub struct Journal {
    directory: Arc<Directory>,
    /// The numbers of the files before this one that no checkpoint was given, and how long they are together.
    older: Vec<u64>,
    older_bytes: u64,
    number: u64,
    file: File,
    /// The file after this one, with its beginning on the disk: so to begin it needs nothing that may be lacking then. `None` where
    /// it could not be made yet.
    next: Option<File>,
    end: u64,
    /// Up to here there is room on the disk.
    allocated: u64,
    record: Vec<u8>,
}

/// What a journal was found to hold.
pub struct Recovered {
    /// How far it goes.
    pub progress: Progress,
    /// The last file with a record in it, and where in that file its last record is.
    last: Option<(u64, Range<u64>)>,
    /// The files before that one, and how long they are together.
    older: Vec<u64>,
    older_bytes: u64,
    /// The one after it, which was begun or made ahead.
    empty: Option<u64>,
    /// Later files, of which nothing can be read, or in which nothing is.
    beyond: Vec<u64>,
}

fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("journal.{number:016}"))
}

/// The numbers of a journal's files, in order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("journal."));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads what was committed after the last checkpoint, in order, as far as it is whole: the end may have been cut off by a
/// crash before it was synced. Whether more was promised, the witness tells. Changes nothing on the disk.
pub fn recover(
    directory: &Path,
    checkpoint: Progress,
    mut each: impl FnMut(&[u8], Option<&[u8]>),
) -> io::Result<Recovered> {
    let mut recovered = Recovered {
        progress: checkpoint,
        last: None,
        older: Vec::new(),
        older_bytes: 0,
        empty: None,
        beyond: Vec::new(),
    };
    let mut is_whole = true;
    // Those after the last with a record in it.
    let mut empty = Vec::new();
    for number in numbers(directory)? {
        let bytes = if is_whole { fs::read(path_of(directory, number))? } else { Vec::new() };
        // One without a beginning was being made when the disk was full, or the system died.
        let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
            is_whole = false;
            recovered.beyond.push(number);
            continue;
        };
        let mut last = MAGIC.len()..MAGIC.len();
        while let Some((progress, body, after)) = next_record(rest) {
            let expected = recovered.progress.commits + 1;
            if progress.commits > expected {
                break;
            }
            if progress.commits == expected {
                read_body(body, &mut each);
                recovered.progress = progress;
            }
            rest = after;
            last = last.end..bytes.len() - rest.len();
        }
        is_whole = rest.is_empty();
        if last.is_empty() {
            empty.push(number);
            continue;
        }
        if let Some((before, record)) = recovered.last.take() {
            recovered.older.push(before);
            recovered.older_bytes += record.end;
        }
        recovered.older.append(&mut empty);
        recovered.last = Some((number, last.start as u64..last.end as u64));
    }
    let mut empty = empty.into_iter();
    recovered.empty = empty.next();
    recovered.beyond.extend(empty);
    Ok(recovered)
}

/// The first record of some bytes: its progress, its body, and what comes after it.
fn next_record(bytes: &[u8]) -> Option<(Progress, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (covered, after) = rest.split_at_checked(16 + u32::from_le_bytes(*length) as usize)?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (commits, rest) = covered.split_first_chunk::<8>()?;
    let (head, body) = rest.split_first_chunk::<8>()?;
    let head = Position::new(u64::from_le_bytes(*head));
    Some((Progress { head, commits: u64::from_le_bytes(*commits) }, body, after))
}

/// Gives what a record's body says; `None` for what it removes.
fn read_body(mut body: &[u8], each: &mut impl FnMut(&[u8], Option<&[u8]>)) {
    let mut next = || -> Option<()> {
        let (key_length, rest) = body.split_first_chunk::<2>()?;
        let (value_length, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_length).into())?;
        let value_length = u32::from_le_bytes(*value_length);
        let (value, rest) = match value_length {
            REMOVED => (None, rest),
            length => rest.split_at_checked(length as usize).map(|(value, rest)| (Some(value), rest))?,
        };
        body = rest;
        each(key, value);
        Some(())
    };
    while next().is_some() {}
}

impl Journal {
    /// Goes on where a journal ends, and forgets what cannot be read.
    pub fn open(directory: Arc<Directory>, recovered: &Recovered) -> io::Result<Self> {
        remove(directory.path(), &recovered.beyond)?;
        // Before anything follows: a removed file that came back after a loss of power would be taken for what follows.
        directory.sync()?;
        let beginning = MAGIC.len() as u64;
        let empty = recovered.empty.map(|number| (number, beginning..beginning));
        let (mut older, mut older_bytes) = (recovered.older.clone(), recovered.older_bytes);
        let mut current = None::<(u64, File, u64)>;
        for (number, last) in recovered.last.iter().cloned().chain(empty) {
            if let Some((before, _, end)) = current.take() {
                older.push(before);
                older_bytes += end;
            }
            current = Some((number, Self::reopen(&directory, number, &last)?, last.end));
        }
        let (number, file, end) = match current {
            Some(current) => current,
            None => (1, make(&directory, 1)?, beginning),
        };
        // Where it cannot be made now it is made when it is needed.
        let next = make(&directory, number + 1).ok();
        Ok(Self { directory, older, older_bytes, number, file, next, end, allocated: end, record: Vec::new() })
    }

    /// Opens a file that goes on after its last record.
    fn reopen(directory: &Directory, number: u64, last: &Range<u64>) -> io::Result<File> {
        let file = File::options().read(true).write(true).open(path_of(directory.path(), number))?;
        file.set_len(last.end)?;
        // What was written before a sync that failed may be in memory only, and count as synced: the system tells of the
        // failure once. It is the last record, or a file's beginning, since nothing was written after that. Written
        // again, it is synced again.
        let mut record = vec![0; (last.end - last.start) as usize];
        file.read_exact_at(&mut record, last.start)?;
        file.write_all_at(&record, last.start)?;
        file.write_all_at(MAGIC, 0)?;
        synced(&file, file.sync_all())?;
        Ok(file)
    }

    /// Whether the next record has room on the disk.
    pub fn has_room(&self) -> bool {
        self.end + MAX_RECORD_BYTES as u64 <= self.allocated
    }

    /// Sets room aside on the disk for the next record, so that a full disk is found before anything is written.
    ///
    /// Closes this fault: what there is of it where it is too little is kept by some file systems, and was missing for the
    /// checkpoint that would have made room, so that each waited for the other.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::Overloaded`]; nothing was written and a later call may succeed.
    pub fn reserve(&mut self) -> Result<(), Error> {
        if self.has_room() {
            return Ok(());
        }
        if let Err(refused) = set_aside(&self.file, self.end, ROOM_BYTES) {
            self.give_back()?;
            return Err(refused);
        }
        self.allocated = self.end + ROOM_BYTES;
        Ok(())
    }

    /// Gives back what was set aside: it may be all the room that there is for a checkpoint.
    ///
    /// # Errors
    /// As [`Journal::reserve`].
    pub fn give_back(&mut self) -> Result<(), Error> {
        self.allocated = self.end;
        self.file.set_len(self.end).map_err(|error| refusal(error, "the journal"))
    }

    /// Writes a commit, and waits until it is on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`]. What is on disk is then unknown.
    pub fn append<'a>(
        &mut self,
        progress: Progress,
        writes: impl Iterator<Item = (&'a Vec<u8>, &'a Write)>,
    ) -> Result<(), Error> {
        let record = &mut self.record;
        record.clear();
        record.resize(HEAD_BYTES, 0);
        for (key, write) in writes {
            // Keys have at most 600 bytes, values at most 128 KiB.
            record.extend_from_slice(&(key.len() as u16).to_le_bytes());
            let value = write.value();
            record.extend_from_slice(&value.map_or(REMOVED, |value| value.len() as u32).to_le_bytes());
            record.extend_from_slice(key);
            record.extend_from_slice(value.map_or(&[], |value| value));
        }
        // Half a record on a full disk could not be taken back. The transaction has seen to it that this never happens.
        if self.end + record.len() as u64 > self.allocated {
            return Err(Error::Storage(format!(
                "a commit of {} bytes is more than was set aside for it",
                record.len()
            )));
        }
        let length = (record.len() - HEAD_BYTES) as u32;
        record[8..16].copy_from_slice(&progress.commits.to_le_bytes());
        record[16..24].copy_from_slice(&progress.head.get().to_le_bytes());
        let crc = crc32fast::hash(&record[8..]);
        record[0..4].copy_from_slice(&length.to_le_bytes());
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(record, self.end).map_err(failed)?;
        synced(&self.file, self.file.sync_data()).map_err(failed)?;
        self.end += record.len() as u64;
        Ok(())
    }

    /// How long all files together are that would go with a checkpoint: also those from before the start. Each start goes on in a new
    /// one, and they would add up without end.
    pub fn bytes(&self) -> u64 {
        self.older_bytes + self.end
    }

    /// How long the file is that is being written.
    pub fn bytes_of_file(&self) -> u64 {
        self.end
    }

    fn make_ahead(&self, files: u64) -> Result<File, Error> {
        make(&self.directory, self.number + files).map_err(|error| refusal(error, "the journal"))
    }

    /// Goes on in a new file; the numbers of those before, which a checkpoint may remove with what it moves.
    ///
    /// # Errors
    /// [`Error::StorageFull`] and [`Error::Overloaded`], where the journal goes on in the old file, and a later call may succeed;
    /// [`Error::Storage`].
    pub fn rotate(&mut self) -> Result<Vec<u64>, Error> {
        self.give_back()?;
        if self.next.is_none() {
            self.next = Some(self.make_ahead(1)?);
        }
        let after = match self.make_ahead(2) {
            Ok(file) => Some(file),
            // It can wait.
            Err(Error::Overloaded) => None,
            // On a full disk a checkpoint would only take the room that is left for the journal.
            Err(error) => return Err(error),
        };
        if let Some(next) = std::mem::replace(&mut self.next, after) {
            self.file = next;
            self.older.push(self.number);
            self.number += 1;
            (self.end, self.allocated) = (MAGIC.len() as u64, MAGIC.len() as u64);
        }
        self.older_bytes = 0;
        Ok(std::mem::take(&mut self.older))
    }
}

/// Makes a file that a journal may go on in, with its beginning on the disk.
fn make(directory: &Directory, number: u64) -> io::Result<File> {
    let path = path_of(directory.path(), number);
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
    let begun = file.write_all_at(MAGIC, 0).and_then(|()| file.sync_all()).and_then(|()| directory.sync());
    if begun.is_err() {
        // Nothing was in it, and where it stays it counts for nothing.
        let _ = fs::remove_file(path);
    }
    begun.map(|()| file)
}

/// Removes files: all that they hold is in sled, or nothing is. Needs no descriptor.
pub fn remove(directory: &Path, files: &[u64]) -> io::Result<()> {
    for number in files {
        match fs::remove_file(path_of(directory, *number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn failed(error: io::Error) -> Error {
    Error::Storage(format!("the journal: {error}"))
}

#[cfg(test)]
mod tests;
