//! The journal: it holds each commit as one record at the end of a file, and the record is synced before anybody is
//! told.
//!
//! The content of the journal is also in memory ([`super::overlay`]) until a checkpoint has moved it into sled. Then
//! its file is removed. Writing one record costs a tenth of a write to sled, and a name that changes a thousand times
//! between two checkpoints costs sled one write.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::{Directory, refusal, set_aside, synced};
use super::journal_files::{numbers, path_of, remove};
use super::keeping::{Closed, Keeping};
use super::progress::Progress;
use super::record::{Form, MAGIC, next_record, read_body};
use super::sealed::Record;
use super::sizes::MAX_RECORD_BYTES;
use crate::error::{Error, Fault};

/// How much room on the disk is reserved at once: enough for the largest record, or for many small ones, which then
/// need no call.
const ROOM_BYTES: u64 = MAX_RECORD_BYTES as u64 + (2 << 20);
/// The writer's end of the journal.
pub struct Journal {
    directory: Arc<Directory>,
    /// The numbers of the earlier files that no checkpoint has taken yet, and their total length.
    older: Vec<u64>,
    older_bytes: u64,
    number: u64,
    file: File,
    /// The next file, with its first bytes on the disk. So beginning it needs no resource that may be lacking then.
    /// `None` if it could not be created yet.
    next: Option<File>,
    end: u64,
    /// Up to here, room is reserved on the disk.
    allocated: u64,
    /// The bytes of a record.
    bytes: Vec<u8>,
    /// The last commit.
    last: Closed,
    keeping: Keeping,
}

/// The content of a journal that was found on the disk.
pub struct Recovered {
    /// How far it goes.
    pub progress: Progress,
    /// The last file with a record, its form, and the place of its last record.
    last: Option<(u64, Form, Range<u64>)>,
    /// The files before that one, and their total length.
    older: Vec<u64>,
    older_bytes: u64,
    /// The file after it, which was begun, or created ahead.
    empty: Option<(u64, Form)>,
    /// Later files, which cannot be read or are empty.
    beyond: Vec<u64>,
}

/// Reads the commits after the last checkpoint, in order, as far as they are whole. A crash may have cut off the end
/// before it was synced. The commit watermark tells whether more was acknowledged. Changes nothing on the disk.
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
    // The files after the last one with a record.
    let mut empty = Vec::new();
    for number in numbers(directory)? {
        let bytes = if is_whole { fs::read(path_of(directory, number))? } else { Vec::new() };
        // A file without its first bytes was being created when the disk was full or the system died.
        if Form::is_unknown(&bytes) {
            let why = format!("{} is of a newer Broker: use that one", path_of(directory, number).display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let Some((form, mut rest)) = Form::of_file(&bytes) else {
            is_whole = false;
            recovered.beyond.push(number);
            continue;
        };
        let mut last = MAGIC.len()..MAGIC.len();
        while let Some((progress, body, after)) = next_record(rest) {
            let expected = recovered.progress.commits + 1;
            let Some(rows) = form.rows(body).filter(|_| progress.commits <= expected) else { break };
            if progress.commits == expected {
                read_body(rows, &mut each);
                recovered.progress = progress;
            }
            rest = after;
            last = last.end..bytes.len() - rest.len();
        }
        is_whole = rest.is_empty();
        if last.is_empty() {
            empty.push((number, form));
            continue;
        }
        if let Some((before, _, record)) = recovered.last.take() {
            recovered.older.push(before);
            recovered.older_bytes += record.end;
        }
        recovered.older.extend(empty.drain(..).map(|(number, _)| number));
        recovered.last = Some((number, form, last.start as u64..last.end as u64));
    }
    let mut empty = empty.into_iter();
    recovered.empty = empty.next();
    recovered.beyond.extend(empty.map(|(number, _)| number));
    Ok(recovered)
}

impl Journal {
    /// Continues a journal where it ends, and removes files that cannot be read.
    pub fn open(directory: Arc<Directory>, recovered: &Recovered, keeping: Keeping) -> io::Result<Self> {
        remove(directory.path(), &recovered.beyond)?;
        // The removal is synced before new records follow: a removed file that comes back after a loss of power would
        // be taken for a continuation.
        directory.sync()?;
        let beginning = MAGIC.len() as u64;
        let empty = recovered.empty.map(|(number, form)| (number, form, beginning..beginning));
        let (mut older, mut older_bytes) = (recovered.older.clone(), recovered.older_bytes);
        let mut current = None::<(u64, Form, File, u64)>;
        for (number, form, last) in recovered.last.iter().cloned().chain(empty) {
            if let Some((before, _, _, end)) = current.take() {
                older.push(before);
                older_bytes += end;
            }
            current = Some((number, form, Self::reopen(&directory, number, &last)?, last.end));
        }
        let (number, file, end) = match current {
            // A file with a second name was closed for good: an archive has it as it is. And each file has one form.
            Some((number, form, file, end)) if form == Form::Former || file.metadata()?.nlink() > 1 => {
                older.push(number);
                older_bytes += end;
                (number + 1, make(&directory, number + 1)?, beginning)
            }
            Some((number, _, file, end)) => (number, file, end),
            None => (1, make(&directory, 1)?, beginning),
        };
        // If it cannot be created now, it is created when it is needed.
        let next = make(&directory, number + 1).ok();
        let (last, bytes) = (Closed { last: recovered.progress.commits, made_at: None }, Vec::new());
        Ok(Self { directory, older, older_bytes, number, file, next, end, allocated: end, bytes, last, keeping })
    }

    /// Opens a file to continue after its last record.
    fn reopen(directory: &Directory, number: u64, last: &Range<u64>) -> io::Result<File> {
        let file = File::options().read(true).write(true).open(path_of(directory.path(), number))?;
        file.set_len(last.end)?;
        // Bytes that were written before a failed sync may be in memory only, although the kernel counts them as
        // synced: it reports the failure once. These are the last record, or the first bytes of a file, since nothing
        // was written after the failure. They are written again, so that they are synced again.
        for range in [0..MAGIC.len() as u64, last.clone()] {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start)?;
            file.write_all_at(&bytes, range.start)?;
        }
        synced(&file, file.sync_all())?;
        Ok(file)
    }

    /// Whether the next record has room on the disk.
    pub fn has_room(&self) -> bool {
        self.end + MAX_RECORD_BYTES as u64 <= self.allocated
    }

    /// Reserves room on the disk for the next record, so that a full disk is found before anything is written.
    ///
    /// Closes this fault: if there is too little room, some file systems keep the part that they found. The checkpoint
    /// that would have made room lacked that part, so that each waited for the other.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::Overloaded`]: nothing was written, and a later call may succeed.
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

    /// Gives the reserved room back. It may be the only room for a checkpoint.
    ///
    /// # Errors
    /// As [`Journal::reserve`].
    pub fn give_back(&mut self) -> Result<(), Error> {
        self.allocated = self.end;
        self.file.set_len(self.end).map_err(|error| refusal(error, "the journal"))
    }

    /// Writes a commit, and waits until it is on the disk. Returns how long the disk took for that.
    ///
    /// # Errors
    /// [`Fault`]: then the state on the disk is unknown.
    pub fn append(&mut self, record: &Record) -> Result<Duration, Fault> {
        record.encode(&mut self.bytes);
        let bytes = &self.bytes;
        // Half a record on a full disk could not be undone. The transaction ensures that this never happens.
        if self.end + bytes.len() as u64 > self.allocated {
            return Err(Fault::Storage(format!("a commit of {} bytes is more than was set aside for it", bytes.len())));
        }
        // A disk that stalls may hold up the write as well as the sync.
        let began = Instant::now();
        self.file.write_all_at(bytes, self.end).map_err(failed)?;
        synced(&self.file, self.file.sync_data()).map_err(failed)?;
        self.end += bytes.len() as u64;
        self.last = Closed { last: record.progress.commits, made_at: self.last.made_at.max(Some(record.made_at)) };
        Ok(began.elapsed())
    }

    /// The total length of the files that a checkpoint would remove, those from before the start included. Each start
    /// begins a new file, so they would otherwise add up without end.
    pub fn bytes(&self) -> u64 {
        self.older_bytes + self.end
    }

    /// The length of the current file.
    pub fn bytes_of_file(&self) -> u64 {
        self.end
    }

    fn make_ahead(&self, files: u64) -> Result<File, Error> {
        make(&self.directory, self.number + files).map_err(|error| refusal(error, "the journal"))
    }

    /// Continues in a new file.
    ///
    /// # Errors
    /// [`Error::StorageFull`] and [`Error::Overloaded`]: the journal continues in the old file, and a later call may
    /// succeed. [`Error::Storage`].
    fn begin_next(&mut self) -> Result<(), Error> {
        self.give_back()?;
        if self.next.is_none() {
            self.next = Some(self.make_ahead(1)?);
        }
        let after = match self.make_ahead(2) {
            Ok(file) => Some(file),
            // It can be created later.
            Err(Error::Overloaded) => None,
            // On a full disk, a checkpoint would only take the room that is left for the journal.
            Err(error) => return Err(error),
        };
        if let Some(next) = std::mem::replace(&mut self.next, after) {
            self.file = next;
            self.older.push(self.number);
            self.older_bytes += self.end;
            self.keeping.is_closed(self.number, self.last);
            self.number += 1;
            (self.end, self.allocated) = (MAGIC.len() as u64, MAGIC.len() as u64);
        }
        Ok(())
    }

    /// Continues in a new file, if the current one has a record.
    ///
    /// # Errors
    /// [`Error::StorageFull`] and [`Error::Overloaded`], as with a checkpoint; [`Error::Storage`].
    pub fn close_file(&mut self) -> Result<(), Error> {
        if self.end > MAGIC.len() as u64 {
            return self.begin_next();
        }
        self.keeping.is_closed_already();
        Ok(())
    }

    /// Continues in a new file. Returns the numbers of the earlier ones, which a checkpoint may remove with the rows
    /// that it moves.
    ///
    /// # Errors
    /// [`Error::StorageFull`] and [`Error::Overloaded`]: the journal continues in the old file, and a later call may
    /// succeed. [`Error::Storage`].
    pub fn rotate(&mut self) -> Result<Vec<u64>, Error> {
        self.begin_next()?;
        self.older_bytes = 0;
        Ok(std::mem::take(&mut self.older))
    }

    /// The number of the file that commits go to.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The last commit.
    pub fn last(&self) -> u64 {
        self.last.last
    }
}

/// Creates a file for the journal, with its first bytes on the disk.
fn make(directory: &Directory, number: u64) -> io::Result<File> {
    let path = path_of(directory.path(), number);
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
    let begun = file.write_all_at(MAGIC, 0).and_then(|()| file.sync_all()).and_then(|()| directory.sync());
    if begun.is_err() {
        // The file was empty. If it stays, it counts for nothing.
        let _ = fs::remove_file(path);
    }
    begun.map(|()| file)
}

fn failed(error: io::Error) -> Fault {
    Fault::Storage(format!("the journal: {error}"))
}

#[cfg(test)]
mod tests;
