//! CORS (the Fetch standard): which requests a page of another origin may send, and which answers it may read.

use std::collections::HashSet;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::callers;
use crate::config::Callers;

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, OPTIONS");
const ALLOWED_HEADERS: &str =
    "authorization, content-type, last-event-id, idempotency-key, if-match, if-none-match, broker-stream";
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("retry-after, idempotency-replayed, broker-stream, x-request-id, date");
const TRUE: HeaderValue = HeaderValue::from_static("true");
/// Seconds for which a browser may cache a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
/// The request headers that a preflight's answer depends on, beside the origin.
const ASKED: HeaderValue =
    HeaderValue::from_static("Access-Control-Request-Headers, Access-Control-Request-Private-Network");
/// Bytes of requested header names that are allowed; names beyond that are not.
const MAX_ASKED_BYTES: usize = 4096;
/// Number of requested names that are examined, duplicates and invalid ones included; later ones are not allowed.
const MAX_ASKED: usize = 1024;

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The CORS fields of a request.
pub struct Cors {
    origin: Option<HeaderValue>,
    preflight: Option<Preflight>,
}

/// The fields of a preflight.
struct Preflight {
    /// Its `access-control-request-headers`.
    asked: Vec<HeaderValue>,
    /// Whether a public page asks for access to a private network.
    private_network: bool,
}

impl Cors {
    /// Reads them from a request; `is_refused` tells whether the request is refused anyway.
    pub fn of(request: &ServiceRequest, is_refused: bool) -> Self {
        let headers = request.headers();
        let is_preflight = *request.method() == Method::OPTIONS && !is_refused;
        let preflight = is_preflight.then(|| Preflight {
            asked: headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned().collect(),
            private_network: headers.contains_key(REQUEST_PRIVATE_NETWORK),
        });
        Self { origin: headers.get(header::ORIGIN).cloned(), preflight }
    }

    /// Reads them from an incomplete HTTP/1 head.
    pub fn of_part(head: &[u8]) -> Self {
        let mut lines = head.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let origin = lines.find_map(|line| {
            let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
            let value = HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?;
            name.eq_ignore_ascii_case(b"origin").then_some(value)
        });
        Self { origin, preflight: None }
    }

    /// Adds the CORS headers to an answer.
    pub fn answer(self, callers: &Callers, answer: &mut HeaderMap) {
        let Self { origin, preflight } = self;
        if callers::depends_on_origin(callers) {
            // A cache must not serve the answer for one origin to another.
            answer.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if preflight.is_some() {
            answer.append(header::VARY, ASKED);
        }
        let Some(allowed) = callers::allowed_origin(callers, origin.as_ref()) else { return };
        if callers::has_list(callers) {
            // A page of a listed origin may send the cookie of its stream. With `*` browsers do not permit that.
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        let Some(Preflight { asked, private_network }) = preflight else { return };
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(&asked));
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if private_network {
            answer.insert(ALLOW_PRIVATE_NETWORK, TRUE);
        }
    }
}

/// Broker's own headers, and any others that the page asks for: tracing libraries add headers to every request, under
/// names that nobody can list in advance. Broker reads none of them, so they permit nothing more. `*` would not
/// include `authorization`.
fn allowed_headers(asked: &[HeaderValue]) -> HeaderValue {
    let mut allowed = ALLOWED_HEADERS.to_owned();
    let mut known: HashSet<_> = ALLOWED_HEADERS.split(", ").map(str::to_owned).collect();
    let names = asked.iter().flat_map(|names| names.as_bytes().split(|byte| *byte == b','));
    for name in names.take(MAX_ASKED).filter_map(token) {
        let has_room = allowed.len() + name.len() <= ALLOWED_HEADERS.len() + MAX_ASKED_BYTES;
        if has_room && !known.contains(&name) {
            allowed.push_str(", ");
            allowed.push_str(&name);
            known.insert(name);
        }
    }
    // Tokens, commas and blanks always form a valid header.
    HeaderValue::try_from(allowed).unwrap_or_else(|_| HeaderValue::from_static(ALLOWED_HEADERS))
}

/// A valid header name in lower case, as browsers compare them (RFC 9110, section 5.6.2).
fn token(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name.trim_ascii()).ok()?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_token)).then(|| name.to_ascii_lowercase())
}
