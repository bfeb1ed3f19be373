//! Guards a damaged database: refused with a clear message, or opened with all that was acknowledged. Never a panic, never
//! silently less.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::support::{Event, TestServer, command, password_of, within};

/// A database as it was left by a server that was stopped, and what it must hold.
struct Original {
    directory: Arc<tempfile::TempDir>,
    first: String,
    /// All events but the first.
    events: BTreeMap<String, Event>,
}

impl Original {
    /// Two events of each of some names, the latter when the server was killed.
    async fn killed(names: usize, bytes: usize) -> Self {
        let (mut server, first, events) = Self::filled(names, bytes).await;
        server.kill();
        Self::of(&server, first, events)
    }

    /// The same, but all of it was there already at the last opening, which wrote a snapshot of the log up to there.
    async fn stopped(names: usize, bytes: usize) -> Self {
        let (server, first, events) = Self::filled(names, bytes).await;
        let server = stop(stop(server).await.restart().await).await;
        Self::of(&server, first, events)
    }

    fn of(server: &TestServer, first: String, events: BTreeMap<String, Event>) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        copy(&server.database(), &directory.path().join("db"));
        Self { directory, first, events }
    }

    async fn filled(names: usize, bytes: usize) -> (TestServer, String, BTreeMap<String, Event>) {
        // So short a journal that most of it is in the database, and the newest in the journal.
        let mut server = TestServer::start_with(&["--journal_bytes=65536"]).await;
        let alice = server.user("alice", "acme").await;
        let (mut first, mut events) = (None, BTreeMap::new());
        for round in 0..2 {
            let alice = server.client().with_authorization(&alice.authorization);
            for number in 0..names {
                let (name, data) = (format!("name{number}"), format!("{round} {}", "x".repeat(bytes)));
                let id = alice.insert(&name, json!(data)).await;
                if first.is_none() {
                    first = Some(id);
                } else {
                    events.insert(id.clone(), Event { name, id, data: format!("\"{data}\"") });
                }
            }
            if round == 0 {
                server = stop(server).await.restart().await;
            }
        }
        (server, first.unwrap(), events)
    }
}

async fn stop(mut server: TestServer) -> TestServer {
    server.client().get("/").await.ok();
    server.signal("TERM");
    assert!(server.ended().await.success());
    server
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        // The mark of a database that is open, which tells it from a copy.
        } else if entry.file_name() != "open" {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// One way to damage a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Missing,
    /// Cut to so many thousandths of its length.
    Cut(usize),
    /// Cut by so many bytes.
    Shorter(usize),
    /// This many bytes at so many thousandths of its length are others.
    Garbage(usize, usize),
    /// The same with zeros.
    Zeros(usize, usize),
    /// All of it is something else.
    Replaced,
    /// A directory is in its place.
    Directory,
}

fn damage(path: &Path, damage: Damage) {
    let mut content = fs::read(path).unwrap();
    // sled fills a segment up; what is behind the last of its data is nothing to damage.
    let filler = content.last().copied();
    let length = content.iter().rposition(|byte| Some(*byte) != filler).map_or(content.len(), |last| last + 1);
    let at = |thousandths: usize, count: usize| {
        let from = (length * thousandths / 1000).min(length - count.min(length));
        from..(from + count).min(length)
    };
    match damage {
        Damage::Missing => return fs::remove_file(path).unwrap(),
        Damage::Directory => {
            fs::remove_file(path).unwrap();
            return fs::create_dir(path).unwrap();
        }
        Damage::Cut(thousandths) => content.truncate(length * thousandths / 1000),
        Damage::Shorter(bytes) => content.truncate(length.saturating_sub(bytes)),
        Damage::Garbage(thousandths, count) => {
            content[at(thousandths, count)].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(7) ^ 0x5a);
        }
        Damage::Zeros(thousandths, count) => content[at(thousandths, count)].fill(0),
        Damage::Replaced => content.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31 % 251) as u8),
    }
    fs::write(path, content).unwrap();
}

const ALL: &[Damage] = &[
    Damage::Missing,
    Damage::Directory,
    Damage::Replaced,
    Damage::Cut(0),
    Damage::Cut(1),
    Damage::Cut(500),
    Damage::Cut(900),
    Damage::Shorter(1),
    Damage::Shorter(300),
    Damage::Shorter(5000),
    Damage::Garbage(0, 1),
    Damage::Garbage(0, 64),
    Damage::Garbage(10, 64),
    Damage::Garbage(250, 1),
    Damage::Garbage(500, 64),
    Damage::Garbage(750, 1),
    Damage::Garbage(900, 5000),
    Damage::Garbage(1000, 1),
    Damage::Garbage(1000, 300),
    Damage::Zeros(0, 64),
    Damage::Zeros(500, 64),
    Damage::Zeros(500, 20_000),
    Damage::Zeros(900, 64),
    Damage::Zeros(1000, 300),
];

/// Applies each of these to a copy and gives what came of those that were neither told nor harmless.
async fn faults(original: &Original, file: &str, damages: &[Damage]) -> Vec<String> {
    let name = fs::read_dir(original.directory.path().join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with(file))
        .unwrap_or_else(|| panic!("no file begins with {file}"));
    let mut faults = Vec::new();
    for way in damages {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let db: PathBuf = directory.path().join("db");
        copy(&original.directory.path().join("db"), &db);
        damage(&db.join(&name), *way);
        if let Err(fault) = outcome(original, directory).await {
            faults.push(format!("{name} {way:?}: {fault}"));
        }
    }
    faults
}

async fn outcome(original: &Original, directory: Arc<tempfile::TempDir>) -> Result<(), String> {
    match TestServer::try_start(directory, |directory| command(&[], directory)).await {
        Err(why) => {
            // The last line is for people; those before it may be what the database says.
            let told = why.lines().last().unwrap_or_default();
            // The second is for a directory where a file should be.
            let clear = ["damaged", "cannot use the database directory db"].into_iter().any(|said| told.contains(said));
            let right =
                why.starts_with("exit status: 1: ") && told.contains("error: ") && clear && !why.contains("panicked");
            if right { Ok(()) } else { Err(format!("no clear message: {why}")) }
        }
        Ok(mut server) => {
            let found = what_is_there(&server, original).await;
            let log = server.log();
            if log.contains("panicked") {
                server.kill();
                // Its own look at the log would end the test here.
                std::mem::forget(server);
                return Err(format!("a panic, and then {found:?}: {log}"));
            }
            found
        }
    }
}

/// Whether a server has all that was acknowledged.
async fn what_is_there(server: &TestServer, original: &Original) -> Result<(), String> {
    let client = server.client();
    let login = client.login("alice", &password_of("alice")).await;
    if login.status != 200 {
        return Err(format!("opened, and a sign-in is answered {}", login.status));
    }
    let alice = client.with_authorization(&format!("Bearer {}", login.jwt()));
    let mut stream = alice.stream_of("/sse", Some(&original.first)).await;
    let mark = alice.try_insert("mark", json!(1)).await;
    if mark.status != 200 {
        return Err(format!("opened, and an insert is answered {}", mark.status));
    }
    let mark = mark.json()["id"].as_str().unwrap().to_owned();
    let mut found = BTreeMap::new();
    loop {
        match within("an event", stream.read()).await {
            None => return Err(format!("opened, and a stream ends after {} events", found.len())),
            Some(event) if event.id == mark => break,
            Some(event) => found.insert(event.id.clone(), event),
        };
    }
    if found != original.events {
        return Err(format!("opened with {} events of {}", found.len(), original.events.len()));
    }
    Ok(())
}

#[tokio::test]
async fn damage_to_the_data_is_told_or_harmless() {
    assert_eq!(faults(&Original::killed(60, 2000).await, "db", ALL).await, [""; 0]);
}

#[tokio::test]
async fn damage_to_the_journal_is_told_or_harmless() {
    assert_eq!(faults(&Original::killed(60, 2000).await, "journal.", ALL).await, [""; 0]);
}

#[tokio::test]
async fn damage_to_the_configuration_is_told_or_harmless() {
    assert_eq!(faults(&Original::killed(60, 2000).await, "conf", ALL).await, [""; 0]);
}

#[tokio::test]
async fn damage_to_the_snapshot_is_told_or_harmless() {
    assert_eq!(faults(&Original::killed(60, 2000).await, "snap.", ALL).await, [""; 0]);
}

#[tokio::test]
async fn damage_to_data_of_several_segments_is_told_at_the_start() {
    let damages = [100, 250, 400, 550, 700, 850].map(|at| Damage::Garbage(at, 300_000));
    assert_eq!(faults(&Original::stopped(150, 90_000).await, "db", &damages).await, [""; 0]);
}

#[tokio::test]
async fn a_database_without_its_files_is_not_taken_for_a_new_one() {
    let original = Original::stopped(3, 10).await;
    for files in [&["db"][..], &["db", "conf"], &["db", "snap."], &["db", "conf", "snap."]] {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        copy(&original.directory.path().join("db"), &directory.path().join("db"));
        for entry in fs::read_dir(directory.path().join("db")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if files.iter().any(|file| name.starts_with(file)) {
                fs::remove_file(directory.path().join("db").join(name)).unwrap();
            }
        }
        assert_eq!(outcome(&original, directory).await, Ok(()), "without {files:?}");
    }
}
