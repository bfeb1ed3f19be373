//! Guards that clients that nobody here wrote are served: by long polling, by WebSocket, and from one to the other.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::server::EchoServer;
use crate::support::within;

/// The transports that a client is to use, of which it begins with the first and ends with the last.
const TRANSPORTS: [&[&str]; 3] = [&["polling"], &["websocket"], &["polling", "websocket"]];

/// Runs a program of `tests/clients` with each choice of transports.
async fn run(program: &str, file: &str, arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for transports in TRANSPORTS {
        let server = EchoServer::start();
        let mut command = Command::new(root.join(program));
        if !program.contains('/') {
            command = Command::new(program);
        }
        command.arg(file).args(arguments).arg(server.url()).args(transports).current_dir(root.join("tests/clients"));
        let program = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = within(file, program).await.expect("it starts: tests/run.sh says what the tests need");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.ends_with("done\n"), "{arguments:?} by {transports:?}: {said}");
    }
}

#[tokio::test]
async fn socket_io_client_4_is_served() {
    run("node", "socket-io.mjs", &["socket.io-client"]).await;
}

#[tokio::test]
async fn socket_io_client_3_is_served() {
    run("node", "socket-io.mjs", &["socket.io-client-3"]).await;
}

#[tokio::test]
async fn engine_io_client_is_served() {
    run("node", "engine-io.mjs", &[]).await;
}

#[tokio::test]
async fn python_socketio_is_served() {
    run("target/python/bin/python", "socket_io.py", &[]).await;
}
