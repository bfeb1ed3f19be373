//! TLS handshakes, of which one network has a share.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::{Connections, Tcp};
use super::under_way::UnderWay;
use crate::domain::Network;

/// Time limit for a handshake. A client on a bad line needs a few round trips.
const WITHIN: Duration = Duration::from_secs(5);

/// Performs TLS handshakes: a cheap clone, shared by all workers.
#[derive(Clone)]
pub struct Handshakes {
    acceptor: TlsAcceptor,
    under_way: UnderWay,
}

impl Handshakes {
    /// For a certificate and protocols (ALPN, RFC 7301), with the limit on connections.
    pub fn new(mut config: ServerConfig, protocols: &[&str], connections: &Connections) -> Self {
        // Protocols for certificate maintenance (ACME) follow.
        config.alpn_protocols.splice(..0, protocols.iter().map(|protocol| protocol.as_bytes().to_vec()));
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), under_way: UnderWay::of(connections) }
    }

    /// Performs the handshake on a connection from a network: that of its client, where a proxy says so.
    ///
    /// # Errors
    /// Any failure; the connection is closed.
    pub async fn shake(&self, tcp: Tcp, from: Network) -> Result<TlsStream<Tcp>> {
        let displaced = self.under_way.begin(from).displaced();
        tokio::select! {
            biased;
            done = tokio::time::timeout(WITHIN, self.acceptor.accept(tcp)) => done?,
            () = displaced => Err(Error::new(ErrorKind::ConnectionAborted, "too many handshakes are under way")),
        }
    }
}
