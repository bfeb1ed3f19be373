//! Guards `/password_reset` and its codes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::identity::{other_than, ticks};
use crate::support::{TestServer, password_of, reset, reset_code, revoke, unrevoke, until_throttled, update};

#[tokio::test]
async fn password_reset_sets_a_new_password() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    reset(&client, "alice", &password_of("new"), &code).await.ok();
    client.login("alice", &password_of("new")).await.ok();
    client.login("alice", &password_of("alice")).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn password_reset_with_a_wrong_code_is_401() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    reset_code(&client, "alice").await;
    // None of these is six digits, so none can be the right one by chance.
    for (username, totp) in [("alice", "12345"), ("alice", ""), ("nobody", "123456"), ("a:b", "1"), ("", "")] {
        reset(&client, username, &password_of("new"), totp).await.refused(401, "unauthorized");
    }
    client.login("alice", &password_of("alice")).await.ok();
}

#[tokio::test]
async fn a_reset_code_works_once() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    reset(&client, "alice", &password_of("first"), &code).await.ok();
    reset(&client, "alice", &password_of("second"), &code).await.refused(401, "unauthorized");
    client.login("alice", &password_of("first")).await.ok();
}

#[tokio::test]
async fn a_reset_code_works_once_even_side_by_side() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    let passwords: Vec<_> = (0..16).map(|n| password_of(&format!("new{n}"))).collect();
    let answers = join_all(passwords.iter().map(|password| reset(&client, "alice", password, &code))).await;
    let won: Vec<_> = answers.iter().enumerate().filter(|(_, answer)| answer.status == 200).map(|(n, _)| n).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status)), "{answers:?}");
    client.login("alice", &passwords[won[0]]).await.ok();
}

#[tokio::test]
async fn only_the_newest_reset_code_is_worth_anything() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let old = reset_code(&client, "alice").await;
    let new = loop {
        let new = reset_code(&client, "alice").await;
        if new != old {
            break new;
        }
    };
    reset(&client, "alice", &password_of("new"), &old).await.refused(401, "unauthorized");
    reset(&client, "alice", &password_of("new"), &new).await.ok();
}

#[tokio::test]
async fn reset_codes_are_drawn_at_random() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(reset_code(&client, "alice").await);
    }
    codes.sort();
    codes.dedup();
    assert!(codes.len() > 25, "{codes:?}");
}

#[tokio::test]
async fn a_reset_code_bears_four_wrong_guesses() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    for wrong in [other_than(&code), String::new(), format!("{code}0"), format!("{code}x")] {
        reset(&client, "alice", &password_of("new"), &wrong).await.refused(401, "unauthorized");
    }
    reset(&client, "alice", &password_of("new"), &code).await.ok();
}

#[tokio::test]
async fn a_reset_code_dies_after_five_wrong_guesses() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    for _ in 0..5 {
        reset(&client, "alice", &password_of("new"), &other_than(&code)).await.refused(401, "unauthorized");
    }
    reset(&client, "alice", &password_of("new"), &code).await.refused(401, "unauthorized");
    client.login("alice", &password_of("alice")).await.ok();
    let another = reset_code(&client, "alice").await;
    reset(&client, "alice", &password_of("new"), &another).await.ok();
}

#[tokio::test]
async fn a_reset_code_dies_after_five_wrong_guesses_side_by_side() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    let (wrong, new) = (other_than(&code), password_of("new"));
    let answers = join_all((0..5).map(|_| reset(&client, "alice", &new, &wrong))).await;
    assert!(answers.iter().all(|answer| answer.status == 401), "{answers:?}");
    reset(&client, "alice", &new, &code).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn wrong_guesses_are_counted_over_a_restart() {
    let mut server = TestServer::start().await;
    let (client, new) = (server.client(), password_of("new"));
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    for _ in 0..4 {
        reset(&client, "alice", &new, &other_than(&code)).await.refused(401, "unauthorized");
    }
    server.kill();
    let server = server.restart().await;
    reset(&server.client(), "alice", &new, &other_than(&code)).await.refused(401, "unauthorized");
    reset(&server.client(), "alice", &new, &code).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_reset_code_works_after_a_restart_and_then_no_more() {
    let mut server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let code = reset_code(&server.client(), "alice").await;
    server.kill();
    let mut server = server.restart().await;
    reset(&server.client(), "alice", &password_of("new"), &code).await.ok();
    server.kill();
    let server = server.restart().await;
    reset(&server.client(), "alice", &password_of("newer"), &code).await.refused(401, "unauthorized");
    server.client().login("alice", &password_of("new")).await.ok();
}

#[tokio::test]
async fn a_reset_code_lives_as_long_as_totp_duration_says() {
    let (short, long) = (TestServer::start_with(&["--totp_duration=1"]).await, TestServer::start().await);
    for server in [&short, &long] {
        server.client().create_user("alice", "acme").await;
    }
    let (old, living) = (reset_code(&short.client(), "alice").await, reset_code(&long.client(), "alice").await);
    // Longer than it lives, by however much.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    reset(&short.client(), "alice", &password_of("new"), &old).await.refused(401, "unauthorized");
    reset(&long.client(), "alice", &password_of("new"), &living).await.ok();
}

#[tokio::test]
async fn a_weak_password_is_400_and_leaves_the_code_unspent() {
    let server = TestServer::start_with(&["--password_checker=true"]).await;
    let (client, strong) = (server.client(), "pw-secret-quiet-Osprey-71-lantern");
    client.create_user_with("alice", "acme", json!({ "password": strong })).await.ok();
    let code = reset_code(&client, "alice").await;
    // More often than wrong codes are borne.
    for _ in 0..7 {
        let answer = reset(&client, "alice", "password", &code).await.refused(400, "password_weak");
        assert!(answer.error().starts_with("password is too weak because "), "{answer:?}");
    }
    client.login("alice", strong).await.ok();
    let new = "pw-secret-amber-Kestrel-42-harbour";
    reset(&client, "alice", new, &code).await.ok();
    client.login("alice", new).await.ok();
}

#[tokio::test]
async fn an_impossible_password_is_400_and_leaves_the_code_unspent() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    reset(&client, "alice", "", &code).await.refused(400, "password_invalid");
    reset(&client, "alice", &"x".repeat(1025), &code).await.refused(400, "password_invalid");
    reset(&client, "alice", &password_of("new"), &code).await.ok();
}

#[tokio::test]
async fn a_reset_ends_the_tokens_and_streams_from_before_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let code = reset_code(&alice.client, "alice").await;
    assert_eq!(alice.doors().await, [200; 3], "asking for a code ends nothing");
    reset(&alice.client, "alice", &password_of("new"), &code).await.ok();
    assert_eq!(alice.doors().await, [401; 3]);
    stream.ends_now().await;
}

#[tokio::test]
async fn a_reset_leaves_other_users_alone() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut stream = bob.stream().await;
    let code = reset_code(&alice.client, "alice").await;
    reset(&alice.client, "bob", &password_of("new"), &code).await.refused(401, "unauthorized");
    reset(&alice.client, "alice", &password_of("new"), &code).await.ok();
    let id = bob.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
}

#[tokio::test]
async fn nobody_is_told_whether_a_user_exists_or_a_code_is_out() {
    let server = TestServer::start().await;
    let client = server.client();
    for name in ["asked", "not-asked", "revoked"] {
        client.create_user(name, "acme").await;
    }
    let code = reset_code(&client, "asked").await;
    reset_code(&client, "revoked").await;
    revoke(&client, "revoked").await;
    let mut bodies = Vec::new();
    for name in ["asked", "not-asked", "revoked", "nobody"] {
        let answer = reset(&client, name, &password_of("new"), &other_than(&code)).await.refused(401, "unauthorized");
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn a_revoked_user_cannot_reset_nor_use_an_old_code_afterwards() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let before = reset_code(&client, "alice").await;
    revoke(&client, "alice").await;
    reset(&client, "alice", &password_of("new"), &before).await.refused(401, "unauthorized");
    let during = reset_code(&client, "alice").await;
    reset(&client, "alice", &password_of("new"), &during).await.refused(401, "unauthorized");
    unrevoke(&client, "alice").await;
    if before != during {
        reset(&client, "alice", &password_of("new"), &before).await.refused(401, "unauthorized");
    }
    client.login("alice", &password_of("alice")).await.ok();
}

#[tokio::test]
async fn a_new_password_by_the_admin_ends_an_outstanding_reset() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let code = reset_code(&client, "alice").await;
    update(&client, "alice", json!({ "password": password_of("admin") })).await;
    reset(&client, "alice", &password_of("new"), &code).await.refused(401, "unauthorized");
    client.login("alice", &password_of("admin")).await.ok();
}

#[tokio::test]
async fn guesses_do_not_go_on_for_ever_however_many_codes_are_asked_for() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for _ in 0..5 {
        let code = reset_code(&client, "alice").await;
        for _ in 0..4 {
            reset(&client, "alice", &password_of("new"), &other_than(&code)).await.refused(401, "unauthorized");
        }
    }
    let code = reset_code(&client, "alice").await;
    until_throttled(async || reset(&client, "alice", &password_of("new"), &other_than(&code)).await).await;
    let answer = reset(&client, "alice", &password_of("new"), &code).await.refused(429, "too_many_attempts");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_code_that_is_given_out_while_its_user_is_revoked_never_works() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    revoke(&client, "alice").await;
    let during = reset_code(&client, "alice").await;
    unrevoke(&client, "alice").await;
    reset(&client, "alice", &password_of("new"), &during).await.refused(401, "unauthorized");
    let after = reset_code(&client, "alice").await;
    // Unrevoking a user that is not revoked changes nothing.
    unrevoke(&client, "alice").await;
    reset(&client, "alice", &password_of("new"), &after).await.ok();
}

#[tokio::test]
async fn without_the_code_nothing_is_said_of_the_password() {
    let server = TestServer::start_with(&["--password_checker=true"]).await;
    let (client, strong) = (server.client(), "pw-secret-quiet-Osprey-71-lantern");
    client.create_user_with("alice", "acme", json!({ "password": strong })).await.ok();
    let code = reset_code(&client, "alice").await;
    for weak in ["short", "password1"] {
        reset(&client, "alice", weak, &other_than(&code)).await.refused(401, "unauthorized");
        reset(&client, "nobody", weak, &code).await.refused(401, "unauthorized");
    }
    reset(&client, "alice", "short", &code).await.refused(400, "password_too_short");
    reset(&client, "alice", "password1", &code).await.refused(400, "password_weak");
    for _ in 0..18 {
        reset(&client, "alice", "password1", &other_than(&code)).await.refused(401, "unauthorized");
    }
    until_throttled(async || reset(&client, "alice", "password1", &other_than(&code)).await).await;
    reset(&client, "alice", "password1", &code).await.refused(429, "too_many_attempts");
}

#[tokio::test]
async fn a_wrong_code_has_no_password_judged_or_hashed() {
    let server = TestServer::start_with(&["--password_checker=true"]).await;
    let client = server.client();
    // Such as zxcvbn takes long for.
    let long = "aB3$".repeat(25);
    let before = ticks(&server);
    for n in 0..15 {
        reset(&client, &format!("user{n}"), &long, "000000").await.refused(401, "unauthorized");
    }
    let guessed = ticks(&server) - before;
    let before = ticks(&server);
    for n in 0..15 {
        client.login(&format!("user{n}"), &long).await.refused(401, "unauthorized");
    }
    let hashed = ticks(&server) - before;
    assert!(guessed * 2 < hashed, "15 codes cost {guessed} ticks, 15 hashes {hashed}");
}

#[tokio::test]
async fn as_much_is_written_to_the_disk_for_every_wrong_code_whether_there_is_a_right_one_or_not() {
    let server = TestServer::start().await;
    let client = server.client();
    for name in ["asked", "plain", "revoked"] {
        client.create_user(name, "acme").await;
    }
    let code = reset_code(&client, "asked").await;
    reset_code(&client, "revoked").await;
    revoke(&client, "revoked").await;
    let journal = || {
        let files = std::fs::read_dir(server.database()).unwrap().map(|entry| entry.unwrap());
        let journals = files.filter(|file| file.file_name().to_str().unwrap().starts_with("journal."));
        journals.map(|file| file.metadata().unwrap().len()).sum::<u64>()
    };
    let mut written = Vec::new();
    for name in ["asked", "plain", "revoked", "nobody"] {
        let before = journal();
        reset(&client, name, &password_of("new"), &other_than(&code)).await.refused(401, "unauthorized");
        written.push(journal() - before);
    }
    assert!(written.iter().all(|bytes| bytes.abs_diff(written[0]) < 100), "{written:?}");
    assert!(written[0] > 0);
}
