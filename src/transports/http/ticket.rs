//! `/sse_ticket`, and streams that are opened by what it gives: for browsers' own `EventSource`, which cannot send a header.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest};
use futures_util::TryFutureExt;
use futures_util::future::{Either, MapOk};
use serde::{Deserialize, Serialize};

use super::reply::{self, Reply};
use super::request::{is_encrypted, no_services};
use crate::app::App;
use crate::domain::BasePath;
use crate::error::Error;
use crate::identity::{Pass, Principal, TICKET_LASTS, TicketUse};

/// The name of the cookie that a pass is kept in.
const COOKIE: &str = "broker_sse";
/// Its name over TLS: browsers take one of this name from nobody who speaks without. (`__Host-` would have it sent to every path.)
const SECURE_COOKIE: &str = "__Secure-broker_sse";

/// What is answered to who asks for a ticket.
#[derive(Serialize)]
struct Issued {
    ticket: String,
    expires_in: u64,
}

pub async fn issue(app: App, principal: Principal) -> Reply {
    reply::json(&Issued { ticket: app.identity.ticket(&principal)?, expires_in: TICKET_LASTS.as_secs() })
}

/// Who opens a stream: by the header, as everywhere, or where there is none by a ticket in the query.
pub struct StreamCaller {
    pub principal: Principal,
    /// What it was that they came by.
    pub ticket: Option<Ticket>,
}

/// A ticket that was looked at, and is used by the stream that it opens: a page whose request was refused may come with it again.
pub struct Ticket(String);

impl StreamCaller {
    fn by_header(principal: Principal) -> Self {
        Self { principal, ticket: None }
    }

    fn by_ticket(request: &HttpRequest) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Parameters {
            ticket: String,
        }
        let app = request.app_data::<App>().ok_or_else(no_services)?;
        let Query(Parameters { ticket }) =
            Query::from_query(request.query_string()).map_err(|_| Error::Unauthorized)?;
        let (principal, _) = app.identity.by_ticket(&ticket, passes(request.headers()), TicketUse::Look)?;
        Ok(Self { principal, ticket: Some(Ticket(ticket)) })
    }
}

impl Ticket {
    /// Uses it: of all who come with it at the same time one is let in. What it gives goes into the answer as a `set-cookie`, so
    /// that the browser may come back with the same ticket.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if it was used meanwhile.
    pub fn spend(self, app: &App, request: &HttpRequest) -> Result<Option<String>, Error> {
        let (_, pass) = app.identity.by_ticket(&self.0, passes(request.headers()), TicketUse::Open)?;
        Ok(pass.map(|pass| cookie(&pass, &app.base_path, is_encrypted(request))))
    }
}

impl FromRequest for StreamCaller {
    type Error = Error;
    type Future = Either<MapOk<<Principal as FromRequest>::Future, fn(Principal) -> Self>, Ready<Result<Self, Error>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if request.headers().contains_key(header::AUTHORIZATION) {
            return Either::Left(Principal::from_request(request, payload).map_ok(Self::by_header));
        }
        Either::Right(ready(Self::by_ticket(request)))
    }
}

/// A `set-cookie` (RFC 6265, section 4.1). No script may read it, and it goes nowhere but to the stream, from pages of
/// this site alone.
fn cookie(pass: &Pass, base_path: &BasePath, is_encrypted: bool) -> String {
    let seconds = pass.lasts.as_secs();
    let (name, secure) = if is_encrypted { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    format!("{name}={}; HttpOnly; SameSite=Strict; Path={base_path}sse; Max-Age={seconds}{secure}", pass.token)
}

/// The passes that a browser sends. There may be several, of other ports of this host; and HTTP/2 may send each cookie in
/// a header of its own (RFC 9113, section 8.2.3). Over TLS there may be one from before it was there, or from a version that
/// did not name it otherwise: whoever could slip one in has a pass of somebody, and still no ticket of theirs.
fn passes(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(header::COOKIE).filter_map(|cookies| cookies.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE || name == SECURE_COOKIE).then_some(value)
    })
}
