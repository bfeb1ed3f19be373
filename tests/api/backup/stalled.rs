//! Guards against clients that ask for a backup and do not read it: the journal is not kept for them for ever.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::archive::has_archived;
use super::{of_server, restored, run};
use crate::disk_full::fill_but;
use crate::support::{ADMIN_TOKEN, LoopDisk, TestServer, User, eventually, send_all, until, within};

/// The server waits for half a minute, and for a minute if something is taken now and then. A test is patient for longer.
const PATIENCE: Duration = Duration::from_secs(180);
/// So little is kept that what is on the way to a client is less than a backup.
const FLAGS: [&str; 1] = ["--journal_bytes=65536"];
const LARGE_EVENTS: usize = 200;

async fn fill(user: &User) {
    for number in 0..LARGE_EVENTS {
        user.insert(&format!("large{number}"), json!("x".repeat(90_000))).await;
    }
}

/// Asks for a backup, and reads no more than the beginning of the answer.
async fn stalled_backup(server: &TestServer) -> TcpStream {
    let mut client = within("a connection", TcpStream::connect(server.address())).await.unwrap();
    let body = json!({ "admin_token": ADMIN_TOKEN }).to_string();
    let request = format!("POST /backup HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    within("the server to read", send_all(&mut client, request.as_bytes())).await.unwrap();
    let mut begins = [0; 2000];
    within("a backup", client.read_exact(&mut begins)).await.unwrap();
    assert!(begins.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&begins));
    client
}

/// How many files of the journal are kept.
fn kept(database: &Path) -> usize {
    database.join("kept").read_dir().map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up_and_keeps_neither_the_journal_nor_the_next_backup() {
    let server = TestServer::start_with(&FLAGS).await;
    let alice = server.user("alice", "acme").await;
    fill(&alice).await;
    let _client = stalled_backup(&server).await;
    let (begun, mut most_kept, mut inserted) = (Instant::now(), 0, 0);
    while !server.log().contains("a backup could not be made") {
        assert!(begun.elapsed() < PATIENCE, "the server still waits");
        alice.insert("meanwhile", json!("x".repeat(20_000))).await;
        (inserted, most_kept) = (inserted + 1, most_kept.max(kept(&server.database())));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(most_kept > 2 && inserted > 10, "{most_kept} files were kept, and {inserted} events inserted");
    assert_eq!(kept(&server.database()), 0);
    // Its connection is still there, but nobody waits for it.
    let (of_server, to) = (of_server(&server), server.directory().join("backup"));
    let arguments: Vec<_> = ["backup", "--to=backup"].into_iter().chain(of_server.iter().map(String::as_str)).collect();
    let made = async || run(server.directory(), &arguments).await.status.success().then_some(());
    until("the next backup", made).await;
    let restored = restored(&to).await;
    let count = restored.client().sign_in("alice").await.everything().await.len();
    assert_eq!(count, LARGE_EVENTS + 1);
}

#[tokio::test]
async fn the_archive_goes_on_while_a_backup_waits_for_its_client() {
    let server = TestServer::start_with(&["--archive=archive", "--archive_every=1", FLAGS[0]]).await;
    let alice = server.user("alice", "acme").await;
    fill(&alice).await;
    has_archived(&server, &alice.insert("before", json!(1)).await).await;
    let _client = stalled_backup(&server).await;
    has_archived(&server, &alice.insert("meanwhile", json!(1)).await).await;
    // What is kept for it is told.
    let status = server.client().admin("/status", json!({})).await.ok().json();
    assert!(status["store"]["kept_bytes"].as_u64().unwrap() > 0, "{status}");
    assert!(!server.log().contains("a backup could not be made"), "the client was given up before");
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_backup_ends_it_with_the_reason_and_inserts_go_on() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "filling", 600) else { return };
    let db = disk.path().join("db");
    let server = TestServer::start_with(&[&format!("--db={}", db.display()), FLAGS[0]]).await;
    let alice = server.user("alice", "acme").await;
    fill(&alice).await;
    let mut client = stalled_backup(&server).await;
    while kept(&db) < 2 {
        alice.insert("before", json!("x".repeat(20_000))).await;
    }
    // Less than what is left to the server, but more than it needs for long.
    fill_but(disk.path(), 200 << 20);
    until("the backup to be given up", async || {
        alice.insert("meanwhile", json!("x".repeat(20_000))).await;
        (kept(&db) == 0).then_some(())
    })
    .await;
    let why = "the disk has too little room to keep the journal meanwhile";
    // Read at once: the thread may wait for its client, for half a minute, before it looks whether it may go on.
    let mut rest = Vec::new();
    within("the end of the answer", client.read_to_end(&mut rest)).await.ok();
    eventually("why", || server.log().contains(why)).await;
    let text = String::from_utf8_lossy(&rest);
    assert!(text.contains(why), "it does not say why");
    assert!(!text.contains("manifest.json") && !rest.ends_with(b"0\r\n\r\n"), "it ends as if it were whole");
    alice.insert("after", json!(1)).await;
}
