//! The first frame of a connection.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::timeout;

use super::commands::{Frame, Verb};
use super::format::Objects;
use super::{close, replies};
use crate::app::{App, LastSeen, StreamQuery};
use crate::error::Error;
use crate::events::{CatchUp, GoesOnFor, StreamId, StreamOptions};
use crate::identity::{Principal, TicketUse};
use crate::transports::stream_sink::{Ended, WebSocketSink};
use crate::transports::ws::{Inlet, Message, Opcode, Outlet, frame};

/// How long a client may take to sign in.
const SIGN_IN_WITHIN: Duration = Duration::from_secs(5);
/// How many bytes a frame of a client that has not signed in may have: as many as the head of a request that opens a stream.
pub const MAX_SIGN_IN_BYTES: usize = 32 << 10;

/// A client that has signed in, and its stream.
pub struct SignedIn {
    /// Who it is.
    pub principal: Principal,
    /// Whether a ticket was shown, which is good for a stream and for nothing else.
    pub by_ticket: bool,
    /// The name of the stream.
    pub stream: StreamId,
    /// The work on the stream.
    pub catch_up: CatchUp,
    /// Why the stream has ended, once it has.
    pub ended: Ended,
}

/// The answer.
#[derive(Serialize)]
struct Welcome<'a> {
    stream: String,
    username: &'a str,
    /// In milliseconds since 1970.
    expires_at: Option<u64>,
}

/// Waits until the client has signed in. Otherwise the connection is closed, and this is `None`.
pub async fn sign_in(app: &App, inlet: &mut Inlet, outlet: &Outlet) -> Option<SignedIn> {
    match timeout(SIGN_IN_WITHIN, first_frame(app, inlet, outlet)).await {
        Ok(signed_in) => signed_in,
        Err(_elapsed) => {
            close::sign_in_timeout(outlet);
            None
        }
    }
}

async fn first_frame(app: &App, inlet: &mut Inlet, outlet: &Outlet) -> Option<SignedIn> {
    loop {
        let Message::Text(text) = inlet.next().await? else {
            close::unsupported(outlet);
            return None;
        };
        let (reference, error) = match Frame::parse(&text) {
            Ok((Verb::SignIn, reference, frame)) => match open(app, outlet, reference, &frame) {
                Ok(signed_in) => return Some(signed_in),
                Err(error) => (Some(reference), error),
            },
            Ok((Verb::Ping, reference, _)) => {
                outlet.send_text(&replies::pong(reference));
                continue;
            }
            Ok((_, reference, _)) => (Some(reference), Error::Unauthorized),
            Err(refused) => refused,
        };
        replies::refuse(outlet, reference, &error);
        close::sign_in_refused(outlet, &error);
        return None;
    }
}

/// Signs in, and opens the stream, which begins with the answer.
fn open(app: &App, outlet: &Outlet, reference: u64, frame: &Frame<'_>) -> Result<SignedIn, Error> {
    let body = frame.sign_in()?;
    let (principal, ticket) = match (&body.token, &body.ticket) {
        (Some(token), None) => (app.identity.bearer(token)?, None),
        (None, Some(ticket)) => (app.identity.by_ticket(ticket, [], TicketUse::Look)?.0, Some(ticket)),
        _ => return Err(Error::BodyInvalid("it takes either a token or a ticket".to_owned())),
    };
    let query = StreamQuery {
        filter: body.filter()?,
        last_seen: LastSeen::parse(body.after.as_deref().unwrap_or_default()),
        goes_on: match body.stream.as_deref() {
            Some(stream) => StreamId::parse(stream).map_or(GoesOnFor::None, GoesOnFor::This),
            None => GoesOnFor::Last,
        },
        snapshot: body.snapshot.unwrap_or(true),
        options: StreamOptions {
            marks: body.marks.unwrap_or_default(),
            presence: body.presence.unwrap_or_default(),
            transient: body.transient.unwrap_or(true),
            ..StreamOptions::default()
        },
    };
    let request = app.events.subscribe(&principal, query)?;
    // This may refuse the stream as well, and comes last: a ticket is spent only by a stream that opens.
    if let Some(ticket) = ticket {
        app.identity.by_ticket(ticket, [], TicketUse::Open)?;
    }
    let stream = request.presence_guard.id;
    let expires_at = principal.expires_at.map(|expires_at| expires_at.as_millis());
    let welcome = Welcome { stream: stream.to_string(), username: principal.username.as_str(), expires_at };
    let answer: Bytes = frame_of(&replies::done(reference, welcome, false));
    let ended: Ended = Rc::default();
    let sink = WebSocketSink::new(outlet.stream(), Objects::on(outlet.compresses()), &ended);
    let catch_up = app.open(request, sink, answer);
    Ok(SignedIn { principal, by_ticket: ticket.is_some(), stream, catch_up, ended })
}

fn frame_of(text: &str) -> Bytes {
    frame(Opcode::Text, text.as_bytes()).into()
}
