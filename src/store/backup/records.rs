//! Reading files of records, one record at a time: files of the journal, and parts of a base.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::BackupProblem;
use crate::domain::Timestamp;
use crate::store::progress::Progress;
use crate::store::record;
use crate::store::sizes::{HEAD_BYTES, MAX_RECORD_BYTES};

/// The records of a file, in order. Every byte of it must belong to one.
pub struct Records {
    path: PathBuf,
    file: BufReader<File>,
    bytes: Vec<u8>,
    /// Whether it is a file of the journal.
    has_heads: bool,
}

/// A record of a file.
pub struct Entry<'a> {
    /// How far the database had come with it.
    pub progress: Progress,
    /// When the commit was made; of a part of a base, nothing says so.
    pub made_at: Option<Timestamp>,
    /// Its rows, for `record::read_body`.
    pub rows: &'a [u8],
}

impl Records {
    /// Opens a file that begins with these bytes.
    pub fn open(path: &Path, magic: &[u8; 8]) -> Result<Self, BackupProblem> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(BackupProblem::of_file(path))?);
        let mut begins = [0; 8];
        file.read_exact(&mut begins).map_err(BackupProblem::of_file(path))?;
        if begins != *magic {
            return Err(BackupProblem::damaged(path, "it begins with other bytes"));
        }
        Ok(Self { path: path.to_owned(), file, bytes: Vec::new(), has_heads: magic == record::MAGIC })
    }

    /// The next record.
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, BackupProblem> {
        let failed = BackupProblem::of_file(&self.path);
        self.bytes.clear();
        (&mut self.file).take(HEAD_BYTES as u64).read_to_end(&mut self.bytes).map_err(&failed)?;
        let Some((length, _)) = self.bytes.split_first_chunk::<4>() else {
            let is_end = self.bytes.is_empty();
            return if is_end { Ok(None) } else { Err(BackupProblem::damaged(&self.path, "its end is missing")) };
        };
        let length = u32::from_le_bytes(*length);
        if length as usize > MAX_RECORD_BYTES {
            return Err(BackupProblem::damaged(&self.path, "a record is longer than any"));
        }
        (&mut self.file).take(length.into()).read_to_end(&mut self.bytes).map_err(&failed)?;
        let entry = record::next_record(&self.bytes).and_then(|(progress, body, rest)| {
            let (made_at, rows) = if self.has_heads {
                record::read_head(body).map(|(head, rows)| (Some(head.made_at), rows))?
            } else {
                (None, body)
            };
            rest.is_empty().then_some(Entry { progress, made_at, rows })
        });
        let damaged =
            || BackupProblem::damaged(&self.path, "a record differs from what was written, or its end is missing");
        entry.map(Some).ok_or_else(damaged)
    }
}

/// The first commit of a file of the journal, and how far it goes, once each record has been checked. `None` without any record.
pub fn range_of(path: &Path) -> Result<Option<(u64, Progress)>, BackupProblem> {
    let mut records = Records::open(path, record::MAGIC)?;
    let mut range: Option<(u64, Progress)> = None;
    while let Some(Entry { progress, .. }) = records.next()? {
        match &mut range {
            None => range = Some((progress.commits, progress)),
            Some((_, last)) if progress.commits == last.commits + 1 => *last = progress,
            Some(_) => return Err(BackupProblem::damaged(path, "a commit is missing")),
        }
    }
    Ok(range)
}
