//! Work that nobody asks for: events that have expired are removed, and events that are too old are forgotten. This is done in the
//! background, in small steps through the writer, so that inserts do not wait.
//!
//! `due`, which removes what has expired, and `retention`, which shortens the tails, have a loop each, so that neither waits for the
//! other. Each looks outside the writer for the events that are to go, and gives them to the writer to remove.

mod due;
mod retention;
mod rounds;
mod waiting;

use self::due::Due;
use self::retention::Tails;
use self::rounds::{Desk, Pace};
use super::hub::Hub;
use crate::clock::Clock;
use crate::writer::Writer;

pub use self::retention::Retention;

/// Removes what has expired and shortens the tails, for as long as the server lives.
pub async fn keep_up(hub: Hub, writer: Writer, clock: Clock, retention: Retention) {
    let desk = Desk { store: hub.store().clone(), writer, clock };
    let (mut due, mut tails) = (Due::new(hub, desk.clone()), Tails::new(desk, retention));
    let due = async {
        let mut pace = Pace::new();
        while pace.goes_on(due.round().await).await {}
    };
    let retention = async {
        let mut pace = Pace::new();
        while pace.goes_on(tails.round().await).await {}
    };
    tokio::join!(due, retention);
}

#[cfg(test)]
mod tests;
