//! Somebody who comes to the doors, and what they show there.

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};

use crate::channel::{self, AUTH_KEY, FLAGS};
use crate::contract::now_millis;
use crate::ntp::{NtpServer, asking};
use crate::sse_ticket::{ask, set_cookie, ticket_of};
use crate::support::{
    Client, JWT_SECRET, Session, Signer, Stream, TestServer, User, claims, command, forge, password_of,
};

/// As many tickets as one case takes, and some more.
const TICKETS: usize = 24;
/// For how long tokens of notiflux are taken after their end, in seconds.
pub const LEEWAY: u64 = 60;

/// A server with all doors open, and those who look on.
pub struct World {
    pub server: TestServer,
    /// The service that signs tokens of topics.
    pub signer: Signer,
    /// Sees and inserts everything in acme, the tenant of the topics and channels.
    pub witness: User,
    /// The same in globex.
    pub other: User,
    flags: Vec<String>,
    cases: Cell<usize>,
}

/// A user of acme, who is also a guest at the doors of guests.
pub struct Visitor {
    pub client: Client,
    /// Where the server listens to MQTT.
    pub mqtt: String,
    pub username: String,
    pub password: Option<String>,
    pub jwt: Option<String>,
    /// The session that token and tickets belong to, if it was to be.
    pub session: Option<Session>,
    tickets: RefCell<Vec<Option<String>>>,
    /// Tickets that no condition makes wrong ones of.
    own_tickets: RefCell<Vec<String>>,
    /// A ticket that is spent, and the cookie that its browser was given.
    pub pass: Option<(String, String)>,
    /// The name that all is about.
    pub room: String,
    /// A name that the visitor may still see when nothing of the room is shown any more.
    pub mark: String,
    /// A token of notiflux for the room, to subscribe and to broadcast.
    pub to_subscribe: Option<String>,
    pub to_broadcast: Option<String>,
    /// One for the mark, which stays good.
    pub to_see_marks: String,
    /// The token of the channel of the room, and the key of all channels.
    pub channel_token: Option<String>,
    pub auth_key: Option<String>,
    pub channel_token_of_marks: String,
    /// When the tokens expire that expire soon, in Unix seconds.
    pub expires_at: u64,
}

/// What a user shows on a connection that is to be signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Token,
    Ticket,
    /// First a ticket, and then a token by `renew`.
    Renewed,
}

/// Which tokens of a visitor end soon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Soon {
    None,
    Users,
    Guests,
}

impl World {
    pub async fn start() -> Self {
        let signer = Signer::new();
        let [tenant, key] = signer.flags();
        let own = ["--authorize=scopes", "--notiflux_end_with_token", "--name_quarantine=0"];
        let flags = [own[0], own[1], own[2], "--mqtt_port=0", &tenant, &key, FLAGS[0], FLAGS[1]];
        let server = TestServer::start_with(&flags).await;
        let flags = flags.map(str::to_owned).to_vec();
        let everything = json!({ "scopes": ["*:get", "*:post"] });
        let client = server.client();
        client.create_user_with("witness", "acme", everything.clone()).await.ok();
        client.create_user_with("other", "globex", everything).await.ok();
        let (witness, other) = (client.sign_in("witness").await, client.sign_in("other").await);
        Self { server, signer, witness, other, flags, cases: Cell::new(0) }
    }

    /// The same after a restart, when so many seconds have gone by.
    pub async fn after(self, seconds: i64) -> Self {
        let servers = [NtpServer::start(seconds), NtpServer::start(seconds)];
        let step = [asking(&[&servers[0], &servers[1]]), "--accept_clock_step".to_owned()];
        let flags = [self.flags.clone(), step.to_vec()].concat();
        let server = self.server.end_and_restart_with(move |directory| command(&flags, directory)).await;
        server.says("accept_clock_step is set").await;
        let client = server.client();
        let (witness, other) = (client.sign_in("witness").await, client.sign_in("other").await);
        Self { server, witness, other, ..self }
    }

    /// A new visitor, whose names nobody else uses, and of whose tokens some end so many seconds from now.
    pub async fn visitor(&self, soon: Soon, seconds: u64, has_session: bool) -> Visitor {
        let number = self.cases.replace(self.cases.get() + 1);
        let [username, room, mark] = ["alice", "room/", "mark/"].map(|name| format!("{name}{number}"));
        let client = self.server.client();
        client.create_user_with(&username, "acme", json!({ "scopes": scopes_of(&room, &mark) })).await.ok();
        let session = if has_session { Some(client.begin_session(&username).await) } else { None };
        let mut user = match &session {
            Some(session) => session.user.clone(),
            None => client.sign_in(&username).await,
        };
        let expires_at = now_millis() / 1000 + seconds;
        if soon == Soon::Users {
            let mut claims = claims(user.jwt());
            claims["exp"] = json!(expires_at);
            let jwt = forge(&claims, jsonwebtoken::Algorithm::HS256, JWT_SECRET);
            user = client.with_authorization(&format!("Bearer {jwt}"));
        }
        let guests = if soon == Soon::Guests { expires_at - LEEWAY } else { expires_at + 3600 };
        let token = |scope: &str| Some(self.signer.token_until(scope, &[&room], guests));
        let visitor = Visitor {
            password: Some(password_of(&username)),
            jwt: Some(user.jwt().to_owned()),
            session,
            tickets: RefCell::default(),
            own_tickets: RefCell::default(),
            pass: Some(pass_of(&user).await),
            to_subscribe: token("subscribe"),
            to_broadcast: token("broadcast"),
            to_see_marks: self.signer.token("subscribe", &[&mark]),
            channel_token: Some(channel::token(&self.server, &room).await),
            auth_key: Some(AUTH_KEY.to_owned()),
            channel_token_of_marks: channel::token(&self.server, &mark).await,
            mqtt: self.server.mqtt(),
            client,
            username,
            room,
            mark,
            expires_at,
        };
        visitor.take_tickets(&user).await;
        visitor
    }
}

/// The scopes of a visitor.
pub fn scopes_of(room: &str, mark: &str) -> [String; 3] {
    [format!("{room}:get"), format!("{room}:post"), format!("{mark}:get")]
}

/// A spent ticket, and the cookie that its stream has set.
async fn pass_of(user: &User) -> (String, String) {
    let ticket = ticket_of(user).await;
    let stream = Stream::open(ask(&user.client, &format!("/sse?ticket={ticket}"), &[]).await).await;
    let cookie = set_cookie(&stream.headers).split(';').next().unwrap().to_owned();
    (ticket, cookie)
}

impl Visitor {
    async fn take_tickets(&self, user: &User) {
        for _ in 0..TICKETS {
            let (ticket, own) = (ticket_of(user).await, ticket_of(user).await);
            self.tickets.borrow_mut().push(Some(ticket));
            self.own_tickets.borrow_mut().push(own);
        }
    }

    /// A ticket that was not shown yet.
    pub fn ticket(&self) -> Option<String> {
        self.tickets.borrow_mut().pop().unwrap()
    }

    /// What signs in on a connection, if there is anything to show. The ticket before a renewal is as it was issued, whatever else is
    /// shown.
    pub fn shown_by(&self, proof: Proof) -> Option<Value> {
        match proof {
            Proof::Token => self.jwt.as_ref().map(|jwt| json!({ "token": jwt })),
            Proof::Ticket => self.ticket().map(|ticket| json!({ "ticket": ticket })),
            Proof::Renewed => Some(json!({ "ticket": self.own_tickets.borrow_mut().pop().unwrap() })),
        }
    }

    /// Has something else be shown in place of each ticket.
    pub fn show_as_ticket(&self, instead: impl Fn(Option<String>) -> Option<String>) {
        for ticket in self.tickets.borrow_mut().iter_mut() {
            *ticket = instead(ticket.take());
        }
    }

    /// An insert into the room.
    pub fn insert(&self, data: &str) -> Value {
        json!({ "event": self.room, "data": data })
    }

    /// The names that a stream of the visitor's is of.
    pub fn names(&self) -> String {
        format!("{},{}", self.room, self.mark)
    }
}
