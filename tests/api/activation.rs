//! Guards sockets of the service manager: a restart refuses no connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Client, PATIENCE, TestServer, activated, bare_command, by_shell, restart_often};

/// A socket as systemd has it, with room for those that wait.
fn socket(address: &str) -> (TcpListener, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(4096).unwrap();
    let socket = TcpListener::from(socket);
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn start(sockets: Vec<(&'static str, TcpListener)>, flags: &[&str]) -> Result<TestServer, String> {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
    TestServer::try_start(directory, move |directory| {
        let sockets: Vec<_> = sockets.iter().map(|(name, socket)| (*name, socket)).collect();
        activated(&sockets, &flags, directory)
    })
    .await
}

/// Asks for readiness over a new connection, and does not await the answer.
fn ask(address: SocketAddr) -> TcpStream {
    ask_for("/readyz", address)
}

fn ask_for(path: &str, address: SocketAddr) -> TcpStream {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    connection
}

async fn is_ready(connection: TcpStream) -> bool {
    answer(connection).await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ") && answer.contains("ready"))
}

async fn answer(mut connection: TcpStream) -> Option<String> {
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        connection.read_to_string(&mut answer).map(|_| answer)
    });
    answer.await.unwrap().ok()
}

#[tokio::test]
async fn who_connects_while_there_is_no_server_is_served_by_the_next_one() {
    let (http, address) = socket("127.0.0.1:0");
    let waiting = ask(address);
    let mut server = start(vec![("http", http)], &["--port=1"]).await.unwrap();
    assert_eq!(server.url, format!("http://{address}"), "the flag counts for nothing");
    assert!(is_ready(waiting).await);
    for kill in [false, true] {
        if kill {
            server.kill();
        } else {
            server.stop().await;
        }
        let waiting: Vec<_> = (0..20).map(|_| ask(address)).collect();
        server = server.restart().await;
        for connection in waiting {
            assert!(is_ready(connection).await, "after a kill: {kill}");
        }
    }
}

#[tokio::test]
async fn mqtt_is_served_on_its_socket_beside_http() {
    let ((http, http_at), (mqtt, mqtt_at)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let server = start(vec![("mqtt", mqtt), ("http", http)], &["--mqtt"]).await.unwrap();
    assert_eq!((server.url.clone(), server.mqtt()), (format!("http://{http_at}"), mqtt_at.to_string()));
    let mut connection = TcpStream::connect(mqtt_at).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // A CONNECT of MQTT 3.1.1 with a client identifier and without a name: it is refused, by a CONNACK.
    connection.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").unwrap();
    let mut first = [0];
    connection.read_exact(&mut first).unwrap();
    assert_eq!(first, [0x20]);
}

#[tokio::test]
async fn a_socket_that_cannot_be_served_as_it_is_meant_keeps_the_server_from_starting() {
    for (name, at, flags, why) in [
        ("broker.socket", "127.0.0.1:0", &[][..], "FileDescriptorName= must be http, mqtt or mqtts"),
        ("mqtt", "127.0.0.1:0", &[], "which no flag has the server serve"),
        ("mqtts", "127.0.0.1:0", &["--mqtt"], "which no flag has the server serve"),
        ("http", "0.0.0.0:0", &["--admin_token=letmein"], "it can be reached from other machines"),
    ] {
        let refused = start(vec![(name, socket(at).0)], flags).await.err().unwrap();
        assert!(refused.starts_with("exit status: 2") && refused.contains(why), "{name}: {refused}");
    }
}

#[tokio::test]
async fn sockets_that_are_meant_for_another_process_are_left_alone() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = TestServer::try_start(directory, |directory| {
        let mut server = bare_command(directory);
        server.args(["--port=0", "--ntp_servers="]);
        by_shell("LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=http", &server, directory)
    });
    server.await.unwrap().client().get("/readyz").await.ok();
}

#[tokio::test]
async fn through_restarts_no_connection_is_refused_no_insert_is_lost_or_doubled_and_no_event_is_missed() {
    let server = start(vec![("http", socket("127.0.0.1:0").0)], &["--drain_for=3"]).await.unwrap();
    let alice = server.user("alice", "acme").await;
    let client = Client::new(&server.url);
    restart_often(server, &alice, client).await;
}

#[tokio::test]
async fn through_restarts_in_order_whoever_connects_is_answered() {
    let (http, address) = socket("127.0.0.1:0");
    let mut server = start(vec![("http", http)], &[]).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                let mut answered = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let answer = answer(ask_for("/health", address)).await;
                    assert!(answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ")), "after {answered}");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for _ in 0..4 {
        server = server.end_and_restart(false).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 4);
    }
}
