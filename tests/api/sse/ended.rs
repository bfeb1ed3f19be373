//! Guards the end of streams: when they end, and when they do not.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::{
    Client, RawStream, Stream, TestServer, User, by_password, claims, insert_big, password_of, reset, reset_code,
    revoke, unrevoke, update, within,
};

/// The contract has a stream end within a second of what ends it. A busy machine gets more; a stream that found out only
/// at its next heartbeat would take 12 s.
const PROMPTLY: Duration = Duration::from_secs(8);

/// Inserts all the while, until dropped.
struct Pouring(tokio::task::JoinHandle<()>);

impl Pouring {
    fn from(user: User) -> Self {
        Self(tokio::spawn(async move {
            for number in 0.. {
                user.insert(&format!("pouring{}", number % 3), json!("x".repeat(500))).await;
            }
        }))
    }
}

impl Drop for Pouring {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Three streams of one user: all end when their rights do.
async fn streams_of(user: &User) -> Vec<Stream> {
    let again = user.client.sign_in("alice").await;
    vec![
        user.stream().await,
        again.stream_of("/sse?events=news", None).await,
        by_password(&user.client, "alice", &password_of("alice")).stream().await,
    ]
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Revocation,
    NewPassword,
    Reset,
    SecondFactor,
}

async fn bring_about(ending: Ending, client: &Client) {
    match ending {
        Ending::Revocation => revoke(client, "alice").await,
        Ending::NewPassword => update(client, "alice", json!({ "password": "pw-secret-new" })).await,
        Ending::SecondFactor => update(client, "alice", json!({ "two_factor": true })).await,
        Ending::Reset => {
            let code = reset_code(client, "alice").await;
            reset(client, "alice", "pw-secret-new", &code).await.ok();
        }
    }
}

async fn ends_all_streams_of_the_user(ending: Ending) {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    // In quiet, and while there is always something to send.
    for busy in [false, true] {
        let alice = if busy { restored(&server).await } else { alice.clone() };
        let mut streams = streams_of(&alice).await;
        let mut of_others = bob.stream().await;
        let pouring = busy.then(|| Pouring::from(bob.clone()));
        if busy {
            of_others.take(5).await;
        }
        bring_about(ending, &alice.client).await;
        let since = Instant::now();
        for stream in &mut streams {
            stream.rest().await;
            assert!(since.elapsed() < PROMPTLY, "{ending:?}, busy {busy}: {:?}", since.elapsed());
        }
        drop(pouring);
        // Nobody else's.
        let mark = bob.insert("mark", json!(null)).await;
        while of_others.next().await.id != mark {}
    }
}

/// Alice as she was, signed in again.
async fn restored(server: &TestServer) -> User {
    let client = server.client();
    unrevoke(&client, "alice").await;
    update(&client, "alice", json!({ "password": password_of("alice"), "two_factor": false })).await;
    client.sign_in("alice").await
}

#[tokio::test]
async fn revocation_ends_all_streams_of_the_user_and_nobody_elses() {
    ends_all_streams_of_the_user(Ending::Revocation).await;
}

#[tokio::test]
async fn a_password_that_an_admin_sets_ends_all_streams_of_the_user_and_nobody_elses() {
    ends_all_streams_of_the_user(Ending::NewPassword).await;
}

#[tokio::test]
async fn a_password_reset_ends_all_streams_of_the_user_and_nobody_elses() {
    ends_all_streams_of_the_user(Ending::Reset).await;
}

#[tokio::test]
async fn turning_the_second_factor_on_ends_all_streams_of_the_user_and_nobody_elses() {
    ends_all_streams_of_the_user(Ending::SecondFactor).await;
}

#[tokio::test]
async fn a_change_that_has_nothing_to_do_with_signing_in_ends_no_stream() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut streams = streams_of(&alice).await;
    for change in [
        json!({ "email": "alice@example.com" }),
        json!({ "data": [1] }),
        json!({ "scopes": ["news:get"] }),
        json!({ "tenant_name": "elsewhere" }),
        json!({ "tenant_name": "acme" }),
        json!({ "two_factor": false }),
    ] {
        update(&alice.client, "alice", change).await;
    }
    unrevoke(&alice.client, "alice").await;
    reset_code(&alice.client, "alice").await;
    let id = alice.insert("news", json!(1)).await;
    for stream in &mut streams {
        assert_eq!(stream.next().await.id, id);
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires_in_quiet_and_while_events_pour_in() {
    tokio::join!(ends_when_its_token_expires(false), ends_when_its_token_expires(true));
}

async fn ends_when_its_token_expires(busy: bool) {
    // Shortly after one heartbeat, and long before the next.
    let server = TestServer::start_with(&["--jwt_expiry=13"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    client.create_user("bob", "acme").await;
    // Basic has no expiry of its own. Little comes on this one, because it is not read meanwhile.
    let bob = by_password(&client, "bob", &password_of("bob"));
    let mut lasting = bob.stream_of("/sse?events=mark", None).await;
    let pouring = busy.then(|| Pouring::from(bob.clone()));
    let alice = client.sign_in("alice").await;
    let claims = claims(alice.jwt());
    let expires_at = UNIX_EPOCH + Duration::from_secs(claims["exp"].as_u64().unwrap());
    let (mut all, mut filtered) = (alice.stream().await, alice.stream_of("/sse?events=none", None).await);
    let (all, filtered) = tokio::join!(
        async {
            all.rest().await;
            SystemTime::now()
        },
        async {
            filtered.rest().await;
            SystemTime::now()
        },
    );
    for ended in [all, filtered] {
        assert!(ended >= expires_at, "busy {busy}: it ended before its time");
        assert!(ended < expires_at + PROMPTLY, "busy {busy}: {:?}", ended.duration_since(expires_at));
    }
    drop(pouring);
    assert_eq!(alice.verify().await.status, 401);
    let mark = bob.insert("mark", json!(null)).await;
    assert_eq!(lasting.next().await.id, mark);
}

#[tokio::test]
async fn a_stream_by_basic_is_a_stream_as_any_other() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let old = alice.insert("old", json!(1)).await;
    let basic = by_password(&alice.client, "alice", &password_of("alice"));
    let mut stream = basic.stream().await;
    assert_eq!(stream.next().await.id, old);
    let new = basic.insert("new", json!(2)).await;
    assert_eq!(stream.next().await.id, new);
    assert_eq!(basic.stream_of("/sse", Some(&old)).await.next().await.id, new);
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut_off_at_once_and_finds_nothing_of_after_the_revocation() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let before = server.connections();
    let mut stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    let mut lively = bob.stream().await;
    let big = insert_big(&bob).await;
    lively.take(big.len()).await;
    bring_about(Ending::Revocation, &alice.client).await;
    let after = bob.insert("after", json!(1)).await;
    assert_eq!(lively.next().await.id, after);
    drop(lively);
    // Although it does not read.
    server.keeps_only(before).await;
    while let Some(events) = within("the end", stalled.events()).await {
        assert!(events.iter().all(|event| event.id < after), "it got what came after the revocation");
    }
}
