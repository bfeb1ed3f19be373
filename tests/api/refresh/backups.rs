//! Guards refresh tokens over restarts, over time, and over a backup that is restored.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use crate::ntp::{NtpServer, asking};
use crate::support::{Session, TestServer, command, eventually, in_time};

/// The same server when so many seconds have gone by.
async fn after(server: TestServer, seconds: i64, more: &[&str]) -> (TestServer, [NtpServer; 2]) {
    let servers = [NtpServer::start(seconds), NtpServer::start(seconds)];
    let mut flags = vec![asking(&[&servers[0], &servers[1]]), "--accept_clock_step".to_owned()];
    flags.extend(more.iter().map(ToString::to_string));
    let server = server.end_and_restart_with(move |directory| command(&flags, directory)).await;
    let is_set =
        |line: &str| line.contains("the clock was wrong and is set") || line.contains("the clock is corrected");
    eventually("the other time", || server.log().lines().any(is_set)).await;
    (server, servers)
}

#[tokio::test]
async fn a_session_goes_on_over_a_restart_and_tokens_that_were_replaced_stay_so() {
    for kill in [false, true] {
        in_time("a former token within the ten seconds of its grace", async || {
            let server = TestServer::start().await;
            let client = server.client();
            client.create_user("alice", "acme").await;
            let (first, ended) = (client.begin_session("alice").await, client.begin_session("alice").await);
            let since = Instant::now();
            let second = first.refreshed().await;
            ended.user.post("/logout", json!({})).await.ok();
            let server = server.end_and_restart(kill).await;
            let client = server.client();
            // It gives no more than it did before the restart.
            let again = first.at(&client).refresh().await;
            if since.elapsed() >= Duration::from_secs(10) {
                return None;
            }
            assert_eq!(again.ok().json().get("refresh_token"), None);
            second.at(&client).user.verify().await.ok();
            second.at(&client).refreshed().await;
            ended.at(&client).refresh().await.refused(401, "session_ended");
            ended.at(&client).user.verify().await.refused(401, "unauthorized");
            Some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_that_is_used_later_than_the_grace_ends_the_session_of_its_successor() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let first = client.begin_session("alice").await;
    let second = first.refreshed().await;
    let (server, _clock) = after(server, 11, &[]).await;
    let client = server.client();
    let (first, second) = (first.at(&client), second.at(&client));
    let mut stream = second.user.stream().await;
    first.refresh().await.refused(401, "session_ended");
    assert_eq!(stream.ends_now().await, []);
    second.refresh().await.refused(401, "session_ended");
    second.user.verify().await.refused(401, "unauthorized");
    assert_eq!(client.sign_in("alice").await.get("/sessions").await.ok().json(), json!([]));
}

#[tokio::test]
async fn a_session_ends_if_it_is_not_refreshed_and_goes_on_if_it_is() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (session, forgotten) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let day = 24 * 3600;
    let (server, _clock) = after(server, 29 * day, &[]).await;
    let session = session.at(&server.client()).refreshed().await;
    let (server, _clock) = after(server, 58 * day, &[]).await;
    let client = server.client();
    forgotten.at(&client).refresh().await.refused(401, "session_ended");
    let session = session.at(&client).refreshed().await;
    let list = session.user.get("/sessions").await.ok().json();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    let (server, _clock) = after(server, 100 * day, &[]).await;
    session.at(&server.client()).refresh().await.refused(401, "session_ended");
}

#[tokio::test]
async fn no_secret_of_a_refresh_token_is_stored() {
    let mut server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let mut sessions = vec![client.begin_session("alice").await];
    for _ in 0..2 {
        sessions.push(sessions[sessions.len() - 1].refreshed().await);
    }
    // In the journal, and then in what is made of it at a stop.
    for is_stopped in [false, true] {
        if is_stopped {
            server.stop().await;
        }
        let stored = server.stored();
        assert!(stored.has("\"address\":\"127.0.0.1\""), "a session is stored otherwise");
        for session in &sessions {
            for part in session.refresh_token.split('.').skip(1) {
                let secret = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
                // Without the end, which is spelled otherwise if more comes behind it.
                let spellings = [part, &BASE64_STANDARD_NO_PAD.encode(&secret)].map(|text| text[..20].to_owned());
                assert!(!stored.has(&secret) && spellings.iter().all(|text| !stored.has(text)), "{part}");
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// A server with a session, and one that was restored from a backup of before the session was renewed and another one was ended.
async fn restored(flags: &'static [&str]) -> (TestServer, [Session; 3]) {
    let mut server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (first, ended) = (client.begin_session("alice").await, client.begin_session("alice").await);
    server.stop().await;
    let backup = Arc::new(tempfile::tempdir().unwrap());
    copy(&server.directory().join("db"), backup.path());
    let server = server.restart().await;
    let second = first.at(&server.client()).refreshed().await;
    ended.at(&server.client()).user.post("/logout", json!({})).await.ok();
    drop(server);
    let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
    let server = TestServer::try_start(backup, move |directory| command(&flags, directory)).await.unwrap();
    let sessions = [first, second, ended].map(|session| session.at(&server.client()));
    (server, sessions)
}

#[tokio::test]
async fn with_another_secret_a_restored_backup_takes_none_of_the_tokens_of_before() {
    let (server, sessions) = restored(&["--jwt_secret=another-secret-0123456789"]).await;
    for session in sessions {
        session.refresh().await.refused(401, "session_ended");
        session.user.verify().await.refused(401, "unauthorized");
    }
    let session = server.client().begin_session("alice").await.refreshed().await;
    let list = session.user.get("/sessions").await.ok().json();
    let listed: Vec<_> = list.as_array().unwrap().iter().map(|listed| &listed["session"]).collect();
    assert_eq!(listed, [&json!(session.id)]);
}

#[tokio::test]
async fn a_token_that_a_restored_backup_does_not_know_ends_its_session() {
    let (_server, [first, second, _]) = restored(&[]).await;
    second.refresh().await.refused(401, "session_ended");
    first.refresh().await.refused(401, "session_ended");
}
