//! Guards start with a database that cannot be used.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::run;
use crate::support::{TestServer, command};

fn on(directory: &Path, flags: &[String]) -> std::process::Command {
    command(flags, directory)
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_clear_message() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let outcome = run(on(directory.path(), &[format!("--port={}", address.port())])).await;
    outcome.assert_refused(1, &["cannot listen on", &address.to_string(), "in use"]);
    assert!(!outcome.stderr.contains("\"listening\""), "{outcome:?}");
}

#[tokio::test]
async fn a_database_that_another_process_has_open_is_a_clear_message_and_no_harm() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = alice.insert("first", json!(1)).await;
    for _ in 0..3 {
        let outcome = run(on(server.directory(), &[])).await;
        outcome.assert_refused(
            1,
            &["in use by another process", &server.database().file_name().unwrap().to_string_lossy()],
        );
    }
    // Reached by another path it is the same.
    let link = server.directory().join("link");
    std::os::unix::fs::symlink(server.database(), &link).unwrap();
    run(on(server.directory(), &["--db=link".to_owned()])).await.assert_refused(1, &["in use by another process"]);
    let second = alice.insert("second", json!(2)).await;
    let server = server.restart().await;
    let ids: Vec<_> = server.client().sign_in("alice").await.stream().await.take(2).await;
    assert_eq!([&ids[0].id, &ids[1].id], [&first, &second]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_a_clear_message() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "precious").unwrap();
    std::os::unix::fs::symlink("nowhere/at/all", directory.path().join("dangling")).unwrap();
    for path in ["file", "file/below", "/proc/db", "/dev/null/db", "dangling"] {
        let outcome = run(on(directory.path(), &[format!("--db={path}")])).await;
        outcome.assert_refused(1, &["cannot use the database directory", path]);
    }
    assert_eq!(std::fs::read_to_string(directory.path().join("file")).unwrap(), "precious");
}

#[tokio::test]
async fn files_are_readable_for_the_servers_user_alone() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    // Whatever the shell's umask is.
    let server = TestServer::try_start(directory, |directory| {
        let broker = command(&[], directory);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(broker.get_program()).args(broker.get_args());
        shell.current_dir(directory).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        shell
    });
    let mut server = server.await.unwrap();
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!("x".repeat(90_000))).await;
    server.signal("TERM");
    server.ended().await;
    // Twice, for what is only written on opening again.
    let server = server.restart().await;
    let mut seen = 0;
    let mut left = vec![server.database()];
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        seen += 1;
        if metadata.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 4, "{seen}");
}
