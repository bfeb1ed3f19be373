//! Guards the task of a connection: whose turn it is to write, how much waits, and how everything ends.

mod closing;
mod memory;
mod reading;
mod streams;
mod turns;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;

use super::extension::Compression;
use super::{Close, End, Inlet, Message, Opcode, Outlet, Settings, Times, run};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much a client that reads nothing takes into its system's memory, in bytes.
const RECEIVE_BUFFER: u32 = 256 << 10;
/// How much the system takes from the server for a client that reads nothing, in bytes.
const SEND_BUFFER: u32 = 256 << 10;

/// How long a client may take nothing of what waits for it.
const UNREAD_FOR: Duration = Duration::from_secs(8);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

thread_local! {
    /// Whether an application has panicked. Its task takes the panic with it.
    static HAS_PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test on one thread, as a worker does.
fn on_a_worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
    assert!(!HAS_PANICKED.get(), "an application has panicked");
}

/// Notes a panic of an application.
struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        HAS_PANICKED.set(HAS_PANICKED.get() || std::thread::panicking());
    }
}

fn settings() -> Settings {
    let compression = Compression { inflates: true, compresses: true };
    Settings { max_message_bytes: 1 << 20, compression, times: Times::default(), has_frames: true }
}

/// A client, whose frames a test writes itself.
struct Client {
    socket: TcpStream,
    received: BytesMut,
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    /// FIN, RSV1 and the opcode.
    first: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn of(opcode: Opcode, payload: impl Into<Vec<u8>>) -> Self {
        Self { first: 0x80 | opcode as u8, payload: payload.into() }
    }

    fn close(code: u16, reason: &str) -> Self {
        Self::of(Opcode::Close, Close::new(code, reason).payload())
    }
}

impl Client {
    /// Connects to an application, which runs until its connection has ended.
    async fn connect<A: Future<Output = ()> + 'static>(
        settings: Settings,
        application: impl FnOnce(Inlet, Outlet) -> A + 'static,
    ) -> Self {
        Self::connect_after(settings, b"", application).await
    }

    /// The same for a client that has sent something behind its handshake.
    async fn connect_after<A: Future<Output = ()> + 'static>(
        settings: Settings,
        received: &'static [u8],
        application: impl FnOnce(Inlet, Outlet) -> A + 'static,
    ) -> Self {
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_send_buffer_size(SEND_BUFFER).unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
        let (socket, accepted) = tokio::join!(socket.connect(listener.local_addr().unwrap()), listener.accept());
        let (there, _) = accepted.unwrap();
        there.set_nodelay(true).unwrap();
        socket2::SockRef::from(&there).set_tcp_user_timeout(Some(UNREAD_FOR)).unwrap();
        let connection = run(Box::new(there), b"head".to_vec(), received, settings, |inlet, outlet| {
            let application = application(inlet, outlet);
            async {
                let _watch = Watch;
                application.await;
            }
        });
        tokio::task::spawn_local(async {
            let _watch = Watch;
            connection.await;
        });
        let mut client = Self { socket: socket.unwrap(), received: BytesMut::new() };
        let mut head = [0; 4];
        within("the head", client.socket.read_exact(&mut head)).await.unwrap();
        assert_eq!(&head, b"head");
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        within("the server to read", self.socket.write_all(bytes)).await.unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((first, header, length)) = parse(&self.received)
                && self.received.len() >= header + length
            {
                let frame = self.received.split_to(header + length);
                return Some(Frame { first, payload: frame[header..].to_vec() });
            }
            if within("a frame", self.socket.read_buf(&mut self.received)).await.unwrap_or(0) == 0 {
                assert!(self.received.is_empty(), "it was cut within a frame");
                return None;
            }
        }
    }

    async fn expect(&mut self, frame: Frame) {
        assert_eq!(self.next().await, Some(frame));
    }

    async fn expect_end(&mut self) {
        assert_eq!(self.next().await, None);
    }

    /// Waits for the end of a connection that is cut, wherever that is.
    async fn expect_cut(mut self) {
        while within("the end", self.socket.read_buf(&mut self.received)).await.is_ok_and(|read| read > 0) {}
    }
}

/// FIN, RSV1 and the opcode, and the lengths of the header and the payload, once the header has come.
fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (header, length) = match bytes {
        [_, 126, a, b, ..] => (4, u16::from_be_bytes([*a, *b]).into()),
        [_, 127, a, b, c, d, e, f, g, h, ..] => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize),
        [_, 126 | 127, ..] => return None,
        [_, length, ..] => (2, usize::from(*length)),
        _ => return None,
    };
    assert!(length < 1 << 30, "the server masks nothing");
    Some((bytes[0], header, length))
}

/// What has happened in an application.
#[derive(Clone, Default)]
struct Seen {
    messages: Rc<RefCell<Vec<Message>>>,
    end: Rc<RefCell<Option<End>>>,
    is_dropped: Rc<Cell<bool>>,
}

impl Seen {
    /// An application that sends every message back.
    async fn echo(self, mut inlet: Inlet, outlet: Outlet) {
        let _guard = OnDrop(Rc::clone(&self.is_dropped));
        while let Some(message) = inlet.next().await {
            match &message {
                Message::Text(text) => outlet.send_text(text),
                Message::Binary(bytes) => outlet.send_binary(bytes),
            }
            self.messages.borrow_mut().push(message);
        }
        *self.end.borrow_mut() = inlet.end();
    }

    /// The end as the application was told of it, once that has gone.
    async fn end(&self) -> End {
        within("the end", async {
            while !self.is_dropped.get() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.end.borrow_mut().take().expect("the application was told")
    }
}

struct OnDrop(Rc<Cell<bool>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}
