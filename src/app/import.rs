//! Importing users and events, a JSON object a line, of any number.
//!
//! An import has a name. How far it has come is a row of the database, which is written in the commit that has the lines: their number,
//! and a hash of all of them. So whatever breaks, the same lines sent again go on where they stopped, and change nothing if all of
//! them were imported.

mod lines;
mod step;

use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::events::Events;
use crate::domain::{EventName, Payload, TenantName};
use crate::error::Error;
use crate::events::{IdempotencyKey, ImportedEvent, Lifetime, NewEvent};
use crate::identity::Admin;
use crate::store::Store;
use crate::writer::Writer;

use lines::{Line, Lines};
pub(super) use step::Step;
use step::{BYTES_A_STEP, Cursor, LINES_A_STEP, is_of_the_line, read_cursor, read_refused};
pub use step::{ImportItem, MAX_REFUSED, Refused};

/// How many lines and bytes an import takes in a second, so that others find the writer, the processor and the disk free.
const LINES_A_SECOND: u32 = 5_000;
const BYTES_A_SECOND: u32 = 8 << 20;
/// By how much it may be behind that, and make up for it.
const MADE_UP: Duration = Duration::from_millis(50);

/// An import under way. If it is dropped, what was imported stays, and another of the same name goes on from there.
pub struct Import {
    name: String,
    store: Store,
    writer: Writer,
    cursor: Cursor,
    lines: Lines,
    /// The next step.
    items: Vec<(u64, Result<ImportItem, Refused>)>,
    bytes: usize,
    /// How far it takes the import.
    last: Option<Line>,
    /// When it may be made.
    due: Instant,
    _only_one: OwnedSemaphorePermit,
}

/// How an import has ended.
#[derive(Clone, Debug)]
pub struct Imported {
    /// How many lines were read, those of earlier attempts included.
    pub lines: u64,
    /// How many users and events were imported.
    pub imported: u64,
    /// How many lines were refused.
    pub refused: usize,
    /// These lines, the first [`MAX_REFUSED`].
    pub listed: Vec<Refused>,
    /// Whether all lines were read: after [`MAX_REFUSED`] that were refused the others are left, and so is one that was cut off.
    pub complete: bool,
}

impl Events {
    /// Begins an import of this name, or goes on with it.
    ///
    /// # Errors
    /// [`Error::ImportRunning`] if there is another one; [`Error::Storage`].
    pub fn import(&self, admin: &Admin, name: &IdempotencyKey) -> Result<Import, Error> {
        admin.logged("import", self.import_named(name))
    }

    fn import_named(&self, name: &IdempotencyKey) -> Result<Import, Error> {
        // Two of the same name would not know of each other's lines, and each takes memory.
        let permit = self.imports.clone().try_acquire_owned().map_err(|_| Error::ImportRunning)?;
        let (name, store) = (name.as_str().to_owned(), self.store().clone());
        let cursor = read_cursor(store.setting(&step::cursor_setting(&name))?)?;
        Ok(Import {
            name,
            store,
            writer: self.writer.clone(),
            cursor,
            lines: Lines::default(),
            items: Vec::new(),
            bytes: 0,
            last: None,
            due: Instant::now(),
            _only_one: permit,
        })
    }

    /// An event that is to be imported; nothing if it has expired. Without data it is the removal of the name.
    ///
    /// # Errors
    /// Those of [`NewEvent::new`] and [`NewEvent::removal`].
    pub fn imported(
        &self,
        tenant: TenantName,
        author: Option<String>,
        (name, data): (EventName, Option<Payload>),
        expires_at: Option<u64>,
        transient: bool,
    ) -> Result<ImportItem, Error> {
        let left = expires_at.map(|at| at.saturating_sub(self.clock.now().as_millis()));
        if left == Some(0) {
            return Ok(ImportItem::Nothing);
        }
        let expires_in = left.map(|millis| millis.div_ceil(1000));
        let event = match data {
            None => NewEvent::removal(name)?,
            Some(data) => self.new_event(name, data, Lifetime { expires_in, while_connected: false, transient })?,
        };
        Ok(ImportItem::Event(ImportedEvent { tenant, author, event }))
    }
}

impl Import {
    /// Takes the next bytes of the lines, which need not be whole, and imports what is enough for a step. `parse` reads a line.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] if an import of this name had other lines; [`Error::ImportRunning`] if something of it was still
    /// on its way; those of [`Writer::submit`]. What was imported by then stays.
    pub async fn take(
        &mut self,
        mut bytes: &[u8],
        parse: &impl Fn(&str) -> Result<ImportItem, Error>,
    ) -> Result<(), Error> {
        while let Some((line, rest)) = self.lines.next(bytes) {
            bytes = rest;
            self.add(line, parse)?;
            if self.items.len() >= LINES_A_STEP || self.bytes >= BYTES_A_STEP {
                self.submit().await?;
            }
        }
        Ok(())
    }

    /// Imports the rest, after the last byte. An import of nothing tells how far the import of this name has come.
    ///
    /// # Errors
    /// Those of [`Import::take`], and [`Error::IdempotencyKeyReused`] if there were more lines once.
    pub async fn end(mut self, parse: &impl Fn(&str) -> Result<ImportItem, Error>) -> Result<Imported, Error> {
        // It does not count, so that the whole line goes on from here.
        let is_cut_off = self.lines.is_cut_off();
        if !is_cut_off && let Some(line) = self.lines.last() {
            self.add(line, parse)?;
        }
        let read = self.lines.count();
        if read > 0 && read < self.cursor.lines {
            return Err(Error::IdempotencyKeyReused);
        }
        self.submit().await?;
        let mut listed = read_refused(self.store.setting(&step::refused_setting(&self.name))?)?;
        let Cursor { lines, imported, mut refused, .. } = self.cursor;
        if is_cut_off && read == lines {
            listed.push(Refused::of(read + 1, &Error::BodyInvalid("the line is cut off".to_owned())));
            refused += 1;
        }
        Ok(Imported { lines, imported, refused, listed, complete: read <= lines && !is_cut_off })
    }

    fn add(&mut self, line: Line, parse: &impl Fn(&str) -> Result<ImportItem, Error>) -> Result<(), Error> {
        if line.number <= self.cursor.lines {
            let is_last = line.number == self.cursor.lines;
            let is_same = !is_last || line.digest == self.cursor.digest;
            return if is_same { Ok(()) } else { Err(Error::IdempotencyKeyReused) };
        }
        if self.cursor.is_given_up() {
            return Ok(());
        }
        self.bytes += line.text.as_ref().map_or(0, |text| text.len());
        let item = line.text.as_ref().map_err(Error::clone).and_then(|text| {
            let text = std::str::from_utf8(text).map_err(|_| Error::BodyInvalid("it is not UTF-8".to_owned()))?;
            if text.trim_ascii().is_empty() { Ok(ImportItem::Nothing) } else { parse(text) }
        });
        let item = match item {
            Err(error) if is_of_the_line(&error) => Err(Refused::of(line.number, &error)),
            item => Ok(item?),
        };
        self.items.push((line.number, item));
        self.last = Some(line);
        Ok(())
    }

    /// Imports a step. It is only then that more is read, so no import has more in memory than that.
    async fn submit(&mut self) -> Result<(), Error> {
        let bytes = std::mem::take(&mut self.bytes);
        let (Some(Line { number, digest, .. }), items) = (self.last.take(), std::mem::take(&mut self.items)) else {
            return Ok(());
        };
        let (name, after) = (self.name.clone(), self.cursor.lines);
        self.keep_pace(items.len(), bytes).await;
        self.cursor = self.writer.submit(Step { name, after, number, digest, items }).await?;
        Ok(())
    }

    /// Waits until the step before has had its time.
    ///
    /// Against this fault: an import wrote faster than checkpoints move it, and then every insert waited for the end of one.
    async fn keep_pace(&mut self, lines: usize, bytes: usize) {
        tokio::time::sleep_until(self.due.into()).await;
        let share =
            |count: usize, a_second: u32| Duration::from_secs(1) / a_second * u32::try_from(count).unwrap_or(u32::MAX);
        let is_behind = self.due.elapsed() > MADE_UP;
        let from = if is_behind { Instant::now() } else { self.due };
        self.due = from + share(lines, LINES_A_SECOND).max(share(bytes, BYTES_A_SECOND));
    }
}
