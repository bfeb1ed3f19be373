//! One client's connection, plain or TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustls::{ClientConfig, ClientConnection};

use crate::{Result, tls};

/// The receive buffer of a client that does not read: the kernel's minimum.
const SMALL_BUFFER: usize = 2048;

/// A connection that does not block.
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(TcpStream, Box<ClientConnection>),
}

impl Stream {
    /// Connects. This alone blocks.
    pub fn connect(
        source: Ipv4Addr,
        address: SocketAddr,
        small_buffer: bool,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self> {
        let stream = connect(source, address, small_buffer)?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let Some(config) = tls else { return Ok(Self::Plain(stream)) };
        Ok(Self::Tls(stream, Box::new(tls::session(config)?)))
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) | Self::Tls(socket, _) => socket,
        }
    }

    /// Whether data may be left after a read that the kernel does not report as readiness.
    pub fn must_be_emptied(&self) -> bool {
        matches!(self, Self::Tls(..))
    }

    /// Sends all bytes. Requests are small, and each is sent only after the one before was answered, so the socket
    /// accepts it whole.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(socket, connection) => {
                // The TLS session keeps this until the handshake is done.
                connection.writer().write_all(bytes)?;
                flush(socket, connection)
            }
        }
    }

    /// Reads the available data. An empty read is the end.
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

/// Connects a blocking socket.
pub fn connect(source: Ipv4Addr, address: SocketAddr, small_buffer: bool) -> Result<TcpStream> {
    let connect = || -> io::Result<TcpStream> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        if small_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, SMALL_BUFFER)?;
        }
        // Avoids TIME_WAIT, because the next round needs the ports.
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
