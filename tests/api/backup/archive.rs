//! Guards the archive: everything that it was given can be restored, over kills and restarts.

use std::sync::Arc;

use serde_json::json;

use super::{ran, seen};
use crate::support::{TestServer, User, again, command, until};

/// Restores an archive up to a position, and returns the server on it.
pub async fn at(server: &TestServer, position: Option<&str>) -> TestServer {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let archive = server.directory().join("archive").to_str().unwrap().to_owned();
    let mut arguments = vec!["restore", &archive, "--db=db"];
    arguments.extend(position.iter().flat_map(|position| ["--position", position]));
    ran(directory.path(), &arguments).await;
    TestServer::try_start(directory, |directory| command(&[], directory)).await.unwrap()
}

/// Waits until the archive has an event of this id.
pub async fn has_archived(server: &TestServer, id: &str) {
    let archive = server.directory().join("archive").to_str().unwrap().to_owned();
    until("the archive", async || {
        let said = super::run(server.directory(), &["verify", &archive]).await;
        let said = String::from_utf8(said.stdout).unwrap();
        // The last line is of the newest set.
        let (_, position) = said.rsplit_once("whole, position ")?;
        (position[..16] >= id[..16]).then_some(())
    })
    .await;
}

async fn insert_some(user: &User, from: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in from..from + 30 {
        ids.push(user.insert(&format!("name{}", number % 20), json!(number)).await);
    }
    ids
}

#[tokio::test]
async fn every_change_can_be_restored_from_the_archive_over_kills_and_stops() {
    let flags = ["--archive=archive", "--archive_every=1", "--journal_bytes=65536"];
    let mut server = TestServer::start_with(&flags).await;
    let mut alice = server.user("alice", "acme").await;
    let mut seen_at = Vec::new();
    for round in 0..4 {
        let ids = insert_some(&alice, round * 30).await;
        seen_at.push((ids.last().unwrap().clone(), seen(&alice).await));
        has_archived(&server, ids.last().unwrap()).await;
        // What comes now is archived by the end of a stop, or after the next start.
        alice.insert("last", json!(round)).await;
        server = server.end_and_restart(round % 2 == 0).await;
        alice = again(&server, &alice);
    }
    let last = alice.insert("end", json!(1)).await;
    has_archived(&server, &last).await;
    for (id, was) in &seen_at {
        let restored = at(&server, Some(id)).await;
        assert_eq!(seen(&restored.client().sign_in("alice").await).await, *was, "at {id}");
    }
    let restored = at(&server, None).await;
    assert_eq!(seen(&restored.client().sign_in("alice").await).await, seen(&alice).await);
    // One set for all of it: restarts leave no gap.
    let sets = std::fs::read_dir(server.directory().join("archive")).unwrap();
    assert_eq!(sets.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 1);
}

#[tokio::test]
async fn a_restored_server_begins_a_set_of_its_own_in_the_same_archive() {
    let flags = ["--archive=archive", "--archive_every=1"];
    let mut server = TestServer::start_with(&flags).await;
    let alice = server.user("alice", "acme").await;
    let first = alice.insert("before", json!(1)).await;
    has_archived(&server, &first).await;
    let later = alice.insert("later", json!(1)).await;
    server.stop().await;
    let archive = server.directory().join("archive").to_str().unwrap().to_owned();
    ran(server.directory(), &["restore", &archive, "--db=new", "--position", &first]).await;
    std::fs::rename(server.directory().join("db"), server.directory().join("old")).unwrap();
    std::fs::rename(server.directory().join("new"), server.directory().join("db")).unwrap();
    let server = server.restart().await;
    let alice = server.client().sign_in("alice").await;
    let other = alice.insert("other", json!(2)).await;
    assert_eq!(other[..16], later[..16]);
    until("a second set", async || {
        let sets = std::fs::read_dir(&archive)
            .unwrap()
            .filter_map(|entry| entry.ok()?.path().join("manifest.json").metadata().ok());
        (sets.count() == 2).then_some(())
    })
    .await;
    has_archived(&server, &other).await;
    let restored = at(&server, None).await;
    let names: Vec<_> =
        seen(&restored.client().sign_in("alice").await).await.into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["before", "other"]);
}

#[tokio::test]
async fn two_servers_do_not_write_to_one_archive() {
    let server = TestServer::start_with(&["--archive=archive"]).await;
    let archive = format!("--archive={}", server.directory().join("archive").display());
    let other = Arc::new(tempfile::tempdir().unwrap());
    let refused =
        TestServer::try_start(other, move |directory| command(std::slice::from_ref(&archive), directory)).await;
    assert!(refused.err().unwrap().contains("another server uses it"));
}
