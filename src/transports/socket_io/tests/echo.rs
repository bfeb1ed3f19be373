//! The application that the suites of engine.io-protocol and socket.io-protocol are for, and a little more: gates, questions, a stream.
//! The tests of the running server use it, too: whatever has this file as a module names the library `sio`.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use tokio::sync::{Notify, Semaphore};

use super::sio::{
    Admission, Application, Connect, ConnectError, Event, Json, Outlet, SEPARATOR, Socket, Types, Work, Written,
    write_event,
};
use super::ws;

/// What all threads of an echo server share.
#[derive(Clone, Default)]
pub struct Echo {
    /// What the events `slow` wait for.
    pub gate: Arc<Gate>,
    /// What the event `listen` asks for.
    pub feed: Arc<Feed>,
    /// How many sockets there are.
    pub sockets: Arc<AtomicUsize>,
    /// Not to be sent to another thread, as with any application.
    pub _here: Rc<()>,
}

/// Lets through as many as it is told to.
pub struct Gate {
    pub permits: Semaphore,
    pub waiting: AtomicUsize,
}

impl Default for Gate {
    fn default() -> Self {
        Self { permits: Semaphore::new(0), waiting: AtomicUsize::new(0) }
    }
}

impl Gate {
    async fn pass(&self) {
        self.waiting.fetch_add(1, Relaxed);
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
        self.waiting.fetch_sub(1, Relaxed);
    }
}

/// Numbers that are streamed as events `number`.
#[derive(Default)]
pub struct Feed {
    count: AtomicUsize,
    more: Notify,
    /// How many streams began, by transport.
    pub began: Mutex<Vec<&'static str>>,
}

impl Feed {
    /// Adds the next numbers.
    pub fn add(&self, count: usize) {
        self.count.fetch_add(count, Relaxed);
        self.more.notify_waiters();
    }
}

/// A socket of an echo server.
#[derive(Default)]
pub struct EchoSocket {
    auth: Map<String, Value>,
    /// The first number that its stream has yet to give.
    next: AtomicUsize,
    sockets: Arc<AtomicUsize>,
}

impl Drop for EchoSocket {
    fn drop(&mut self) {
        self.sockets.fetch_sub(1, Relaxed);
    }
}

impl Types for Echo {
    type Peer = ();
    type Client = IpAddr;
    type State = EchoSocket;
}

/// A value as an argument.
pub fn json(value: impl Into<Value>) -> Json {
    to_raw_value(&value.into()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

impl Application for Echo {
    async fn connect(&self, connect: Connect<'_, Self>) -> Result<Admission<EchoSocket>, ConnectError> {
        if !["/", "/custom"].contains(&connect.namespace) {
            return Err(ConnectError::invalid_namespace());
        }
        if connect.auth.contains_key("refuse") {
            return Err(ConnectError { message: "Not authorized".to_owned(), data: Some(json("because")) });
        }
        if connect.auth.contains_key("slow") {
            self.gate.pass().await;
        }
        let recovery = connect.recovery();
        let pid = recovery.map(|recovery| recovery.pid).or_else(|| connect.auth.get("recoverable")?.as_str());
        let (pid, sid) = (pid.map(str::to_owned), recovery.map(|_| "the-same".to_owned()));
        self.sockets.fetch_add(1, Relaxed);
        let next = recovery.and_then(|recovery| recovery.offset?.parse().ok()).map_or(0, |offset: usize| offset + 1);
        let state = EchoSocket { auth: connect.auth, next: next.into(), sockets: Arc::clone(&self.sockets) };
        Ok(Admission { state, pid, sid })
    }

    fn connected(&self, socket: &Socket<Self>) {
        socket.emit("auth", &[json(socket.auth.clone())], &[]);
    }

    fn event(&self, socket: &Socket<Self>, event: Event<Self>) -> Option<Work> {
        let Event { name, args, attachments, ack } = event;
        let (socket, gate) = (socket.clone(), Arc::clone(&self.gate));
        match name.as_str() {
            "message" => {
                socket.emit("message-back", &args, &attachments);
            }
            "message-with-ack" => {
                ack.map(|ack| ack.send(&args, &attachments));
            }
            "listen" => {
                socket.attach();
            }
            "more" => {
                let count = args.first().and_then(|count| count.get().parse().ok());
                self.feed.add(count.unwrap_or_default());
            }
            "leave" => socket.disconnect(),
            "close" => socket.close(),
            "ask" => {
                return Some(Work::new(async move {
                    let Some(answer) = socket.ask("question", &args, &attachments) else { return };
                    if let Ok(answer) = answer.await {
                        socket.emit("answered", &answer.args, &answer.attachments);
                    }
                }));
            }
            "slow" => {
                return Some(Work::new(async move {
                    gate.pass().await;
                    ack.map(|ack| ack.send(&args, &attachments));
                }));
            }
            _ => {}
        }
        None
    }

    fn stream(&self, socket: Socket<Self>, outlet: Outlet<Self>) -> impl Future<Output = ()> + 'static {
        let feed = Arc::clone(&self.feed);
        async move {
            let transport = if matches!(outlet, Outlet::Polling(_)) { "polling" } else { "websocket" };
            feed.began.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(transport);
            tokio::select! {
                () = poll_fn(|context| match &outlet {
                    Outlet::Polling(_) if socket.has_upgraded() => Poll::Ready(()),
                    Outlet::Polling(outlet) => outlet.poll_gone(context),
                    Outlet::WebSocket { outlet, .. } => outlet.poll_gone(context),
                }) => {}
                () = give(&feed, &socket, &outlet) => {}
            }
        }
    }
}

/// Gives all numbers, in order, for ever.
async fn give(feed: &Feed, socket: &Socket<Echo>, outlet: &Outlet<Echo>) {
    loop {
        let more = feed.more.notified();
        let mut more = std::pin::pin!(more);
        more.as_mut().enable();
        let (next, end) = (socket.next.load(Relaxed), feed.count.load(Relaxed));
        if next == end {
            more.await;
            continue;
        }
        // A few at a time, so that there is more than one chunk.
        let end = end.min(next + 100);
        match outlet {
            Outlet::Polling(outlet) => {
                let mut chunk = Vec::new();
                for number in next..end {
                    if number > next {
                        chunk.push(SEPARATOR as u8);
                    }
                    write_event(
                        &mut chunk,
                        socket.namespace(),
                        "number",
                        [&number.to_string()],
                        Some(&number.to_string()),
                    );
                }
                match outlet.write(&chunk.into()) {
                    Written::All => socket.next.store(end, Relaxed),
                    Written::Nothing => poll_fn(|context| outlet.poll_ready(context)).await,
                    Written::Gone => return,
                }
            }
            Outlet::WebSocket { outlet, .. } => {
                let mut frames = Vec::new();
                for number in next..end {
                    ws::put_frame(&mut frames, ws::Opcode::Text, |buffer| {
                        write_event(
                            buffer,
                            socket.namespace(),
                            "number",
                            [&number.to_string()],
                            Some(&number.to_string()),
                        );
                    });
                }
                let mut frames = Bytes::from(frames);
                while !frames.is_empty() {
                    match outlet.write(&frames) {
                        ws::Written::All => frames.clear(),
                        ws::Written::Part(taken) => {
                            frames = frames.slice(taken..);
                            poll_fn(|context| outlet.poll_ready(context)).await;
                        }
                        ws::Written::Gone => return,
                    }
                }
                socket.next.store(end, Relaxed);
            }
        }
    }
}
