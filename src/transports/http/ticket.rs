//! `/sse_ticket`, and streams opened by a ticket: for the browser's own `EventSource`, which cannot send a header.

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::{Either, LocalBoxFuture, MapOk};
use futures_util::{FutureExt, TryFutureExt};
use serde::{Deserialize, Serialize};

use super::reply::{self, Reply};
use super::request::{is_encrypted, no_services};
use crate::app::App;
use crate::central::TicketUse;
use crate::domain::BasePath;
use crate::error::Error;
use crate::identity::{Pass, Principal, TICKET_LASTS};

/// The name of the cookie that holds a pass.
const COOKIE: &str = "broker_sse";
/// Its name over TLS: browsers accept this name only over TLS. (`__Host-` would send it to every path.)
const SECURE_COOKIE: &str = "__Secure-broker_sse";

/// The answer to a request for a ticket.
#[derive(Serialize)]
struct Issued {
    ticket: String,
    expires_in: u64,
}

pub async fn issue(app: App, principal: Principal) -> Reply {
    reply::json(&Issued { ticket: app.identity.ticket(&principal).await?, expires_in: TICKET_LASTS.as_secs() })
}

/// The caller that opens a stream, by the header like everywhere, or else by a ticket in the query.
pub struct StreamCaller {
    pub principal: Principal,
    /// The ticket, if one was used.
    pub ticket: Option<Ticket>,
}

/// A checked ticket. It is spent when the stream opens, so a page whose request was refused can try it again.
pub struct Ticket(String);

impl StreamCaller {
    fn by_header(principal: Principal) -> Self {
        Self { principal, ticket: None }
    }

    async fn by_ticket(request: HttpRequest) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Parameters {
            ticket: String,
        }
        let app = request.app_data::<App>().ok_or_else(no_services)?;
        let Query(Parameters { ticket }) =
            Query::from_query(request.query_string()).map_err(|_| Error::Unauthorized)?;
        let (principal, _) = app.identity.by_ticket(&ticket, passes(request.headers()), TicketUse::Look).await?;
        Ok(Self { principal, ticket: Some(Ticket(ticket)) })
    }
}

impl Ticket {
    /// Spends the ticket: of concurrent requests with it one is admitted. The result is the answer's `set-cookie`,
    /// with which the browser can reconnect by the same ticket.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if it was spent meanwhile.
    pub async fn spend(self, app: &App, request: &HttpRequest) -> Result<Option<String>, Error> {
        let (_, pass) = app.identity.by_ticket(&self.0, passes(request.headers()), TicketUse::Open).await?;
        Ok(pass.map(|pass| cookie(&pass, &app.base_path, is_encrypted(request))))
    }
}

impl FromRequest for StreamCaller {
    type Error = Error;
    type Future = Either<
        MapOk<<Principal as FromRequest>::Future, fn(Principal) -> Self>,
        LocalBoxFuture<'static, Result<Self, Error>>,
    >;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if request.headers().contains_key(header::AUTHORIZATION) {
            return Either::Left(Principal::from_request(request, payload).map_ok(Self::by_header));
        }
        Either::Right(Self::by_ticket(request.clone()).boxed_local())
    }
}

/// A `set-cookie` (RFC 6265, section 4.1): hidden from scripts, sent only to the stream, and only from pages of this
/// site.
fn cookie(pass: &Pass, base_path: &BasePath, is_encrypted: bool) -> String {
    let seconds = pass.lasts.as_secs();
    let (name, secure) = if is_encrypted { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    format!("{name}={}; HttpOnly; SameSite=Strict; Path={base_path}sse; Max-Age={seconds}{secure}", pass.token)
}

/// The passes that a browser sends. There can be several, from other ports of this host; HTTP/2 may send each cookie
/// in a header of its own (RFC 9113, section 8.2.3). Over TLS there can be one that was set without it, or by a
/// version that used the other name: an attacker who planted one has somebody's pass, and still no ticket.
fn passes(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(header::COOKIE).filter_map(|cookies| cookies.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE || name == SECURE_COOKIE).then_some(value)
    })
}
