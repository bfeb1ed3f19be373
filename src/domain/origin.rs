use std::net::{Ipv4Addr, Ipv6Addr};

use super::host::{is_label, is_name_or_ipv4};

/// An origin, or a pattern of origins, that pages may call from. It is in the form that browsers write (RFC 6454,
/// section 6.2): scheme, host, and the port if it is not the default. `https://*.example.com` is every host that is one
/// label below `example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    /// With `://`.
    scheme: &'static str,
    /// Whether any one label stands between the scheme and the rest.
    any_label: bool,
    /// In lower case. It begins with a dot if any label precedes it.
    rest: String,
}

impl OriginPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The mistake, as a text after "origin … ".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, own_port, rest) = if let Some(rest) = text.strip_prefix("https://") {
            ("https://", 443, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            ("http://", 80, rest)
        } else {
            return Err("is not like https://example.com, nor *");
        };
        if rest.contains(['/', '?', '#', '@']) {
            return Err("has more than a scheme, a host and a port: a path, a slash at the end, a query or a user");
        }
        let (any_label, rest) = match rest.strip_prefix("*.") {
            Some(parent) => (true, &rest[rest.len() - parent.len() - 1..]),
            None => (false, rest),
        };
        let port_at = rest.rfind(':').filter(|at| !rest[*at..].contains(']'));
        let (host, port) = port_at.map_or((rest, None), |at| (&rest[..at], Some(&rest[at + 1..])));
        let name = if any_label { &host[1..] } else { host };
        // There is no host below an address.
        if !is_host(name) || any_label && name.parse::<Ipv4Addr>().is_ok() {
            return Err(
                "has no host that a browser would send: letters, digits and hyphens between dots, where * may be \
                        the whole first label; international names begin with xn--",
            );
        }
        // A name with a star must have a dot: below `com`, anybody can have a host.
        if any_label && !name.contains('.') && !name.eq_ignore_ascii_case("localhost") {
            return Err("would allow everybody's names");
        }
        match port.map(str::parse::<u16>) {
            None => {}
            Some(Ok(number)) if number == own_port => {
                return Err("has the port that its scheme stands for: browsers leave it out");
            }
            Some(Ok(number)) if Some(number.to_string().as_str()) == port && number > 0 => {}
            Some(_) => return Err("has no port between 1 and 65535 after its colon"),
        }
        Ok(Self { scheme, any_label, rest: rest.to_ascii_lowercase() })
    }

    /// Whether the pattern matches an origin.
    pub fn matches(&self, origin: &[u8]) -> bool {
        let Some(at) = origin.len().checked_sub(self.rest.len()) else { return false };
        let (before, rest) = origin.split_at(at);
        let Some((scheme, label)) = before.split_at_checked(self.scheme.len()) else { return false };
        let is_label_right = match std::str::from_utf8(label) {
            Ok(label) if self.any_label => is_label(label),
            Ok(label) => label.is_empty(),
            Err(_) => false,
        };
        is_label_right
            && scheme.eq_ignore_ascii_case(self.scheme.as_bytes())
            && rest.eq_ignore_ascii_case(self.rest.as_bytes())
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| {
            address.parse::<Ipv6Addr>().is_ok_and(|parsed| as_browsers_write(parsed).eq_ignore_ascii_case(address))
        }),
        None => is_name_or_ipv4(host),
    }
}

/// As the standard library writes it (RFC 5952), but without an embedded IPv4 address in dots (URL Standard, section
/// 3.5).
fn as_browsers_write(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> OriginPattern {
        OriginPattern::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn an_origin_is_itself_in_any_case_and_no_other() {
        for text in [
            "https://app.example.com",
            "http://localhost:5173",
            "https://[::1]:8443",
            "https://[::ffff:102:304]",
            "https://[::ffff:0:0]",
            "http://192.168.0.1",
            "http://a_b",
        ] {
            assert!(pattern(text).matches(text.as_bytes()) && pattern(text).matches(text.to_uppercase().as_bytes()));
            for other in [&text[1..], &format!("{text}:1"), &format!("x{text}"), &format!("{text}.evil.example"), ""] {
                assert!(!pattern(text).matches(other.as_bytes()), "{other} by {text}");
            }
        }
    }

    #[test]
    fn a_star_is_one_label_and_scheme_and_port_must_match() {
        let star = pattern("https://*.example.com:8443");
        for good in
            ["https://a.example.com:8443", "https://A-1_b.Example.COM:8443", "https://xn--mnchen-3ya.example.com:8443"]
        {
            assert!(star.matches(good.as_bytes()), "{good}");
        }
        for bad in [
            "https://example.com:8443",
            "https://.example.com:8443",
            "https://a.b.example.com:8443",
            "https://a.example.com",
            "https://a.example.com:443",
            "http://a.example.com:8443",
            "https://evil.example/.example.com:8443",
            "https://evil.example?.example.com:8443",
            "https://evil.example#.example.com:8443",
            "https://u@a.example.com:8443",
            "https://aexample.com:8443",
            "https://a.example.com:8443.evil.example",
            "https://a.example.comx:8443",
            "https://é.example.com:8443",
            "null",
        ] {
            assert!(!star.matches(bad.as_bytes()), "{bad}");
        }
        assert!(!star.matches(b"https://\xff.example.com:8443"));
        assert!(pattern("http://*.localhost:5173").matches(b"http://app.localhost:5173"));
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
        for bad in [
            "",
            "example.com",
            "null",
            "ftp://example.com",
            "HTTPS://example.com",
            "https://",
            "https://example.com/",
            "https://example.com/x",
            "https://example.com?x",
            "https://example.com#x",
            "https://u@example.com",
            "https://u:p@example.com",
            "https://a b",
            "https://a\tb",
            "https://münchen.example",
            "https://example..com",
            "https://.example.com",
            "https://example.com:",
            "https://example.com:443",
            "http://example.com:80",
            "https://example.com:0443",
            "https://example.com:+1",
            "https://example.com:65536",
            "https://example.com:x",
            "http://127.1",
            "http://0x7f.0.0.1",
            "http://192.168.0.300",
            "https://[::1",
            "https://::1",
            "https://[0:0::1]",
            "https://[::ffff:1.2.3.4]",
            "https://*.1.2.3.4",
            "https://*.[::1]",
            "https://*",
            "https://*.",
            "https://*.com",
            "https://*.com:8443",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "https://a*.example.com",
            "https://**.example.com",
            "https://*example.com",
            "https://example.*",
            "https://*.example.com:*",
        ] {
            assert!(OriginPattern::parse(bad).is_err(), "{bad}");
        }
        assert!(OriginPattern::parse("https://example.com:80").is_ok());
    }
}
