//! The reference for the fan-out: epoll and `write`, one thread, no framework, no checks, nothing stored.
//!
//! It accepts the same requests and sends the same bytes as Broker. All publishes that are there at once go out in
//! one write per subscriber, as in the best possible server, so that nothing can be expected to be faster. If
//! publishes arrive in bursts, it waits for the whole burst; a server that first flushes to the disk does that as a
//! side effect.

mod format;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::{Result, process};

pub use format::{MQTT, OPEN_POLLING};

use format::Format;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 57\r\n\r\n\
    {\"id\":\"0000000000000000000000\",\"timestamp\":1700000000000}";

/// The beginning of a poll, which has an id of a session.
const POLL: &[u8] = b"GET /socket.io/?EIO=4&transport=polling&sid=";

/// A fault that happens once to the first subscriber, to show that the clients notice it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Leaves an event out.
    Loses,
    /// Sends an event again.
    Repeats,
    /// Sends an event after the one that follows it.
    Swaps,
}

impl Fault {
    /// All faults, with their names on the command line.
    pub const ALL: [(&str, Self); 3] = [("loses", Self::Loses), ("repeats", Self::Repeats), ("swaps", Self::Swaps)];

    /// The fault of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, fault)| fault)
    }
}

/// The fault happens after this many writes to all subscribers.
const FAULT_AFTER: u32 = 100;

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// A burst of publishes is complete if no further one arrives for this long.
const CROWD_GAP: Duration = Duration::from_micros(30);

/// Serves until it is killed.
pub fn serve(port: u16, fault: Option<Fault>) -> Result<()> {
    process::raise_descriptor_limit();
    Raw::listen(port, fault).and_then(|mut raw| raw.run()).map_err(|error| format!("raw: {error}"))
}

struct Raw {
    epoll: OwnedFd,
    listener: TcpListener,
    /// Indexed by descriptor.
    connections: Vec<Option<Connection>>,
    /// Descriptors of the subscribers.
    subscribers: Vec<usize>,
    /// The transport of all subscribers.
    format: Format,
    /// Publishes that are not yet sent to any subscriber.
    frames: Vec<u8>,
    /// They as they are sent.
    chunk: Vec<u8>,
    /// The descriptors of their publishers.
    publishers: Vec<usize>,
    position: u64,
    /// The answer of `/replay`.
    replay: Vec<u8>,
    fault: Option<Fault>,
    written: u32,
    held_back: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// Bytes that the socket did not accept yet.
    unsent: Vec<u8>,
    /// Whether a poll waits to be answered.
    polls: bool,
    /// Events that the next poll is answered with.
    missed: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new(), unsent: Vec::new(), polls: false, missed: Vec::new() }
    }
}

impl Raw {
    fn listen(port: u16, fault: Option<Fault>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        // The standard library's backlog is too short for thousands of clients that connect at once.
        rustix::net::listen(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            connections: Vec::new(),
            subscribers: Vec::new(),
            format: Format::Sse,
            frames: Vec::new(),
            chunk: Vec::new(),
            publishers: Vec::new(),
            position: 0,
            replay: Vec::new(),
            fault,
            written: 0,
            held_back: Vec::new(),
        })
    }

    fn run(&mut self) -> std::io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        // Whether the last publishes came in a burst, and when the last one came.
        let (mut crowded, mut newest) = (false, Instant::now());
        loop {
            events.clear();
            let known = self.publishers.len();
            let at_once = (known > 0).then_some(&NOW);
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), at_once)?;
            for event in &events {
                let (flags, data) = (event.flags, event.data.u64());
                match usize::try_from(data).ok().filter(|_| data != u64::MAX) {
                    None => self.accept()?,
                    Some(at) => {
                        if flags.contains(EventFlags::OUT) {
                            self.send_rest(at)?;
                        }
                        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                            self.receive(at, &mut buffer)?;
                        }
                    }
                }
            }
            if self.publishers.len() > known {
                newest = Instant::now();
            }
            if !crowded || newest.elapsed() > CROWD_GAP {
                let joined = self.publishers.len();
                self.fan_out()?;
                crowded = if joined > 0 { joined > 1 } else { crowded };
            }
        }
    }

    fn accept(&mut self) -> std::io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let at = usize::try_from(stream.as_raw_fd()).unwrap_or_default();
            epoll::add(&self.epoll, &stream, EventData::new_u64(at as u64), EventFlags::IN)?;
            if self.connections.len() <= at {
                self.connections.resize_with(at + 1, || None);
            }
            self.connections[at] = Some(Connection::new(stream));
        }
    }

    fn receive(&mut self, at: usize, buffer: &mut [u8]) -> std::io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        match connection.stream.read(buffer) {
            Ok(length @ 1..) => connection.received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Ok(0) | Err(_) => {
                self.connections[at] = None;
                self.subscribers.retain(|subscriber| *subscriber != at);
                return Ok(());
            }
        }
        while let Some(length) = self.connections[at].as_ref().and_then(|one| request_length(&one.received)) {
            self.answer(at, length)?;
        }
        Ok(())
    }

    fn answer(&mut self, at: usize, length: usize) -> std::io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        let rest = connection.received.split_off(length);
        let request = std::mem::replace(&mut connection.received, rest);
        let body = memmem::find(&request, b"\r\n\r\n").map_or(&[][..], |head| &request[head + 4..]);
        if request.starts_with(POLL) {
            connection.polls = true;
            let missed = std::mem::take(&mut connection.missed);
            return if missed.is_empty() { Ok(()) } else { self.answer_poll(at, &missed) };
        }
        if let Some(format) = Format::of(&request) {
            self.subscribers.push(at);
            self.format = format;
            self.send(at, format.head().as_bytes())
        } else if request.starts_with(b"GET /replay") {
            let replay = std::mem::take(&mut self.replay);
            self.send(at, &replay)?;
            self.replay = replay;
            Ok(())
        } else if request.starts_with(b"POST /replay") {
            self.replay = body.to_vec();
            self.send(at, ANSWER)
        } else {
            self.position += 1;
            let (event, data) = parts(body);
            self.format.write(self.position, event, data, &mut self.frames)?;
            self.publishers.push(at);
            Ok(())
        }
    }

    fn fan_out(&mut self) -> std::io::Result<()> {
        if self.publishers.is_empty() {
            return Ok(());
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        self.format.join(&self.frames, &mut chunk)?;
        self.written += 1;
        let first = self.misbehave(&chunk)?;
        for subscriber in first..self.subscribers.len() {
            let at = self.subscribers[subscriber];
            if matches!(self.format, Format::Polling) && !self.takes_poll(at) {
                continue;
            }
            self.send(at, &chunk)?;
        }
        self.chunk = chunk;
        self.frames.clear();
        for publisher in std::mem::take(&mut self.publishers) {
            self.send(publisher, ANSWER)?;
        }
        Ok(())
    }

    /// Takes the poll that waits. If there is none, keeps the events for the next one.
    fn takes_poll(&mut self, at: usize) -> bool {
        let Some(connection) = &mut self.connections[at] else { return false };
        let polls = std::mem::take(&mut connection.polls);
        if !polls {
            self.format.append(&self.frames, &mut connection.missed);
        }
        polls
    }

    fn answer_poll(&mut self, at: usize, events: &[u8]) -> std::io::Result<()> {
        let mut answer = Vec::new();
        self.format.join(events, &mut answer)?;
        if self.takes_poll(at) { self.send(at, &answer) } else { Ok(()) }
    }

    /// Applies the fault, if there is one and it is due. Returns the number of subscribers that this has handled.
    fn misbehave(&mut self, chunk: &[u8]) -> std::io::Result<usize> {
        let (Some(fault), Some(victim)) = (self.fault, self.subscribers.first().copied()) else { return Ok(0) };
        match fault {
            Fault::Loses if self.written == FAULT_AFTER => Ok(1),
            Fault::Repeats if self.written == FAULT_AFTER => self.send(victim, chunk).map(|()| 0),
            Fault::Swaps if self.written == FAULT_AFTER => {
                self.held_back = chunk.to_vec();
                Ok(1)
            }
            Fault::Swaps if self.written == FAULT_AFTER + 1 => {
                let held_back = std::mem::take(&mut self.held_back);
                self.send(victim, chunk)?;
                self.send(victim, &held_back).map(|()| 1)
            }
            _ => Ok(0),
        }
    }

    fn send(&mut self, at: usize, bytes: &[u8]) -> std::io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        let sent = if connection.unsent.is_empty() {
            match connection.stream.write(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                // The next read detects that it is closed.
                Err(_) => return Ok(()),
            }
        } else {
            0
        };
        if sent < bytes.len() {
            connection.unsent.extend_from_slice(&bytes[sent..]);
            let both = EventFlags::IN | EventFlags::OUT;
            epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(at as u64), both)?;
        }
        Ok(())
    }

    fn send_rest(&mut self, at: usize) -> std::io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        if let Ok(sent) = connection.stream.write(&connection.unsent) {
            connection.unsent.drain(..sent);
        }
        if connection.unsent.is_empty() {
            epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(at as u64), EventFlags::IN)?;
        }
        Ok(())
    }
}

/// The length of the request at the beginning of these bytes, if it is complete.
fn request_length(received: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"content-length: ";
    let head = memmem::find(received, b"\r\n\r\n")? + 4;
    let body = memmem::find(&received[..head], LENGTH).map_or(0, |at| {
        let digits = received[at + LENGTH.len()..head].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    });
    (received.len() >= head + body).then_some(head + body)
}

/// The name and the data of `{"event":"<name>","data":<data>}`, in the exact form that the tool writes.
fn parts(body: &[u8]) -> (&[u8], &[u8]) {
    const EVENT: usize = br#"{"event":""#.len();
    const DATA: &[u8] = br#"","data":"#;
    let name = memmem::find(body, DATA).unwrap_or(EVENT);
    (
        body.get(EVENT..name).unwrap_or_default(),
        body.get(name + DATA.len()..body.len().saturating_sub(1)).unwrap_or_default(),
    )
}
