//! A client of Socket.IO by each transport, which sees every packet.

use std::collections::VecDeque;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::socket_io::{Polling, WebSocket};

/// How a session of Engine.IO is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Polling,
    WebSocket,
    /// By WebSocket, after it was opened by polling.
    Upgraded,
}

enum Line {
    Polling(Polling),
    WebSocket(WebSocket),
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
    /// An event, and its arguments.
    Event(String, Vec<Value>),
    /// The end, of the namespace or of all.
    End,
}

impl Session {
    /// Opens a session, and joins the main namespace with this `auth`, and at once sends more.
    pub async fn open(url: &str, transport: Transport, auth: &str, more: Option<&str>) -> Self {
        let connect = format!("40{auth}");
        if transport == Transport::WebSocket {
            let mut socket = WebSocket::connect_to(url, "EIO=4&transport=websocket").await.unwrap();
            socket.text().await;
            socket.send(&connect).await;
            if let Some(more) = more {
                socket.send(more).await;
            }
            return Self { line: Line::WebSocket(socket), packets: VecDeque::new() };
        }
        let polling = Polling::at(url).await;
        let payload = more.map_or(connect.clone(), |more| format!("{connect}\x1e{more}"));
        polling.post(&payload).await;
        Self { line: Line::Polling(polling), packets: VecDeque::new() }
    }

    /// Goes over to WebSocket.
    pub async fn upgrade(self, url: &str) -> Self {
        let Line::Polling(polling) = &self.line else { return self };
        let sid = polling.path.split_once("sid=").unwrap().1;
        let mut socket = WebSocket::connect_to(url, &format!("EIO=4&transport=websocket&sid={sid}")).await.unwrap();
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        socket.send("5").await;
        Self { line: Line::WebSocket(socket), ..self }
    }

    /// Sends a packet; whether the session was there to take it.
    pub async fn send(&mut self, packet: &str) -> bool {
        match &mut self.line {
            Line::Polling(polling) => polling.post_any(&[], packet.as_bytes()).await.status == 200,
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
            Line::Polling(polling) => {
                let answer = polling.client.get(&polling.path).await;
                self.packets.extend(answer.body.split('\x1e').map(str::to_owned));
                answer.status == 200
            }
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
        match packet.get(..2) {
            Some("40") => Self::Connected,
            Some("41") => Self::End,
            Some("42") => {
                let Ok(Value::Array(mut args)) = serde_json::from_str(&packet[2..]) else { panic!("{packet}") };
                let name = args.remove(0).as_str().unwrap().to_owned();
                Self::Event(name, args)
            }
            _ if packet == "1" => Self::End,
            _ => panic!("{packet}"),
        }
    }
}
