//! Headers that keep browsers and caches from storing or misinterpreting answers.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap, HeaderValue, TryIntoHeaderValue};
use actix_web::http::uri::Authority;
use actix_web_lab::header::StrictTransportSecurity;

use crate::domain::is_this_machine;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// How long a browser that saw a host over HTTPS uses nothing else for it: a year.
const ONLY_HTTPS_FOR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The protective headers of an answer. The default is for a request whose host is not known.
#[derive(Default)]
pub struct Protection {
    only_https: bool,
}

impl Protection {
    pub fn of(request: &ServiceRequest, is_encrypted: bool) -> Self {
        Self { only_https: is_encrypted && host(request).is_some_and(|host| has_https(&host)) }
    }

    /// Adds them to an answer.
    pub fn answer(self, answer: &mut HeaderMap) {
        // Nearly every answer is private to a user: tokens, tickets, secrets, events. A stream sets its own value.
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

/// The host that a request is for; HTTP/2 has it in its target.
fn host(request: &ServiceRequest) -> Option<Authority> {
    let in_target = request.uri().authority().cloned();
    in_target.or_else(|| request.headers().get(header::HOST)?.to_str().ok()?.parse().ok())
}

/// Whether browsers reach this host by HTTPS without naming a port. The header applies to every port of the host, and
/// under another port Broker may stand beside a service without HTTPS. Browsers ignore it for addresses, and local
/// names are shared with other programs.
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
