//! A minimal HTTP/1.1 client: one request at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use memchr::memmem;
use rustls::StreamOwned;

use crate::{Result, tls};

/// The time limit for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// A connection that stays open.
pub struct Http {
    stream: Box<dyn Duplex>,
    received: Vec<u8>,
}

impl Http {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::over(connect(address)?)
    }

    /// Connects with TLS, and trusts this root certificate, which is in PEM.
    pub fn connect_tls(address: SocketAddr, root: &str) -> Result<Self> {
        let stream = StreamOwned::new(tls::session(&tls::config(root)?)?, patient(connect(address)?)?);
        Ok(Self { stream: Box::new(stream), received: Vec::new() })
    }

    /// Uses an existing connection.
    pub fn over(stream: TcpStream) -> Result<Self> {
        Ok(Self { stream: Box::new(patient(stream)?), received: Vec::new() })
    }

    /// Sends a request.
    pub fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).map_err(|error| format!("sending: {error}"))
    }

    /// Waits for an answer, which must be a 200 with a length, and returns its body.
    pub fn answer(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(length) = answer_length(&self.received)? {
                let rest = self.received.split_off(length);
                let answer = std::mem::replace(&mut self.received, rest);
                let head = memmem::find(&answer, b"\r\n\r\n").map_or(0, |at| at + 4);
                return Ok(answer[head..].to_vec());
            }
            let mut buffer = [0; 16 * 1024];
            let length = self.receive(&mut buffer)?;
            self.received.extend_from_slice(&buffer[..length]);
        }
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.send(request)?;
        self.answer()
    }

    /// Reads the next bytes, at least one.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.stream.read(buffer) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(length) => Ok(length),
            Err(error) => Err(format!("receiving: {error}")),
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let fail = |error| format!("connecting to {address}: {error}");
    let stream = TcpStream::connect(address).map_err(fail)?;
    stream.set_nodelay(true).map_err(fail)?;
    Ok(stream)
}

fn patient(stream: TcpStream) -> Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The length of the answer at the beginning of these bytes, or `None` if it is incomplete.
///
/// # Errors
/// If the answer is not a 200.
pub fn answer_length(received: &[u8]) -> Result<Option<usize>> {
    let Some(head) = head_length(received)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let whole = head + length.unwrap_or(0);
    Ok((received.len() >= whole).then_some(whole))
}

/// The length of the answer's head, or `None` if it is incomplete.
///
/// # Errors
/// If the answer is not a 200.
pub fn head_length(received: &[u8]) -> Result<Option<usize>> {
    let Some(head) = memmem::find(received, b"\r\n\r\n") else { return Ok(None) };
    let status = received.get(9..12).unwrap_or_default();
    if status.first() == Some(&b'2') || status == b"101" {
        Ok(Some(head + 4))
    } else {
        Err(format!("the server answered {}", String::from_utf8_lossy(received)))
    }
}
