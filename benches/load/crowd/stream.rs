//! One client's connection, plain or TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::Result;

/// How small the receive buffer of one who does not read is: the kernel's least.
const SMALL_BUFFER: usize = 2048;

/// Does not block.
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Under TLS.
    Tls(TcpStream, Box<ClientConnection>),
}

impl Stream {
    /// Connects, and waits for that alone.
    pub fn connect(
        source: Ipv4Addr,
        address: SocketAddr,
        small_buffer: bool,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self> {
        let stream = connect(source, address, small_buffer)?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let Some(config) = tls else { return Ok(Self::Plain(stream)) };
        let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
        Ok(Self::Tls(stream, Box::new(connection)))
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) | Self::Tls(socket, _) => socket,
        }
    }

    /// Whether one read may leave something behind of which the kernel knows nothing.
    pub fn must_be_emptied(&self) -> bool {
        matches!(self, Self::Tls(..))
    }

    /// Sends all. Requests are small and never sent before the one before was answered, so the socket takes it.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(socket, connection) => {
                // Kept until the handshake is done.
                connection.writer().write_all(bytes)?;
                flush(socket, connection)
            }
        }
    }

    /// Reads what there is: nothing at the end.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (socket, connection) = match self {
            Self::Plain(socket) => return socket.read(buffer),
            Self::Tls(socket, connection) => (socket, connection),
        };
        loop {
            match connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                ended => return ended,
            }
            if connection.read_tls(socket)? == 0 {
                return Ok(0);
            }
            connection.process_new_packets().map_err(io::Error::other)?;
            flush(socket, connection)?;
        }
    }
}

/// Connects a socket that blocks.
pub fn connect(source: Ipv4Addr, address: SocketAddr, small_buffer: bool) -> Result<TcpStream> {
    let connect = || -> io::Result<TcpStream> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        if small_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, SMALL_BUFFER)?;
        }
        // Closed without lingering in TIME_WAIT: the next round needs the ports.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
        rustix::net::connect(&socket, &address)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connect().map_err(|error| format!("connecting from {source} to {address}: {error}"))
}

fn flush(socket: &mut TcpStream, connection: &mut ClientConnection) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(socket)?;
    }
    Ok(())
}

/// Trusts this root alone, and speaks HTTP/1.1.
pub fn tls(root: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|error| error.to_string())?;
    roots.add(root).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
