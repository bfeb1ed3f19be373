//! The first frame of a connection.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::timeout;

use super::format::Objects;
use super::frame::Frame;
use super::{close, replies};
use crate::app::App;
use crate::error::Error;
use crate::events::CatchUp;
use crate::transports::commands::{Answer, Opening, SignIn, SignedIn, Verb};
use crate::transports::json::parse;
use crate::transports::stream_sink::{Ended, StreamSink};
use crate::transports::ws::{Inlet, Message, Opcode, Outlet, frame};

/// How long a client may take to sign in.
const SIGN_IN_WITHIN: Duration = Duration::from_secs(5);
/// How many bytes a frame of a client that has not signed in may have: as many as the head of a request that opens a stream.
pub const MAX_SIGN_IN_BYTES: usize = 32 << 10;

/// A client that has signed in, and its stream.
pub struct Open {
    /// Who it is.
    pub signed_in: SignedIn,
    /// The work on the stream.
    pub catch_up: CatchUp,
    /// How the stream has ended, once it has.
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
pub async fn sign_in(app: &App, inlet: &mut Inlet, outlet: &Outlet) -> Option<Open> {
    match timeout(SIGN_IN_WITHIN, first_frame(app, inlet, outlet)).await {
        Ok(signed_in) => signed_in,
        Err(_elapsed) => {
            close::sign_in_timeout(outlet);
            None
        }
    }
}

async fn first_frame(app: &App, inlet: &mut Inlet, outlet: &Outlet) -> Option<Open> {
    loop {
        let Message::Text(text) = inlet.next().await? else {
            close::unsupported(outlet);
            return None;
        };
        let (reference, error) = match Frame::parse(&text) {
            Ok(Frame { verb: Verb::SignIn, reference, .. }) => match open(app, outlet, reference, &text).await {
                Ok(open) => return Some(open),
                Err(error) => (Some(reference), error),
            },
            Ok(Frame { verb: Verb::Ping, reference, .. }) => {
                replies::answer(app.metrics(), outlet, reference, &Answer::nothing());
                continue;
            }
            Ok(Frame { reference, .. }) => (Some(reference), Error::Unauthorized),
            Err(refused) => refused,
        };
        replies::refuse(app.metrics(), outlet, reference, error.clone());
        close::sign_in_refused(outlet, &error);
        return None;
    }
}

/// Signs in, and opens the stream, which begins with the answer.
async fn open(app: &App, outlet: &Outlet, reference: u64, frame: &str) -> Result<Open, Error> {
    let Opening { signed_in, request } = parse::<SignIn<'_>>(frame)?.open(app).await?;
    let SignedIn { principal, stream, .. } = &signed_in;
    let expires_at = principal.expires_at.map(|expires_at| expires_at.as_millis());
    let welcome = Welcome { stream: stream.to_string(), username: principal.username.as_str(), expires_at };
    let answer: Bytes = frame_of(&replies::welcome(reference, welcome));
    let ended: Ended = Rc::default();
    let sink = StreamSink::new(outlet.stream(), Objects::on(outlet.compresses()), Some(&ended));
    let catch_up = app.open(request, sink, answer);
    Ok(Open { signed_in, catch_up, ended })
}

fn frame_of(text: &str) -> Bytes {
    frame(Opcode::Text, text.as_bytes()).into()
}
