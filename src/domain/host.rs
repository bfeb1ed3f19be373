use std::net::IpAddr;

/// Whether a host is the machine that the request came from: `localhost`, a name below it, or a loopback address, each with
/// any port. Browsers resolve `localhost` by themselves (RFC 6761, section 6.3), so that no name server can make another
/// name look like it. That an unknown name resolves to this machine says nothing: an attacker's name server can have any name
/// do so (DNS rebinding).
pub fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        // IPv6, as `[::1]:8080`.
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

/// Nothing, or a colon and what may be a number.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A part of a host's name, as browsers write it.
pub(super) fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn every_other_host_is_another_one_whatever_it_resolves_to() {
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
