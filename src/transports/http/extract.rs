//! Extractors: from a request to the values that the core takes.

use std::future::{Future, Ready, ready};
use std::net::IpAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Once};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::Either;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::bodies::{Body, Sender, Unread};
use super::request::no_services;
use crate::app::App;
use crate::domain::{ClientAddress, Secret, TrustedProxies};
use crate::error::Error;
use crate::identity::{Admin, Authorization, Device, Principal};
use crate::transports::inserts::MAX_INSERT_BYTES;
use crate::transports::json;

/// Maximum length of a body, in bytes. White space and escapes are not counted in an event's size, so a body may
/// exceed it.
const MAX_BODY_BYTES: usize = 512 << 10;
/// Maximum length of a body from a client that has not signed in, in bytes. The longest sign-in, all of it escaped,
/// is shorter.
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

/// The client's address: the only place that looks at the connection's address and at a proxy's headers.
pub struct Peer(pub ClientAddress);

impl Peer {
    /// # Errors
    /// [`Error::Internal`] if the worker has no services.
    pub fn of(request: &HttpRequest) -> Result<ClientAddress, Error> {
        let proxies = request.app_data::<Arc<TrustedProxies>>().ok_or_else(no_services)?;
        let peer = request.peer_addr().map(|peer| peer.ip());
        let values = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
        let (x_forwarded_for, forwarded) = (values(header::X_FORWARDED_FOR), values(header::FORWARDED));
        if proxies.is_empty() && x_forwarded_for.len() + forwarded.len() > 0 {
            warn_of_proxy(peer);
        }
        Ok(proxies.client(peer, x_forwarded_for, forwarded))
    }
}

/// Warns once if a local proxy is not trusted, so that all clients share one address.
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

/// How many bytes are kept of the name by which a program calls itself.
const MAX_CLIENT_BYTES: usize = 256;

impl FromRequest for Device {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let client = request.headers().get(header::USER_AGENT).map(|name| {
            let name = String::from_utf8_lossy(name.as_bytes());
            name[..name.floor_char_boundary(MAX_CLIENT_BYTES)].to_owned()
        });
        ready(Peer::of(request).map(|address| Self { address, client }))
    }
}

/// The header `Authorization` as it was sent, for a handler that takes other proofs, too: nothing is checked yet.
pub struct Header(pub Result<Authorization, Error>);

impl Header {
    fn of(request: &HttpRequest) -> Self {
        let header = request.headers().get(header::AUTHORIZATION).ok_or(Error::Unauthorized);
        Self(header.and_then(|header| Authorization::parse(header.as_bytes())))
    }
}

impl FromRequest for Header {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

/// The name at the end of a path: what every route with a parameter takes. actix replaces what is not UTF-8, so that different paths
/// would be of the same name.
pub struct NameInPath(pub String);

impl FromRequest for NameInPath {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_text = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8().is_ok();
        let name = Path::<String>::from_request(request, payload).into_inner();
        ready(match name {
            Ok(name) if is_text => Ok(Self(name.into_inner())),
            _ => Err(Error::PathInvalid),
        })
    }
}

/// For handlers without a body; those with one take `ByUser`.
impl FromRequest for Principal {
    type Error = Error;
    /// A token is checked at once; a password waits for the hashing threads.
    type Future = Either<Ready<Result<Self, Error>>, Extracted<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(app) = request.app_data::<App>() else { return Either::Left(ready(Err(no_services()))) };
        match Header::of(request).0 {
            Err(error) => Either::Left(ready(Err(error))),
            Ok(Authorization::Bearer(token)) => Either::Left(ready(app.identity.bearer(&token))),
            Ok(Authorization::Basic(username, password)) => {
                let (app, from) = (app.clone(), Peer::of(request));
                Either::Right(Box::pin(async move { app.identity.basic(username, password, from?).await }))
            }
        }
    }
}

/// A type that a body can be parsed into.
pub trait FromBody: Sized {
    /// Its maximum length in bytes.
    const MAX_BYTES: usize;

    /// # Errors
    /// [`Error::BodyInvalid`].
    fn from_body(body: Body) -> Result<Self, Error>;
}

/// A JSON body, whatever its content type. As an argument on its own, it comes from a client that has not signed in
/// and is limited accordingly.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromBody for Json<T> {
    const MAX_BYTES: usize = MAX_BODY_BYTES;

    fn from_body(body: Body) -> Result<Self, Error> {
        json::parse(&body).map(Self)
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Error;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (from, body) = (Peer::of(request), Unread::of(request, payload));
        Box::pin(async move {
            let body = body.read(Sender::stranger(from?), MAX_SIGN_IN_BYTES).await?;
            Self::from_body(body)
        })
    }
}

/// The body of an insert, as it was sent.
pub struct InsertText(Body);

impl FromBody for InsertText {
    const MAX_BYTES: usize = MAX_INSERT_BYTES;

    fn from_body(body: Body) -> Result<Self, Error> {
        Ok(Self(body))
    }
}

impl Deref for InsertText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The caller first and then the body: no body is read for a caller that was not admitted, and no error about it is
/// returned. actix runs extractors side by side, so a bad body would end a password check in the middle.
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
            Ok(Self(principal, T::from_body(body)?))
        })
    }
}

/// A body that only an admin may send. The token is in the body beside the other fields.
pub trait AdminBody: DeserializeOwned + 'static {
    /// The error for a wrong token.
    const WRONG_TOKEN: Error = Error::AdminTokenIncorrect;
}

/// A body whose admin token was right, with the proof.
pub struct ByAdmin<T>(pub Admin, pub T);

impl<T: AdminBody> FromRequest for ByAdmin<T> {
    type Error = Error;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        #[derive(Deserialize)]
        struct Token {
            admin_token: Secret,
        }
        let app = request.app_data::<App>().cloned();
        let (from, body) = (Peer::of(request), Unread::of(request, payload));
        Box::pin(async move {
            let (app, from) = (app.ok_or_else(no_services)?, from?);
            let mut body = body.read(Sender::stranger(from), MAX_BODY_BYTES).await?;
            let Token { admin_token } = json::parse(&body)?;
            // The token check may wait for its rate limit.
            let admin =
                body.during(async |_| app.identity.admin(&admin_token, from).await).await.map_err(
                    |error| match error {
                        Error::AdminTokenIncorrect => T::WRONG_TOKEN,
                        other => other,
                    },
                )?;
            Ok(Self(admin, json::parse(&body)?))
        })
    }
}

/// A body that an admin may send, or a user. With the header `authorization` it is the user's; without it the admin's token is in the
/// body.
pub enum ByAdminOrUser<T> {
    /// An admin, with the body.
    Admin(Admin, T),
    /// A user, with the body.
    User(Principal, T),
}

impl<T: AdminBody> FromRequest for ByAdminOrUser<T> {
    type Error = Error;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if request.headers().contains_key(header::AUTHORIZATION) {
            let user = ByUser::<Json<T>>::from_request(request, payload);
            Box::pin(async move { user.await.map(|ByUser(principal, Json(body))| Self::User(principal, body)) })
        } else {
            let admin = ByAdmin::<T>::from_request(request, payload);
            Box::pin(async move { admin.await.map(|ByAdmin(admin, body)| Self::Admin(admin, body)) })
        }
    }
}
