//! The server under test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Client, User, eventually, until, within};

pub const ADMIN_TOKEN: &str = "test-admin-token-0123456789";
pub const JWT_SECRET: &str = "test-jwt-secret-0123456789";

/// How a server is started in a directory, the first time and again.
type Recipe = Arc<dyn Fn(&Path) -> Command + Send + Sync>;

/// The real binary with a database of its own. When dropped it is killed, and its log must hold neither a panic nor a
/// secret.
pub struct TestServer {
    child: Child,
    /// Where it listens, as `http://127.0.0.1:port`.
    pub url: String,
    recipe: Recipe,
    log: Arc<Mutex<Vec<String>>>,
    log_reader: Option<JoinHandle<()>>,
    directory: Arc<tempfile::TempDir>,
    may_have_panicked: bool,
}

/// What is stored of a server.
pub struct Stored(pub Vec<u8>);

impl Stored {
    /// Whether this is somewhere in it.
    pub fn has(&self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        self.0.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// The address in the line of the log that says where the server listens.
fn listens<'a>(log: &'a str, scheme: &str) -> Option<&'a str> {
    let (_, rest) = log.split_once(&format!("\"{scheme}\":\"{scheme}://"))?;
    rest.split_once('"').map(|(address, _)| address)
}

impl TestServer {
    /// Starts with the defaults of tests: a free port, strong secrets, no NTP.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts with more flags, which win over the defaults.
    pub async fn start_with(flags: &[&str]) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
        let started = Self::try_start(directory, move |directory| command(&flags, directory)).await;
        started.unwrap_or_else(|log| panic!("the server did not start: {log}"))
    }

    /// Starts a command in a directory.
    ///
    /// Where it ends instead of listening, the error is its status and its log.
    pub async fn try_start(
        directory: Arc<tempfile::TempDir>,
        recipe: impl Fn(&Path) -> Command + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::launch(Arc::new(recipe), directory).await
    }

    async fn launch(recipe: Recipe, directory: Arc<tempfile::TempDir>) -> Result<Self, String> {
        let mut child = recipe(directory.path()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, mut listening) = mpsc::unbounded_channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        let log_reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let url = listening_url(&line);
                kept.lock().unwrap().push(line);
                if let Some(url) = url {
                    let _ = lines.send(url);
                }
            }
        });
        let Some(url) = within("the server to listen or end", listening.recv()).await else {
            let status = child.wait().unwrap();
            return Err(format!("{status}: {}", log.lock().unwrap().join("\n")));
        };
        Ok(Self { child, url, recipe, log, log_reader: Some(log_reader), directory, may_have_panicked: false })
    }

    /// What sled does where it can do no more is no fault of the server: a panic in its log is let pass.
    pub fn may_have_panicked(&mut self) {
        self.may_have_panicked = true;
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it as systemd does.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        assert!(self.ended().await.success());
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the server to end", async || self.child.try_wait().unwrap()).await
    }

    /// Starts anew on the same database, after it has ended.
    pub async fn restart(self) -> Self {
        let (recipe, directory) = (Arc::clone(&self.recipe), Arc::clone(&self.directory));
        drop(self);
        Self::launch(recipe, directory).await.unwrap_or_else(|log| panic!("the server did not start again: {log}"))
    }

    /// Ends it, as `kill -9` does or as systemd does, and starts it anew on the same database.
    pub async fn end_and_restart(mut self, kill: bool) -> Self {
        if kill {
            self.kill();
        } else {
            self.stop().await;
        }
        self.restart().await
    }

    /// Ends it as systemd does, and starts another command on the same database.
    pub async fn end_and_restart_with(mut self, recipe: impl Fn(&Path) -> Command + Send + Sync + 'static) -> Self {
        self.stop().await;
        self.recipe = Arc::new(recipe);
        self.restart().await
    }

    /// Where it listens, without the scheme.
    pub fn address(&self) -> &str {
        self.url.rsplit_once('/').unwrap().1
    }

    /// Where it listens to MQTT without TLS.
    pub fn mqtt(&self) -> String {
        self.listens("mqtt")
    }

    /// Where it listens to MQTT with TLS.
    pub fn mqtts(&self) -> String {
        self.listens("mqtts")
    }

    /// The URL at which it serves its metrics.
    pub fn metrics(&self) -> String {
        let log = self.log();
        let (_, rest) = log.split_once("\"metrics\":\"").expect("metrics are served");
        rest.split_once('"').unwrap().0.to_owned()
    }

    fn listens(&self, scheme: &str) -> String {
        listens(&self.log(), scheme).unwrap_or_else(|| panic!("{scheme} is not served")).to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has what it had in memory so far count no more, and only what it has now.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    /// The most that it has had in memory so far, in mebibytes.
    pub fn peak_mebibytes(&self) -> usize {
        self.mebibytes("VmHWM:")
    }

    /// By how much that is above what it had before. The system counts both a little late, so that the most can be less than what there was.
    pub fn peak_above(&self, before: usize) -> usize {
        self.peak_mebibytes().saturating_sub(before)
    }

    /// What it has in memory, in mebibytes.
    pub fn resident_mebibytes(&self) -> usize {
        self.mebibytes("VmRSS:")
    }

    fn mebibytes(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
    }

    /// How many connections it has that it did not close yet, those of MQTT among them.
    pub fn connections(&self) -> usize {
        let log = self.log();
        let mqtt = ["mqtt", "mqtts"].map(|scheme| listens(&log, scheme)).into_iter().flatten();
        let ports: Vec<u16> =
            mqtt.chain([self.address()]).map(|at| at.rsplit(':').next().unwrap().parse().unwrap()).collect();
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.pid())).unwrap();
        let open = table.lines().skip(1).filter(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (local, state, inode) = (fields[1], fields[3], fields[9]);
            // Neither the one that listens, nor one that the kernel alone still knows of.
            let is_of = |port: &u16| local.ends_with(&format!(":{port:04X}"));
            ports.iter().any(is_of) && state != "0A" && inode != "0"
        });
        open.count()
    }

    /// Awaits that it has no more connections than so many, sooner than a heartbeat could fail on one that is closed.
    pub async fn keeps_only(&self, connections: usize) {
        let since = Instant::now();
        while self.connections() > connections {
            let open = self.connections();
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "{open} connections are open, of which {connections} should"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn database(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    /// All bytes of all files of the database.
    pub fn stored(&self) -> Stored {
        fn all_in(directory: &Path) -> Vec<u8> {
            let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            // A file may go meanwhile.
            let read =
                |path: PathBuf| if path.is_dir() { all_in(&path) } else { std::fs::read(&path).unwrap_or_default() };
            paths.flat_map(read).collect()
        }
        Stored(all_in(&self.database()))
    }

    /// The directory that the database and whatever a test puts beside it are in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The log so far. Its lines come through a pipe, later than the answers to the requests that made them.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The log with the lines of everything that was answered before, at a level at which each request has one.
    pub async fn log_up_to_now(&self, client: &Client) -> String {
        let path = format!("/{}", uuid::Uuid::new_v4());
        client.get(&path).await;
        self.says(&path).await;
        self.log()
    }

    /// Awaits a text in the log.
    pub async fn says(&self, text: &str) {
        eventually(text, || self.log().contains(text)).await;
    }

    /// A client that has not signed in.
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// Makes a user and signs in.
    pub async fn user(&self, username: &str, tenant: &str) -> User {
        let client = self.client();
        client.create_user(username, tenant).await;
        client.sign_in(username).await
    }
}

/// The URL in the line that says where the server listens, in either form of the log.
fn listening_url(line: &str) -> Option<String> {
    if let Ok(line) = serde_json::from_str::<Value>(line) {
        return (line["message"] == "listening").then(|| line["url"].as_str().unwrap().to_owned());
    }
    let (_, rest) = line.split_once("listening url=\"")?;
    rest.split_once('"').map(|(url, _)| url.to_owned())
}

/// Has a command get nothing of the machine's own settings.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BROKER_")) {
        command.env_remove(name);
    }
}

/// The binary alone, in a directory, without the flags that tests give it.
pub fn bare_command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    without_settings(&mut command);
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The same command line for a server that may have so many descriptors.
pub fn with_descriptors(descriptors: usize, server: &Command, directory: &Path) -> Command {
    by_shell(&format!("ulimit -n {descriptors} &&"), server, directory)
}

/// The same command line after something that a shell does first.
pub fn by_shell(first: &str, server: &Command, directory: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first} exec \"$0\" \"$@\"")]).arg(server.get_program()).args(server.get_args());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    shell
}

/// The command line of a server on a database in this directory.
pub fn command(flags: &[String], directory: &Path) -> Command {
    let mut command = bare_command(directory);
    let defaults = [
        ("host", "127.0.0.1"),
        ("port", "0"),
        ("ntp_servers", ""),
        ("admin_token", ADMIN_TOKEN),
        ("jwt_secret", JWT_SECRET),
        ("db", "db"),
        ("log", "debug"),
        ("log_format", "json"),
    ];
    for (name, value) in defaults {
        let own = |flag: &String| {
            flag.strip_prefix("--").is_some_and(|flag| {
                let flag = flag.split('=').next().unwrap_or_default();
                flag == name || flag == format!("{name}_file")
            })
        };
        if !flags.iter().any(own) {
            command.arg(format!("--{name}={value}"));
        }
    }
    command.args(flags);
    command
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its last lines may still be in the pipe.
        if let Some(log_reader) = self.log_reader.take() {
            let _ = log_reader.join();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
            return;
        }
        let log = self.log();
        let secrets = ["pw-secret-", "eyJ", "$argon2", "Basic ", "Bearer ", "ticket=", "broker_sse"];
        let panicked = (!self.may_have_panicked).then_some("panicked");
        for forbidden in [ADMIN_TOKEN, JWT_SECRET].into_iter().chain(secrets).chain(panicked) {
            assert!(!log.contains(forbidden), "the log holds {forbidden:?}:\n{log}");
        }
    }
}
