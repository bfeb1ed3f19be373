//! `/ws`: what is spoken over WebSocket, by the subprotocol that the client offers.

use super::reply::Reply;
use super::websocket::WebSocket;
use crate::app::App;
use crate::error::Error;
use crate::transports::broker_v1;

/// `GET /ws`: a connection.
pub async fn connect(app: App, socket: WebSocket) -> Reply {
    match socket.choose(&[broker_v1::PROTOCOL]) {
        Some(broker_v1::PROTOCOL) => {
            let memory = socket.memory().clone();
            Ok(socket.accept(Some(broker_v1::PROTOCOL), broker_v1::MAX_SIGN_IN_BYTES, move |inlet, outlet| {
                broker_v1::serve(app, inlet, outlet, Box::new(move |principal| memory.of_user(principal)))
            }))
        }
        _ => Err(Error::SubprotocolUnknown),
    }
}
