//! A JSON array that is read from the store as it is sent, so that it may be larger than memory.

use actix_web::web::{Bytes, block};
use futures_util::stream::{Stream, unfold};

use super::events::EventView;
use crate::error::Error;
use crate::store::{LatestEvents, Store};

/// How much is read at once, in bytes of events.
const STEP_BYTES: usize = 64 << 10;

/// Where a listing is.
enum State {
    Begins(LatestEvents),
    GoesOn(LatestEvents),
    Ended,
}

/// The latest events of many names as one JSON array. A failure in the middle cuts the answer off.
pub fn listing(store: Store, latest: LatestEvents) -> impl Stream<Item = Result<Bytes, Error>> {
    unfold(State::Begins(latest), move |state| {
        let store = store.clone();
        async move {
            let (latest, is_first) = match state {
                State::Begins(latest) => (latest, true),
                State::GoesOn(latest) => (latest, false),
                State::Ended => return None,
            };
            let step = block(move || step(&store, latest, is_first)).await;
            Some(match step {
                Ok(Ok((bytes, next))) => (Ok(bytes), next),
                Ok(Err(error)) => (Err(error), State::Ended),
                Err(error) => (Err(Error::Internal(error.to_string())), State::Ended),
            })
        }
    })
}

fn step(store: &Store, mut latest: LatestEvents, mut is_first: bool) -> Result<(Bytes, State), Error> {
    let mut json = if is_first { b"[".to_vec() } else { Vec::new() };
    let mut failed = None;
    let is_more = loop {
        let is_more = latest.next(store, STEP_BYTES, |event| {
            if !std::mem::take(&mut is_first) {
                json.push(b',');
            }
            let written = EventView::of(store, &event).and_then(|view| {
                serde_json::to_writer(&mut json, &view).map_err(|error| Error::Internal(error.to_string()))
            });
            failed = failed.take().or(written.err());
        })?;
        // A step that found nothing that is wanted gives nothing to send.
        if !is_more || json.len() > 1 {
            break is_more;
        }
    };
    if let Some(error) = failed {
        return Err(error);
    }
    if !is_more {
        json.push(b']');
        return Ok((json.into(), State::Ended));
    }
    Ok((json.into(), if is_first { State::Begins(latest) } else { State::GoesOn(latest) }))
}
