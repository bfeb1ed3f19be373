//! Headers by which browsers, and caches on the way, keep what they are answered to themselves.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap, HeaderValue, TryIntoHeaderValue};
use actix_web::http::uri::Authority;
use actix_web_lab::header::StrictTransportSecurity;

use super::is_encrypted;
use crate::domain::is_this_machine;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// For how long a browser that has seen a host over HTTPS never asks it without: a year.
const ONLY_HTTPS_FOR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What an answer is to say beside what a handler does. By itself it is for a request whose host is not known.
#[derive(Default)]
pub struct Protection {
    only_https: bool,
}

impl Protection {
    pub fn of(request: &ServiceRequest) -> Self {
        Self { only_https: is_encrypted(request.request()) && host(request).is_some_and(|host| has_https(&host)) }
    }

    /// Adds it to the head of an answer.
    pub fn answer(self, answer: &mut HeaderMap) {
        // Tokens, tickets, secrets, and what else is one user's: nearly every answer is. A stream says something else.
        if !answer.contains_key(header::CACHE_CONTROL) {
            answer.insert(header::CACHE_CONTROL, NO_STORE);
        }
        answer.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if self.only_https {
            let Ok(value) = StrictTransportSecurity::new(ONLY_HTTPS_FOR).try_into_value();
            answer.insert(header::STRICT_TRANSPORT_SECURITY, value);
        }
    }
}

/// The host that a request is for: HTTP/2 has it in its target.
fn host(request: &ServiceRequest) -> Option<Authority> {
    let in_target = request.uri().authority().cloned();
    in_target.or_else(|| request.headers().get(header::HOST)?.to_str().ok()?.parse().ok())
}

/// Whether that is a name by which browsers reach HTTPS without naming a port. What they are told holds for every port of the
/// host: under another one Broker may stand beside something that has no HTTPS. For addresses they do not listen, and of this
/// machine others than Broker have the name too.
fn has_https(host: &Authority) -> bool {
    let name = host.host();
    let is_address = name.starts_with('[') || name.parse::<IpAddr>().is_ok();
    !is_address && !is_this_machine(name) && host.port_u16().is_none_or(|port| port == 443)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_the_port_of_https_is_told_to_be_asked_over_nothing_else() {
        for (host, expected) in [
            ("broker.example.com", true),
            ("broker.example.com:443", true),
            ("broker.example.com:8443", false),
            ("localhost", false),
            ("app.localhost:443", false),
            ("127.0.0.1", false),
            ("192.168.0.1:443", false),
            ("[2001:db8::1]", false),
        ] {
            assert_eq!(has_https(&host.parse().unwrap()), expected, "{host}");
        }
    }
}
