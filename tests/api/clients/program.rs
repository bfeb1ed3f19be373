//! A program of a user, which runs in Node or in Chromium and reports on its standard output.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;

use serde::Deserialize;
use serde_json::{Value, json};

use tokio::sync::mpsc;

use super::assert_same;
use super::middleman::Middleman;
use crate::support::{TestServer, password_of, within};

/// Where the client runs.
#[derive(Clone, Copy)]
pub enum Host {
    /// broker-client 0.0.8 in Node.
    Node,
    Chromium,
    /// The same program, with the drop-in of this repository.
    DropInNode,
    DropInChromium,
    /// Chromium's own client, in a page on this port.
    EventSource {
        page: u16,
    },
    /// npm's `ws`, in Node.
    Ws,
    /// Chromium's own WebSocket, in a page.
    WebSocket,
}

/// What a program tells.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
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
pub struct Seen {
    pub name: String,
    pub id: String,
    pub data: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// A program of `tests/clients` that runs.
pub struct Program {
    pub child: Child,
    pub commands: Option<ChildStdin>,
    pub reports: mpsc::UnboundedReceiver<Report>,
    reader: Option<JoinHandle<()>>,
    /// Where a browser puts its profile, and what the program complains of.
    pub scratch: tempfile::TempDir,
}

impl Program {
    /// Has alice sign in, a user that this makes, and open a stream from a URL.
    pub async fn sign_in(host: Host, server: &TestServer, stream: &str, listen: &[&str]) -> Self {
        server.client().create_user("alice", "acme").await;
        let mut program = Self::start(host, server, stream, listen);
        assert_eq!(program.next().await, Report::SignedIn { status: 200 });
        program
    }

    pub fn start(host: Host, server: &TestServer, stream: &str, listen: &[&str]) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        assert!(
            directory.join("node_modules/broker-client/dist").exists(),
            "tests/clients/node_modules is missing: run tests/run.sh, which installs all that the tests need"
        );
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("node");
        match host {
            Host::Node => command.arg("node.mjs"),
            Host::Chromium => command.arg("browser.mjs"),
            Host::DropInNode => command.arg("node.mjs").env("DROP_IN", "true"),
            Host::DropInChromium => command.arg("browser.mjs").env("DROP_IN", "true"),
            Host::Ws => command.args(["node.mjs", "socket.mjs"]),
            Host::WebSocket => command.args(["browser.mjs", "socket.mjs"]),
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
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let report = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                let _ = lines.send(report);
            }
        });
        let mut program = Self { commands: child.stdin.take(), child, reports, reader: Some(reader), scratch };
        program.command(&json!({
            "url": server.url,
            "stream": stream,
            "username": "alice",
            "password": password_of("alice"),
            "listen": listen,
        }));
        program
    }

    pub fn command(&mut self, command: &Value) {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
    }

    pub async fn next(&mut self) -> Report {
        within("a report of the program", self.reports.recv()).await.expect("the program goes on")
    }

    /// The next event that the client gives to `onmessage`.
    pub async fn message(&mut self) -> Seen {
        loop {
            match self.next().await {
                Report::Message(seen) => return seen,
                Report::Read | Report::Listener(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Awaits that the browser has come back, after as many tries as that takes.
    pub async fn opened_again(&mut self) {
        loop {
            match self.next().await {
                Report::Opened => return,
                Report::Reconnecting => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next event, and the id that the next insert is answered with, in either order.
    pub async fn message_and_insert(&mut self) -> (Seen, String) {
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
    pub async fn reads(&mut self, middleman: &Middleman, bytes: &[u8], events: &[Seen]) {
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
    pub async fn finish(mut self) {
        drop(self.commands.take());
        assert_eq!(within("the end of the program", self.reports.recv()).await, None);
        // A report that cannot be read ends the reports too.
        self.reader.take().unwrap().join().unwrap();
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
