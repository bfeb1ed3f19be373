use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a host is the machine that the request came from: `localhost`, a name below it, or a loopback address, with
/// any port. Browsers resolve `localhost` themselves (RFC 6761, section 6.3), so no name server can make another name
/// look like it. An unknown name that resolves to this machine proves nothing: an attacker's name server can make any
/// name do so (DNS rebinding).
pub fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        // IPv6, such as `[::1]:8080`.
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if is_port(port) => address,
            _ => return false,
        },
        None => match host.find(':') {
            Some(colon) if is_port(&host[colon..]) => &host[..colon],
            Some(_) => return false,
            None => host,
        },
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost") && name.split('.').all(is_label)
}

/// Empty, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether it is a host name, or an IPv4 address in the form that browsers write. They read every host that ends with a
/// number as an address.
pub(super) fn is_name_or_ipv4(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
    host.len() <= MAX_HOST_BYTES && host.split('.').all(is_label) && (!is_number || host.parse::<Ipv4Addr>().is_ok())
}

/// The host and the optional port of `example.com:123`, `[::1]:123` or `::1`.
pub fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    let (host, rest) = match text.strip_prefix('[') {
        Some(after) => after.split_once(']').filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok())?,
        None => {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            let name = host.strip_suffix('.').unwrap_or(host);
            (is_name_or_ipv4(name).then_some(host)?, rest)
        }
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        None => None,
        // `parse` alone would accept a sign.
        Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => None,
        Some(port) => port.parse().ok().filter(|port| *port > 0).map(|port| (host, Some(port))),
    }
}

/// Whether a certificate can be issued for a name (RFC 5280, section 4.2.1.6, and RFC 1123, section 2.1): letters,
/// digits, inner hyphens, and not an address.
pub fn is_domain_name(name: &str) -> bool {
    let is_plain =
        |label: &str| label.len() <= 63 && !label.contains('_') && !label.starts_with('-') && !label.ends_with('-');
    is_name_or_ipv4(name) && name.parse::<Ipv4Addr>().is_err() && name.split('.').all(is_plain)
}

/// The longest name that can be resolved, as text (RFC 1035, section 3.1).
const MAX_HOST_BYTES: usize = 253;

/// A label of a host name, as browsers write it.
pub(super) fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_its_port_are_read_as_a_whole_or_not_at_all() {
        for (text, host, port) in [
            ("time.example.com", "time.example.com", None),
            ("time.example.com.:123", "time.example.com.", Some(123)),
            ("192.0.2.1:1", "192.0.2.1", Some(1)),
            ("[2001:db8::1]:123", "2001:db8::1", Some(123)),
            ("[::1]", "::1", None),
            ("2001:db8::1", "2001:db8::1", None),
        ] {
            assert_eq!(host_and_port(text), Some((host, port)), "{text}");
        }
        for text in [
            "",
            ":",
            ":123",
            "a:",
            "a:0",
            "a:+1",
            "a:65536",
            "a b",
            "a/b",
            "ntp://a",
            "u@a",
            "a..b",
            "[::1",
            "[::1]x",
            "[a]",
            "1.2.3",
            "300.1.1.1",
            "0x7f.1",
            "é",
            "a:1:2",
        ] {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }

    #[test]
    fn a_certificate_is_for_a_name_and_nothing_else() {
        for name in ["localhost", "app.example.com", "XN--mnchen-3ya.example", "a-b.c1"] {
            assert!(is_domain_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in [
            "",
            ".",
            "example.com.",
            "*.example.com",
            "https://example.com",
            "example.com:443",
            "a b",
            "192.0.2.1",
            "[::1]",
            "::1",
            "a_b.example.com",
            "-a.com",
            "a-.com",
            "a..b",
            "münchen.example",
            &long,
        ] {
            assert!(!is_domain_name(name), "{name}");
        }
    }

    #[test]
    fn localhost_and_loopback_addresses_are_this_machine_with_any_port() {
        for host in [
            "localhost",
            "localhost:8080",
            "LOCALHOST:1",
            "localhost.",
            "localhost:",
            "app.localhost:5173",
            "a.b.localhost",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.255.3.4:80",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:8080",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn every_other_host_is_another_machine_whatever_it_resolves_to() {
        for host in [
            "",
            ":8080",
            ".",
            "evil.example",
            "localhost.evil.example",
            "evil.example:localhost",
            "localhost:80@evil.example",
            "evil.example@localhost",
            "evil.example#.localhost",
            "evil.example/.localhost",
            ".localhost",
            "notlocalhost",
            "localhost..",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io:8080",
            "0.0.0.0:8080",
            "192.168.0.1",
            "[::2]",
            "[::1]evil.example",
            "[::1",
            "::1",
            "localhost:80:80",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
