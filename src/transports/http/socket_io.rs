//! Requests of Engine.IO, for any application of Socket.IO.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use actix_web::dev::Payload;
use actix_web::http::header::{self, ContentType};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest, HttpResponse};

use super::bodies::{Sender, Unread};
use super::callers;
use super::endpoint::Endpoint;
use super::polls::{self, TEXT};
use super::reply::Reply;
use super::request::{no_services, offers_websocket};
use super::socket::Socket;
use super::websocket::WebSocket;
use crate::app::Health;
use crate::config::{Callers, Live};
use crate::domain::ClientAddress;
use crate::error::Error;
use crate::transports::socket_io::{self, Application, Call, PostCall, Refusal, SocketIo};

/// Answers a request to `/socket.io/` that comes from this address, and from a page that may call if it comes from one: without reading
/// the answer, any other could still open sessions. `opened_by` is asked of a request that opens a session.
///
/// # Errors
/// Those of reading a body, and of a request that becomes a WebSocket. All others are answers of the protocol's own form.
pub async fn serve<A: Application>(
    sessions: &SocketIo<A>,
    app: A,
    (request, payload): (&HttpRequest, &mut Payload),
    from: ClientAddress,
    opened_by: impl FnOnce() -> (A::Peer, A::Client),
) -> Reply {
    let callers = request.app_data::<Live<Callers>>().ok_or_else(no_services)?;
    if callers::check_origin(&callers.get(), request.headers()).is_err() {
        return Ok(refuse(Refusal::Forbidden));
    }
    let parameters = Parameters::of(request);
    match sessions.call(parameters.request(request), opened_by) {
        Err(refusal) => Ok(refuse(refusal)),
        // The same head again would open another session.
        Ok(Call::Poll(poll)) => match polls::leaving(request).filter(|_| parameters.get("sid").is_some()) {
            Some(socket) => {
                let health = request.app_data::<Health>().ok_or_else(no_services)?.clone();
                Ok(polls::answer(socket, poll, health, request.app_data::<Endpoint>().cloned()))
            }
            None => Ok(while_connected(request, poll.answer()).await.map_or_else(gone, said)),
        },
        Ok(Call::Post(post)) => {
            let body = Unread::of(request, payload);
            take(post, app, body, from).await
        }
        Ok(Call::WebSocket(call)) => {
            let websocket = WebSocket::from_request(request, payload).await?;
            let max_bytes = call.max_bytes();
            Ok(websocket.accept(None, max_bytes, move |inlet, outlet| call.run(app, inlet, outlet)))
        }
    }
}

/// The parameters of a request, each as it is named first.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(request: &HttpRequest) -> Self {
        // It cannot fail for texts.
        Self(Query::from_query(request.query_string()).map(Query::into_inner).unwrap_or_default())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    fn request(&self, request: &HttpRequest) -> socket_io::Request<'_> {
        let has = |name, value: &str| {
            request.headers().get_all(name).any(|given| given.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
        };
        socket_io::Request {
            method: match *request.method() {
                Method::GET => socket_io::Method::Get,
                Method::POST => socket_io::Method::Post,
                _ => socket_io::Method::Other,
            },
            is_upgrade: offers_websocket(request),
            is_binary: has(header::CONTENT_TYPE, "application/octet-stream"),
            eio: self.get("EIO"),
            transport: self.get("transport"),
            sid: self.get("sid"),
        }
    }
}

/// Waits for something while the client of HTTP/1 is there: it is heard of only by this task. With HTTP/2, all of this is dropped with
/// the client.
async fn while_connected<T>(request: &HttpRequest, waiting: impl Future<Output = T>) -> Option<T> {
    let socket = request.conn_data::<Socket>();
    let mut waiting = pin!(waiting);
    poll_fn(|context| match waiting.as_mut().poll(context) {
        Poll::Pending if socket.is_some_and(Socket::has_ended) => Poll::Ready(None),
        waiting => waiting.map(Some),
    })
    .await
}

async fn take<A: Application>(post: PostCall<A>, app: A, body: Unread, from: ClientAddress) -> Reply {
    match body.read(Sender::stranger(from), post.max_bytes()).await {
        Ok(mut body) => {
            // The body counts while it waits for the client to take what it is answered.
            let taken = body.during(async |body| Ok(post.take(app, body).await)).await?;
            Ok(taken.map_or_else(refuse, said))
        }
        Err(error @ (Error::BodyTooLarge(_) | Error::Overloaded)) => {
            post.refuse();
            Err(error)
        }
        // It was cut off, or is no text: that ends the session.
        Err(error) => Err(error),
    }
}

fn said(body: impl Into<bytes::Bytes>) -> HttpResponse {
    HttpResponse::Ok().insert_header(TEXT).body(body.into())
}

fn refuse(refusal: Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    HttpResponse::build(status).insert_header(ContentType::json()).body(refusal.body())
}

/// The answer that nobody reads.
fn gone() -> HttpResponse {
    refuse(Refusal::BadRequest)
}
