//! Guards the parsers of WebSocket, Engine.IO, Socket.IO and MQTT, and what goes out to a client of MQTT, against any input: replays
//! what fuzzing has found worth keeping (`fuzz/corpus`), and variations of it.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use super::{mqtt, socket_io, ws};

/// Checks all inputs of a target, and of each some that differ in a few bytes or are cut.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let inputs: Vec<_> = files.map(|file| std::fs::read(file).unwrap()).collect();
    assert!(inputs.len() > 10, "{} has {} inputs", folder.display(), inputs.len());
    inputs.iter().for_each(|input| check(input));
    let change = (any::<Index>(), any::<u8>());
    let varied =
        TestRunner::default().run(&(select(inputs), vec(change, 0..6), any::<Index>()), |(input, changes, end)| {
            let mut input = [&input[..], b"\0"].concat();
            changes.into_iter().for_each(|(at, byte)| *at.get_mut(&mut input) = byte);
            check(&input);
            check(&input[..end.index(input.len())]);
            Ok(())
        });
    varied.unwrap_or_else(|fault| panic!("{target}: {fault}"));
}

#[test]
fn messages_of_websocket_keep_their_properties() {
    replay("websocket_messages", ws::properties::messages);
}

#[test]
fn compressed_messages_keep_their_properties() {
    replay("websocket_deflate", ws::properties::deflate);
}

#[test]
fn handshakes_keep_their_properties() {
    replay("websocket_handshake", ws::properties::handshake);
}

#[test]
fn payloads_of_engine_io_keep_their_properties() {
    replay("engine_io", socket_io::properties::payload);
}

#[test]
fn packets_of_socket_io_keep_their_properties() {
    replay("socket_io", socket_io::properties::packets);
}

#[test]
fn packets_of_mqtt_keep_their_properties() {
    replay("mqtt_packets", mqtt::packet::invariants::packets);
}

#[test]
fn sessions_of_mqtt_keep_their_properties() {
    replay("mqtt_session", mqtt::invariants::session);
}
