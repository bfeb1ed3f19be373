use std::net::IpAddr;

use ipnet::IpNet;

use super::ClientAddress;

/// The proxies that are trusted to tell the address of a client.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Parses addresses and networks such as `10.0.0.0/8`, `127.0.0.1` and `2001:db8::/32`.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn parse<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        networks.into_iter().map(network).collect::<Result<_, _>>().map(Self)
    }

    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address is one of them.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// The address that a request comes from: the other end of the connection or, if that is a trusted proxy, the last
    /// address of `x-forwarded-for` or `forwarded` that is not a trusted proxy. The client itself may have sent
    /// everything to the left of that address, so it is ignored. Each header is given as its values in order.
    ///
    /// If there are both headers, they must agree. A proxy sets one of them and passes the other on, which then is the
    /// client's own, and Broker cannot know which.
    pub fn client<'a>(
        &self,
        peer: Option<IpAddr>,
        x_forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
        forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> ClientAddress {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return ClientAddress::unknown() };
        if !self.trusts(peer) {
            return ClientAddress::of(peer);
        }
        let x_forwarded_for = self.last_untrusted(x_forwarded_for, addresses_of_list);
        let told = match (x_forwarded_for, self.last_untrusted(forwarded, addresses_of_forwarded)) {
            (FromHeader::Nothing, FromHeader::Nothing) => return ClientAddress::of(peer),
            (told, FromHeader::Nothing) | (FromHeader::Nothing, told) => told,
            (one, other) if one == other => one,
            _ => FromHeader::Junk,
        };
        match told {
            FromHeader::Address(ip) => ClientAddress::of(ip),
            FromHeader::Nothing | FromHeader::Junk => ClientAddress::hidden_behind(peer),
        }
    }

    /// The client's address in a header. From right to left, an entry counts if a trusted proxy wrote it.
    fn last_untrusted<'a>(
        &self,
        values: impl DoubleEndedIterator<Item = &'a [u8]>,
        addresses: fn(&str) -> Option<Vec<Option<IpAddr>>>,
    ) -> FromHeader {
        let mut told = FromHeader::Nothing;
        for value in values.rev() {
            let Some(addresses) = std::str::from_utf8(value).ok().and_then(addresses) else { return FromHeader::Junk };
            for address in addresses.into_iter().rev() {
                match address {
                    None => return FromHeader::Junk,
                    Some(ip) if self.trusts(ip) => told = FromHeader::Address(ip),
                    Some(ip) => return FromHeader::Address(ip),
                }
            }
        }
        told
    }
}

/// What a header says about the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FromHeader {
    /// The header is absent or empty.
    Nothing,
    Address(IpAddr),
    /// The entry is no address: a name that the proxy uses, `unknown`, or text that cannot be read.
    Junk,
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip.to_canonical()),
        Err(_) => text.parse().map_err(|_| format!("{text:?} is neither an address nor a network like 10.0.0.0/8"))?,
    };
    if network != network.trunc() {
        return Err(format!("{text} has an address within the network: write {}", network.trunc()));
    }
    if network.prefix_len() == 0 {
        return Err(format!("{text} is every address there is, which leaves none that could be a client's"));
    }
    // Such an address is converted to the IPv4 address in it, and so would never be in such a network.
    if matches!(network, IpNet::V6(network) if network.addr().to_ipv4_mapped().is_some()) {
        return Err(format!("{text} stands for IPv4 addresses: write them as such"));
    }
    Ok(network)
}

/// The elements of `x-forwarded-for`, each an address, or `None` if it is none. No standard tells whether empty
/// elements count; other HTTP lists skip them (RFC 9110, section 5.6.1.2).
fn addresses_of_list(value: &str) -> Option<Vec<Option<IpAddr>>> {
    Some(value.split(',').map(str::trim).filter(|element| !element.is_empty()).map(address).collect())
}

/// The `for` of each element of `forwarded` (RFC 7239, section 4); `None` if the header has another form. Reading a
/// part of it would mean guessing where a quotation mark that the client left open ends.
fn addresses_of_forwarded(value: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut addresses = Vec::new();
    for element in split_outside_quotes(value, b',')?.into_iter().map(str::trim).filter(|element| !element.is_empty()) {
        let mut told = None;
        for pair in split_outside_quotes(element, b';')?.into_iter().map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let value = unquote(value)?;
            if name.eq_ignore_ascii_case("for") && told.replace(address(&value)).is_some() {
                return None;
            }
        }
        addresses.push(told.flatten());
    }
    Some(addresses)
}

/// The parts between separators outside quoted strings; `None` if the last string is not closed.
fn split_outside_quotes(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if byte == separator && !is_quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}

/// A token as it is, or the content of a quoted string.
fn unquote(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let mut text = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(text),
            '\\' => text.push(chars.next()?),
            other => text.push(other),
        }
    }
}

/// An address as proxies write it: alone or with a port, an IPv6 address with a port in brackets.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let (ip, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            (IpAddr::V6(ip.parse().ok()?), port)
        }
        None => {
            let (ip, _) = text.split_once(':')?;
            (IpAddr::V4(ip.parse().ok()?), &text[ip.len()..])
        }
    };
    // Or a name that stands for a port (RFC 7239, section 6).
    let is_of_port = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| !port.is_empty() && port.bytes().all(is_of_port));
    is_port.then(|| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::parse(["127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"]).unwrap()
    }

    /// The address that a request with these headers comes from.
    fn client(peer: &str, x_forwarded_for: &[&str], forwarded: &[&str]) -> ClientAddress {
        let x_forwarded_for = x_forwarded_for.iter().map(|value| value.as_bytes());
        let forwarded = forwarded.iter().map(|value| value.as_bytes());
        proxies().client(Some(peer.parse().unwrap()), x_forwarded_for, forwarded)
    }

    fn of(text: &str) -> ClientAddress {
        ClientAddress::of(text.parse().unwrap())
    }

    fn hidden(proxy: &str) -> ClientAddress {
        ClientAddress::hidden_behind(proxy.parse().unwrap())
    }

    #[test]
    fn a_trusted_proxy_tells_the_address_and_nobody_else_does() {
        let told = (&["203.0.113.1"][..], &["for=203.0.113.1"][..]);
        for peer in ["127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8:ffff::1"] {
            assert_eq!(client(peer, told.0, &[]), of("203.0.113.1"), "{peer}");
            assert_eq!(client(peer, &[], told.1), of("203.0.113.1"), "{peer}");
            assert_eq!(client(peer, told.0, told.1), of("203.0.113.1"), "{peer}");
            assert_eq!(client(peer, &[], &[]), of(peer), "{peer}");
        }
        for peer in ["127.0.0.2", "11.0.0.1", "::1", "2001:db8:fffe::1"] {
            assert_eq!(client(peer, told.0, told.1), of(peer), "{peer}");
        }
        let nobody = TrustedProxies::default();
        let [x_forwarded_for, forwarded] = [told.0, told.1].map(|values| values.iter().map(|value| value.as_bytes()));
        assert_eq!(nobody.client(Some([127, 0, 0, 1].into()), x_forwarded_for, forwarded), of("127.0.0.1"));
    }

    #[test]
    fn the_last_address_counts_that_is_no_trusted_proxy() {
        for list in [
            &["203.0.113.1"][..],
            &["198.51.100.1, 203.0.113.1"],
            &["198.51.100.1,203.0.113.1,10.0.0.9"],
            &["198.51.100.1", "203.0.113.1", "10.0.0.9, 2001:db8:ffff:1::1"],
            &["junk, 203.0.113.1"],
            &["junk", "203.0.113.1:4711 "],
            &["203.0.113.1", ""],
            &[", 203.0.113.1, ,"],
        ] {
            assert_eq!(client("127.0.0.1", list, &[]), of("203.0.113.1"), "{list:?}");
        }
        // A request of a proxy itself, or of a machine in its network.
        assert_eq!(client("127.0.0.1", &["10.0.0.8, 10.0.0.9"], &[]), of("10.0.0.8"));
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, is) in [
            ("203.0.113.1", "203.0.113.1"),
            ("203.0.113.1:80", "203.0.113.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("::ffff:203.0.113.1", "203.0.113.1"),
            ("[::ffff:203.0.113.1]:80", "203.0.113.1"),
            ("203.0.113.1:_port", "203.0.113.1"),
        ] {
            assert_eq!(client("127.0.0.1", &[text], &[]), of(is), "{text}");
            assert_eq!(client("127.0.0.1", &[], &[&format!("for=\"{text}\"")]), of(is), "{text}");
        }
        for forwarded in [
            "for=203.0.113.1",
            "For=203.0.113.1;proto=https",
            "proto=https ; by=\"[2001:db8::2]:80\"; FOR=203.0.113.1",
            "for=unknown, for=203.0.113.1",
            "for=\"_a, \\\"b\", for=203.0.113.1",
            "for=\"203.0.113\\.1\",",
        ] {
            assert_eq!(client("127.0.0.1", &[], &[forwarded]), of("203.0.113.1"), "{forwarded}");
        }
    }

    #[test]
    fn a_client_that_hides_its_address_shares_that_of_the_proxy() {
        for list in
            ["unknown", "_hidden", "203.0.113.1, unknown", "203.0.113.1 203.0.113.2", "203.0.113.1:", "[::1", "1.2.3"]
        {
            assert_eq!(client("127.0.0.1", &[list], &[]), hidden("127.0.0.1"), "{list}");
            assert_eq!(client("10.0.0.1", &[list], &[]), hidden("10.0.0.1"), "{list}");
        }
        for forwarded in [
            "for=unknown",
            "for=_hidden",
            "proto=https",
            "for",
            "for=203.0.113.1;for=203.0.113.2",
            "for=\"203.0.113.1",
            "for=\"203.0.113.1\"x",
            // The client's part ends before the last comma.
            "for=198.51.100.1;x=\", for=203.0.113.1",
            "for=198.51.100.1;x=\", for=\"[2001:db8::1]\"",
            "for=198.51.100.1;x=\"\\\", for=\"[2001:db8::1]\"",
        ] {
            assert_eq!(client("127.0.0.1", &[], &[forwarded]), hidden("127.0.0.1"), "{forwarded}");
        }
        assert_eq!(proxies().client(None, [].into_iter(), [].into_iter()), ClientAddress::unknown());
        let bytes = [&b"203.0.113.1, \xff"[..]];
        let client = proxies().client(Some([127, 0, 0, 1].into()), bytes.into_iter(), [].into_iter());
        assert_eq!(client, hidden("127.0.0.1"));
    }

    #[test]
    fn a_header_that_the_proxy_let_pass_is_not_believed_against_the_one_that_it_set() {
        for (x_forwarded_for, forwarded) in
            [("203.0.113.1", "for=203.0.113.2"), ("203.0.113.1", "for=_x"), ("x", "for=203.0.113.2")]
        {
            assert_eq!(client("127.0.0.1", &[x_forwarded_for], &[forwarded]), hidden("127.0.0.1"));
        }
    }

    #[test]
    fn a_network_that_is_invalid_or_trusts_everybody_is_refused() {
        for (text, said) in [
            ("localhost", "10.0.0.0/8"),
            ("10.0.0.0/33", "10.0.0.0/8"),
            ("10.0.0.0/", "10.0.0.0/8"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("0.0.0.0/0", "every address"),
            ("::/0", "every address"),
            ("::ffff:10.0.0.0/104", "IPv4"),
        ] {
            let refused = TrustedProxies::parse([text]).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
