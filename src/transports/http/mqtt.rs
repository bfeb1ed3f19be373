//! `/mqtt`: MQTT over WebSocket, which may be on every path that is no other, and on `/`.

use super::reply::{self, Reply};
use super::websocket::WebSocket;
use crate::app::App;
use crate::error::Error;
use crate::transports::mqtt;

/// How large a message may be, in bytes. Packets need not fit into one (MQTT 5.0, section 6): clients send larger ones in parts, or none.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// `GET /mqtt`: a connection.
pub async fn connect(app: App, socket: Result<WebSocket, Error>) -> Reply {
    if app.mqtt.is_none() {
        return Err(Error::NotFound);
    }
    let socket = socket?;
    let protocol = socket.choose(&mqtt::PROTOCOLS).ok_or(Error::SubprotocolUnknown(mqtt::PROTOCOLS[0]))?;
    let (from, memory) = (socket.from(), socket.memory().clone());
    // Its packets are made for one connection, so that none could be compressed for many.
    Ok(socket.without_compression().accept(Some(protocol), MAX_MESSAGE_BYTES, move |inlet, outlet| {
        // No connection of HTTP has to say anything soon, so that there is nothing to count here.
        let must_end = std::future::pending();
        mqtt::serve(app, (inlet, outlet), from, must_end, Box::new(move |principal| memory.of_user(principal)))
    }))
}

/// Any other path: a connection if clients of MQTT may use it.
pub async fn elsewhere(app: App, socket: Result<WebSocket, Error>) -> Reply {
    if takes(&app, &socket) { connect(app, socket).await } else { Ok(reply::refusal(&Error::NotFound)) }
}

/// `GET /`, which is the path of clients that are given none: a connection, as everywhere else, or else the health check.
pub async fn root(app: App, socket: Result<WebSocket, Error>) -> Reply {
    if takes(&app, &socket) { connect(app, socket).await } else { Ok(reply::empty()) }
}

/// Whether a request is that of a client of MQTT which may use any path.
fn takes(app: &App, socket: &Result<WebSocket, Error>) -> bool {
    let takes_any = app.mqtt.as_ref().is_some_and(|mqtt| mqtt.any_path);
    takes_any && socket.as_ref().is_ok_and(|offered| offered.choose(&mqtt::PROTOCOLS).is_some())
}
