use bytes::Bytes;
use futures_util::stream::{LocalBoxStream, Stream, unfold};
use serde::Serialize;

use super::reader::{AdminReader, ReadScope, Reader};
use crate::error::Error;
use crate::store::Store;

/// How large a step is, in bytes, up to one item.
pub const STEP_BYTES: usize = 64 << 10;

/// A list as JSON, which is read in steps while it is sent. It may be larger than memory, and a client that does not read it
/// costs no more of ours than one step.
pub struct Listing {
    /// The beginning, or all of it.
    pub first: Bytes,
    /// The rest, if there is more. It breaks off after an error: the list is never ended as if it were whole.
    pub rest: Option<LocalBoxStream<'static, Result<Bytes, Error>>>,
}

/// The items of a list, read from the store in steps.
pub trait Rows: Send + Sized + 'static {
    /// Writes the next items, until they are enough for a step, and tells whether there are more. A step may write none, and is
    /// short all the same. May block on the disk.
    ///
    /// # Errors
    /// Any. The request is refused if nothing was sent yet, and the answer breaks off otherwise.
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error>;

    /// The value that a client asks for the next page with, once there are no more items on this one. A list without pages has
    /// none.
    fn next_page(&self, _: &Store) -> Option<String> {
        None
    }
}

/// The form of a list.
#[derive(Clone, Copy)]
pub enum Form {
    /// An array, which has no pages.
    Array,
    /// Each item is a line (NDJSON).
    Lines,
    /// `{"<name>": […], "next": …}`: one page, and the value that the next one is asked for with.
    Page(&'static str),
}

impl Form {
    /// The form of a list that may be asked for with a limit: with a limit it is a page.
    pub fn with_limit(limit: Option<usize>, name: &'static str) -> Self {
        if limit.is_some() { Self::Page(name) } else { Self::Array }
    }
}

/// The items of one step, as JSON: with commas between them, or each with a line feed after it.
pub struct Items {
    json: Vec<u8>,
    form: Form,
    /// No step has written an item yet.
    is_first: bool,
}

impl Items {
    /// Writes an item.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written as JSON.
    pub fn push(&mut self, item: &impl Serialize) -> Result<(), Error> {
        let is_first = std::mem::take(&mut self.is_first);
        let is_line = matches!(self.form, Form::Lines);
        if !is_first && !is_line {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, item).map_err(|error| Error::Internal(error.to_string()))?;
        if is_line {
            self.json.push(b'\n');
        }
        Ok(())
    }

    /// Whether they are enough for one step.
    pub fn are_enough(&self) -> bool {
        self.json.len() >= STEP_BYTES
    }
}

/// Reads a list of what a user may see. It breaks off as soon as a new request would be given another list.
///
/// # Errors
/// Those of [`Reader::read`] and of the rows.
pub async fn read<R: Rows>(
    reader: Reader,
    form: Form,
    rows: impl Fn(&ReadScope) -> R + Send + Sync + 'static,
) -> Result<Listing, Error> {
    let (scope, first) = reader.read(move |store, scope| Unfinished::begin(rows(scope), form, store)).await?;
    Ok(Unfinished::go_on(first, async move |list| {
        let step = reader.read_on(&scope, move |store| list.step(store, Vec::new())).await?;
        step.ok_or(Error::Unauthorized)
    }))
}

/// Reads a list for an admin.
///
/// # Errors
/// Those of [`AdminReader::read`] and of the rows.
pub async fn read_as_admin<R: Rows>(reader: AdminReader, form: Form, rows: R) -> Result<Listing, Error> {
    let first = reader.read(move |store| Unfinished::begin(rows, form, store)).await?;
    Ok(Unfinished::go_on(first, async move |list: Unfinished<R>| {
        reader.read_on(move |store| list.step(store, Vec::new())).await
    }))
}

/// A list that has not been read to its end.
struct Unfinished<R> {
    rows: R,
    form: Form,
    is_first: bool,
}

/// The next bytes of a list, and the rest of it.
type Step<R> = (Bytes, Option<Unfinished<R>>);

impl<R: Rows> Unfinished<R> {
    fn begin(rows: R, form: Form, store: &Store) -> Result<Step<R>, Error> {
        let head = match form {
            Form::Array => b"[".to_vec(),
            Form::Lines => Vec::new(),
            Form::Page(name) => format!("{{\"{name}\":[").into_bytes(),
        };
        Self { rows, form, is_first: true }.step(store, head)
    }

    fn step(mut self, store: &Store, json: Vec<u8>) -> Result<Step<R>, Error> {
        let mut items = Items { json, form: self.form, is_first: self.is_first };
        let is_more = self.rows.next(store, &mut items)?;
        let Items { mut json, is_first, .. } = items;
        self.is_first = is_first;
        if !is_more && !matches!(self.form, Form::Lines) {
            json.push(b']');
            if matches!(self.form, Form::Page(_)) {
                let next = serde_json::to_string(&self.rows.next_page(store));
                let next = next.map_err(|error| Error::Internal(error.to_string()))?;
                json.extend_from_slice(format!(",\"next\":{next}}}").as_bytes());
            }
        }
        Ok((json.into(), is_more.then_some(self)))
    }

    fn go_on((first, rest): Step<R>, read_on: impl AsyncFn(Self) -> Result<Step<R>, Error> + 'static) -> Listing {
        Listing { first, rest: rest.map(|rest| Box::pin(rest.stream(read_on)) as _) }
    }

    /// Reads it to its end, or to the first error.
    fn stream(self, read_on: impl AsyncFn(Self) -> Result<Step<R>, Error>) -> impl Stream<Item = Result<Bytes, Error>> {
        unfold(Some((self, read_on)), |state| async move {
            let (mut list, read_on) = state?;
            loop {
                list = match read_on(list).await {
                    // A step that found nothing that is wanted has nothing to send.
                    Ok((bytes, Some(rest))) if bytes.is_empty() => rest,
                    Ok((bytes, rest)) => return Some((Ok(bytes), rest.map(|rest| (rest, read_on)))),
                    Err(error) => return Some((Err(error), None)),
                };
            }
        })
    }
}
