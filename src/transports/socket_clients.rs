//! Whom a socket of Socket.IO belongs to: a user who signs in, or a client of ChannelAPI, which says nothing of itself. Neither can do
//! anything that the other can.

use std::sync::Arc;

use super::channel_api::{self, ChannelApi};
use super::socket_io::{Admission, Application, Connect, ConnectError, Event, Outlet, Socket, Types, Work};
use super::user_sockets::{self, UserSockets, refuse};
use crate::app::App;
use crate::domain::Network;
use crate::error::Error;

/// The application of `/socket.io/`, on one worker.
#[derive(Clone)]
pub struct SocketClients {
    channels: ChannelApi,
    users: UserSockets,
    app: App,
}

/// What is kept of a socket.
pub enum Member {
    /// A client of ChannelAPI.
    Channels(Arc<channel_api::Client>),
    /// A user.
    User(Arc<user_sockets::Client>),
}

impl SocketClients {
    /// The application on a worker.
    pub fn new(app: App) -> Self {
        Self { channels: ChannelApi::new(app.clone()), users: UserSockets::new(app.clone()), app }
    }
}

impl Types for SocketClients {
    type Peer = ();
    type Client = Network;
    type State = Member;

    fn site(client: &Network) -> Network {
        client.site()
    }
}

impl Application for SocketClients {
    async fn connect(&self, connect: Connect<'_, Self>) -> Result<Admission<Member>, ConnectError> {
        if connect.namespace != "/" {
            return Err(ConnectError::invalid_namespace());
        }
        if UserSockets::signs_in(&connect.auth) {
            let Admission { state, pid, sid } = self.users.connect(&connect)?;
            return Ok(Admission { state: Member::User(Arc::new(state)), pid, sid });
        }
        match self.app.identity.check_channels() {
            Ok(()) => Ok(Admission::new(Member::Channels(Arc::default()))),
            Err(_) => Err(refuse(&Error::Unauthorized)),
        }
    }

    fn connected(&self, socket: &Socket<Self>) {
        match &**socket {
            Member::Channels(_) => self.channels.connected(socket),
            Member::User(_) => {
                socket.attach();
            }
        }
    }

    fn event(&self, socket: &Socket<Self>, event: Event<Self>) -> Option<Work> {
        match &**socket {
            Member::Channels(client) => self.channels.event(client, socket, event),
            Member::User(client) => self.users.event(client, socket, event),
        }
    }

    fn stream(&self, socket: Socket<Self>, outlet: Outlet<Self>) -> impl Future<Output = ()> + 'static {
        let app = self.clone();
        async move {
            match &*socket {
                Member::Channels(client) => app.channels.stream(Arc::clone(client), socket.clone(), outlet).await,
                Member::User(client) => app.users.stream(Arc::clone(client), socket.clone(), outlet).await,
            }
        }
    }
}
