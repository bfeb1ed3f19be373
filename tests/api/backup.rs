//! Guards `/backup` and the commands around it: what is restored is what was there, and nothing that was used since works again.

mod archive;
mod faults;
mod kills;
mod sign_ins;
mod stalled;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, TestServer, User, bare_command, within};

/// Runs a command of Broker in a directory, and returns its status and what it said.
pub async fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = bare_command(directory);
    command.args(arguments).stdout(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    within("the command", output).await.unwrap()
}

/// Runs it, and it must succeed. Returns what it said.
pub async fn ran(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it, and it must fail, saying this.
pub async fn refused(directory: &Path, arguments: &[&str], said: &str) {
    let output = run(directory, arguments).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains(said), "{arguments:?}: {output:?}");
    assert!(!stderr.contains("panicked") && !stderr.contains(ADMIN_TOKEN), "{stderr}");
}

/// The arguments with which commands find a server.
pub fn of_server(server: &TestServer) -> Vec<String> {
    let token = server.directory().join("token");
    std::fs::write(&token, ADMIN_TOKEN).unwrap();
    vec![format!("--url={}", server.url), format!("--admin_token_file={}", token.display())]
}

/// Makes a backup in the directory of the server.
pub async fn backed_up(server: &TestServer, name: &str) -> PathBuf {
    let to = server.directory().join(name);
    let (of_server, to_flag) = (of_server(server), format!("--to={}", to.display()));
    ran(
        server.directory(),
        &[&["backup", &to_flag][..], &of_server.iter().map(String::as_str).collect::<Vec<_>>()].concat(),
    )
    .await;
    to
}

/// Starts a server on what a backup restores to.
pub async fn restored(from: &Path) -> TestServer {
    restored_with(from, &[]).await
}

/// The same with more flags.
pub async fn restored_with(from: &Path, flags: &[&str]) -> TestServer {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let from = from.to_str().unwrap().to_owned();
    ran(directory.path(), &["restore", &from, "--db=db"]).await;
    // Nobody else may read what is restored.
    for name in ["", "db", "conf"] {
        use std::os::unix::fs::MetadataExt;
        let mode = directory.path().join("db").join(name).metadata().unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
    TestServer::try_start(directory, move |directory| crate::support::command(&flags, directory)).await.unwrap()
}

/// Names and values of what a user sees, with the id of each.
pub async fn seen(user: &User) -> Vec<(String, Value, String)> {
    let mut seen: Vec<_> =
        user.everything().await.into_iter().map(|(name, event)| (name, event.json(), event.id)).collect();
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    seen
}

#[tokio::test]
async fn only_an_admin_gets_a_backup_one_at_a_time_and_it_is_a_stream_of_tar() {
    let server = TestServer::start().await;
    let client = server.client();
    client.post("/backup", &json!({ "admin_token": "wrong" })).await.refused(401, "admin_token_incorrect");
    client.get("/backup").await.refused(405, "method_not_allowed");
    let alice = server.user("alice", "acme").await;
    for number in 0..200 {
        alice.insert(&format!("large{number}"), json!("x".repeat(100_000))).await;
    }
    // Its client takes nothing of it yet, and it does not fit on the way.
    let http = reqwest::Client::builder().http1_only().build().unwrap();
    let ask = || http.post(format!("{}/backup", server.url)).body(json!({ "admin_token": ADMIN_TOKEN }).to_string());
    let first = within("an answer", ask().send()).await.unwrap();
    assert_eq!(
        (first.status().as_u16(), &first.headers()["content-type"]),
        (200, &"application/x-tar".parse().unwrap())
    );
    client.admin("/backup", json!({})).await.refused(409, "backup_running");
    alice.insert("meanwhile", json!(1)).await;
    let stream = within("the backup", first.bytes()).await.unwrap();
    assert_eq!(stream.len() % 512, 0);
    assert!(stream.ends_with(&[0; 1024]) && stream.windows(13).any(|window| window == b"manifest.json"));
    assert!(server.log().contains("backup begun"));
    // One whose client goes away makes room for the next.
    drop(within("an answer", ask().send()).await.unwrap());
    let next = crate::support::until("the next backup", async || {
        let answer = ask().send().await.unwrap();
        (answer.status() == 200).then_some(answer)
    });
    within("the next backup", next.await.bytes()).await.unwrap();
}

#[tokio::test]
async fn a_restored_database_is_as_it_was_and_knows_which_clients_have_seen_what_was_lost() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for number in 0..50 {
        alice.insert(&format!("name{number}"), json!(number)).await;
    }
    alice.remove("name7").await.ok();
    alice.insert("large", json!("x".repeat(100_000))).await;
    let before = seen(&alice).await;
    let history = alice.history("event=name3").await;
    let backup = backed_up(&server, "backup").await;
    let lost = alice.insert("lost", json!(1)).await;

    let again = restored(&backup).await;
    let client = again.client();
    let signed_in = client.sign_in("alice").await;
    // What a client knows of the events that were lost is recognised, although their positions are given out again.
    let other = signed_in.insert("other", json!(2)).await;
    assert_eq!(other[..16], lost[..16]);
    assert_ne!(other, lost);
    let mut stream = signed_in.stream_of("/sse?marks=true", Some(&lost)).await;
    assert_eq!(stream.next().await.name, "$reset");
    signed_in.remove("other").await.ok();
    assert_eq!(seen(&signed_in).await, before);
    assert_eq!(signed_in.history("event=name3").await.events.len(), history.events.len());
    // And the original goes on as if nothing had been.
    assert_eq!(alice.verify().await.status, 200);
}

#[tokio::test]
async fn a_backup_goes_through_a_pipe_too_and_is_verified_before_it_is_needed() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("greeting", json!("hello")).await;
    let (directory, of_server) = (server.directory(), of_server(&server));
    let program = env!("CARGO_BIN_EXE_broker");
    let piped =
        format!("{program} backup --to - {} > backup.tar && {program} verify - < backup.tar", of_server.join(" "));
    let mut shell = Command::new("sh");
    shell.args(["-ec", &piped]).current_dir(directory);
    crate::support::without_settings(&mut shell);
    let output = within("the pipe", tokio::task::spawn_blocking(move || shell.output().unwrap())).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("whole, position 0000000000000001 ") && said.contains(", 1 users"), "{said}");
    let again = restored(&directory.join("backup.tar")).await;
    assert_eq!(seen(&again.client().sign_in("alice").await).await[0].1, json!("hello"));
    // As a shell makes one of `<(zstd -d backup.zst)`.
    let mut unpacking = Command::new("sh");
    unpacking.args(["-c", "mkfifo unpacking; cat backup.tar > unpacking &"]).current_dir(directory);
    assert!(unpacking.status().unwrap().success());
    let said = ran(directory, &["verify", "unpacking"]).await;
    assert!(said.contains("whole, position 0000000000000001 "), "{said}");
    // Nothing is written over, and what is none is named.
    let of_server: Vec<_> = of_server.iter().map(String::as_str).collect();
    std::fs::create_dir(directory.join("there")).unwrap();
    refused(directory, &[&["backup", "--to=there"][..], &of_server].concat(), "there exists").await;
    refused(directory, &["restore", "backup.tar", "--db=db"], "db exists").await;
    refused(directory, &["restore", "there", "--db=new"], "is no backup").await;
    refused(directory, &["verify", "nowhere"], "nowhere: ").await;
    backed_up(&server, "monday").await;
    refused(directory, &["--db=monday", "--port=0"], "monday is a backup, and no database").await;
    std::fs::create_dir(directory.join("archive")).unwrap();
    std::fs::rename(directory.join("monday"), directory.join("archive/0000001790000000-0123abcd")).unwrap();
    refused(directory, &["--db=archive", "--port=0"], "archive is a backup, and no database").await;
    let wrong = std::fs::write(directory.join("wrong"), "wrong-token-0123456789").map(|()| "--admin_token_file=wrong");
    refused(directory, &["backup", "--to=x", of_server[0], wrong.unwrap()], "admin_token is incorrect").await;
    refused(directory, &["backup", "--to=x", "--url=http://127.0.0.1:1", of_server[1]], "cannot be reached").await;
}
