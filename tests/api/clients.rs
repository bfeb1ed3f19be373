//! The unmodified broker-client 0.0.8 from npm, in Node and in headless Chromium, and Chromium's own `EventSource`: the
//! programs are in `tests/clients`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

use crate::support::{TestServer, User, free_port, password_of, within};

#[tokio::test]
async fn broker_client_in_node_gets_the_latest_event_of_each_name_and_then_every_insert() {
    the_latest_event_of_each_name_and_then_every_insert(Host::Node).await;
}

#[tokio::test]
async fn broker_client_in_chromium_gets_the_latest_event_of_each_name_and_then_every_insert() {
    the_latest_event_of_each_name_and_then_every_insert(Host::Chromium).await;
}

async fn the_latest_event_of_each_name_and_then_every_insert(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("bob", "acme").await;
    server.user("mallory", "elsewhere").await.insert("null", json!("not of this tenant")).await;
    let mut latest = Vec::new();
    for (name, data) in samples() {
        bob.insert(name, json!("superseded")).await;
        latest.push(Seen { name: name.into(), id: insert_exactly(&bob, name, data).await, data: data.into() });
    }

    let mut program = Program::sign_in(host, &server, &server.url, &["emoji", "null"]).await;
    let mut snapshot = Vec::new();
    let mut named = Vec::new();
    while snapshot.len() < latest.len() {
        match program.next().await {
            Report::Read => {}
            Report::Message(seen) => snapshot.push(seen),
            Report::Listener(seen) => named.push(seen.name),
            other => panic!("{other:?}"),
        }
    }
    assert_same(&snapshot, &latest);
    assert_eq!(named, ["null", "emoji"]);

    // Somebody else's inserts.
    for (name, data) in samples() {
        let id = insert_exactly(&bob, name, data).await;
        let seen = Seen { name: name.into(), id, data: data.into() };
        assert_same(&[program.message().await], &[seen]);
    }
    // And its own.
    for (name, data) in samples() {
        let data: Value = serde_json::from_str(data).unwrap();
        program.order(&json!({ "event": name, "data": data }));
        let (seen, id) = program.message_and_insert().await;
        assert_eq!((seen.name.as_str(), &seen.id, seen.json()), (name, &id, data));
    }
    program.finish().await;
}

#[tokio::test]
async fn broker_client_in_node_takes_several_frames_in_one_read() {
    several_frames_in_one_read(Host::Node).await;
}

#[tokio::test]
async fn broker_client_in_chromium_takes_several_frames_in_one_read() {
    several_frames_in_one_read(Host::Chromium).await;
}

async fn several_frames_in_one_read(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("bob", "acme").await;
    let mut latest = Vec::new();
    for (name, data) in samples() {
        latest.push(Seen { name: name.into(), id: insert_exactly(&bob, name, data).await, data: data.into() });
    }
    let mut middleman = Middleman::start(&server).await;
    let mut program = Program::sign_in(host, &server, &middleman.url, &[]).await;

    let snapshot = middleman.frames(samples().len()).await.concat();
    program.reads(&middleman, &snapshot, &latest).await;

    let mut live = Vec::new();
    for (name, data) in samples() {
        live.push(Seen { name: name.into(), id: insert_exactly(&bob, name, data).await, data: data.into() });
    }
    let frames = middleman.frames(samples().len()).await;
    // One and a half, then the rest of that one and all others.
    let (beginning, rest) = (frames[..2].concat(), frames[2..].concat());
    let (one_and_a_half, half) = beginning.split_at(frames[0].len() + frames[1].len() / 2);
    program.reads(&middleman, one_and_a_half, &live[..1]).await;
    program.reads(&middleman, &[half, &rest].concat(), &live[1..]).await;
    program.finish().await;
}

#[tokio::test]
async fn broker_client_in_node_takes_one_frame_in_several_reads() {
    one_frame_in_several_reads(Host::Node).await;
}

#[tokio::test]
async fn broker_client_in_chromium_takes_one_frame_in_several_reads() {
    one_frame_in_several_reads(Host::Chromium).await;
}

async fn one_frame_in_several_reads(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("bob", "acme").await;
    let mut middleman = Middleman::start(&server).await;
    let mut program = Program::sign_in(host, &server, &middleman.url, &[]).await;
    for (name, data) in samples() {
        let id = insert_exactly(&bob, name, data).await;
        let frame = middleman.frames(1).await.concat();
        // Byte by byte; only the two line breaks at the end stay together, since the client breaks on them.
        let (pieces, end) = frame.split_at(frame.len() - 2);
        for piece in pieces.chunks(1) {
            program.reads(&middleman, piece, &[]).await;
        }
        let seen = Seen { name: name.into(), id, data: data.into() };
        program.reads(&middleman, end, &[seen]).await;
    }
    program.finish().await;
}

#[tokio::test]
async fn broker_client_in_node_takes_events_of_a_mebibyte() {
    events_of_a_mebibyte(Host::Node).await;
}

#[tokio::test]
async fn broker_client_in_chromium_takes_events_of_a_mebibyte() {
    events_of_a_mebibyte(Host::Chromium).await;
}

async fn events_of_a_mebibyte(host: Host) {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let bob = server.user("bob", "acme").await;
    let large = ['x', '日'].map(|letter| json!(letter.to_string().repeat((1_048_000 - 2) / letter.len_utf8())));
    let insert = async |data: &Value| {
        let id = bob.insert("large", data.clone()).await;
        Seen { name: "large".into(), id, data: data.to_string() }
    };
    let first = insert(&large[0]).await;
    let mut program = Program::sign_in(host, &server, &server.url, &[]).await;
    assert!(program.message().await == first, "the latest event is another");
    for data in &large {
        let sent = insert(data).await;
        let seen = program.message().await;
        assert!(seen.id == sent.id && seen.json() == sent.json(), "{} is another", seen.id);
    }
    // What is small comes as before.
    let sent = insert_number(&bob, 7).await;
    assert_same(&[program.message().await], &[sent]);
    program.finish().await;
}

#[tokio::test]
async fn a_heartbeat_is_no_event_to_broker_client_in_node_and_spoils_none() {
    a_heartbeat_is_no_event_and_spoils_none(Host::Node).await;
}

#[tokio::test]
async fn a_heartbeat_is_no_event_to_broker_client_in_chromium_and_spoils_none() {
    a_heartbeat_is_no_event_and_spoils_none(Host::Chromium).await;
}

async fn a_heartbeat_is_no_event_and_spoils_none(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("bob", "acme").await;
    let mut middleman = Middleman::start(&server).await;
    let mut program = Program::sign_in(host, &server, &middleman.url, &[]).await;

    let heartbeat: &[u8] = &middleman.some_bytes().await;
    assert_eq!(String::from_utf8_lossy(heartbeat), ":\n");
    program.reads(&middleman, heartbeat, &[]).await;
    // What the server sent once may come at any time, and in any company.
    let mut seen = Vec::new();
    let mut frames = Vec::new();
    for (name, data) in &samples()[..5] {
        seen.push(Seen { name: (*name).into(), id: insert_exactly(&bob, name, data).await, data: (*data).into() });
        frames.extend(middleman.frames(1).await);
    }
    program.reads(&middleman, &frames[0], &seen[..1]).await;
    program.reads(&middleman, &[heartbeat, heartbeat, &frames[1]].concat(), &seen[1..2]).await;
    program.reads(&middleman, &[&frames[2], heartbeat].concat(), &seen[2..3]).await;
    program.reads(&middleman, &heartbeat[..1], &[]).await;
    program.reads(&middleman, &heartbeat[1..], &[]).await;
    program.reads(&middleman, &[&frames[3], heartbeat, &frames[4]].concat(), &seen[3..]).await;
    program.finish().await;
}

#[tokio::test]
async fn chromium_keeps_a_page_of_another_origin_from_signing_in() {
    let server = TestServer::start_with(&["--origin=https://page.example"]).await;
    server.client().create_user("alice", "acme").await;
    let mut program = Program::start(Host::Chromium, &server, &server.url, &[]);
    let report = program.next().await;
    assert!(matches!(&report, Report::Failed { error } if error.contains("Failed to fetch")), "{report:?}");
    program.finish().await;
}

#[tokio::test]
async fn chromiums_own_event_source_gets_every_event_once_and_in_order_through_a_kill_and_a_stop() {
    let (port, page) = (free_port(), free_port());
    let flags = [format!("--port={port}"), format!("--origin=http://127.0.0.1:{page}")];
    let mut server = TestServer::start_with(&flags.each_ref().map(String::as_str)).await;
    let mut bob = server.user("bob", "acme").await;
    let mut sent = vec![insert_number(&bob, 0).await];
    let mut program = Program::sign_in(Host::EventSource { page }, &server, &server.url, &["news"]).await;
    assert_eq!(program.next().await, Report::Opened);
    let mut seen = vec![program.message().await];
    for signal in ["KILL", "TERM"] {
        for _ in 0..5 {
            sent.push(insert_number(&bob, sent.len()).await);
            seen.push(program.message().await);
        }
        server.signal(signal);
        server.ended().await;
        assert_eq!(program.next().await, Report::Reconnecting);
        server = server.restart().await;
        bob = server.client().with_authorization(&bob.authorization);
        // The browser waits for some seconds before it comes back.
        for _ in 0..5 {
            sent.push(insert_number(&bob, sent.len()).await);
        }
        program.opened_again().await;
        while seen.len() < sent.len() {
            seen.push(program.message().await);
        }
        assert_same(&seen, &sent);
    }
    // Whoever is shut out is not let in again, and the browser gives up.
    server.client().admin("/revoke_user", json!({ "username": "alice" })).await.ok();
    assert_eq!([program.next().await, program.next().await], [Report::Reconnecting, Report::Closed]);
    program.finish().await;
}

/// Event names, and data as it must arrive but for the form of its non-ASCII characters.
fn samples() -> [(&'static str, &'static str); 11] {
    [
        ("null", "null"),
        ("umlauts", r#"{"Grüße":"aus Köln, süß & ähnlich"}"#),
        ("emoji", r#"{"text":"😀 👩‍👩‍👧 🇨🇭"}"#),
        ("japanese", r#"["日本語","テスト"]"#),
        ("fields", r#"{"event:":"id: data: retry: x","retry:":["event:a","id:b","data:c","retry:retry:"]}"#),
        ("array", r#"[1,[],{},"two",null,false]"#),
        ("number", "-12.5e-3"),
        ("big number", "123456789012345678901234567890.10"),
        ("chat/room 1", r#"{"z":1,"a":{"y":2,"b":3}}"#),
        ("lines", r#""one\ntwo\r\n\u0000 \"three\" \\ ""#),
        ("empty", r#""""#),
    ]
}

/// Inserts data just as it is written here, which serde_json might not keep; gives the id.
async fn insert_exactly(user: &User, event: &str, data: &str) -> String {
    let answer = user.insert_raw(format!(r#"{{"event":{},"data":{data}}}"#, json!(event))).await.ok();
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Inserts a number, always by the same name.
async fn insert_number(user: &User, number: usize) -> Seen {
    let data = number.to_string();
    Seen { name: "news".to_owned(), id: insert_exactly(user, "news", &data).await, data }
}

/// The same names and ids, and data that means the same and, where it is written in ASCII, is written the same.
#[track_caller]
fn assert_same(seen: &[Seen], sent: &[Seen]) {
    let essence = |seen: &Seen| (seen.name.clone(), seen.id.clone(), seen.json());
    assert_eq!(seen.iter().map(essence).collect::<Vec<_>>(), sent.iter().map(essence).collect::<Vec<_>>());
    for (seen, sent) in seen.iter().zip(sent) {
        assert!(seen.data.is_ascii(), "{seen:?}");
        // `retry:` needs an escape, for the sake of this client.
        if sent.data.is_ascii() && !sent.data.contains("retry:") {
            assert_eq!(seen.data, sent.data);
        }
    }
}

/// Where the client runs.
#[derive(Clone, Copy)]
enum Host {
    Node,
    Chromium,
    /// Chromium's own client, in a page on this port.
    EventSource {
        page: u16,
    },
}

/// What a program tells.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
enum Report {
    SignedIn {
        status: u16,
    },
    /// The client has read some bytes of the stream; the events in them follow.
    Read,
    /// The client called `onmessage`.
    Message(Seen),
    /// The client called a listener.
    Listener(Seen),
    Inserted {
        status: u16,
        id: String,
    },
    /// The stream is open, the first time or again.
    Opened,
    /// It has ended, or could not be opened, and the browser will try again.
    Reconnecting,
    /// The stream has ended.
    Closed,
    Failed {
        error: String,
    },
}

/// An event as the client gave it to its user.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Seen {
    name: String,
    id: String,
    data: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// A program of `tests/clients` that runs.
struct Program {
    child: Child,
    orders: Option<ChildStdin>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Where a browser puts its profile, and what the program complains of.
    scratch: tempfile::TempDir,
}

impl Program {
    /// Has alice sign in, a user that this makes, and open a stream from a URL.
    async fn sign_in(host: Host, server: &TestServer, stream: &str, listen: &[&str]) -> Self {
        server.client().create_user("alice", "acme").await;
        let mut program = Self::start(host, server, stream, listen);
        assert_eq!(program.next().await, Report::SignedIn { status: 200 });
        program
    }

    fn start(host: Host, server: &TestServer, stream: &str, listen: &[&str]) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        assert!(
            directory.join("node_modules/broker-client").exists(),
            "tests/clients/node_modules is missing: run tests/run.sh, which installs all that the tests need"
        );
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("node");
        match host {
            Host::Node => command.arg("node.mjs"),
            Host::Chromium => command.arg("browser.mjs"),
            Host::EventSource { page } => {
                command.args(["browser.mjs", "event-source.mjs"]).env("PAGE_PORT", page.to_string())
            }
        };
        if let Some(screenshots) = std::env::var_os("SCREENSHOTS") {
            let test = std::thread::current().name().unwrap_or_default().replace("::", "-");
            command.env("SCREENSHOT", PathBuf::from(screenshots).join(format!("chromium-{test}.png")));
        }
        let mut child = command
            .current_dir(directory)
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(scratch.path().join("stderr")).unwrap())
            .spawn()
            .expect("node starts: tests/run.sh says what the tests need");
        let (lines, reports) = mpsc::unbounded_channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let report = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                let _ = lines.send(report);
            }
        });
        let mut program = Self { orders: child.stdin.take(), child, reports, scratch };
        program.order(&json!({
            "url": server.url,
            "stream": stream,
            "username": "alice",
            "password": password_of("alice"),
            "listen": listen,
        }));
        program
    }

    fn order(&mut self, order: &Value) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    async fn next(&mut self) -> Report {
        within("a report of the program", self.reports.recv()).await.expect("the program goes on")
    }

    /// The next event that the client gives to `onmessage`.
    async fn message(&mut self) -> Seen {
        loop {
            match self.next().await {
                Report::Message(seen) => return seen,
                Report::Read | Report::Listener(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Awaits that the browser has come back, after as many tries as that takes.
    async fn opened_again(&mut self) {
        loop {
            match self.next().await {
                Report::Opened => return,
                Report::Reconnecting => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next event, and the id that the next insert is answered with, in either order.
    async fn message_and_insert(&mut self) -> (Seen, String) {
        let (mut message, mut inserted) = (None, None);
        loop {
            match self.next().await {
                Report::Message(seen) => assert!(message.replace(seen).is_none()),
                Report::Inserted { status: 200, id } => assert!(inserted.replace(id).is_none()),
                Report::Read | Report::Listener(_) => {}
                other => panic!("{other:?}"),
            }
            if let (Some(_), Some(_)) = (&message, &inserted) {
                return message.zip(inserted).unwrap();
            }
        }
    }

    /// Has the client read these bytes in one read, and find these events in them. That it finds no more is seen when the
    /// next report is awaited, or the end of all.
    async fn reads(&mut self, middleman: &Middleman, bytes: &[u8], events: &[Seen]) {
        middleman.pass_on(bytes);
        assert_eq!(self.next().await, Report::Read);
        let mut seen = Vec::new();
        while seen.len() < events.len() {
            match self.next().await {
                Report::Message(event) => seen.push(event),
                other => panic!("{other:?} after {seen:?}"),
            }
        }
        assert_same(&seen, events);
    }

    /// Ends it. Nothing may be left to tell.
    async fn finish(mut self) {
        drop(self.orders.take());
        assert_eq!(within("the end of the program", self.reports.recv()).await, None);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default());
        }
    }
}

/// Stands between a client and the server, and lets the test say in what pieces the client gets the event stream.
struct Middleman {
    url: String,
    from_server: mpsc::UnboundedReceiver<Vec<u8>>,
    to_client: mpsc::UnboundedSender<Vec<u8>>,
    /// What the server has sent and the test has not yet taken.
    pending: Vec<u8>,
}

impl Middleman {
    async fn start(server: &TestServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.url.strip_prefix("http://").unwrap().to_owned();
        let (to_test, from_server) = mpsc::unbounded_channel();
        let (to_client, from_test) = mpsc::unbounded_channel();
        let from_test = Arc::new(Mutex::new(from_test));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(mediate(client, server, to_test.clone(), Arc::clone(&from_test)));
            }
        });
        Self { url, from_server, to_client, pending: Vec::new() }
    }

    /// The next bytes that the server sends.
    async fn some_bytes(&mut self) -> Vec<u8> {
        within("bytes of the stream", self.from_server.recv()).await.expect("the stream goes on")
    }

    /// The next frames that the server sends, each with the heartbeats before it, if there are any.
    async fn frames(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while frames.len() < count {
            if let Some(end) = self.pending.windows(2).position(|bytes| bytes == b"\n\n") {
                frames.push(self.pending.drain(..end + 2).collect());
            } else {
                let bytes = self.some_bytes().await;
                self.pending.extend(bytes);
            }
        }
        frames
    }

    /// Sends bytes of the stream to the client, in one write.
    fn pass_on(&self, bytes: &[u8]) {
        self.to_client.send(bytes.to_vec()).unwrap();
    }
}

/// Passes on requests and answers that have no body, a browser's preflight above all, until the answer is the stream.
async fn mediate(
    client: TcpStream,
    server: TcpStream,
    to_test: mpsc::UnboundedSender<Vec<u8>>,
    from_test: Arc<Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>,
) {
    client.set_nodelay(true).unwrap();
    let (client, mut client_writer) = client.into_split();
    let (server, mut server_writer) = server.into_split();
    let (mut client, mut server) = (Input::new(client), Input::new(server));
    loop {
        // A browser may open a connection and not use it.
        let Some(request) = head(&mut client).await else { return };
        server_writer.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut server).await.unwrap();
        client_writer.write_all(answer.as_bytes()).await.unwrap();
        if answer.contains("content-type: text/event-stream\r\n") {
            break;
        }
        assert!(answer.contains("content-length: 0\r\n"), "{answer}");
    }
    tokio::spawn(async move {
        while let Some(bytes) = chunk(&mut server).await {
            let _ = to_test.send(bytes);
        }
    });
    let mut from_test = from_test.lock().await;
    while let Some(bytes) = from_test.recv().await {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
        client_writer.write_all(&chunk).await.unwrap();
    }
}

type Input = tokio::io::BufReader<OwnedReadHalf>;

/// The head of a request or an answer, with the empty line; `None` at the end of the connection.
async fn head(input: &mut Input) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if input.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// One chunk of a body; `None` at its end.
async fn chunk(input: &mut Input) -> Option<Vec<u8>> {
    let mut size = String::new();
    input.read_line(&mut size).await.ok()?;
    let mut bytes = vec![0; usize::from_str_radix(size.trim_end(), 16).ok()? + 2];
    input.read_exact(&mut bytes).await.ok()?;
    bytes.truncate(bytes.len() - 2);
    (!bytes.is_empty()).then_some(bytes)
}
