//! `/ws`: what is spoken over WebSocket, by the subprotocol that the client offers.

use actix_web::HttpRequest;
use actix_web::web::Query;

use super::reply::Reply;
use super::websocket::WebSocket;
use crate::app::App;
use crate::error::Error;
use crate::transports::{broker_v1, notiflux};

/// `GET /ws`: a connection. Clients of notiflux, if they are served, offer no subprotocol.
pub async fn connect(app: App, request: HttpRequest, socket: WebSocket) -> Reply {
    match socket.choose(&[broker_v1::PROTOCOL]) {
        Some(protocol) => {
            let memory = socket.memory().clone();
            Ok(socket.accept(Some(protocol), broker_v1::MAX_SIGN_IN_BYTES, move |inlet, outlet| {
                broker_v1::serve(app, inlet, outlet, Box::new(move |principal| memory.of_user(principal)))
            }))
        }
        None if !socket.offers_any() && app.identity.notiflux().is_ok() => {
            let tells_errors = asks_for_errors(&request);
            Ok(socket.accept(None, notiflux::MAX_MESSAGE_BYTES, move |inlet, outlet| {
                notiflux::serve(app, tells_errors, inlet, outlet)
            }))
        }
        None => Err(Error::SubprotocolUnknown(broker_v1::PROTOCOL)),
    }
}

fn asks_for_errors(request: &HttpRequest) -> bool {
    Query::<Vec<(String, String)>>::from_query(request.query_string())
        .is_ok_and(|query| query.iter().any(|(name, value)| name == "errors" && value == "1"))
}
