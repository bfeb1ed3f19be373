//! Reads of the records of events, for messages that do not come by the stream.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::sleep;

use super::records::Records;
use crate::app::{App, EventsAt};
use crate::domain::Position;
use crate::error::Error;
use crate::identity::Principal;

/// After what time a read is tried again that was refused.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A read of records that goes on.
pub type Reading = Pin<Box<dyn Future<Output = Result<EventsAt, Error>>>>;

/// Reads the records of events.
pub fn read(app: &App, principal: &Principal, positions: Vec<Position>) -> Reading {
    let (events, principal) = (app.events.clone(), principal.clone());
    Box::pin(async move { unless_refused(|| events.at(principal.clone(), positions.clone(), &Records)).await })
}

/// Tries a read again that is refused because there is too much to do: nobody else would.
async fn unless_refused<T, F: Future<Output = Result<T, Error>>>(mut read: impl FnMut() -> F) -> Result<T, Error> {
    loop {
        match read().await {
            Err(error) if error.retry_after().is_some() => sleep(READ_AGAIN_AFTER).await,
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_is_refused_is_tried_again_and_one_that_fails_is_not() {
        let tries = &Cell::new(0);
        let read = |last: Result<u8, Error>| {
            tries.set(0);
            unless_refused(move || {
                tries.set(tries.get() + 1);
                std::future::ready(if tries.get() < 3 { Err(Error::Overloaded) } else { last.clone() })
            })
        };
        assert_eq!((read(Ok(7)).await, tries.get()), (Ok(7), 3));
        assert_eq!((read(Err(Error::Unauthorized)).await, tries.get()), (Err(Error::Unauthorized), 3));
    }
}
