//! From the bytes of a request to values that the core takes.

use std::future::{Future, Ready, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Once;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::Either;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::bodies::{Sender, Unread};
use super::request::no_services;
use crate::app::App;
use crate::domain::{ClientAddress, MAX_EVENT_BYTES, Secret};
use crate::error::Error;
use crate::events::MAX_EVENTS_AT_ONCE;
use crate::identity::{Admin, Authorization, Principal};
use crate::store;

/// The largest body, in bytes. An event may come with white space and escapes that are not counted as its size.
const MAX_BODY_BYTES: usize = 512 << 10;
/// The largest body that may hold several events, or the largest one with as much white space again.
const MAX_ARRAY_BYTES: usize = 2 << 20;
const _: () = assert!(MAX_ARRAY_BYTES >= 2 * MAX_EVENT_BYTES);
// What is taken in can be committed, whatever the names and however long the events last: the data is a part of the body.
const _: () = assert!(store::bytes_of_insert(MAX_EVENTS_AT_ONCE, MAX_ARRAY_BYTES) <= store::MAX_CHANGE_BYTES);
/// The largest body of somebody who has not signed in, in bytes: a sign-in with the longest of names and passwords, all of it
/// escaped, is less.
const MAX_SIGN_IN_BYTES: usize = 8 << 10;

type Extracted<T> = Pin<Box<dyn Future<Output = Result<T, Error>>>>;

impl FromRequest for App {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let app = request.app_data::<Self>().cloned();
        ready(app.ok_or_else(no_services))
    }
}

/// The address that a request comes from: the only place that looks at the connection's, and at what a proxy says of it.
pub struct Peer(pub ClientAddress);

impl Peer {
    /// # Errors
    /// [`Error::Internal`] where the worker has no services.
    pub fn of(request: &HttpRequest) -> Result<ClientAddress, Error> {
        let app = request.app_data::<App>().ok_or_else(no_services)?;
        let peer = request.peer_addr().map(|peer| peer.ip());
        let values = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
        let (x_forwarded_for, forwarded) = (values(header::X_FORWARDED_FOR), values(header::FORWARDED));
        if app.trusted_proxies.is_empty() && x_forwarded_for.len() + forwarded.len() > 0 {
            warn_of_proxy(peer);
        }
        Ok(app.trusted_proxies.client(peer, x_forwarded_for, forwarded))
    }
}

/// Says once that a proxy on this machine has everybody come from one address.
fn warn_of_proxy(peer: Option<IpAddr>) {
    static WARNED: Once = Once::new();
    if let Some(peer) = peer.filter(|peer| peer.to_canonical().is_loopback()) {
        WARNED.call_once(|| {
            tracing::warn!(
                "requests come through a proxy on this machine: set trusted_proxies={peer}, or all its clients count as one"
            );
        });
    }
}

impl FromRequest for Peer {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).map(Self))
    }
}

/// For handlers without a body; with one they take `ByUser`.
impl FromRequest for Principal {
    type Error = Error;
    /// A token needs no waiting, a password does.
    type Future = Either<Ready<Result<Self, Error>>, Extracted<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(app) = request.app_data::<App>() else { return Either::Left(ready(Err(no_services()))) };
        let header = request.headers().get(header::AUTHORIZATION).ok_or(Error::Unauthorized);
        match header.and_then(|header| Authorization::parse(header.as_bytes())) {
            Err(error) => Either::Left(ready(Err(error))),
            Ok(Authorization::Bearer(token)) => Either::Left(ready(app.identity.bearer(&token))),
            Ok(Authorization::Basic(username, password)) => {
                let (app, from) = (app.clone(), Peer::of(request));
                Either::Right(Box::pin(async move { app.identity.basic(username, password, from?).await }))
            }
        }
    }
}

/// What a body may be read as.
pub trait FromBody: Sized {
    /// How large it may be, in bytes.
    const MAX_BYTES: usize;

    /// # Errors
    /// [`Error::BodyInvalid`].
    fn from_body(body: &str) -> Result<Self, Error>;
}

/// A body of JSON, whatever its content type says. As an argument of its own it is from somebody who has not signed in, and as
/// small as what they have to say.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromBody for Json<T> {
    const MAX_BYTES: usize = MAX_BODY_BYTES;

    fn from_body(body: &str) -> Result<Self, Error> {
        parse(body).map(Self)
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Error;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (from, body) = (Peer::of(request), Unread::of(request, payload));
        Box::pin(async move {
            let body = body.read(Sender::stranger(from?), MAX_SIGN_IN_BYTES).await?;
            Self::from_body(&body)
        })
    }
}

/// The same, of one or of several in an array.
pub struct OneOrMore<T> {
    pub values: Vec<T>,
    pub is_array: bool,
}

impl<T: DeserializeOwned> FromBody for OneOrMore<T> {
    const MAX_BYTES: usize = MAX_ARRAY_BYTES;

    fn from_body(body: &str) -> Result<Self, Error> {
        let is_array = body.trim_ascii_start().starts_with('[');
        let values = if is_array { parse_all(body)? } else { vec![parse(body)?] };
        Ok(Self { values, is_array })
    }
}

/// Who asks, and then what they send: nothing of a body is read for somebody who was not let in, and nothing about it is
/// answered. Side by side, as actix runs extractors, a bad body would end the check of a password in its middle.
pub struct ByUser<T>(pub Principal, pub T);

impl<T: FromBody> FromRequest for ByUser<T> {
    type Error = Error;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let principal = Principal::from_request(request, payload);
        let body = Unread::of(request, payload);
        Box::pin(async move {
            let principal = principal.await?;
            let body = body.read(Sender::user(&principal), T::MAX_BYTES).await?;
            Ok(Self(principal, T::from_body(&body)?))
        })
    }
}

/// What only an admin may send. The token stands in the body beside the other fields.
pub trait AdminBody: DeserializeOwned + 'static {
    /// What a wrong token is answered with.
    const WRONG_TOKEN: Error = Error::AdminTokenIncorrect;
}

/// A body whose admin token was right, and the proof of that.
pub struct ByAdmin<T>(pub Admin, pub T);

impl<T: AdminBody> FromRequest for ByAdmin<T> {
    type Error = Error;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        #[derive(Deserialize)]
        struct Token {
            admin_token: String,
        }
        let app = request.app_data::<App>().cloned();
        let (from, body) = (Peer::of(request), Unread::of(request, payload));
        Box::pin(async move {
            let (app, from) = (app.ok_or_else(no_services)?, from?);
            let mut body = body.read(Sender::stranger(from), MAX_BODY_BYTES).await?;
            let token = Secret::new(parse::<Token>(&body)?.admin_token);
            // The token may have to wait for its turn.
            let admin = body.during(app.identity.admin(&token, from)).await.map_err(|error| match error {
                Error::AdminTokenIncorrect => T::WRONG_TOKEN,
                other => other,
            })?;
            Ok(Self(admin, parse(&body)?))
        })
    }
}

fn parse<T: DeserializeOwned>(body: &str) -> Result<T, Error> {
    // serde would take an array for the fields in their order.
    if !body.trim_ascii_start().starts_with('{') {
        return Err(Error::BodyInvalid("it is not a JSON object".to_owned()));
    }
    serde_json::from_str(body).map_err(|error| Error::BodyInvalid(explain(&error)))
}

fn parse_all<T: DeserializeOwned>(body: &str) -> Result<Vec<T>, Error> {
    let bodies: Vec<&RawValue> = serde_json::from_str(body).map_err(|error| Error::BodyInvalid(explain(&error)))?;
    bodies.into_iter().map(|body| parse(body.get())).collect()
}

/// What is wrong with a body, without quoting from it: it may hold a password.
fn explain(error: &serde_json::Error) -> String {
    let place = format!("at line {} column {}", error.line(), error.column());
    let words = error.to_string();
    match error.classify() {
        // Names only the field, which is one of ours.
        Category::Data if words.starts_with("missing field") || words.starts_with("duplicate field") => {
            words.split(" at line").next().unwrap_or_default().to_owned()
        }
        Category::Data => format!("a value has the wrong type {place}"),
        Category::Eof => "the JSON ends too early".to_owned(),
        Category::Syntax | Category::Io => format!("it is not JSON {place}"),
    }
}
