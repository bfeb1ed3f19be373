//! Whom a socket of Socket.IO belongs to: a user who signs in, or a client of ChannelAPI, which says nothing of itself. Neither can do
//! anything that the other can.

use std::sync::Arc;

use futures_util::future::Either;

use super::channel_api::{self, ChannelApi};
use super::socket_io::{Admission, Application, Connect, ConnectError, Event, Outlet, Socket, Types, Work};
use super::user_sockets::{self, UserSockets, refuse};
use crate::app::App;
use crate::domain::Network;
use crate::error::Error;

/// The application of `/socket.io/`, on one worker.
#[derive(Clone)]
pub struct SocketClients(App);

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
        Self(app)
    }

    fn channels(&self) -> ChannelApi {
        ChannelApi::new(self.0.clone())
    }

    fn users(&self) -> UserSockets {
        UserSockets::new(self.0.clone())
    }

    /// Opens the stream of a socket at once, and writes it.
    fn write(self, socket: Socket<Self>, outlet: Outlet<Self>) -> impl Future<Output = ()> {
        match &*socket {
            Member::Channels(client) => {
                Either::Left(self.channels().stream(Arc::clone(client), socket.clone(), outlet))
            }
            Member::User(client) => Either::Right(self.users().stream(Arc::clone(client), socket.clone(), outlet)),
        }
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
            let Admission { state, pid, sid } = self.users().connect(&connect).await?;
            return Ok(Admission { state: Member::User(Arc::new(state)), pid, sid });
        }
        match self.0.identity.check_channels() {
            Ok(()) => Ok(Admission::new(Member::Channels(Arc::default()))),
            Err(_) => Err(refuse(self.0.metrics(), &Error::Unauthorized)),
        }
    }

    fn connected(&self, socket: &Socket<Self>) {
        match &**socket {
            Member::Channels(_) => self.channels().connected(socket),
            Member::User(_) => {
                socket.attach();
            }
        }
    }

    fn event(&self, socket: &Socket<Self>, event: Event<Self>) -> Option<Work> {
        match &**socket {
            Member::Channels(client) => self.channels().event(client, socket, event),
            Member::User(client) => self.users().event(client, socket, event),
        }
    }

    fn stream(&self, socket: Socket<Self>, outlet: Outlet<Self>) -> impl Future<Output = ()> + 'static {
        match outlet {
            Outlet::WebSocket { .. } => Either::Left(self.clone().write(socket, outlet)),
            // When the task of the stream runs: news of presence that other tasks were woken for are older than the stream. In a box, so
            // that a stream on a WebSocket has no room for it.
            Outlet::Polling(_) => {
                let app = self.clone();
                Either::Right(Box::pin(async move { app.write(socket, outlet).await }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket_io::WebSocketCall;
    use super::super::ws::{self, Inlet};
    use super::*;

    type Clients = SocketClients;

    /// How large a future is that a function returns.
    fn work<R>(_: fn(WebSocketCall<Clients>, Clients, Inlet, ws::Outlet) -> R) -> usize {
        size_of::<R>()
    }

    fn stream<R>(_: fn(&'static Clients, Socket<Clients>, Outlet<Clients>) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn what_is_kept_of_a_connection_that_waits_is_small() {
        // With its timer and its place among the connections, it has 256 bytes; the allocator's next larger size is 320.
        assert!(work(WebSocketCall::run) <= 120, "{}", work(WebSocketCall::run));
        assert!(stream(<Clients as Application>::stream) <= 80, "{}", stream(<Clients as Application>::stream));
        // With two reference counts.
        let [channels, user] = [size_of::<channel_api::Client>(), size_of::<user_sockets::Client>()]
            .map(|size| size + 2 * size_of::<usize>());
        assert!(channels <= 128, "{channels}");
        assert!(user <= 224, "{user}");
    }
}
