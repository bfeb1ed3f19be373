//! From a request to a WebSocket connection.

use std::future::{Future, Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, Version};
use actix_web::{FromRequest, HttpRequest, HttpResponse};

use super::bodies::{Bodies, MessageMemory};
use super::body::LeavingBody;
use super::callers;
use super::extract::Peer;
use super::request::{has_body, no_services, offers_websocket};
use super::socket::{Left, Onward, Socket};
use crate::config::{Callers, Live};
use crate::domain::ClientAddress;
use crate::error::Error;
use crate::log::RequestId;
use crate::transports::open_sockets::OpenSockets;
use crate::transports::ws::{self, Compression, Handshake, Inlet, Outlet, Refusal, Settings, Times};

/// A request that may become a WebSocket connection: a handshake over HTTP/1.1 that is right in every respect, from a page that may
/// call. As the argument of a handler it has been checked; a handler that answers other requests as well takes a `Result` of it.
pub struct WebSocket {
    handshake: Handshake,
    socket: Socket,
    from: ClientAddress,
    memory: MessageMemory,
    open: OpenSockets,
    /// Whether what the client offers for compression is taken.
    may_compress: bool,
}

impl WebSocket {
    /// The first of the client's subprotocols that is one of ours.
    pub fn choose(&self, ours: &[&'static str]) -> Option<&'static str> {
        self.handshake.choose(ours)
    }

    /// Whether the client offers a subprotocol, be it one of ours or not.
    pub fn offers_any(&self) -> bool {
        self.handshake.offers_any()
    }

    /// The same, with messages that are not compressed, whatever the client offers.
    pub fn without_compression(self) -> Self {
        Self { may_compress: false, ..self }
    }

    /// Where the client is.
    pub fn from(&self) -> ClientAddress {
        self.from
    }

    /// What counts the memory of the connection. It counts for the client's address until
    /// [`Inlet::set_memory`](ws::Inlet::set_memory) is given that of a user.
    pub fn memory(&self) -> &MessageMemory {
        &self.memory
    }

    /// Switches protocols, and has the application run on the connection: see [`ws::run`]. A message may have so many bytes, inflated,
    /// until the application changes that.
    pub fn accept<A: Future<Output = ()> + 'static>(
        self,
        protocol: Option<&'static str>,
        max_message_bytes: usize,
        application: impl FnOnce(Inlet, Outlet) -> A + 'static,
    ) -> HttpResponse {
        self.accept_with(protocol, max_message_bytes, Times::default(), application)
    }

    /// As [`WebSocket::accept`], with other times.
    #[doc(hidden)]
    pub fn accept_with<A: Future<Output = ()> + 'static>(
        self,
        protocol: Option<&'static str>,
        max_message_bytes: usize,
        times: Times,
        application: impl FnOnce(Inlet, Outlet) -> A + 'static,
    ) -> HttpResponse {
        let Self { handshake, socket, from, memory, open, may_compress } = self;
        let mut response = HttpResponse::SwitchingProtocols();
        response.insert_header((header::UPGRADE, "websocket"));
        response.insert_header((header::SEC_WEBSOCKET_ACCEPT, handshake.accept()));
        if let Some(protocol) = protocol {
            response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, protocol));
        }
        if let Some(extensions) = handshake.extensions().filter(|_| may_compress) {
            response.insert_header((header::SEC_WEBSOCKET_EXTENSIONS, extensions));
        }
        let compression = if may_compress { handshake.compression() } else { Compression::default() };
        let settings = Settings { max_message_bytes, compression, times, has_frames: true };
        // What is logged of the connection has the id of its request, which the client knows.
        let request_id = RequestId::current().unwrap_or_else(RequestId::random);
        let leaves_to = Box::new(move |left: Left| {
            Onward::Leaves(Box::pin(request_id.around(ws::run(
                left.stream.into_duplex(),
                left.head,
                left.received,
                settings,
                |mut inlet, outlet| {
                    inlet.set_memory(memory.of_stranger(from));
                    let place = open.add(&outlet);
                    place.with(application(inlet, outlet))
                },
            ))))
        });
        response.body(LeavingBody::new(&socket, leaves_to))
    }
}

impl FromRequest for WebSocket {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(check(request))
    }
}

fn check(request: &HttpRequest) -> Result<WebSocket, Error> {
    let socket = match request.conn_data::<Socket>() {
        Some(socket) if request.version() == Version::HTTP_11 => socket.clone(),
        // HTTP/2 would need an extension (RFC 8441) that no browser needs: it opens a connection of its own.
        _ => return Err(Error::HandshakeInvalid("it takes HTTP/1.1")),
    };
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Error::UpgradeRequired);
    }
    let values = |name: &str| headers.get_all(name).map(HeaderValue::as_bytes);
    let handshake = Handshake::read(offers_websocket(request), values);
    let handshake = handshake.map_err(|refusal| match refusal {
        Refusal::NotAsked | Refusal::Version => Error::UpgradeRequired,
        Refusal::Malformed(why) => Error::HandshakeInvalid(why),
    })?;
    if has_body(request) {
        return Err(Error::HandshakeInvalid("it has a body"));
    }
    let callers = request.app_data::<Live<Callers>>().ok_or_else(no_services)?;
    callers::check_origin(&callers.get(), headers)?;
    let memory = request.app_data::<Bodies>().cloned().map(MessageMemory::new).ok_or_else(no_services)?;
    let open = request.app_data::<OpenSockets>().cloned().ok_or_else(no_services)?;
    Ok(WebSocket { handshake, socket, from: Peer::of(request)?, memory, open, may_compress: true })
}
