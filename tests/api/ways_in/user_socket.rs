//! A user who has signed in over Socket.IO.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::said::{Said, of_object};
use super::session::{Packet, Session, Transport};
use super::visitor::{Proof, Visitor};
use crate::support::within;

/// What is said, as it were, to somebody who shows nothing: the connection is one of channels, and no user's.
const IS_OF_CHANNELS: &str = "of channels";

/// A socket of the main namespace.
pub struct UserSocket {
    session: Session,
    /// The data of events that came before the answer to something.
    came: VecDeque<String>,
    last_ack: u64,
    /// How it has ended, if it has.
    end: Option<String>,
}

impl UserSocket {
    /// Connects, and renews the sign-in if that is the proof. There may be a socket even if something was refused.
    pub async fn connect(visitor: &Visitor, transport: Transport, proof: Proof) -> (Said, Option<Self>) {
        let shown = visitor.shown_by(proof);
        let mut socket = Self::open(visitor, transport, shown.as_ref(), None).await;
        if let Err(said) = socket.joined(shown.is_some()).await {
            return (Err(said), None);
        }
        if transport == Transport::Upgraded {
            socket.session = socket.session.upgrade(&visitor.client.url).await;
        }
        let said = match proof {
            Proof::Renewed => socket.ask("renew", &json!({ "token": visitor.jwt })).await,
            Proof::Token | Proof::Ticket => Ok(()),
        };
        (said, Some(socket))
    }

    /// Connects and inserts at once, without a look at what is said to what signs in.
    pub async fn insert_at_once(visitor: &Visitor, transport: Transport, proof: Proof, data: &str) -> Said {
        let shown = visitor.shown_by(proof);
        if proof == Proof::Renewed {
            let (said, socket) = Self::connect(visitor, transport, proof).await;
            return match socket {
                Some(mut socket) => socket.insert(visitor, data).await,
                None => said,
            };
        }
        let mut packets = vec![format!("421{}", json!(["insert", visitor.insert(data)]))];
        if shown.is_none() {
            // Which a client of channels is answered.
            packets.push(format!("422{}", json!(["message", "x"])));
        }
        let mut socket = Self::open(visitor, transport, shown.as_ref(), Some(packets)).await;
        let joined = socket.joined(shown.is_some()).await;
        match socket.answer(1).await {
            Err(said) if joined.is_ok() => Err(said),
            Ok(()) => Ok(()),
            Err(_) => joined,
        }
    }

    async fn open(
        visitor: &Visitor,
        transport: Transport,
        shown: Option<&Value>,
        at_once: Option<Vec<String>>,
    ) -> Self {
        let auth = shown.map_or_else(String::new, |shown| {
            let mut auth = shown.clone();
            auth["events"] = json!(visitor.names());
            auth.to_string()
        });
        let session = Session::open(&visitor.client.url, transport, &auth, at_once.unwrap_or_default()).await;
        Self { session, came: VecDeque::new(), last_ack: 0, end: None }
    }

    /// What is said to whoever connects. One that shows something would be a user.
    async fn joined(&mut self, shows: bool) -> Said {
        match within("an answer to the sign-in", self.session.next()).await {
            Packet::Connected if shows => Ok(()),
            Packet::Connected => {
                let greeting = within("a greeting", self.session.next()).await;
                assert!(matches!(&greeting, Packet::Event(name, _) if name == "clientevent"), "{greeting:?}");
                Err(IS_OF_CHANNELS.to_owned())
            }
            Packet::Refused(why) => Err(why["data"]["code"].as_str().unwrap().to_owned()),
            Packet::End => Err("disconnected".to_owned()),
            other => panic!("{other:?}"),
        }
    }

    /// Inserts, on this socket.
    pub async fn insert(&mut self, visitor: &Visitor, data: &str) -> Said {
        self.ask("insert", &visitor.insert(data)).await
    }

    async fn ask(&mut self, verb: &str, fields: &Value) -> Said {
        self.last_ack += 1;
        self.session.send(&format!("42{}{}", self.last_ack, json!([verb, fields]))).await;
        self.answer(self.last_ack).await
    }

    /// What is said to the event with a number, on a connection that may end at any moment.
    async fn answer(&mut self, number: u64) -> Said {
        loop {
            match within("an answer", self.session.next()).await {
                Packet::Ack(ack, args) if ack == number => return of_object(&args[0]),
                Packet::Ack(..) => return Err("unanswered".to_owned()),
                packet => self.keep(packet),
            }
            if let Some(end) = &self.end {
                // Which says the same.
                let is_over = end.ends_with("sign_in_over");
                return Err(if is_over { "unauthorized" } else { "unanswered" }.to_owned());
            }
        }
    }

    fn keep(&mut self, packet: Packet) {
        match packet {
            Packet::Event(name, args) if name == "$end" => {
                self.end = Some(format!("disconnected {}", args[0]["reason"].as_str().unwrap()));
            }
            // Its own message, which a client of channels is sent back; and a refusal of what no answer is awaited to.
            Packet::Event(name, _) if name == "message" || name == "$error" => {}
            Packet::Event(_, args) => self.came.push_back(args[0].as_str().unwrap().to_owned()),
            Packet::End => {
                self.end.get_or_insert_with(|| "disconnected".to_owned());
            }
            other => panic!("{other:?}"),
        }
    }

    /// The data of the next event.
    ///
    /// # Errors
    /// How it has ended.
    pub async fn next(&mut self) -> Result<String, String> {
        loop {
            if let Some(data) = self.came.pop_front() {
                return Ok(data);
            }
            if let Some(end) = &self.end {
                return Err(end.clone());
            }
            let packet = self.session.next().await;
            self.keep(packet);
        }
    }
}
