//! Requests of Engine.IO, and which session they belong to.

use std::sync::Arc;

use super::application::Application;
use super::polling::{PollCall, PostCall};
use super::refusal::Refusal;
use super::sessions::Sessions;
use super::settings::Settings;
use super::shares::Shares;
use super::sid::Sid;
use super::websocket::WebSocketCall;

/// The sessions of an application: a cheap clone for any thread.
pub struct SocketIo<A: Application>(pub(super) Arc<Sessions<A>>);

impl<A: Application> Clone for SocketIo<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What a request says, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: Method,
    /// Whether it wants to become a WebSocket.
    pub is_upgrade: bool,
    /// Whether its body is of the type `application/octet-stream`.
    pub is_binary: bool,
    /// The parameter `EIO`, the version of the protocol.
    pub eio: Option<&'a str>,
    /// The parameter `transport`.
    pub transport: Option<&'a str>,
    /// The parameter `sid`, the id of the session.
    pub sid: Option<&'a str>,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// Any other.
    Other,
}

/// What a request is.
pub enum Call<A: Application> {
    /// A poll, also the one that opens a session.
    Poll(PollCall<A>),
    /// A post.
    Post(PostCall<A>),
    /// A WebSocket, which opens a session or upgrades one.
    WebSocket(WebSocketCall<A>),
}

impl<A: Application> SocketIo<A> {
    /// No sessions yet. `random` draws bytes that cannot be guessed.
    pub fn new(settings: Settings, random: fn() -> [u8; Sid::BYTES]) -> Self {
        Self(Arc::new(Sessions::new(settings, Shares::new(A::site), random)))
    }

    /// Sends pings, and ends the sessions that do not answer them, for ever. To be run once, on any thread.
    pub async fn keep_time(self) {
        self.0.keep_time().await;
    }

    /// Ends all sessions, and refuses others, because the server stops.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Finds out what a request is. `opened_by` is asked of a request that opens a session.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn call(
        &self,
        request: Request<'_>,
        opened_by: impl FnOnce() -> (A::Peer, A::Client),
    ) -> Result<Call<A>, Refusal> {
        let is_websocket = match request.transport {
            Some("polling") => false,
            Some("websocket") => true,
            _ => return Err(Refusal::UnknownTransport),
        };
        if request.eio != Some("4") {
            return Err(Refusal::UnsupportedVersion);
        }
        let session = request.sid.map(|sid| self.0.get(sid).ok_or(Refusal::UnknownSid)).transpose()?;
        let is_polling = session.as_ref().is_none_or(|session| session.line(|line| line.is_polling()));
        match (request.method, session) {
            (Method::Other, _) | (Method::Post, None) => Err(Refusal::BadMethod),
            _ if is_websocket && !request.is_upgrade => Err(Refusal::BadRequest),
            (Method::Get, None) if is_websocket => {
                let (peer, client) = opened_by();
                Ok(Call::WebSocket(WebSocketCall::open(&self.0, peer, client)))
            }
            (Method::Get, Some(session)) if is_websocket => {
                Ok(Call::WebSocket(WebSocketCall::upgrade(&self.0, session)))
            }
            _ if is_websocket || !is_polling => Err(Refusal::BadRequest),
            (Method::Post, Some(session)) => PostCall::begin(&self.0, session, !request.is_binary).map(Call::Post),
            (Method::Get, Some(session)) => PollCall::begin(&self.0, session).map(Call::Poll),
            (Method::Get, None) => {
                let (peer, client) = opened_by();
                let session = self.0.open(false, peer, client).ok_or(Refusal::Overloaded)?;
                PollCall::begin(&self.0, session).map(Call::Poll)
            }
        }
    }
}
