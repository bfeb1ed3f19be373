//! One bash that runs the blocks of a page, each with its output apart.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::support::without_settings;

/// How long one block may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long is waited for a program in the background that may begin with nothing.
const BEGINNING: Duration = Duration::from_secs(5);
/// A stream that has given nothing for so long has sent what was there when it was opened.
const QUIET: Duration = Duration::from_millis(300);
/// Ends the output of a block.
const END: &str = "=== end of the block ===";

pub struct Shell {
    directory: PathBuf,
    bash: Child,
    commands: ChildStdin,
    output: Receiver<String>,
    blocks: usize,
    streams: usize,
    /// How much of the last stream was shown.
    shown: usize,
}

impl Shell {
    /// Starts bash in a directory.
    pub fn start(directory: &Path) -> Self {
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(directory).process_group(0);
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        without_settings(&mut command);
        command.env("LC_ALL", "C.UTF-8").env("HOME", directory).env("PYTHONUNBUFFERED", "1");
        let errors = std::fs::File::create(directory.join(".errors")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut bash = command.spawn().unwrap();
        let (lines, output) = channel();
        let mut stdout = BufReader::new(bash.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        let commands = bash.stdin.take().unwrap();
        let mut shell =
            Self { directory: directory.to_owned(), bash, commands, output, blocks: 0, streams: 0, shown: 0 };
        // tests/run.sh has put the Python packages of the pages there.
        let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin");
        shell.command(&format!("PATH={python}:$PATH"));
        // A page may start servers of its own. They ask nothing of the network.
        if let Some(programs) = Path::new(env!("CARGO_BIN_EXE_broker")).parent() {
            shell.command(&format!("PATH={}:$PATH; export BROKER_NTP_SERVERS=", programs.display()));
        }
        // A block is sourced, so that LINENO is the line in it.
        shell.command("set -eE -o pipefail; trap 'echo \"line $LINENO: $BASH_COMMAND\" >> .failed' ERR");
        shell
    }

    fn command(&mut self, command: &str) {
        // Bash may have ended: its output tells.
        let _ = writeln!(self.commands, "{command}");
    }

    /// Saves a block in a file of its own, for bash to source.
    fn save(&mut self, block: &str) -> String {
        self.blocks += 1;
        let name = format!(".block-{}", self.blocks);
        std::fs::write(self.directory.join(&name), block).unwrap();
        name
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.join(name)).unwrap_or_default()).into_owned()
    }

    /// Runs a block, and gives its output.
    ///
    /// # Errors
    /// The command that failed, with its line in the block and what bash and it have said.
    pub fn run(&mut self, block: &str) -> Result<String, String> {
        let name = self.save(block);
        let errors_before = self.read(".errors").len();
        self.command(&format!(". ./{name} < /dev/null\nprintf '\\n{END}\\n'"));
        let until = Instant::now() + PATIENCE;
        let mut output = String::new();
        loop {
            let why = match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.trim_end() == END => {
                    // The line break before the end is not the block's.
                    output.pop();
                    return Ok(output);
                }
                Ok(line) => {
                    output.push_str(&line);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => "it does not end".to_owned(),
                Err(RecvTimeoutError::Disconnected) => format!("a command failed: {}", self.read(".failed").trim_end()),
            };
            let errors = &self.read(".errors")[errors_before..];
            return Err(format!("{why}\n{errors}output so far:\n{output}"));
        }
    }

    /// Starts a block in the background, and waits until it has begun.
    ///
    /// # Errors
    /// It ended at once, with an error.
    pub fn stream(&mut self, block: &str) -> Result<(), String> {
        self.begin(block, "", block.starts_with("broker "))
    }

    /// Starts a server with a port, if the block names no other, and with a database of its own, and waits until it listens. If it
    /// does not stay it is ended then.
    ///
    /// # Errors
    /// It ended at once, with an error.
    pub fn server(&mut self, block: &str, port: &str, stays: bool) -> Result<(), String> {
        let settings = format!("export BROKER_PORT={port} BROKER_DB=database-{port};");
        if stays {
            return self.begin(block, &settings, true);
        }
        // In a group of its own, which can be ended as a whole. The next server may have the same port.
        self.command("set -m");
        let outcome = self.begin(block, &settings, true);
        self.command("set +m; kill -KILL -- -$! || true; while kill -0 -- -$!; do sleep 0.01; done");
        outcome
    }

    /// Starts a block after other commands in the background.
    fn begin(&mut self, block: &str, before: &str, is_server: bool) -> Result<(), String> {
        let name = self.save(block);
        self.streams += 1;
        self.shown = 0;
        let (output, errors, status) = self.stream_files();
        // Its own failure ends it alone.
        self.command(&format!(
            "{{ ( {before} . ./{name} ) && echo 0 > {status} || echo $? > {status}; }} < /dev/null > {output} 2> {errors} &"
        ));
        // A server tells in its log when it listens, and an event stream begins with a heartbeat.
        let begins = is_server || block.contains("curl ");
        let until = Instant::now() + if begins { PATIENCE } else { BEGINNING };
        let (mut length, mut since) = (0, Instant::now());
        loop {
            let ended = self.read(&status);
            if !matches!(ended.trim(), "" | "0") {
                return Err(format!("it ended with {}:\n{}", ended.trim(), self.read(&errors)));
            }
            let now = self.read(if is_server { &errors } else { &output });
            if now.len() != length {
                (length, since) = (now.len(), Instant::now());
            }
            let has_begun = if is_server { now.contains(" listening ") } else { length > 0 && since.elapsed() > QUIET };
            if has_begun || Instant::now() > until {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stream_files(&self) -> (String, String, String) {
        let name = format!(".stream-{}", self.streams);
        (name.clone(), format!("{name}.errors"), format!("{name}.status"))
    }

    /// Waits until the last stream has given this, by a function that tells how much of the text it is, after what was awaited before.
    ///
    /// # Errors
    /// What it has given instead.
    pub fn streamed(&mut self, is_there: impl Fn(&str) -> Option<usize>) -> Result<(), String> {
        let (output, errors, _) = self.stream_files();
        let until = Instant::now() + PATIENCE / 3;
        loop {
            let all = self.read(&output);
            let new = &all[self.shown.min(all.len())..];
            if let Some(length) = is_there(new) {
                self.shown += length;
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{new}{}", self.read(&errors)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // With everything that it has started.
        if let Some(group) = rustix::process::Pid::from_raw(self.bash.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.bash.wait();
    }
}
