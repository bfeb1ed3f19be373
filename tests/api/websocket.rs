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
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::within;
use echo::EchoServer;

/// What a client asks for.
const HANDSHAKE: &str = "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A connection on which a test writes the bytes itself.
struct Raw<S> {
    socket: S,
    received: Vec<u8>,
}

impl Raw<TcpStream> {
    async fn connect(server: &EchoServer) -> Self {
        Self::over(within("a connection", TcpStream::connect(server.address)).await.unwrap())
    }

    /// A connection whose handshake is done.
    async fn open(server: &EchoServer) -> Self {
        let mut raw = Self::connect(server).await;
        raw.send(HANDSHAKE.as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }
}

impl Raw<TlsStream<TcpStream>> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    fn over(socket: S) -> Self {
        Self { socket, received: Vec::new() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        within("the server to read", self.socket.write_all(bytes)).await.unwrap();
    }

    /// The head of the next answer.
    async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.received.windows(4).position(|end| end == b"\r\n\r\n") {
                return String::from_utf8(self.received.drain(..at + 4).collect()).unwrap();
            }
            assert!(self.fill().await, "the connection ended in {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// The next answer that has a length: its status, its head and its body.
    async fn answer(&mut self) -> (u16, String, String) {
        let head = self.head().await.to_ascii_lowercase();
        let length: usize = head.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
        while self.received.len() < length {
            assert!(self.fill().await);
        }
        let body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
        (head[9..12].parse().unwrap(), head, body)
    }

    /// The first byte and the payload of the next frame; `None` at the end.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let (header, length) = match self.received[..] {
                [_, 126, a, b, ..] => (4, u16::from_be_bytes([a, b]).into()),
                [_, 127, a, b, c, d, e, f, g, h, ..] => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize),
                [_, length, ..] => (2, usize::from(length)),
                _ => (2, 0),
            };
            if self.received.len() >= header + length {
                let frame: Vec<u8> = self.received.drain(..header + length).collect();
                return Some((frame[0], frame[header..].to_vec()));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        within("bytes", self.socket.read_buf(&mut self.received)).await.unwrap_or(0) > 0
    }
}

/// A frame of a client, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}
