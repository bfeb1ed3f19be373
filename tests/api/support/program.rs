//! A program that nobody here wrote the library of, and what it says.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::sync::mpsc;

use super::within;

/// A program of `tests/clients` that runs. It says lines on its standard output.
pub struct Saying {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    scratch: tempfile::TempDir,
}

impl Saying {
    /// Starts `node <file>` for JavaScript, and Python for other files, with arguments.
    pub fn start(file: &str, arguments: &[&str]) -> Self {
        Self::trusting(None, file, arguments)
    }

    /// The same, which takes certificates of the authority whose root is in a file.
    pub fn trusting(root_file: Option<&Path>, file: &str, arguments: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let scratch = tempfile::tempdir().unwrap();
        let mut command = if file.ends_with(".mjs") {
            Command::new("node")
        } else {
            Command::new(root.join("target/python/bin/python"))
        };
        if let Some(root_file) = root_file {
            command.env("NODE_EXTRA_CA_CERTS", root_file).env("SSL_CERT_FILE", root_file);
        }
        let mut child = command
            .arg(file)
            .args(arguments)
            .current_dir(root.join("tests/clients"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(scratch.path().join("stderr")).unwrap())
            .spawn()
            .expect("it starts: tests/run.sh says what the tests need");
        let (said, lines) = mpsc::unbounded_channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        Self { child, lines, scratch }
    }

    /// Says a line on its standard input.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Has it do nothing until it goes on: its connections stay, and it notices nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Has it go on.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The next line.
    pub async fn next(&mut self) -> String {
        within("a line of the program", self.lines.recv()).await.expect("the program goes on")
    }
}

impl Drop for Saying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default());
        }
    }
}
