//! Guards that a session which outlives its connection comes as far as its stream, also if that gives it nothing.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::transports::mqtt::filters::Filters;
use crate::transports::mqtt::outbound::{InFlight, Limits, Message, Progress, State};
use crate::transports::mqtt::packet::Version;
use crate::transports::ws::{self, Compression, Settings, Times};

/// Counts how often a task is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The way out of a connection, and what keeps that.
async fn outlet() -> (Outlet, impl Sized) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (socket, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let settings = Settings {
        max_message_bytes: 1000,
        compression: Compression::default(),
        times: Times::default(),
        has_frames: false,
    };
    let mut outlet = None;
    let run = ws::run(Box::new(socket.unwrap()), Vec::new(), Bytes::new(), settings, |_, this| {
        outlet = Some(this);
        std::future::pending::<()>()
    });
    (outlet.unwrap(), (run, there))
}

/// A client that has yet to acknowledge the message at position 5, and has come to 7.
fn outbound() -> Outbound {
    let limits = Limits {
        version: Version::V5,
        receive_maximum: NonZeroU16::MAX,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        publisher: 7,
        keeps: true,
    };
    let message = Message { position: Position::new(5), is_from_before: false };
    let in_flight = vec![InFlight { id: NonZeroU16::MIN, message, state: State::Sent }];
    let progress = Progress { position: Position::new(7), in_flight, ..Progress::default() };
    Outbound::resumed(limits, Filters::default(), progress, Position::new(7))
}

#[tokio::test]
async fn a_session_that_is_kept_is_looked_at_when_its_stream_has_passed_more_than_it_knows() {
    let (outlet, _connection) = outlet().await;
    for (session, passed, woken) in [(Some(MqttSessionId(1)), 8, 1), (Some(MqttSessionId(1)), 7, 0), (None, 8, 0)] {
        let (shared, task) = (Shared::new(outbound(), &outlet), Arc::new(Woken::default()));
        shared.keep(&Arc::clone(&task).into());
        PacketSink::new(&shared, Clock::from_local(), session).passed(Position::new(passed));
        assert_eq!(task.0.load(Ordering::Relaxed), woken, "{session:?} {passed}");
    }
}

#[test]
fn what_has_passed_is_done_but_not_what_is_in_flight() {
    let mut outbound = outbound();
    outbound.pass(Position::new(9));
    outbound.pass(Position::new(8));
    assert_eq!((outbound.done_up_to().get(), outbound.progress().position.get()), (4, 9));
    assert!(!outbound.has_changed(), "that alone is not written down");
    assert!(outbound.acknowledged(NonZeroU16::MIN));
    assert_eq!(outbound.done_up_to().get(), 9);
}
