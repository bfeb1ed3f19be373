use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The unit by which clients are counted: an IPv4 address, or an IPv6 network of 64 bits, in which one machine has as
/// many addresses as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        Self::with_bits(address, 64)
    }

    /// The site of an address: for IPv6 a network of 48 bits, the largest that one customer gets. Use it if a site
    /// would otherwise have a share for each of its networks, and if sharing with others does little harm.
    pub fn of_site(address: IpAddr) -> Self {
        Self::with_bits(address, 48)
    }

    /// The site of this network, as [`Network::of_site`].
    pub fn site(self) -> Self {
        Self::with_bits(self.0, 48)
    }

    fn with_bits(address: IpAddr, bits: u32) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> (128 - bits) << (128 - bits)).into(),
            v4 => v4,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_and_an_ipv4_address_is_itself_however_it_is_written() {
        let of = |address: &str| Network::of(ip(address)).0.to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2::"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:3::1"), "2001:db8:1:3::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn a_site_has_many_ipv6_networks_and_one_ipv4_address() {
        let of = |address: &str| Network::of_site(ip(address)).0.to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert_eq!(of("2001:db8:2::"), "2001:db8:2::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
    }
}
