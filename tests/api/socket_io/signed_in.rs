//! Guards what users are served over Socket.IO: signing in, events, commands, recovery, the upgrade, and the end.

mod commands;
mod connecting;
mod recovery;
mod streams;

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::client::Polling;
use super::connection::WebSocket;
use crate::support::{TestServer, User};

/// A packet of Socket.IO as a client of long polling or WebSocket sees it.
pub struct Sio {
    polling: Option<Polling>,
    websocket: Option<WebSocket>,
    /// What has come and was not looked at.
    packets: VecDeque<String>,
    acks: u64,
}

impl Sio {
    pub async fn polling(server: &TestServer) -> Self {
        let polling = Some(Polling::at(&server.url).await);
        Self { polling, websocket: None, packets: VecDeque::new(), acks: 0 }
    }

    pub async fn websocket(server: &TestServer) -> Self {
        let mut socket = WebSocket::connect_to(&server.url, "EIO=4&transport=websocket").await.unwrap();
        assert!(socket.text().await.starts_with("0{"));
        Self { polling: None, websocket: Some(socket), packets: VecDeque::new(), acks: 0 }
    }

    /// A client that has connected by this transport, with what was answered.
    pub async fn connected(server: &TestServer, is_websocket: bool, auth: Value) -> (Self, Value) {
        let mut client = if is_websocket { Self::websocket(server).await } else { Self::polling(server).await };
        client.send(&format!("40{auth}")).await;
        let answer = client.next().await;
        let welcome = answer.strip_prefix("40").unwrap_or_else(|| panic!("refused: {answer}"));
        (client, serde_json::from_str(welcome).unwrap())
    }

    /// The same, of a user with these options more.
    pub async fn of(server: &TestServer, user: &User, is_websocket: bool, options: Value) -> Self {
        Self::connected(server, is_websocket, auth(user, options)).await.0
    }

    pub async fn send(&mut self, packet: &str) {
        match (&mut self.websocket, &self.polling) {
            (Some(socket), _) => socket.send(packet).await,
            (None, Some(polling)) => polling.post(packet).await,
            (None, None) => unreachable!(),
        }
    }

    /// The next packet that is no ping.
    pub async fn next(&mut self) -> String {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                if !["2", "6"].contains(&packet.as_str()) {
                    return packet;
                }
                continue;
            }
            let said = match (&mut self.websocket, &self.polling) {
                (Some(socket), _) => socket.text().await,
                (None, Some(polling)) => polling.poll().await,
                (None, None) => unreachable!(),
            };
            self.packets.extend(said.split('\x1e').map(str::to_owned));
        }
    }

    /// The next packet that is no answer, which is an event: its name and arguments.
    pub async fn event(&mut self) -> Value {
        let mut packet = self.next().await;
        while packet.starts_with("43") {
            packet = self.next().await;
        }
        let event = packet.strip_prefix("42").unwrap_or_else(|| panic!("no event: {packet}"));
        serde_json::from_str(event).unwrap()
    }

    /// The next event has this name and this data.
    pub async fn gets(&mut self, name: &str, data: Value) {
        let event = self.event().await;
        assert_eq!((&event[0], &event[1]), (&json!(name), &data), "{event}");
    }

    /// Emits a command. Returns the number of the answer.
    pub async fn emit(&mut self, command: &str, argument: Value) -> u64 {
        self.acks += 1;
        self.send(&format!("42{}{}", self.acks, json!([command, argument]))).await;
        self.acks
    }

    /// Emits a command. Returns the answer, and keeps events that come before it.
    pub async fn ask(&mut self, command: &str, argument: Value) -> Value {
        let ack = self.emit(command, argument).await;
        let mut before = VecDeque::new();
        loop {
            let packet = self.next().await;
            if let Some(answer) = packet.strip_prefix(&format!("43{ack}[")) {
                before.append(&mut self.packets);
                self.packets = before;
                return serde_json::from_str(answer.strip_suffix(']').unwrap()).unwrap();
            }
            before.push_back(packet);
        }
    }

    /// Goes from long polling to a WebSocket.
    pub async fn upgrade(&mut self, server: &TestServer) {
        let polling = self.polling.clone().unwrap();
        let mut socket = WebSocket::upgrade_at(&server.url, &polling).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        // No poll waits any more: what it brings came before.
        self.packets.extend(polling.poll().await.split('\x1e').map(str::to_owned));
        socket.send("5").await;
        self.websocket = Some(socket);
    }
}

/// What a user says to connect.
pub fn auth(user: &User, mut options: Value) -> Value {
    options["token"] = json!(user.jwt());
    options
}
