//! From a request to a WebSocket connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, Ready, ready};
use std::io::Result as IoResult;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, Version};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use pin_project_lite::pin_project;
use tokio::io::AsyncWrite;
use tokio_rustls::server::TlsStream;

use super::accept::Tcp;
use super::bodies::{Bodies, MessageMemory};
use super::body::LeavingBody;
use super::callers;
use super::extract::Peer;
use super::request::{has_body, no_services, offers_websocket};
use super::socket::{Left, Onward, Socket, Stream, bound};
use crate::config::Callers;
use crate::domain::ClientAddress;
use crate::error::Error;
use crate::transports::ws::{self, Duplex, Handshake, Inlet, Outlet, Refusal, Settings, Times};

/// A request that may become a WebSocket connection: a handshake over HTTP/1.1 that is right in every respect, from a page that may
/// call. As the argument of a handler it has been checked; a handler that answers other requests as well takes a `Result` of it.
pub struct WebSocket {
    handshake: Handshake,
    socket: Socket,
    from: ClientAddress,
    memory: MessageMemory,
    open: OpenSockets,
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
        let Self { handshake, socket, from, memory, open } = self;
        let mut response = HttpResponse::SwitchingProtocols();
        response.insert_header((header::UPGRADE, "websocket"));
        response.insert_header((header::SEC_WEBSOCKET_ACCEPT, handshake.accept()));
        if let Some(protocol) = protocol {
            response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, protocol));
        }
        if let Some(extensions) = handshake.extensions() {
            response.insert_header((header::SEC_WEBSOCKET_EXTENSIONS, extensions));
        }
        let settings = Settings { max_message_bytes, compression: handshake.compression(), times };
        let leaves_to = Box::new(move |left: Left| {
            Onward::Leaves(Box::pin(ws::run(
                duplex(left.stream),
                left.head,
                left.received,
                settings,
                |mut inlet, outlet| {
                    inlet.set_memory(memory.of_stranger(from));
                    let place = open.add(&outlet);
                    Placed { application: application(inlet, outlet), _place: place }
                },
            )))
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
    let callers = request.app_data::<Arc<Callers>>().ok_or_else(no_services)?;
    callers::check_origin(callers, headers)?;
    let memory = request.app_data::<Bodies>().cloned().map(MessageMemory::new).ok_or_else(no_services)?;
    let open = request.app_data::<OpenSockets>().cloned().ok_or_else(no_services)?;
    Ok(WebSocket { handshake, socket, from: Peer::of(request)?, memory, open })
}

fn duplex(stream: Stream) -> Box<dyn Duplex> {
    bound(stream.tcp());
    match stream {
        Stream::Plain(stream) => Box::new(stream),
        Stream::Tls(stream) => stream,
    }
}

impl Duplex for Tcp {
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.poll_write_ready(context)
    }
}

impl Duplex for TlsStream<Tcp> {
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(self).poll_flush(context)
    }
}

/// The connections of a worker, which are closed when the server stops: without that it would wait for them in vain, and their clients
/// would not know that they can come back.
#[derive(Clone, Default)]
pub struct OpenSockets(Rc<RefCell<Table>>);

#[derive(Default)]
struct Table {
    /// Whether the server stops.
    is_closed: bool,
    next: u64,
    outlets: HashMap<u64, Outlet>,
}

pin_project! {
    /// An application, with the place of its connection. An `async` block would have room for the application twice.
    struct Placed<A> {
        #[pin]
        application: A,
        _place: Place,
    }
}

impl<A: Future> Future for Placed<A> {
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A::Output> {
        self.project().application.poll(context)
    }
}

/// The place of a connection among those that are open.
struct Place {
    open: OpenSockets,
    number: u64,
}

impl OpenSockets {
    fn add(&self, outlet: &Outlet) -> Place {
        let table = &mut *self.0.borrow_mut();
        let number = table.next;
        table.next += 1;
        if table.is_closed {
            outlet.stop();
        }
        table.outlets.insert(number, outlet.clone());
        Place { open: self.clone(), number }
    }

    /// Stops them all, once the server does: each is closed with 1001, after what its client has asked for was answered.
    pub async fn close_when(self, stops: impl Future<Output = ()>) {
        stops.await;
        let table = &mut *self.0.borrow_mut();
        table.is_closed = true;
        table.outlets.values().for_each(Outlet::stop);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.0.borrow_mut().outlets.remove(&self.number);
    }
}
