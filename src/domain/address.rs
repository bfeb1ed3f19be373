use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::Network;

/// The address that a request comes from, as far as it can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    ip: IpAddr,
    is_of_one_client: bool,
}

impl ClientAddress {
    /// The address at the other end of a connection, or the one that a trusted proxy tells.
    ///
    /// This machine's own tells nothing: behind it may be a proxy with everybody, and one client that guesses must not be able
    /// to shut out all the others.
    pub fn of(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self { ip, is_of_one_client: !ip.is_loopback() }
    }

    /// The address of a proxy, for a client that keeps its own from being known, by headers that contradict each other or
    /// cannot be read. All such clients share what this address may do, also if it is this machine's own: else junk in a
    /// header would be a way past every allowance.
    pub fn hidden_behind(proxy: IpAddr) -> Self {
        Self { ip: proxy.to_canonical(), is_of_one_client: true }
    }

    /// For a connection whose other end the system cannot tell, since it is gone.
    pub fn unknown() -> Self {
        Self { ip: Ipv4Addr::UNSPECIFIED.into(), is_of_one_client: true }
    }

    /// The network that it is in.
    pub fn network(self) -> Network {
        Network::of(self.ip)
    }

    /// The site that it is in.
    pub fn site(self) -> Network {
        Network::of_site(self.ip)
    }

    /// What its wrong guesses are counted by; `None` if the address may be everybody's.
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
