//! A JSON array that is read from the store as it is sent, so that it may be larger than memory.

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};

use super::events::EventView;
use crate::app::{Reader, Sight};
use crate::error::Error;
use crate::store::{LatestEvents, Store};

/// How much is read at once, in bytes of events.
const STEP_BYTES: usize = 64 << 10;

/// The latest events of many names, as one JSON array of which some may have been written.
pub struct Listing {
    latest: LatestEvents,
    /// Whether no event was written yet.
    is_first: bool,
}

/// The next bytes of a listing, and what comes after them.
pub type Step = (Bytes, Option<Listing>);

impl Listing {
    /// Begins one of what somebody sees.
    ///
    /// # Errors
    /// [`Error::Storage`] where it cannot be read.
    pub fn begin(store: &Store, sight: &Sight) -> Result<Step, Error> {
        let latest = LatestEvents::new(sight.tenant.clone(), sight.view.clone());
        Self { latest, is_first: true }.step(store, b"[".to_vec())
    }

    fn step(mut self, store: &Store, mut json: Vec<u8>) -> Result<Step, Error> {
        let is_more = self.latest.next(store, STEP_BYTES, |event| {
            if !std::mem::take(&mut self.is_first) {
                json.push(b',');
            }
            let view = EventView::of(store, &event)?;
            serde_json::to_writer(&mut json, &view).map_err(|error| Error::Internal(error.to_string()))
        })?;
        if !is_more {
            json.push(b']');
        }
        Ok((json.into(), is_more.then_some(self)))
    }

    /// Reads it to its end for the reader it was begun for. Where reading fails in the middle, or the reader may by then not see
    /// what a new request would give, the answer is cut off: it is never ended as if it were whole.
    pub fn stream(self, reader: Reader, sight: Sight) -> impl Stream<Item = Result<Bytes, Error>> {
        let state = Some((self, reader, sight));
        unfold(state, |state| async move {
            let (mut listing, reader, sight) = state?;
            loop {
                let step = reader.read_on(&sight, |store| listing.step(store, Vec::new())).await;
                listing = match step.and_then(|step| step.ok_or(Error::Unauthorized)) {
                    // A step that found nothing that is wanted gives nothing to send.
                    Ok((bytes, Some(rest))) if bytes.is_empty() => rest,
                    Ok((bytes, rest)) => return Some((Ok(bytes), rest.map(|rest| (rest, reader, sight)))),
                    Err(error) => return Some((Err(error), None)),
                };
            }
        })
    }
}
