use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::Network;

/// The address that a request comes from, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    ip: IpAddr,
    is_of_one_client: bool,
}

impl ClientAddress {
    /// The address at the other end of a connection, or the one that a trusted proxy names.
    ///
    /// A loopback address identifies nobody: behind it may be a proxy with all clients, and one client that guesses
    /// must not lock out all others.
    pub fn of(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self { ip, is_of_one_client: !ip.is_loopback() }
    }

    /// The address of a proxy, for a client that hides its own by headers that contradict each other or cannot be read.
    /// All such clients share the limits of this address, even if it is a loopback address. Otherwise junk in a header
    /// would be a way around every limit.
    pub fn hidden_behind(proxy: IpAddr) -> Self {
        Self { ip: proxy.to_canonical(), is_of_one_client: true }
    }

    /// An unknown address, for a connection whose other end is gone, so that the system cannot tell it.
    pub fn unknown() -> Self {
        Self { ip: Ipv4Addr::UNSPECIFIED.into(), is_of_one_client: true }
    }

    /// The address, and whether it is that of one client.
    pub(super) fn parts(self) -> (IpAddr, bool) {
        (self.ip, self.is_of_one_client)
    }

    /// What [`ClientAddress::parts`] gave.
    pub(super) fn of_parts((ip, is_of_one_client): (IpAddr, bool)) -> Self {
        Self { ip, is_of_one_client }
    }

    /// The network of the address.
    pub fn network(self) -> Network {
        Network::of(self.ip)
    }

    /// The site of the address.
    pub fn site(self) -> Network {
        Network::of_site(self.ip)
    }

    /// The network by which its wrong guesses are counted; `None` if the address may be that of all clients.
    pub fn counts_as(self) -> Option<Network> {
        self.is_of_one_client.then(|| self.network())
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ip.is_unspecified() { f.write_str("unknown") } else { self.ip.fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> ClientAddress {
        ClientAddress::of(text.parse().unwrap())
    }

    #[test]
    fn guesses_of_this_machine_are_counted_by_no_address_unless_it_is_hidden_behind() {
        for text in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(text).counts_as(), None, "{text}");
            let hidden = ClientAddress::hidden_behind(text.parse().unwrap());
            assert_eq!(hidden.counts_as(), Some(of(text).network()), "{text}");
        }
        assert_eq!(of("192.0.2.1").counts_as(), Some(of("192.0.2.1").network()));
        assert!(ClientAddress::unknown().counts_as().is_some());
    }
}
