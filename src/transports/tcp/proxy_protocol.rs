//! What a proxy says of a client's address before anything else: the PROXY protocol, version 2 (HAProxy, `proxy-protocol.txt`,
//! section 2.2).

use std::io::{Error, ErrorKind, Result};
use std::net::IpAddr;
use std::time::Duration;

use ppp::v2::{Addresses, Command, Header};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::accept::Tcp;
use crate::domain::{ClientAddress, TrustedProxies};

/// How long a proxy may take to say it.
const WITHIN: Duration = Duration::from_secs(5);
/// What it begins with. No protocol that is served here begins with its first byte.
const SIGNATURE: &[u8] = ppp::v2::PROTOCOL_PREFIX;
/// Signature, version and command, family, and length.
const HEAD_BYTES: usize = 16;
/// How long all of it may be: addresses, and some notes that are passed over.
const MOST_BYTES: usize = 2 << 10;

/// The address of the client of a new connection: the other end, or the address that a trusted proxy says before all else. A trusted
/// proxy need not say one, and then is the client itself: its own health check.
///
/// # Errors
/// If the connection is lost, or the proxy says what cannot be read, or nothing in 5 s.
pub async fn address_of(tcp: &mut Tcp, proxies: &TrustedProxies) -> Result<ClientAddress> {
    let Ok(peer) = tcp.peer_addr() else { return Ok(ClientAddress::unknown()) };
    let peer = peer.ip().to_canonical();
    // Whatever anybody else says first is not looked at here: it is no packet of any protocol, so that they are refused.
    if !proxies.trusts(peer) {
        return Ok(ClientAddress::of(peer));
    }
    let told = timeout(WITHIN, read(tcp)).await.map_err(|_| Error::from(ErrorKind::TimedOut))??;
    Ok(match told {
        Told::Nothing => ClientAddress::of(peer),
        Told::Address(ip) => ClientAddress::of(ip),
        Told::Hidden => ClientAddress::hidden_behind(peer),
    })
}

/// What a proxy says.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// Nothing, or that the connection is its own.
    Nothing,
    /// This address.
    Address(IpAddr),
    /// That there is another client, but not where.
    Hidden,
}

async fn read(tcp: &mut Tcp) -> Result<Told> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if first[0] != SIGNATURE[0] {
        return Ok(Told::Nothing);
    }
    let mut head = [0; HEAD_BYTES];
    tcp.read_exact(&mut head).await?;
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if head[..SIGNATURE.len()] != SIGNATURE[..] || length > MOST_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut whole = head.to_vec();
    whole.resize(HEAD_BYTES + length, 0);
    tcp.read_exact(&mut whole[HEAD_BYTES..]).await?;
    told(&whole)
}

fn told(header: &[u8]) -> Result<Told> {
    let header = Header::try_from(header).map_err(|_| Error::from(ErrorKind::InvalidData))?;
    Ok(match (header.command, header.addresses) {
        (Command::Local, _) => Told::Nothing,
        (Command::Proxy, Addresses::IPv4(of)) => Told::Address(of.source_address.into()),
        (Command::Proxy, Addresses::IPv6(of)) => Told::Address(IpAddr::from(of.source_address).to_canonical()),
        (Command::Proxy, Addresses::Unix(_) | Addresses::Unspecified) => Told::Hidden,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, addresses].concat()
    }

    #[test]
    fn a_proxy_says_where_its_client_is() {
        let v4 = [192, 0, 2, 7, 127, 0, 0, 1, 0xC0, 0, 0x07, 0x5B];
        let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 15], &[1], &[0xC0, 0, 0x07, 0x5B]].concat();
        let noted = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        for (given, expected) in [
            (header(0x21, 0x11, &v4), Some(Told::Address([192, 0, 2, 7].into()))),
            (header(0x21, 0x11, &noted), Some(Told::Address([192, 0, 2, 7].into()))),
            (header(0x21, 0x21, &v6), Some(Told::Address("2001:db8::7".parse().unwrap()))),
            (header(0x20, 0x00, &[]), Some(Told::Nothing)),
            (header(0x20, 0x11, &v4), Some(Told::Nothing)),
            (header(0x21, 0x00, &[]), Some(Told::Hidden)),
            (header(0x21, 0x31, &[0; 216]), Some(Told::Hidden)),
            (header(0x11, 0x11, &v4), None),
            (header(0x22, 0x11, &v4), None),
            (header(0x21, 0x11, &v4[..11]), None),
        ] {
            assert_eq!(told(&given).ok(), expected, "{given:?}");
        }
    }
}
