//! `/channel` and `/message`: what servers ask of ChannelAPI. They show the key in `Authorization`, without a scheme.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload as RequestPayload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bodies::{Sender, Unread};
use super::extract::{NameInPath, Peer};
use super::reply::{self, Reply};
use super::request::no_services;
use crate::app::{App, InsertOptions};
use crate::domain::{Payload, PayloadError};
use crate::error::Error;
use crate::events::{Condition, Lifetime};
use crate::identity::ChannelOwner;
use crate::transports::json::parse;

/// Maximum length of the body of a message, in bytes: that of the largest event, with as much white space again.
const MAX_BODY_BYTES: usize = 2 << 20;
/// Words of ChannelAPI, which its clients may compare.
const NO_CHANNEL: &str = "No Channel Supplied";
const NO_MESSAGE: &str = "Body is in incorrect format. Key 'message' not found.";

type Extracted<T> = Pin<Box<dyn Future<Output = Result<T, Error>>>>;

/// An answer in the form of ChannelAPI.
#[derive(Serialize)]
struct Done<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// The body of `/message`, once its sender has shown the key: the value of `message`, if there is one.
pub struct MessageBody(ChannelOwner, Option<Box<RawValue>>);

fn owner(request: &HttpRequest) -> impl Future<Output = Result<(App, ChannelOwner), Error>> + 'static {
    let (app, from) = (request.app_data::<App>().cloned(), Peer::of(request));
    let key = request.headers().get(header::AUTHORIZATION).map(|key| key.as_bytes().to_vec()).unwrap_or_default();
    async move {
        let app = app.ok_or_else(no_services)?;
        let owner = app.identity.channel_owner(&key, from?).await?;
        Ok((app, owner))
    }
}

impl FromRequest for ChannelOwner {
    type Error = Error;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut RequestPayload) -> Self::Future {
        let owner = owner(request);
        Box::pin(async { owner.await.map(|(_, owner)| owner) })
    }
}

impl FromRequest for MessageBody {
    type Error = Error;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut RequestPayload) -> Self::Future {
        #[derive(Deserialize)]
        struct Body {
            /// Raw, so that no digit or key of it changes.
            message: Box<RawValue>,
        }
        let (owner, body) = (owner(request), Unread::of(request, payload));
        Box::pin(async move {
            let (_, owner) = owner.await?;
            let body = body.read(Sender::user(&owner.guest()), MAX_BODY_BYTES).await?;
            Ok(Self(owner, parse(&body).ok().map(|Body { message }| message)))
        })
    }
}

/// `POST /channel/<name>`: the token of a channel.
pub async fn open(app: App, NameInPath(name): NameInPath, owner: ChannelOwner) -> Reply {
    if name.is_empty() {
        return reply::json(&Done { success: false, token: None, message: Some(NO_CHANNEL) });
    }
    let token = app.identity.channel_token(&owner, &name).await?;
    reply::json(&Done { success: true, token: Some(&token), message: None })
}

/// `POST /message/<name>`: a message to a channel.
pub async fn send(app: App, NameInPath(name): NameInPath, MessageBody(owner, message): MessageBody) -> Reply {
    let refused = |why| reply::json(&Done { success: false, token: None, message: Some(why) });
    if name.is_empty() {
        return refused(NO_CHANNEL);
    }
    let Some(message) = message else { return refused(NO_MESSAGE) };
    let (publisher, channel) = owner.publisher(&name)?;
    let data = Payload::from_valid_json(message.get()).map_err(|PayloadError::TooDeep| Error::DataTooDeep)?;
    let lifetime = Lifetime { transient: true, ..Lifetime::default() };
    let event = app.events.new_event(channel, data, lifetime)?;
    let options = InsertOptions { condition: Condition::None, key: None, stream: None };
    app.events.insert(&publisher, vec![event], false, options)?.await?;
    reply::json(&Done { success: true, token: None, message: None })
}
