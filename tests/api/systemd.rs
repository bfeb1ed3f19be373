//! Guards the service for systemd.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::net::{TcpStream, UnixDatagram};

use crate::support::{TestServer, by_shell, command, free_port, within};

/// What systemd would hear.
struct Systemd {
    socket: UnixDatagram,
    directory: Arc<tempfile::TempDir>,
}

impl Systemd {
    fn new() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { socket, directory }
    }

    /// Starts a server as systemd does, with more settings in its environment.
    async fn start(&self, settings: &'static str) -> TestServer {
        let directory = Arc::clone(&self.directory);
        let started = TestServer::try_start(directory, move |directory| service(directory, settings, &[])).await;
        started.unwrap_or_else(|why| panic!("{why}"))
    }

    /// The next message.
    async fn hears(&self) -> String {
        let mut message = [0; 1024];
        let length = within("a message", self.socket.recv(&mut message)).await.unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap().trim().to_owned()
    }
}

/// Settings may name the process itself, as `$$`.
fn service(directory: &Path, settings: &str, flags: &[String]) -> Command {
    let mut shell = by_shell(settings, &command(flags, directory), directory);
    shell.env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID").env("NOTIFY_SOCKET", directory.join("notify"));
    shell
}

#[tokio::test]
async fn readiness_is_told_once_it_serves_and_stopping_when_it_is_asked_to() {
    let systemd = Systemd::new();
    let port = free_port();
    let flags = [format!("--port={port}")];
    let starting =
        TestServer::try_start(Arc::clone(&systemd.directory), move |directory| service(directory, "", &flags));
    let connected = async {
        assert_eq!(systemd.hears().await, "READY=1");
        TcpStream::connect(("127.0.0.1", port)).await
    };
    let (server, connected) = tokio::join!(starting, connected);
    connected.unwrap();
    let mut server = server.unwrap();
    let alice = server.user("alice", "acme").await;
    let _stream = alice.stream().await;
    server.signal("TERM");
    assert_eq!(systemd.hears().await, "STOPPING=1");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn systemd_is_told_for_how_long_a_server_drains_that_is_then_alive_until_its_end() {
    let systemd = Systemd::new();
    let directory = Arc::clone(&systemd.directory);
    let flags = ["--drain_for=3".to_owned()];
    let server = TestServer::try_start(directory, move |directory| service(directory, "WATCHDOG_USEC=1000000", &flags));
    let mut server = server.await.unwrap();
    assert_eq!(systemd.hears().await, "READY=1");
    server.signal("TERM");
    let told = loop {
        let told = systemd.hears().await;
        if told != "WATCHDOG=1" {
            break told;
        }
    };
    assert_eq!(told, "STOPPING=1\nEXTEND_TIMEOUT_USEC=23000000");
    assert_eq!(systemd.hears().await, "WATCHDOG=1", "systemd would kill it");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn readiness_is_not_told_by_a_server_that_cannot_start() {
    let systemd = Systemd::new();
    let first = systemd.start("").await;
    assert_eq!(systemd.hears().await, "READY=1");
    // The database is in use.
    let second = TestServer::try_start(Arc::clone(&systemd.directory), |directory| service(directory, "", &[])).await;
    assert!(second.is_err());
    first.signal("TERM");
    assert_eq!(systemd.hears().await, "STOPPING=1", "and nothing between");
}

#[tokio::test]
async fn the_watchdog_hears_of_it_twice_as_often_as_it_asks_to() {
    join_all(["WATCHDOG_USEC=8000000 WATCHDOG_PID=$$", "WATCHDOG_USEC=8000000"].map(async |settings| {
        let systemd = Systemd::new();
        let server = systemd.start(settings).await;
        assert_eq!(systemd.hears().await, "READY=1");
        let since = std::time::Instant::now();
        for _ in 0..4 {
            assert_eq!(systemd.hears().await, "WATCHDOG=1");
        }
        // Three times 4 s; three times 8 s would be too late.
        assert!(since.elapsed().as_secs() < 22, "{:?}", since.elapsed());
        server.signal("TERM");
        while systemd.hears().await != "STOPPING=1" {}
    }))
    .await;
}

#[tokio::test]
async fn a_watchdog_that_is_another_process_s_hears_nothing() {
    let systemd = Systemd::new();
    let server = systemd.start("WATCHDOG_USEC=1000 WATCHDOG_PID=1").await;
    assert_eq!(systemd.hears().await, "READY=1");
    // A hundred times over it would have spoken.
    server.user("alice", "acme").await;
    server.signal("TERM");
    assert_eq!(systemd.hears().await, "STOPPING=1");
}

fn unit() -> PathBuf {
    file("broker.service")
}

fn file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    assert!(path.is_file(), "there is no {}", path.display());
    path
}

/// What `systemd-analyze` says.
fn analyze(arguments: &[&str]) -> String {
    let units = [unit(), file("broker.socket")];
    let units = if arguments[0] == "security" { &units[..1] } else { &units };
    let output = Command::new("systemd-analyze").args(arguments).args(units).stdin(Stdio::null()).output();
    let output = output.expect("systemd-analyze is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_unit_is_exposed_below_2_5() {
    let said = analyze(&["security", "--offline=true", "--no-pager"]);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let exposure: f64 = line.split_once(": ").unwrap().1.split_whitespace().next().unwrap().parse().unwrap();
    assert!(exposure < 2.5, "{said}");
}

#[test]
fn the_unit_has_no_key_or_value_that_systemd_does_not_know() {
    let said = analyze(&["verify", "--man=no"]);
    // That the program is not installed where the unit looks for it is no fault of the unit.
    let faults: Vec<_> = said
        .lines()
        .filter(|line| line.contains("broker.service") || line.contains("broker.socket"))
        .filter(|line| !line.contains("is not executable"))
        .collect();
    assert_eq!(faults, [""; 0], "{said}");
    // And what it says of a unit with a fault is found above.
    let broken = tempfile::tempdir().unwrap();
    let path = broken.path().join("broker.service");
    std::fs::write(&path, "[Service]\nExecStart=/bin/true\nNoSuchKey=1\n").unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Unknown key"), "{output:?}");
}

#[test]
fn the_unit_has_everything_that_a_service_needs() {
    let unit = std::fs::read_to_string(unit()).unwrap();
    for line in ["Type=notify", "Restart=on-failure", "StateDirectory=", "WatchdogSec=", "CAP_NET_BIND_SERVICE"] {
        assert!(unit.lines().any(|written| !written.starts_with('#') && written.contains(line)), "no {line}");
    }
    for flag in ["admin_token_file", "jwt_secret_file"] {
        assert!(unit.to_lowercase().contains(flag), "the secrets come from files: no {flag}");
    }
}
