//! MQTT over TCP, with and without TLS: from an accepted socket to [`mqtt::serve`].

use std::future::Future;
use std::io::Result;
use std::sync::Arc;

use actix_http::error::DispatchError;
use actix_server::GracefulShutdownSignal;
use actix_service::{ServiceFactory, fn_service};
use actix_web::rt::net::TcpStream;
use bytes::Bytes;

use super::http::{Bodies, MessageMemory};
use super::mqtt;
use super::open_sockets::OpenSockets;
use super::tcp::{Connections, GoesOn, Handshakes, Stream, Tcp, UnderWay, address_of, counted};
use super::ws::{self, Compression, Settings, Times};
use crate::app::App;
use crate::domain::{ClientAddress, Network};
use crate::identity::Principal;
use crate::log::RequestId;
use crate::metrics::Protocol;

/// What a worker serves connections with.
#[derive(Clone)]
pub struct MqttWorker {
    app: App,
    memory: MessageMemory,
    open: OpenSockets,
    /// Connections whose client has yet to say who it is.
    newcomers: UnderWay,
}

impl MqttWorker {
    /// On this thread, until the server stops.
    pub fn start(app: App, bodies: Bodies, newcomers: UnderWay, stopping: GracefulShutdownSignal) -> Self {
        let open = OpenSockets::default();
        tokio::task::spawn_local(open.clone().close_when(async move { stopping.notified().await }));
        Self { app, memory: MessageMemory::new(bodies), open, newcomers }
    }

    /// The work on a connection.
    fn serve(self, stream: Stream, from: ClientAddress) -> GoesOn {
        let settings = Settings {
            // Packets are taken apart, and counted, behind this.
            max_message_bytes: 0,
            compression: Compression::default(),
            times: Times::default(),
            has_frames: false,
        };
        let Self { app, memory, open, newcomers } = self;
        Box::pin(RequestId::random().around(ws::run(
            stream.into_duplex(),
            Vec::new(),
            Bytes::new(),
            settings,
            |mut inlet, outlet| {
                inlet.set_memory(memory.of_stranger(from));
                let place = open.add(&outlet);
                let displaced = newcomers.begin(from.network()).displaced();
                let memory = Box::new(move |principal: &Principal| memory.of_user(principal));
                place.with(mqtt::serve(app, (inlet, outlet), from, displaced, memory))
            },
        )))
    }
}

/// Serves connections without TLS.
pub fn plain(
    worker: MqttWorker,
    connections: Connections,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    served(worker, connections, Protocol::Mqtt, |tcp, _| async { Ok(Stream::Plain(tcp)) })
}

/// Serves connections with TLS.
pub fn tls(
    worker: MqttWorker,
    connections: Connections,
    handshakes: Handshakes,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    served(worker, connections, Protocol::Mqtts, move |tcp, from| {
        let handshakes = handshakes.clone();
        async move { handshakes.shake(tcp, from).await.map(|stream| Stream::Tls(Box::new(stream))) }
    })
}

fn served<F: Future<Output = Result<Stream>>>(
    worker: MqttWorker,
    connections: Connections,
    protocol: Protocol,
    secured: impl Fn(Tcp, Network) -> F + Clone + 'static,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let serve = move |mut tcp: Tcp| {
        let (worker, secured) = (worker.clone(), secured.clone());
        async move {
            let proxies = Arc::clone(&worker.app.trusted_proxies);
            let from = address_of(&mut tcp, &proxies).await?;
            let stream = secured(tcp, from.network()).await?;
            Ok::<_, DispatchError>(Some(worker.serve(stream, from)))
        }
    };
    counted(fn_service(serve), connections, protocol)
}
