//! `/socket.io/`: users and the clients of channels, over Socket.IO.

use actix_web::HttpRequest;
use actix_web::web::Payload;

use super::extract::Peer;
use super::reply::Reply;
use super::request::no_services;
use super::socket_io::serve;
use crate::app::App;
use crate::transports::socket_clients::SocketClients;
use crate::transports::socket_io::{Settings, SocketIo};

/// The sessions of Socket.IO: a cheap clone, shared by all workers.
pub type Sockets = SocketIo<SocketClients>;

/// No sessions yet.
pub fn sockets() -> Sockets {
    SocketIo::new(Settings::default(), crate::random::bytes)
}

/// Any request to `/socket.io/`.
pub async fn handle(app: App, Peer(from): Peer, request: HttpRequest, payload: Payload) -> Reply {
    let sockets = request.app_data::<Sockets>().cloned().ok_or_else(no_services)?;
    serve(&sockets, SocketClients::new(app), (&request, &mut payload.into_inner()), from, || ((), from.network())).await
}
