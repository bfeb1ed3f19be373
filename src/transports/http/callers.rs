//! Which requests are accepted, by the host they are for and the origin of the page that sends them.
//!
//! Two attacks use the browser of a person who can reach Broker. A page anywhere can post to `http://localhost:8080`;
//! and a page whose own name resolves to this machine after it was loaded (DNS rebinding) has the same origin as
//! Broker, so it can read the answers too. The first is recognised by the `Origin` that browsers send with every
//! request except a plain `GET`, the second by the `Host`, which is still the page's name.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::config::{Callers, Origins};
use crate::domain::is_this_machine;
use crate::error::Error;

/// Checks whether a request is allowed from its origin.
///
/// # Errors
/// [`Error::HostNotAllowed`], [`Error::OriginNotAllowed`].
pub fn check(callers: &Callers, request: &ServiceRequest) -> Result<(), Error> {
    if callers.only_this_machine && !is_for_this_machine(request) {
        return Err(Error::HostNotAllowed);
    }
    // A preflight changes nothing and is answered by the rules of CORS. Another origin cannot read the answer to a
    // plain GET.
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let is_looked_at = callers.only_this_machine || (has_list(callers) && changes);
    if is_looked_at { check_origin(callers, request.headers()) } else { Ok(()) }
}

/// Checks whether pages of the origin that a request names may call. A request whose answer can be read whatever CORS says, such as
/// that for a WebSocket, must be checked by its handler too.
///
/// # Errors
/// [`Error::OriginNotAllowed`].
pub fn check_origin(callers: &Callers, headers: &HeaderMap) -> Result<(), Error> {
    // Programs other than browsers send no origin.
    let may_call = headers.get_all(header::ORIGIN).all(|origin| may_call(callers, origin));
    if may_call { Ok(()) } else { Err(Error::OriginNotAllowed) }
}

/// The `access-control-allow-origin` of an answer, if the request's origin may read it.
pub fn allowed_origin(callers: &Callers, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    let origin = origin.filter(|origin| may_call(callers, origin))?;
    Some(match callers.origins {
        Origins::Any => HeaderValue::from_static("*"),
        Origins::Only(_) => origin.clone(),
    })
}

/// Whether only listed origins are allowed.
pub fn has_list(callers: &Callers) -> bool {
    matches!(callers.origins, Origins::Only(_))
}

/// Whether the answer to a request depends on its origin.
pub fn depends_on_origin(callers: &Callers) -> bool {
    callers.only_this_machine || has_list(callers)
}

fn may_call(callers: &Callers, origin: &HeaderValue) -> bool {
    let is_listed = match &callers.origins {
        Origins::Any => true,
        Origins::Only(only) => only.iter().any(|one| one.matches(origin.as_bytes())),
    };
    is_listed && (!callers.only_this_machine || is_page_of_this_machine(origin))
}

/// A page opened from a file, or in a sandbox, has the origin `null`, which could be anybody's.
fn is_page_of_this_machine(origin: &HeaderValue) -> bool {
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    host.is_some_and(|(_, host)| is_this_machine(host))
}

/// Whether every host that a request names is this machine: the one in its target, which HTTP/2 and proxy requests
/// have, and each `Host` header. A request that names none is not from a browser, but not known to be from this
/// machine either.
fn is_for_this_machine(request: &ServiceRequest) -> bool {
    let in_target = request.uri().authority().map(|authority| Some(authority.as_str()));
    let in_headers = request.headers().get_all(header::HOST).map(|host| host.to_str().ok());
    let mut hosts = in_target.into_iter().chain(in_headers).peekable();
    hosts.peek().is_some() && hosts.all(|host| host.is_some_and(is_this_machine))
}
