//! A proxy that lets the test say in which pieces a client gets the event stream.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

use crate::support::{TestServer, within};

/// Stands between a client and the server, and lets the test say in what pieces the client gets the event stream.
pub struct Middleman {
    pub url: String,
    pub from_server: mpsc::UnboundedReceiver<Vec<u8>>,
    pub to_client: mpsc::UnboundedSender<Vec<u8>>,
    /// What the server has sent and the test has not yet taken.
    pub pending: Vec<u8>,
}

impl Middleman {
    pub async fn start(server: &TestServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.address().to_owned();
        let (to_test, from_server) = mpsc::unbounded_channel();
        let (to_client, from_test) = mpsc::unbounded_channel();
        let from_test = Arc::new(Mutex::new(from_test));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(mediate(client, server.clone(), to_test.clone(), Arc::clone(&from_test)));
            }
        });
        Self { url, from_server, to_client, pending: Vec::new() }
    }

    /// The next bytes that the server sends.
    pub async fn some_bytes(&mut self) -> Vec<u8> {
        within("bytes of the stream", self.from_server.recv()).await.expect("the stream goes on")
    }

    /// The next frames that the server sends, each with the heartbeats before it, if there are any.
    pub async fn frames(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while frames.len() < count {
            if let Some(end) = self.pending.windows(2).position(|bytes| bytes == b"\n\n") {
                frames.push(self.pending.drain(..end + 2).collect());
            } else {
                let bytes = self.some_bytes().await;
                self.pending.extend(bytes);
            }
        }
        frames
    }

    /// Sends bytes of the stream to the client, in one write.
    pub fn pass_on(&self, bytes: &[u8]) {
        self.to_client.send(bytes.to_vec()).unwrap();
    }
}

/// Passes on requests and answers that have no body, a browser's preflight above all, until the answer is the stream.
pub async fn mediate(
    client: TcpStream,
    server: String,
    to_test: mpsc::UnboundedSender<Vec<u8>>,
    from_test: Arc<Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>,
) {
    client.set_nodelay(true).unwrap();
    let (client, mut client_writer) = client.into_split();
    let mut client = Input::new(client);
    // A browser may open a connection and not use it, or use it later than the server would wait for.
    let Some(mut request) = head(&mut client).await else { return };
    let (server, mut server_writer) = TcpStream::connect(server).await.unwrap().into_split();
    let mut server = Input::new(server);
    loop {
        server_writer.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut server).await.unwrap();
        client_writer.write_all(answer.as_bytes()).await.unwrap();
        if answer.contains("content-type: text/event-stream\r\n") {
            break;
        }
        assert!(answer.contains("content-length: 0\r\n"), "{answer}");
        let Some(next) = head(&mut client).await else { return };
        request = next;
    }
    tokio::spawn(async move {
        while let Some(bytes) = chunk(&mut server).await {
            let _ = to_test.send(bytes);
        }
    });
    let mut from_test = from_test.lock().await;
    while let Some(bytes) = from_test.recv().await {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
        client_writer.write_all(&chunk).await.unwrap();
    }
}

pub type Input = tokio::io::BufReader<OwnedReadHalf>;

/// The head of a request or an answer, with the empty line; `None` at the end of the connection.
pub async fn head(input: &mut Input) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if input.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// One chunk of a body; `None` at its end.
pub async fn chunk(input: &mut Input) -> Option<Vec<u8>> {
    let mut size = String::new();
    input.read_line(&mut size).await.ok()?;
    let mut bytes = vec![0; usize::from_str_radix(size.trim_end(), 16).ok()? + 2];
    input.read_exact(&mut bytes).await.ok()?;
    bytes.truncate(bytes.len() - 2);
    (!bytes.is_empty()).then_some(bytes)
}
