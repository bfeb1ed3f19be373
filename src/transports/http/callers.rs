//! Who may call, by the host that a request is for and the origin of the page that it comes from.
//!
//! Two attacks go through the browser of somebody who may reach Broker. A page of anywhere posts to `http://localhost:8080`;
//! and a page whose own name resolves to this machine once it is loaded (DNS rebinding) is of the same origin as Broker then,
//! so that it may read the answers too. The first is known by the `Origin` that browsers send with every request that is not a
//! plain `GET`, the second by the `Host`, which is the page's name still.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};

use crate::config::{Callers, Origins};
use crate::domain::is_this_machine;
use crate::error::Error;

/// Whether a request may be made from where it comes.
///
/// # Errors
/// [`Error::HostNotAllowed`], [`Error::OriginNotAllowed`].
pub fn check(callers: &Callers, request: &ServiceRequest) -> Result<(), Error> {
    if callers.only_this_machine && !is_for_this_machine(request) {
        return Err(Error::HostNotAllowed);
    }
    // A preflight changes nothing, and is told in its own way what it may not. A plain GET is not answered so that another
    // origin could read it.
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let is_looked_at = callers.only_this_machine || (has_list(callers) && changes);
    let mut origins = request.headers().get_all(header::ORIGIN);
    // Programs other than browsers send none.
    if is_looked_at && !origins.all(|origin| may_call(callers, origin)) { Err(Error::OriginNotAllowed) } else { Ok(()) }
}

/// The `access-control-allow-origin` of an answer, where the request has an origin that may read it.
pub fn allowed_origin(callers: &Callers, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    let origin = origin.filter(|origin| may_call(callers, origin))?;
    Some(match callers.origins {
        Origins::Any => HeaderValue::from_static("*"),
        Origins::Only(_) => origin.clone(),
    })
}

/// Whether only pages of some origins may call.
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

/// A page that was opened from a file, or in a sandbox, has the origin `null`: it may be anybody's.
fn is_page_of_this_machine(origin: &HeaderValue) -> bool {
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    host.is_some_and(|(_, host)| is_this_machine(host))
}

/// Whether every host that a request names is this machine's: the one in its target, which HTTP/2 and requests to a proxy have,
/// as well as each in a header. Who names none is no browser, but is not known to be of this machine either.
fn is_for_this_machine(request: &ServiceRequest) -> bool {
    let in_target = request.uri().authority().map(|authority| Some(authority.as_str()));
    let in_headers = request.headers().get_all(header::HOST).map(|host| host.to_str().ok());
    let mut hosts = in_target.into_iter().chain(in_headers).peekable();
    hosts.peek().is_some() && hosts.all(|host| host.is_some_and(is_this_machine))
}
