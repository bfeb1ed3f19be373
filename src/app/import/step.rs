//! A step of an import: some lines, and how far they take it, in one commit.

use serde::{Deserialize, Serialize};

use super::lines::Digest;
use crate::domain::MAX_EVENT_BYTES;
use crate::error::Error;
use crate::events::ImportedEvent;
use crate::identity::ImportedUser;
use crate::store;
use crate::writer::{Anywhere, Batch, Change};

/// How many lines one step has at most. Every other change waits for one step of an import at most, which takes about a millisecond.
pub const LINES_A_STEP: usize = 32;
/// How many bytes, plus one line.
pub const BYTES_A_STEP: usize = 256 << 10;
/// After so many lines that are refused, but for users that are there already, the others are left: it is not the file that was meant.
/// Only so many are told.
pub const MAX_REFUSED: usize = 1000;

// The largest step fits into one change: events of all its bytes, or users whose names write most.
const _: () =
    assert!(store::bytes_of_insert(LINES_A_STEP, BYTES_A_STEP + MAX_EVENT_BYTES) <= store::MAX_CHANGE_BYTES / 2);
const _: () = assert!(LINES_A_STEP * store::NAMES_ROWS_BYTES + 2 * BYTES_A_STEP <= store::MAX_CHANGE_BYTES / 2);

/// What a line says.
#[derive(Serialize, Deserialize)]
pub enum ImportItem {
    /// A user.
    User(Box<ImportedUser>),
    /// An event, or the removal of a name.
    Event(ImportedEvent),
    /// Nothing that is to be imported: an event that has expired, or the end of an export.
    Nothing,
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// How many lines have been imported or refused.
    pub lines: u64,
    /// Of these lines.
    pub digest: Digest,
    /// How many of them have been imported.
    pub imported: u64,
    /// How many were refused.
    pub refused: usize,
    /// How many of these because a user is there already, as all are when a file is imported under another name.
    taken: usize,
}

impl Cursor {
    /// Whether no more lines are read.
    pub fn is_given_up(&self) -> bool {
        self.refused - self.taken >= MAX_REFUSED
    }
}

/// A line that was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// Counted from 1.
    pub line: u64,
    /// The code of the error.
    pub code: String,
    /// Its sentence.
    pub error: String,
}

impl Refused {
    /// Because of this error.
    pub fn of(line: u64, error: &Error) -> Self {
        Self { line, code: error.code().to_owned(), error: error.sentence().into_owned() }
    }
}

/// The setting that holds how far the import of a name has come.
pub fn cursor_setting(name: &str) -> String {
    format!("import:{name}")
}

/// The setting that holds the lines that were refused: apart, since it is written seldom and may be large.
pub fn refused_setting(name: &str) -> String {
    format!("refused:{name}")
}

/// # Errors
/// [`Error::Damaged`].
pub fn read_cursor(setting: Option<Vec<u8>>) -> Result<Cursor, Error> {
    read(setting)
}

/// # Errors
/// [`Error::Damaged`].
pub fn read_refused(setting: Option<Vec<u8>>) -> Result<Vec<Refused>, Error> {
    read(setting)
}

fn read<T: Default + for<'de> Deserialize<'de>>(setting: Option<Vec<u8>>) -> Result<T, Error> {
    let Some(setting) = setting else { return Ok(T::default()) };
    serde_json::from_slice(&setting).map_err(|error| Error::Damaged(format!("how far an import has come: {error}")))
}

fn write(batch: &mut Batch<'_>, setting: &str, value: &impl Serialize) -> Result<(), Error> {
    let value = serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))?;
    batch.put_setting(setting, value);
    Ok(())
}

/// Imports some lines, each of them or not, and notes how far the import has come.
#[derive(Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    /// The lines that were imported before.
    pub after: u64,
    /// The number of the last line of the step, and the digest up to there.
    pub number: u64,
    pub digest: Digest,
    pub items: Vec<(u64, Result<ImportItem, Refused>)>,
}

impl Change for Step {
    type Outcome = Cursor;
    type Reach = Anywhere;

    fn bytes(&self) -> usize {
        BYTES_A_STEP
    }

    fn decide(self, batch: &mut Batch<'_>) -> Result<Cursor, Error> {
        let Self { name, after, number, digest, items } = self;
        let before = read_cursor(batch.setting(&cursor_setting(&name))?)?;
        // A step of a client that has gone was still on its way when the import was begun again.
        if before.lines != after {
            return Err(Error::ImportRunning);
        }
        let (mut imported, mut taken, mut refused) = (before.imported, before.taken, Vec::new());
        for (line, item) in items {
            let mark = batch.mark();
            let outcome = match item {
                Ok(ImportItem::Nothing) => Ok(0),
                Ok(ImportItem::User(user)) => user.put(batch).map(|()| 1),
                Ok(ImportItem::Event(event)) => event.put(batch).map(u64::from),
                Err(before) => {
                    refused.push(before);
                    continue;
                }
            };
            match outcome {
                Ok(count) => imported += count,
                Err(error) if is_of_the_line(&error) => {
                    batch.undo_since(mark);
                    taken += usize::from(error == Error::UsernameTaken);
                    refused.push(Refused::of(line, &error));
                }
                Err(error) => return Err(error),
            }
        }
        let cursor = Cursor { lines: number, digest, imported, refused: before.refused + refused.len(), taken };
        if !refused.is_empty() && before.refused < MAX_REFUSED {
            let mut all = read_refused(batch.setting(&refused_setting(&name))?)?;
            all.append(&mut refused);
            all.truncate(MAX_REFUSED);
            write(batch, &refused_setting(&name), &all)?;
        }
        write(batch, &cursor_setting(&name), &cursor)?;
        Ok(cursor)
    }
}

/// Whether an error is that of a line, which is left, and not one after which the import can only be tried again.
pub fn is_of_the_line(error: &Error) -> bool {
    error.status() < 500 || matches!(error, Error::Damaged(_))
}
