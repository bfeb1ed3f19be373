//! The ways in: how each lets somebody subscribe and insert, and what the server says where it does not.

use std::collections::VecDeque;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::mqtt_client::{Line as MqttLine, MqttClient, Shown};
use super::open::{Channels, Lists, Open};
use super::said::{Said, of_answer, of_object};
use super::session::{Packet, Session, Transport};
use super::user_socket::UserSocket;
use super::visitor::{Proof, Visitor};
use crate::sse_ticket::ask;
use crate::support::{Answer, Socket, Stream, TopicClient};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/sse` and `/insert` with a token in the header.
    Bearer,
    /// The same with name and password.
    Basic,
    /// `/events` and `/history` with a token in the header.
    Lists,
    /// `/sse` with a ticket in the URL.
    Ticket,
    /// The same with one that is spent, and the cookie that it was exchanged for.
    Pass,
    /// `broker.v1`.
    Socket(Proof),
    /// Socket.IO of users.
    User(Transport, Proof),
    /// Topics over WebSocket, and `/broadcast`.
    Notiflux,
    /// Channels over Socket.IO, and `/message`.
    Channel(Transport),
    /// MQTT.
    Mqtt(MqttLine, Shown),
}

pub const ALL: &[Door] = &[
    Door::Bearer,
    Door::Basic,
    Door::Lists,
    Door::Ticket,
    Door::Pass,
    Door::Socket(Proof::Token),
    Door::Socket(Proof::Ticket),
    Door::Socket(Proof::Renewed),
    Door::User(Transport::Polling, Proof::Token),
    Door::User(Transport::Polling, Proof::Ticket),
    Door::User(Transport::Polling, Proof::Renewed),
    Door::User(Transport::WebSocket, Proof::Token),
    Door::User(Transport::WebSocket, Proof::Ticket),
    Door::User(Transport::WebSocket, Proof::Renewed),
    Door::User(Transport::Upgraded, Proof::Token),
    Door::User(Transport::Upgraded, Proof::Ticket),
    Door::User(Transport::Upgraded, Proof::Renewed),
    Door::Notiflux,
    Door::Channel(Transport::Polling),
    Door::Channel(Transport::WebSocket),
    Door::Channel(Transport::Upgraded),
    Door::Mqtt(MqttLine::Tcp, Shown::Token),
    Door::Mqtt(MqttLine::Tcp, Shown::Password),
    Door::Mqtt(MqttLine::WebSocket, Shown::Token),
    Door::Mqtt(MqttLine::WebSocket, Shown::Password),
];

/// An attempt to subscribe to the room. Something may be open even if the room was refused.
pub struct Attempt {
    pub said: Said,
    pub open: Option<Open>,
}

impl Door {
    /// Subscribes to the room, and to the marks, which are always allowed.
    pub async fn subscribe(self, visitor: &Visitor) -> Attempt {
        match self {
            Self::Bearer | Self::Basic | Self::Ticket | Self::Pass => self.open_sse(visitor).await,
            Self::Lists => read_lists(visitor).await,
            Self::Socket(proof) => open_socket(visitor, proof).await,
            Self::User(transport, proof) => {
                let (said, socket) = UserSocket::connect(visitor, transport, proof).await;
                Attempt { said, open: socket.map(|socket| Open::User(Box::new(socket))) }
            }
            Self::Notiflux => subscribe_to_topic(visitor).await,
            Self::Channel(transport) => join_channel(visitor, transport).await,
            Self::Mqtt(line, shown) => {
                let (said, client) = MqttClient::connect(visitor, line, shown).await;
                let Some(mut client) = client else { return Attempt { said, open: None } };
                let said = client.subscribe(visitor).await;
                Attempt { said, open: Some(Open::Mqtt(Box::new(client))) }
            }
        }
    }

    /// Inserts into the room by this way, from the beginning: what signs in is sent again.
    pub async fn insert(self, visitor: &Visitor, data: &str) -> Said {
        match self {
            Self::Bearer | Self::Basic | Self::Lists | Self::Ticket | Self::Pass => {
                let (query, headers) = self.shown(visitor);
                let body = visitor.insert(data);
                of_answer(&post(visitor, &format!("/insert?{query}"), &headers, &body).await)
            }
            Self::Socket(proof) => insert_by_socket(visitor, proof, data).await,
            Self::User(transport, proof) => UserSocket::insert_at_once(visitor, transport, proof, data).await,
            Self::Notiflux => {
                let body = json!({ "topic": visitor.room, "message": data, "token": visitor.to_broadcast });
                of_answer(&post(visitor, "/broadcast", &[], &body).await)
            }
            Self::Channel(_) => {
                let key = visitor.auth_key.clone().map(|key| ("authorization", key));
                let path = format!("/message/{}", visitor.room);
                let answer = post(visitor, &path, key.as_slice(), &json!({ "message": data })).await;
                of_answer(&answer)?;
                assert_eq!(answer.json(), json!({ "success": true }));
                Ok(())
            }
            Self::Mqtt(line, shown) => match MqttClient::connect(visitor, line, shown).await {
                (_, Some(mut client)) => client.insert(visitor, data).await,
                (said, None) => said,
            },
        }
    }

    /// Inserts by the connection that is open, if this way has inserts on a connection; else as whoever opened it.
    pub async fn insert_there(self, open: &mut Open, visitor: &Visitor, data: &str) -> Said {
        match open {
            Open::Socket(socket) => {
                let reference = socket.send("insert", visitor.insert(data)).await;
                answered(socket, reference).await
            }
            Open::User(socket) => socket.insert(visitor, data).await,
            Open::Mqtt(client) => client.insert(visitor, data).await,
            Open::Sse(_) | Open::Lists(_) | Open::Topics { .. } | Open::Channels(_) => self.insert(visitor, data).await,
        }
    }

    /// What is shown to a request of HTTP: in the query, and as headers.
    fn shown(self, visitor: &Visitor) -> (String, Vec<(&'static str, String)>) {
        let authorization = |text: String| vec![("authorization", text)];
        match self {
            Self::Bearer | Self::Lists => {
                let header = visitor.jwt.as_ref().map(|jwt| authorization(format!("Bearer {jwt}")));
                (String::new(), header.unwrap_or_default())
            }
            Self::Basic => {
                let header = visitor.password.as_ref().map(|password| {
                    let pair = BASE64_STANDARD.encode(format!("{}:{password}", visitor.username));
                    authorization(format!("Basic {pair}"))
                });
                (String::new(), header.unwrap_or_default())
            }
            Self::Ticket => (visitor.ticket().map(|ticket| format!("ticket={ticket}")).unwrap_or_default(), Vec::new()),
            _ => match &visitor.pass {
                Some((ticket, cookie)) => (format!("ticket={ticket}"), vec![("cookie", cookie.clone())]),
                None => Default::default(),
            },
        }
    }

    async fn open_sse(self, visitor: &Visitor) -> Attempt {
        let (query, headers) = self.shown(visitor);
        let path = format!("/sse?events={}&{query}", visitor.names());
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let response = ask(&visitor.client, &path, &headers).await;
        if response.status() == 200 {
            return Attempt { said: Ok(()), open: Some(Open::Sse(Box::new(Stream::open(response).await))) };
        }
        Attempt { said: of_answer(&Answer::of(response).await), open: None }
    }
}

/// Nothing is open where lists are read: they are read again, as whoever reads them now.
async fn read_lists(visitor: &Visitor) -> Attempt {
    let jwt = visitor.jwt.as_ref().map(|jwt| format!("Bearer {jwt}")).unwrap_or_default();
    let reader = visitor.client.with_authorization(&jwt);
    let said = of_answer(&reader.get(&format!("/events?events={}", visitor.names())).await);
    let lists = Lists { reader, room: visitor.room.clone() };
    Attempt { said, open: Some(Open::Lists(Box::new(lists))) }
}

async fn open_socket(visitor: &Visitor, proof: Proof) -> Attempt {
    let mut socket = Socket::connect(&visitor.client.url).await;
    let mut fields = visitor.shown_by(proof).unwrap_or_else(|| json!({}));
    fields["events"] = json!(visitor.names());
    let reference = socket.send("sign_in", fields).await;
    let mut said = answered_first(&mut socket, reference).await;
    if proof == Proof::Renewed && said.is_ok() {
        let reference = socket.send("renew", json!({ "token": visitor.jwt })).await;
        said = answered(&mut socket, reference).await;
    }
    Attempt { said, open: Some(Open::Socket(Box::new(socket))) }
}

/// Sends the insert at once, without a look at what is said to the sign-in before it.
async fn insert_by_socket(visitor: &Visitor, proof: Proof, data: &str) -> Said {
    let mut socket = Socket::connect(&visitor.client.url).await;
    let mut first = None;
    if let Some(fields) = visitor.shown_by(proof) {
        first = Some(socket.send("sign_in", fields).await);
    }
    if proof == Proof::Renewed {
        socket.send("renew", json!({ "token": visitor.jwt })).await;
    }
    let insert = socket.send("insert", visitor.insert(data)).await;
    let Some(first) = first else { return answered_first(&mut socket, insert).await };
    if let Err(said) = answered_first(&mut socket, first).await {
        let answer = socket.answer_before_the_end(&json!(insert)).await;
        assert!(answer.is_none(), "{answer:?} to what was sent behind a sign-in that was refused: {said}");
        return Err(said);
    }
    answered(&mut socket, insert).await
}

/// What is said to the first frame of a connection: a refusal closes it.
async fn answered_first(socket: &mut Socket, reference: u64) -> Said {
    match socket.answer_before_the_end(&json!(reference)).await {
        Some(answer) => match of_object(&answer) {
            Ok(()) => Ok(()),
            Err(code) => Err(format!("{code} {}", socket.closed().await.unwrap_or_default())),
        },
        None => Err(format!("unanswered {}", socket.closed().await.unwrap_or_default())),
    }
}

/// What is said to a frame of a connection that may end at any moment.
async fn answered(socket: &mut Socket, reference: u64) -> Said {
    match socket.answer_before_the_end(&json!(reference)).await {
        Some(answer) => of_object(&answer),
        None => match socket.closed().await {
            // Which says the same.
            Some(4401) => Err("unauthorized".to_owned()),
            code => Err(format!("unanswered {}", code.unwrap_or_default())),
        },
    }
}

async fn subscribe_to_topic(visitor: &Visitor) -> Attempt {
    let mut client = TopicClient::connect_at(&visitor.client.url, "/ws?errors=1").await;
    client.subscribe(&visitor.mark, &visitor.to_see_marks).await;
    let token = visitor.to_subscribe.as_ref().map(|token| format!(" {token}"));
    client.send(&format!("/subscribe {}{}", visitor.room, token.unwrap_or_default())).await;
    let (mut said, mut came) = (Ok(()), VecDeque::new());
    for text in client.settled().await {
        match serde_json::from_str::<Value>(&text) {
            Ok(refusal) if refusal["topic"] == visitor.room => said = of_object(&refusal),
            _ if text.starts_with("Invalid subscribe command") => said = Err("invalid command".to_owned()),
            _ => came.push_back(text),
        }
    }
    Attempt { said, open: Some(Open::Topics { client: Box::new(client), came }) }
}

async fn join_channel(visitor: &Visitor, transport: Transport) -> Attempt {
    let url = &visitor.client.url;
    let mut session = Session::open(url, transport, "", Vec::new()).await;
    assert!(matches!(session.next().await, Packet::Connected));
    let mut channels = Channels { session, came: VecDeque::new(), is_over: false };
    assert_eq!(channels.told().await.as_deref(), Some("Connected"));
    let token = json!({ "token": visitor.channel_token_of_marks });
    channels.session.send(&format!("42{}", json!(["join_channel", token]))).await;
    assert_eq!(channels.told().await, Some(format!("Connected to {}", visitor.mark)));
    if transport == Transport::Upgraded {
        channels.session = channels.session.upgrade(url).await;
    }
    let token = visitor.channel_token.as_ref().map_or_else(|| json!({}), |token| json!({ "token": token }));
    channels.session.send(&format!("42{}", json!(["join_channel", token]))).await;
    let said = match channels.told().await {
        Some(told) if told.starts_with("Connected to ") => Ok(()),
        told => Err(told.unwrap_or_else(|| "disconnected".to_owned())),
    };
    Attempt { said, open: Some(Open::Channels(Box::new(channels))) }
}

async fn post(visitor: &Visitor, path: &str, headers: &[(&'static str, String)], body: &Value) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    visitor.client.request(Method::POST, path, &headers, Some(body.to_string().into())).await
}
