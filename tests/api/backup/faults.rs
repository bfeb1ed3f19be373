//! Guards backups against what goes wrong: kills in the middle, a full disk, damage, copies of a database that is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{backed_up, of_server, refused, restored, run, seen};
use crate::support::{LoopDisk, TestServer, User, again, command};

/// Inserts until it is told to stop or the server is gone. Returns the last number that was acknowledged.
async fn write(user: User, stop: Arc<AtomicBool>) -> u64 {
    let mut last = 0;
    for number in 1.. {
        let body = json!({ "event": "count", "data": number }).to_string();
        match user.insert_if_there(&[], body).await {
            Some(answer) if answer.status == 200 => last = number,
            _ => return last,
        }
        if stop.load(Ordering::Acquire) {
            return last;
        }
    }
    last
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_of_backups_loses_nothing_and_the_next_backup_is_whole() {
    let mut server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let mut alice = server.user("alice", "acme").await;
    for number in 0..40 {
        alice.insert(&format!("large{number}"), json!("x".repeat(90_000))).await;
    }
    for round in 0..6_u64 {
        let stop = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn(write(alice.clone(), Arc::clone(&stop)));
        let (directory, of_server) = (server.directory().to_owned(), of_server(&server));
        let to = format!("--to=killed{round}");
        let backup = tokio::spawn(async move {
            let arguments: Vec<_> = ["backup", &to].into_iter().chain(of_server.iter().map(String::as_str)).collect();
            run(&directory, &arguments).await
        });
        tokio::time::sleep(std::time::Duration::from_millis(5 + round * 25)).await;
        server.kill();
        let acknowledged = writing.await.unwrap();
        let output = backup.await.unwrap();
        let is_there = server.directory().join(format!("killed{round}")).exists();
        assert_eq!(output.status.success(), is_there, "{output:?}");
        server = server.restart().await;
        alice = again(&server, &alice);
        if acknowledged > 0 {
            let count = alice.everything().await["count"].json().as_u64().unwrap();
            assert!(count >= acknowledged, "{count} of {acknowledged}");
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(alice.clone(), Arc::clone(&stop)));
    let backup = backed_up(&server, "whole").await;
    stop.store(true, Ordering::Release);
    writing.await.unwrap();
    let again = restored(&backup).await;
    let found = seen(&again.client().sign_in("alice").await).await;
    assert_eq!(found.len(), 41);
    assert!(
        !server.database().join("kept").exists() || server.database().join("kept").read_dir().unwrap().count() == 0
    );
}

#[tokio::test]
async fn on_a_nearly_full_disk_a_backup_is_refused_and_inserts_go_on() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "small", 96) else { return };
    let db = format!("--db={}", disk.path().join("db").display());
    let server = TestServer::start_with(&[&db]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("before", json!(1)).await;
    let of_server = of_server(&server);
    let arguments: Vec<_> = ["backup", "--to=x"].into_iter().chain(of_server.iter().map(String::as_str)).collect();
    refused(server.directory(), &arguments, "too little room").await;
    assert!(!server.directory().join("x").exists());
    alice.insert("after", json!(2)).await;
    assert!(server.log().contains("a backup is given up"));
    // The target may be full as well.
    let Some(disk) = LoopDisk::create(home.path(), "target", 16) else { return };
    let to = disk.path().join("backup");
    let (other, large) = (TestServer::start().await, json!("x".repeat(90_000)));
    let bob = other.user("bob", "acme").await;
    for number in 0..300 {
        bob.insert(&format!("large{number}"), large.clone()).await;
    }
    let (to, of_server) = (format!("--to={}", to.display()), super::of_server(&other));
    let arguments: Vec<_> = ["backup", &to].into_iter().chain(of_server.iter().map(String::as_str)).collect();
    refused(other.directory(), &arguments, "No space left").await;
    assert_eq!(
        disk.path()
            .read_dir()
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("backup"))
            .count(),
        0
    );
}

#[tokio::test]
async fn a_copy_of_a_database_that_is_open_is_refused_by_the_server() {
    let server = TestServer::start().await;
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let copied =
        std::process::Command::new("cp").arg("-a").args([server.database().as_path(), directory.path()]).status();
    assert!(copied.unwrap().success());
    let refused = TestServer::try_start(directory, |directory| command(&[], directory)).await.err().unwrap();
    assert!(refused.contains("was copied while Broker was running") && refused.contains("broker backup"), "{refused}");
}
