//! A connection of WebSocket on which a test writes the bytes itself.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{TestServer, within};

/// A connection on which a test writes the bytes itself.
pub struct RawSocket<S = TcpStream> {
    pub socket: S,
    pub received: Vec<u8>,
}

impl RawSocket {
    /// Connects to a server, asks for this path with these more headers, and awaits that it switches protocols.
    pub async fn open(server: &TestServer, path: &str, headers: &str) -> Self {
        let mut raw = Self::over(within("a connection", TcpStream::connect(server.address())).await.unwrap());
        raw.send(handshake(path, headers).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }
}

/// Writes bytes, and has them sent: what TLS has taken may still be in its own memory.
pub async fn send_all(connection: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    connection.write_all(bytes).await?;
    connection.flush().await
}

/// The request of a client, with these more headers, each with its end of line.
pub fn handshake(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawSocket<S> {
    /// Over a connection that was made elsewhere.
    pub fn over(socket: S) -> Self {
        Self { socket, received: Vec::new() }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        within("the server to read", send_all(&mut self.socket, bytes)).await.unwrap();
    }

    /// The head of the next answer.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.received.windows(4).position(|end| end == b"\r\n\r\n") {
                return String::from_utf8(self.received.drain(..at + 4).collect()).unwrap();
            }
            assert!(self.fill().await, "the connection ended in {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// The next answer that has a length: its status, its head and its body.
    pub async fn answer(&mut self) -> (u16, String, String) {
        let head = self.head().await.to_ascii_lowercase();
        let length: usize = head.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
        while self.received.len() < length {
            assert!(self.fill().await);
        }
        let body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
        (head[9..12].parse().unwrap(), head, body)
    }

    /// The first byte and the payload of the next frame, but of the server's pings: on a slow machine one may come at any moment.
    /// `None` at the end.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let (header, length) = match self.received[..] {
                [_, 126, a, b, ..] => (4, u16::from_be_bytes([a, b]).into()),
                [_, 127, a, b, c, d, e, f, g, h, ..] => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize),
                [_, length, ..] => (2, usize::from(length)),
                _ => (2, 0),
            };
            if self.received.len() >= header + length {
                let frame: Vec<u8> = self.received.drain(..header + length).collect();
                if frame[0] == 0x89 {
                    continue;
                }
                return Some((frame[0], frame[header..].to_vec()));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Reads to the end, and answers the server's close frame: the code that it closes with. `None` if it says nothing.
    pub async fn closed(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some((first, payload)) = self.frame().await {
            if let (0x88, [high, low, ..]) = (first, &payload[..]) {
                code = Some(u16::from_be_bytes([*high, *low]));
                // It may have closed already.
                let _ = send_all(&mut self.socket, &frame(0x88, &payload)).await;
            }
        }
        code
    }

    async fn fill(&mut self) -> bool {
        within("bytes", self.socket.read_buf(&mut self.received)).await.unwrap_or(0) > 0
    }
}

/// A frame of a client, masked with zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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

/// A text of a client.
pub fn text_frame(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// A message as one compressed frame, which has so many mebibytes if it is inflated.
pub fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let (mebibyte, mut payload) = (vec![b' '; 1 << 20], Vec::new());
    for number in 1..=mebibytes {
        let flush = if number < mebibytes { flate2::FlushCompress::None } else { flate2::FlushCompress::Sync };
        let (before, mut taken) = (compress.total_in(), 0);
        while taken < mebibyte.len() || payload.len() == payload.capacity() {
            payload.reserve(4 << 10);
            compress.compress_vec(&mebibyte[taken..], &mut payload, flush).unwrap();
            taken = (compress.total_in() - before) as usize;
        }
    }
    assert!(payload.ends_with(&[0, 0, 0xff, 0xff]));
    payload.truncate(payload.len() - 4);
    frame(0xc1, &payload)
}
