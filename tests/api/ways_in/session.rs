//! A client of Socket.IO by each transport, which sees every packet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::socket_io::{Polling, WebSocket};
use crate::support::within;

/// How a session of Engine.IO is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Polling,
    WebSocket,
    /// By WebSocket, after it was opened by polling.
    Upgraded,
}

enum Line {
    Polling(Polls),
    WebSocket(Box<WebSocket>),
}

/// Long polling, with a poll that waits at all times.
struct Polls {
    polling: Polling,
    answers: mpsc::UnboundedReceiver<String>,
    is_over: Arc<AtomicBool>,
}

impl Polls {
    async fn open(url: &str) -> Self {
        let polling = Polling::at(url).await;
        let (come, answers) = mpsc::unbounded_channel();
        let is_over = Arc::<AtomicBool>::default();
        let (again, over) = (polling.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let answer = again.client.get(&again.path).await;
                if answer.status != 200 || come.send(answer.body).is_err() {
                    return;
                }
            }
        });
        Self { polling, answers, is_over }
    }
}

impl Drop for Polls {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A session with the main namespace.
pub struct Session {
    line: Line,
    /// What has come and was not looked at.
    packets: VecDeque<String>,
}

/// What the server sends.
#[derive(Debug)]
pub enum Packet {
    /// The namespace is joined.
    Connected,
    /// It is not, for this reason.
    Refused(Value),
    /// An event, and its arguments.
    Event(String, Vec<Value>),
    /// The answer to an event with a number.
    Ack(u64, Vec<Value>),
    /// The end, of the namespace or of all.
    End,
}

impl Session {
    /// Opens a session, and joins the main namespace with this `auth`. More packets are sent at once, before there is an answer.
    pub async fn open(url: &str, transport: Transport, auth: &str, more: Vec<String>) -> Self {
        let packets = [&[format!("40{auth}")], &more[..]].concat();
        if transport == Transport::WebSocket {
            let mut socket = WebSocket::connect_to(url, "EIO=4&transport=websocket").await.unwrap();
            socket.text().await;
            for packet in packets {
                socket.try_send(&packet).await;
            }
            return Self { line: Line::WebSocket(Box::new(socket)), packets: VecDeque::new() };
        }
        let mut session = Self { line: Line::Polling(Polls::open(url).await), packets: VecDeque::new() };
        session.send(&packets.join("\x1e")).await;
        session
    }

    /// Goes over to WebSocket.
    pub async fn upgrade(mut self, url: &str) -> Self {
        let Line::Polling(polls) = &mut self.line else { return self };
        let sid = polls.polling.path.split_once("sid=").unwrap().1;
        let mut socket = WebSocket::connect_to(url, &format!("EIO=4&transport=websocket&sid={sid}")).await.unwrap();
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        polls.is_over.store(true, Ordering::Relaxed);
        while let Some(answer) = within("the end of the polls", polls.answers.recv()).await {
            self.packets.extend(answer.split('\x1e').map(str::to_owned));
        }
        socket.send("5").await;
        self.line = Line::WebSocket(Box::new(socket));
        self
    }

    /// Sends a packet; whether the session was there to take it.
    pub async fn send(&mut self, packet: &str) -> bool {
        match &mut self.line {
            Line::Polling(polls) => polls.polling.post_any(&[], packet.as_bytes()).await.status == 200,
            Line::WebSocket(socket) => socket.try_send(packet).await,
        }
    }

    /// The next packet. Pings are answered.
    pub async fn next(&mut self) -> Packet {
        loop {
            let packet = match self.packets.pop_front() {
                Some(packet) => packet,
                None if self.read().await => continue,
                None => return Packet::End,
            };
            match packet.as_str() {
                "2" => {
                    self.send("3").await;
                }
                // Nothing, as when a poll ends for an upgrade.
                "6" => {}
                _ => return Packet::parse(&packet),
            }
        }
    }

    /// Takes what comes next; false at the end.
    async fn read(&mut self) -> bool {
        match &mut self.line {
            Line::Polling(polls) => match polls.answers.recv().await {
                Some(answer) => {
                    self.packets.extend(answer.split('\x1e').map(str::to_owned));
                    true
                }
                None => false,
            },
            Line::WebSocket(socket) => match socket.message().await {
                Some(Message::Text(text)) => {
                    self.packets.push_back(text.to_string());
                    true
                }
                Some(other) => panic!("{other:?}"),
                None => false,
            },
        }
    }
}

impl Packet {
    fn parse(packet: &str) -> Self {
        let args = |from: usize| -> Vec<Value> {
            serde_json::from_str(&packet[from..]).unwrap_or_else(|error| panic!("{error}: {packet}"))
        };
        match packet.get(..2) {
            Some("40") => Self::Connected,
            Some("41") => Self::End,
            Some("44") => Self::Refused(serde_json::from_str(&packet[2..]).unwrap()),
            Some("42") => {
                let mut args = args(2);
                Self::Event(args.remove(0).as_str().unwrap().to_owned(), args)
            }
            Some("43") => {
                let begin = packet.find('[').unwrap();
                Self::Ack(packet[2..begin].parse().unwrap(), args(begin))
            }
            _ if packet == "1" => Self::End,
            _ => panic!("{packet}"),
        }
    }
}
