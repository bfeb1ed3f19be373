//! Guards the password policy.

use futures_util::future::join_all;
use serde_json::json;

use super::{by_password, login_with_code, reset, reset_code, revoke, step, ticks, with_two_factor};
use crate::support::{TestServer, password_of, until_throttled};

#[tokio::test]
async fn nobody_is_told_why_a_sign_in_was_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    for name in ["alice", "revoked"] {
        client.create_user(name, "acme").await;
    }
    revoke(&client, "revoked").await;
    let app = with_two_factor(&client, "two-factor").await;
    let spent = app.code(step());
    login_with_code(&client, "two-factor", &spent).await.ok();
    let mut bodies = vec![
        client.login("alice", "wrong").await,
        client.login("nobody", "wrong").await,
        client.login("revoked", &password_of("revoked")).await,
        client.login("revoked", "wrong").await,
        client.login("two-factor", "wrong").await,
        login_with_code(&client, "two-factor", &app.wrong_code()).await,
        login_with_code(&client, "two-factor", &spent).await,
        by_password(&client, "alice", "wrong").verify().await,
        by_password(&client, "nobody", "wrong").verify().await,
        by_password(&client, "two-factor", &password_of("two-factor")).verify().await,
        client.with_authorization("Bearer x").verify().await,
        client.get("/verify").await,
    ];
    bodies.dedup_by_key(|answer| {
        let mut headers: Vec<_> =
            answer.headers.iter().filter(|(name, _)| *name != "date" && *name != "x-request-id").collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        format!("{} {headers:?} {}", answer.status, answer.body)
    });
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn an_unknown_name_costs_the_server_as_much_as_a_wrong_password() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let cost = async |username: &str| {
        let before = ticks(&server);
        for _ in 0..15 {
            client.login(username, "wrong").await.refused(401, "unauthorized");
        }
        ticks(&server) - before
    };
    let (known, unknown) = (cost("alice").await, cost("nobody").await);
    assert!(unknown * 2 > known && known * 2 > unknown, "known: {known} ticks, unknown: {unknown}");
}

#[tokio::test]
async fn guesses_side_by_side_do_not_tell_whether_a_user_exists() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let statuses = async |username: &str| {
        let user = by_password(&client, username, "wrong");
        let mut statuses: Vec<_> =
            join_all((0..40).map(|_| user.verify())).await.iter().map(|answer| answer.status).collect();
        statuses.sort();
        // The account has as much left as another that was guessed at in the same way.
        while statuses.len() < 100 {
            statuses.push(client.login(username, "wrong").await.status);
        }
        statuses
    };
    let (known, unknown) = (statuses("alice").await, statuses("nobody").await);
    let answered = |statuses: &[u16]| statuses.iter().filter(|status| **status == 401).count();
    // The same but for how many were hashed together, and for what was won back meanwhile.
    assert!(answered(&known).abs_diff(answered(&unknown)) < 10, "known: {known:?}, unknown: {unknown:?}");
}

#[tokio::test]
async fn a_password_is_kept_as_an_argon2id_hash_only() {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    by_password(&alice.client, "alice", &password_of("alice")).verify().await.ok();
    server.kill();
    let kept = server.stored();
    assert!(kept.has("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert!(!kept.has(password_of("alice")));
    assert!(!kept.has(alice.jwt()));
}

#[tokio::test]
async fn no_reply_holds_a_hash_or_a_secret() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let secret = app.url.split_once("secret=").unwrap().1.split('&').next().unwrap();
    let code = super::reset_code(&client, "alice").await;
    let jwt = login_with_code(&client, "alice", &app.code(step())).await.jwt();
    let alice = client.with_authorization(&format!("Bearer {jwt}"));
    for answer in [
        client.admin("/get_user", json!({ "username": "alice" })).await.ok(),
        client.admin("/list_users", json!({})).await.ok(),
        client.admin("/update_user", json!({ "username": "alice", "data": 1 })).await.ok(),
        alice.verify().await.ok(),
        alice.try_insert("news", json!(1)).await.ok(),
        client.login("alice", "wrong").await,
    ] {
        let said = format!("{:?} {}", answer.headers, answer.body);
        for kept_back in ["argon2", "pw-secret", secret, &format!("\"{code}\"")] {
            assert!(!said.contains(kept_back), "{kept_back}: {said}");
        }
    }
}

#[tokio::test]
async fn two_users_with_the_same_password_have_different_hashes() {
    let mut server = TestServer::start().await;
    for name in ["alice", "bob"] {
        server.client().create_user_with(name, "acme", json!({ "password": "pw-secret-same" })).await.ok();
    }
    server.kill();
    let kept = server.stored().0;
    let mark = b"$argon2id$v=19$m=19456,t=2,p=1$";
    let starts = kept.windows(mark.len()).enumerate().filter(|(_, window)| window == mark).map(|(at, _)| at);
    // Salt and hash are 22 and 43 characters with a `$` between.
    let mut hashes: Vec<_> = starts.map(|at| &kept[at + mark.len()..][..66]).collect();
    hashes.sort();
    hashes.dedup();
    let mut salts: Vec<_> = hashes.iter().map(|hash| &hash[..22]).collect();
    salts.dedup();
    assert_eq!((hashes.len(), salts.len()), (2, 2));
}

/// The processor time that the threads that work on passwords have used, and that of all others, in ticks.
fn ticks_of_pool_and_others(server: &TestServer) -> [u64; 2] {
    let mut ticks = [0, 0];
    for thread in std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        // One may have ended by now.
        let Ok(stat) = std::fs::read_to_string(thread.unwrap().path().join("stat")) else { continue };
        let is_other = !stat.contains("(argon2-");
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        ticks[usize::from(is_other)] += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    }
    ticks
}

/// What they have used since then.
fn since(before: [u64; 2], server: &TestServer) -> [u64; 2] {
    let now = ticks_of_pool_and_others(server);
    [now[0] - before[0], now[1] - before[1]]
}

/// A hundred characters, each of which may stand for others.
fn leet() -> String {
    "4@8({[<3691!|70$5+%2".to_owned() + &"4".repeat(80)
}

#[tokio::test]
async fn a_hundred_characters_of_leet_are_judged_in_a_moment_and_for_nobody_without_a_code() {
    let server = TestServer::start_with(&["--password_checker"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let cost = async |known_code: bool| {
        let before = ticks(&server);
        for _ in 0..5 {
            if known_code {
                let code = reset_code(&client, "alice").await;
                reset(&client, "alice", &leet(), &code).await.ok();
            } else {
                reset(&client, "alice", &leet(), "nonsense").await.refused(401, "unauthorized");
            }
        }
        ticks(&server) - before
    };
    let (judged, not_judged) = (cost(true).await, cost(false).await);
    assert!(judged < 200, "{judged} ticks");
    assert!(not_judged < 20, "{not_judged} ticks");
}

#[tokio::test]
async fn new_passwords_are_judged_on_the_threads_for_passwords_after_the_allowance_and_the_code() {
    /// As many wrong guesses as are allowed at once, or fewer.
    const ROUNDS: usize = 15;
    let server = TestServer::start_with(&["--password_checker"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let before = ticks_of_pool_and_others(&server);
    for _ in 0..ROUNDS {
        client.admin("/update_user", json!({ "username": "alice", "password": leet() })).await.ok();
    }
    let [judging, serving] = since(before, &server);
    assert!(judging > 2 * serving, "{judging} ticks on their threads, {serving} elsewhere");

    // Guesses that are allowed, and then guesses that are not.
    for status in [401, 429] {
        let before = ticks_of_pool_and_others(&server);
        for _ in 0..ROUNDS {
            let answer = reset(&client, "alice", &leet(), "nonsense").await;
            // One may be allowed again meanwhile.
            assert!([401, status].contains(&answer.status), "{answer:?}");
        }
        let [judging_none, serving] = since(before, &server);
        assert!(judging_none < 3 && 2 * serving < judging, "{status}: {judging_none} and {serving} of {judging} ticks");
        until_throttled(async || reset(&client, "alice", &leet(), "nonsense").await).await;
    }
}
