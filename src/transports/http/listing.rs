//! A JSON array that is read in steps as it is sent. It may be larger than memory, and who does not read it holds no more of ours
//! than one step.

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use serde::Serialize;

use super::reply::{self, Reply};
use crate::app::{AdminReader, ReadScope, Reader};
use crate::error::Error;
use crate::store::Store;

/// How large a step is, in bytes but for one item more.
pub const STEP_BYTES: usize = 64 << 10;

/// What is listed.
pub trait Rows: Send + Sized + 'static {
    /// Writes the next items, until they are enough; whether there are more. A step may write none, and is short all the same. May
    /// block on the disk.
    ///
    /// # Errors
    /// Any; the answer is cut off then, or a refusal if nothing of it was sent.
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error>;

    /// What is asked for to get the next page, once there are no more items on this one.
    fn next_page(&self, store: &Store) -> Option<String>;
}

/// How the list looks.
#[derive(Clone, Copy)]
pub enum Form {
    /// An array, which has no pages.
    Array,
    /// `{"<name>": […], "next": …}`: what is on one page, and what the next one is asked for with.
    Page(&'static str),
}

impl Form {
    /// The form of a list for which a limit may be given: with one it is a page.
    pub fn with_limit(limit: Option<usize>, name: &'static str) -> Self {
        if limit.is_some() { Self::Page(name) } else { Self::Array }
    }
}

/// The items of one step, as JSON with commas between.
pub struct Items {
    json: Vec<u8>,
    /// Whether none was written yet, in no step.
    is_first: bool,
}

impl Items {
    /// Writes one.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written as JSON.
    pub fn push(&mut self, item: &impl Serialize) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_first) {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, item).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Whether they are enough for one step.
    pub fn are_enough(&self) -> bool {
        self.json.len() >= STEP_BYTES
    }
}

/// A list of which some may have been written.
struct Listing<R> {
    rows: R,
    form: Form,
    is_first: bool,
}

/// The next bytes of a listing, and what comes after them.
type Step<R> = (Bytes, Option<Listing<R>>);

impl<R: Rows> Listing<R> {
    fn begin(rows: R, form: Form, store: &Store) -> Result<Step<R>, Error> {
        let head = match form {
            Form::Array => b"[".to_vec(),
            Form::Page(name) => format!("{{\"{name}\":[").into_bytes(),
        };
        Self { rows, form, is_first: true }.step(store, head)
    }

    fn step(mut self, store: &Store, json: Vec<u8>) -> Result<Step<R>, Error> {
        let mut items = Items { json, is_first: self.is_first };
        let is_more = self.rows.next(store, &mut items)?;
        let Items { mut json, is_first } = items;
        self.is_first = is_first;
        if !is_more {
            json.push(b']');
            if matches!(self.form, Form::Page(_)) {
                let next = serde_json::to_string(&self.rows.next_page(store));
                let next = next.map_err(|error| Error::Internal(error.to_string()))?;
                json.extend_from_slice(format!(",\"next\":{next}}}").as_bytes());
            }
        }
        Ok((json.into(), is_more.then_some(self)))
    }

    /// Reads it to its end. If reading fails in the middle the answer is cut off: it is never ended as if it were whole.
    fn stream(self, read_on: impl AsyncFn(Self) -> Result<Step<R>, Error>) -> impl Stream<Item = Result<Bytes, Error>> {
        unfold(Some((self, read_on)), |state| async move {
            let (mut listing, read_on) = state?;
            loop {
                listing = match read_on(listing).await {
                    // A step that found nothing that is wanted gives nothing to send.
                    Ok((bytes, Some(rest))) if bytes.is_empty() => rest,
                    Ok((bytes, rest)) => return Some((Ok(bytes), rest.map(|rest| (rest, read_on)))),
                    Err(error) => {
                        // No refusal is made of it any more, which would have it logged.
                        reply::log_fault(&error);
                        return Some((Err(error), None));
                    }
                };
            }
        })
    }

    /// What was read first, with the rest as it is read where there is more.
    fn answer((first, rest): Step<R>, read_on: impl AsyncFn(Self) -> Result<Step<R>, Error> + 'static) -> Reply {
        Ok(match rest {
            None => reply::json_text(first),
            Some(rest) => reply::json_stream(first, rest.stream(read_on)),
        })
    }
}

/// Answers somebody with a list of what they see. It is cut off if they may by then not see what a new request would give.
///
/// # Errors
/// Those of the reader and of the rows.
pub async fn answer<R: Rows>(
    reader: Reader,
    form: Form,
    rows: impl Fn(&ReadScope) -> R + Send + Sync + 'static,
) -> Reply {
    let (scope, first) = reader.read(move |store, scope| Listing::begin(rows(scope), form, store)).await?;
    Listing::answer(first, async move |listing| {
        let step = reader.read_on(&scope, move |store| listing.step(store, Vec::new())).await?;
        step.ok_or(Error::Unauthorized)
    })
}

/// Answers an admin with a list.
///
/// # Errors
/// Those of the reader and of the rows.
pub async fn answer_admin<R: Rows>(reader: AdminReader, form: Form, rows: R) -> Reply {
    let first = reader.read(move |store| Listing::begin(rows, form, store)).await?;
    Listing::answer(first, async move |listing: Listing<R>| {
        reader.read_on(move |store| listing.step(store, Vec::new())).await
    })
}
