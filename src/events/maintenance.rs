//! Work that nobody asks for: events that have expired are removed, and events that are too old are forgotten. This is done in the
//! background, in small steps through the writer, so that inserts do not wait.
//!
//! `due`, which removes what has expired, `retention`, which shortens the tails, `erasing`, which erases what deleted users left, and
//! `mqtt_sessions`, which ends sessions of MQTT and publishes wills, have a loop each, so that none waits for another. Each looks outside the writer for the events that are to go, and gives them to the
//! writer to remove.

mod away;
mod due;
mod erasing;
mod leaving;
mod mqtt_sessions;
mod retention;
mod rounds;
mod waiting;

use self::due::Due;
use self::erasing::Erasing;
use self::mqtt_sessions::MqttSessions;
use self::retention::Tails;
use self::rounds::{Desk, Pace};
use super::hub::Hub;
use crate::clock::Clock;
use crate::writer::Writer;

pub use self::retention::Retention;

/// Removes what has expired, shortens the tails, erases what deleted users left, and publishes wills, for as long
/// as the server lives.
pub async fn keep_up(hub: Hub, writer: Writer, clock: Clock, retention: Retention) {
    let desk = Desk { store: hub.store().clone(), writer, clock };
    let (mut due, mut erasing) = (Due::new(hub.clone(), desk.clone()), Erasing::new(hub, desk.clone()));
    let mut sessions = MqttSessions::new(desk.clone());
    let mut tails = Tails::new(desk, retention);
    let due = async {
        let mut pace = Pace::new();
        while pace.goes_on(due.round().await).await {}
    };
    let retention = async {
        let mut pace = Pace::new();
        while pace.goes_on(tails.round().await).await {}
    };
    let erasures = async {
        let mut pace = Pace::new();
        while pace.goes_on(erasing.round().await).await {}
    };
    let sessions = async {
        let mut pace = Pace::new();
        while pace.goes_on(sessions.round().await).await {}
    };
    tokio::join!(due, retention, erasures, sessions);
}

#[cfg(test)]
mod tests;
