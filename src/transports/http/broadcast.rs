//! `/broadcast`: a message to a topic of notiflux, by a token that another service signed.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload as RequestPayload;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;

use super::bodies::{Sender, Unread};
use super::extract::Peer;
use super::reply::{self, Reply};
use super::request::no_services;
use crate::app::{App, InsertOptions};
use crate::domain::{Payload, PayloadError};
use crate::error::Error;
use crate::events::{Condition, Lifetime};
use crate::identity::TopicUse;
use crate::transports::json::parse;
use crate::transports::refusal::log_fault;

/// Maximum length of the body, in bytes: that of notiflux.
const MAX_BODY_BYTES: usize = 2 << 20;

/// The body of `/broadcast`.
#[derive(Deserialize)]
pub struct Broadcast {
    topic: String,
    message: String,
    token: String,
}

/// The body, from a client that shows its token in it; or why it is none.
pub struct Unchecked(Result<Broadcast, Error>);

impl FromRequest for Unchecked {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut RequestPayload) -> Self::Future {
        let app = request.app_data::<App>().cloned();
        let (from, body) = (Peer::of(request), Unread::of(request, payload));
        Box::pin(async move {
            // No body is read where nobody is served.
            app.ok_or_else(no_services)?.identity.notiflux()?;
            let body = body.read(Sender::stranger(from?), MAX_BODY_BYTES).await;
            Ok(Self(body.and_then(|body| parse(&body))))
        })
    }
}

/// `POST /broadcast`: sends a message to everybody who is subscribed to the topic. The answer has no body.
pub async fn broadcast(app: App, Unchecked(body): Unchecked) -> Reply {
    let is_hidden = app.identity.notiflux()?.strict_compat;
    let done = match body {
        Ok(body) => send(&app, body).await,
        Err(error) => Err(error),
    };
    match done {
        Err(error) if !is_hidden => Err(error),
        Err(error) => {
            app.metrics().refused(error.code());
            log_fault(&error);
            Ok(reply::empty())
        }
        Ok(()) => Ok(reply::empty()),
    }
}

async fn send(app: &App, Broadcast { topic, message, token }: Broadcast) -> Result<(), Error> {
    let permit = app.identity.topic_permit(&token, &topic, TopicUse::Broadcast)?;
    let json = serde_json::to_string(&message).map_err(|error| Error::Internal(error.to_string()))?;
    let data = Payload::from_valid_json(&json).map_err(|PayloadError::TooDeep| Error::DataTooDeep)?;
    let lifetime = Lifetime { transient: true, ..Lifetime::default() };
    let event = app.events.new_event(permit.topic().clone(), data, lifetime)?;
    let options = InsertOptions { condition: Condition::None, key: None, stream: None };
    app.events.insert(&permit.broadcaster()?, vec![event], false, options)?.await.map(drop)
}
