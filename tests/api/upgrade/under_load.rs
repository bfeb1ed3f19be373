//! Guards an upgrade of a database that clients write to from its first moment, and the way back, which is the copy from before.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::unpack;
use crate::backup::{backed_up, restored, seen};
use crate::support::{TestServer, User, again, command};

const FLAGS: [&str; 3] = ["--retain_for=3000000000", "--max_event_bytes=1048576", "--journal_bytes=65536"];
const CLIENTS: u64 = 8;

/// Inserts events of one name until the server is gone or there are so many. Returns those that were acknowledged: data by id.
async fn write(user: User, name: String, most: u64) -> BTreeMap<String, String> {
    let mut acknowledged = BTreeMap::new();
    for number in 0..most {
        let body = json!({ "event": name, "data": number }).to_string();
        match user.insert_if_there(&[], body).await {
            Some(answer) if answer.status == 200 => {
                acknowledged.insert(answer.json()["id"].as_str().unwrap().to_owned(), number.to_string())
            }
            _ => break,
        };
    }
    acknowledged
}

/// Has many clients insert at once, and returns what was acknowledged, by name.
async fn under_load(user: &User, prefix: &str, most: u64) -> Vec<(String, BTreeMap<String, String>)> {
    let writers = (0..CLIENTS).map(|client| {
        let name = format!("{prefix}/{client}");
        let writing = tokio::spawn(write(user.clone(), name.clone(), most));
        async { (name, writing.await.unwrap()) }
    });
    futures_util::future::join_all(writers.collect::<Vec<_>>()).await
}

async fn has(user: &User, written: &[(String, BTreeMap<String, String>)]) {
    for (name, acknowledged) in written {
        let found = user.history(&format!("event={name}&order=oldest&limit=1000")).await.events;
        let found: BTreeMap<_, _> = found.into_iter().map(|event| (event.id, event.data)).collect();
        assert!(acknowledged.iter().all(|(id, data)| found.get(id) == Some(data)), "{name}");
    }
}

/// What the database had before: all that does not expire, by name.
async fn old(user: &User) -> Vec<(String, serde_json::Value, String)> {
    seen(user).await.into_iter().filter(|(name, ..)| ["large", "doc"].contains(&name.as_str())).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Every file of a directory and what is in it.
fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let listed = Command::new("find").current_dir(directory).args([".", "-type", "f"]).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    names.lines().map(|name| (name.to_owned(), std::fs::read(directory.join(name)).unwrap())).collect()
}

#[tokio::test]
async fn an_older_database_is_upgraded_under_load_and_over_a_kill_and_its_copy_leads_back() {
    let directory = unpack(4);
    let (database, before) = (directory.path().join("db"), directory.path().join("before"));
    // As docs/upgrading.md says.
    copy(&database, &before);
    let copied = content(&before);
    let flags = FLAGS.map(str::to_owned);
    let mut server = TestServer::try_start(directory, move |directory| command(&flags, directory)).await.unwrap();
    let bob = server.client().sign_in("bob").await;
    let was = old(&bob).await;
    assert_eq!(was.len(), 2, "{was:?}");
    let first = under_load(&bob, "first", 40).await;
    assert!(first.iter().all(|(_, acknowledged)| acknowledged.len() == 40));
    // Killed under load, which may be in the middle of the first checkpoint in the new format.
    let writing = tokio::spawn({
        let bob = bob.clone();
        async move { under_load(&bob, "second", u64::MAX).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill();
    let second = writing.await.unwrap();
    let server = server.restart().await;
    let bob = again(&server, &bob);
    has(&bob, &first).await;
    has(&bob, &second).await;
    assert_eq!(old(&bob).await, was);

    // A backup of the upgraded database, made under load, is as good as one of a new database.
    let (third, backup) = tokio::join!(under_load(&bob, "third", 20), backed_up(&server, "backup"));
    has(&bob, &third).await;
    let again_there = restored(&backup).await;
    let bob_there = again_there.client().sign_in("bob").await;
    has(&bob_there, &first).await;
    has(&bob_there, &second).await;
    assert_eq!(old(&bob_there).await, was);
    drop(again_there);

    // Back: the copy was touched by nobody, and is opened as it was.
    assert!(content(&before) == copied);
    let back = server.end_and_restart_with(move |directory| {
        let database = directory.join("db");
        std::fs::remove_dir_all(&database).unwrap();
        copy(&directory.join("before"), &database);
        command(&FLAGS.map(str::to_owned), directory)
    });
    let back = back.await;
    let bob = back.client().sign_in("bob").await;
    assert_eq!(old(&bob).await, was);
    assert!(seen(&bob).await.iter().all(|(name, ..)| !name.starts_with("first/")));
}
