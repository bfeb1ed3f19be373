//! Guards WebSocket for whatever stands on it, with clients that nobody here wrote and with bare sockets. A server that sends every
//! message back takes connections as the real one does.

mod clients;
mod echo;
mod limits;
mod streams;
mod upgrade;

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{RawSocket, handshake, within};
use echo::EchoServer;

/// What a client asks for.
fn asks() -> String {
    handshake("/echo", "")
}

impl RawSocket<TcpStream> {
    async fn connect(server: &EchoServer) -> Self {
        Self::over(within("a connection", TcpStream::connect(server.address)).await.unwrap())
    }

    /// A connection whose handshake is done.
    async fn open_echo(server: &EchoServer) -> Self {
        let mut raw = Self::connect(server).await;
        raw.send(asks().as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }
}

impl RawSocket<TlsStream<TcpStream>> {
    async fn connect_with_tls(server: &EchoServer) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.root().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let socket = within("a connection", TcpStream::connect(server.address)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Self::over(within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, socket)).await.unwrap())
    }
}
