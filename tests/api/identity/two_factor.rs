//! Guards two-factor authentication.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{
    Authenticator, by_password, login_with, login_with_code, other_than, reset, reset_code, revoke, step, update,
    with_two_factor,
};
use crate::sse_ticket::{ask, set_cookie, ticket_of};
use crate::support::{TestServer, password_of, until_throttled};

#[tokio::test]
async fn the_qr_code_holds_a_percent_encoded_otpauth_url() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("zoë@x y", "acme").await;
    let url = Authenticator::scan(&client, "zoë@x y", "A & B; c/d?").await.url;
    let (label, query) = url.split_once('?').unwrap();
    assert_eq!(label, "otpauth://totp/A%20%26%20B%3B%20c%2Fd%3F:zo%C3%AB%40x%20y");
    let parameters: Vec<_> = query.split('&').collect();
    assert_eq!(parameters[1], "issuer=A%20%26%20B%3B%20c%2Fd%3F");
    let secret = parameters[0].strip_prefix("secret=").unwrap();
    assert_eq!(secret.len(), 32, "160 bits");
    assert!(secret.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')), "base 32 without padding");
}

#[tokio::test]
async fn everybody_has_a_secret_of_their_own_which_stays() {
    let mut server = TestServer::start().await;
    let client = server.client();
    for name in ["alice", "bob"] {
        client.create_user(name, "acme").await;
    }
    let alice = Authenticator::scan(&client, "alice", "Acme").await.url;
    assert_ne!(alice.replace("alice", "bob"), Authenticator::scan(&client, "bob", "Acme").await.url);
    update(&client, "alice", json!({ "two_factor": true, "password": password_of("new") })).await;
    server.kill();
    let server = server.restart().await;
    assert_eq!(Authenticator::scan(&server.client(), "alice", "Acme").await.url, alice);
}

#[tokio::test]
async fn with_two_factor_on_a_sign_in_needs_the_code() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    client.login("alice", &password_of("alice")).await.refused(401, "totp_required");
    // Only after the right password, so that nobody else learns who has two-factor on.
    for wrong in [
        client.login("alice", "wrong").await,
        login_with_code(&client, "alice", &app.wrong_code()).await,
        login_with(&client, "alice", "wrong", &app.code(step())).await,
    ] {
        wrong.refused(401, "unauthorized");
    }
    let answer = login_with_code(&client, "alice", &app.code(step())).await.ok();
    let jwt = answer.jwt();
    assert_eq!(client.with_authorization(&format!("Bearer {jwt}")).doors().await, [200; 3]);
}

#[tokio::test]
async fn anything_but_six_digits_is_no_code() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let code = app.code(step());
    let wide: String = code.bytes().map(|digit| char::from_u32(u32::from(digit) - 0x30 + 0xff10).unwrap()).collect();
    for bad in ["", &code[..5], &format!("{code}0"), &format!("{code}."), &wide, "12345a", "-12345"] {
        login_with_code(&client, "alice", bad).await.refused(401, "unauthorized");
    }
    let number = json!({ "username": "alice", "password": password_of("alice"), "totp": 123_456 });
    client.post("/login", &number).await.refused(400, "body_invalid");
    login_with_code(&client, "alice", &code).await.ok();
}

#[tokio::test]
async fn blanks_and_hyphens_in_a_code_are_not_looked_at() {
    let server = TestServer::start().await;
    let client = server.client();
    for (name, blank) in
        [("alice", " "), ("bob", "\u{a0}"), ("carol", "-"), ("dave", "\u{202f}"), ("erin", "\n"), ("frank", "\u{feff}")]
    {
        let app = with_two_factor(&client, name).await;
        let code = app.code(step());
        let shown = format!("{blank}{}{blank}{}{blank}", &code[..3], &code[3..]);
        login_with_code(&client, name, &shown).await.ok();
        login_with_code(&client, name, &code).await.refused(401, "unauthorized");
        let code = reset_code(&client, name).await;
        let shown = format!("{}{blank}{}", &code[..3], &code[3..]);
        reset(&client, name, &password_of("new"), &shown).await.ok();
    }
}

#[tokio::test]
async fn a_code_works_once() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let code = app.code(step());
    login_with_code(&client, "alice", &code).await.ok();
    for _ in 0..3 {
        login_with_code(&client, "alice", &code).await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_code_works_once_even_side_by_side() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let code = app.code(step());
    let answers = join_all((0..20).map(|_| login_with_code(&client, "alice", &code))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort();
    assert_eq!(statuses, [[200].as_slice(), &[401; 19]].concat());
}

#[tokio::test]
async fn a_used_code_stays_used_over_a_restart() {
    let mut server = TestServer::start().await;
    let app = with_two_factor(&server.client(), "alice").await;
    let code = app.code(step());
    login_with_code(&server.client(), "alice", &code).await.ok();
    server.kill();
    let server = server.restart().await;
    login_with_code(&server.client(), "alice", &code).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn the_code_of_one_step_before_or_after_holds_and_no_other() {
    let server = TestServer::start().await;
    let client = server.client();
    for round in 0.. {
        let mut users = Vec::new();
        for (n, offset) in [-3_i64, -2, -1, 0, 1, 2, 3].into_iter().enumerate() {
            let username = format!("user{round}-{n}");
            users.push((with_two_factor(&client, &username).await, username, offset));
        }
        let mut found = Vec::new();
        let now = step();
        for (app, username, offset) in &users {
            let code = app.code(now.checked_add_signed(*offset).unwrap());
            found.push(login_with_code(&client, username, &code).await.status);
        }
        // Where a step ended meanwhile, what was found says nothing.
        if step() == now {
            assert_eq!(found, [401, 401, 200, 200, 200, 401, 401]);
            break;
        }
    }
}

#[tokio::test]
async fn a_code_spends_those_of_the_steps_before_it() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let now = step();
    login_with_code(&client, "alice", &app.code(now + 1)).await.ok();
    for earlier in [now - 1, now, now + 1] {
        login_with_code(&client, "alice", &app.code(earlier)).await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_wrong_password_does_not_spend_the_code() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let code = app.code(step());
    login_with(&client, "alice", "wrong", &code).await.refused(401, "unauthorized");
    login_with_code(&client, "alice", &code).await.ok();
}

#[tokio::test]
async fn the_code_of_another_user_does_not_hold() {
    let server = TestServer::start().await;
    let client = server.client();
    let alice = with_two_factor(&client, "alice").await;
    let mallory = with_two_factor(&client, "mallory").await;
    let code = mallory.code(step());
    assert_ne!(code, alice.code(step()), "one chance in a million");
    login_with_code(&client, "alice", &code).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn two_factor_can_be_switched_on_and_off() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let app = Authenticator::scan(&client, "alice", "Acme").await;
    client.sign_in("alice").await;
    update(&client, "alice", json!({ "two_factor": true })).await;
    client.login("alice", &password_of("alice")).await.refused(401, "totp_required");
    login_with_code(&client, "alice", &app.code(step())).await.ok();
    update(&client, "alice", json!({ "two_factor": false })).await;
    client.sign_in("alice").await;
}

#[tokio::test]
async fn a_stream_by_password_ends_when_two_factor_is_switched_on() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let mut stream = by_password(&client, "alice", &password_of("alice")).stream().await;
    update(&client, "alice", json!({ "two_factor": true })).await;
    stream.ends_now().await;
}

#[tokio::test]
async fn a_sign_in_code_is_no_reset_code() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    // Neither where no reset was asked for, nor where one was.
    for asked in [false, true] {
        let real = if asked { reset_code(&client, "alice").await } else { String::new() };
        for step in [step() - 1, step(), step() + 1] {
            let code = app.code(step);
            assert_ne!(code, real, "one chance in a million");
            reset(&client, "alice", &password_of("new"), &code).await.refused(401, "unauthorized");
        }
    }
    login_with_code(&client, "alice", &app.code(step())).await.ok();
}

#[tokio::test]
async fn a_reset_code_is_no_sign_in_code() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let code = loop {
        let code = reset_code(&client, "alice").await;
        if ![step() - 1, step(), step() + 1, step() + 2].map(|step| app.code(step)).contains(&code) {
            break code;
        }
    };
    login_with_code(&client, "alice", &code).await.refused(401, "unauthorized");
    reset(&client, "alice", &password_of("new"), &code).await.ok();
}

#[tokio::test]
async fn after_a_reset_the_second_factor_is_still_needed_and_the_same() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let spent = app.code(step());
    login_with_code(&client, "alice", &spent).await.ok();
    let code = reset_code(&client, "alice").await;
    let new = password_of("new");
    let answer = reset(&client, "alice", &new, &code).await.ok();
    assert_eq!(answer.body, "", "a reset signs nobody in");
    client.login("alice", &new).await.refused(401, "totp_required");
    login_with(&client, "alice", &new, &spent).await.refused(401, "unauthorized");
    assert_eq!(by_password(&client, "alice", &new).doors().await, [401; 3]);
    login_with(&client, "alice", &new, &app.code(step() + 1)).await.ok();
}

#[tokio::test]
async fn a_revoked_user_is_not_let_in_by_a_code_and_does_not_spend_it() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let code = app.code(step());
    revoke(&client, "alice").await;
    login_with_code(&client, "alice", &code).await.refused(401, "unauthorized");
    super::unrevoke(&client, "alice").await;
    login_with_code(&client, "alice", &code).await.ok();
}

#[tokio::test]
async fn guesses_of_a_code_do_not_go_on_for_ever() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let mut wrong = app.wrong_code();
    for _ in 0..20 {
        login_with_code(&client, "alice", &wrong).await.refused(401, "unauthorized");
        wrong = other_than(&wrong);
        while [step() - 1, step(), step() + 1, step() + 2].map(|step| app.code(step)).contains(&wrong) {
            wrong = other_than(&wrong);
        }
    }
    until_throttled(async || login_with_code(&client, "alice", &wrong).await).await;
    login_with_code(&client, "alice", &app.code(step())).await.refused(429, "too_many_attempts");
}

#[tokio::test]
async fn a_sign_in_by_the_password_alone_ends_once_two_factor_is_on() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (fresh, used) = (ticket_of(&alice).await, ticket_of(&alice).await);
    let by = async |ticket: &str, cookie: &str| {
        let path = format!("/sse?ticket={ticket}");
        alice.client.request(Method::HEAD, &path, &[("cookie", cookie)], None).await
    };
    let opened = ask(&alice.client, &format!("/sse?ticket={used}"), &[]).await;
    let pass = set_cookie(opened.headers()).split(';').next().unwrap().to_owned();
    drop(opened);
    by(&fresh, "").await.ok();
    assert_eq!(by(&used, "").await.status, 401);
    by(&used, &pass).await.ok();
    let mut stream = alice.stream().await;
    let app = Authenticator::scan(&alice.client, "alice", "Acme").await;
    update(&alice.client, "alice", json!({ "two_factor": true })).await;
    assert_eq!(alice.doors().await, [401; 3]);
    assert_eq!(by(&fresh, "").await.status, 401);
    assert_eq!(by(&used, &pass).await.status, 401);
    stream.ends_now().await;
    let jwt = login_with_code(&alice.client, "alice", &app.code(step())).await.jwt();
    let with_code = alice.client.with_authorization(&format!("Bearer {jwt}"));
    // To switch it on once more changes nothing, and to switch it off asks for less.
    for two_factor in [true, false] {
        update(&alice.client, "alice", json!({ "two_factor": two_factor })).await;
        assert_eq!(with_code.doors().await, [200; 3]);
    }
    assert_eq!(alice.doors().await, [401; 3], "what has ended stays so");
}

#[tokio::test]
async fn a_code_that_was_used_is_a_wrong_guess() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let code = app.code(step() + 1);
    login_with_code(&client, "alice", &code).await.ok();
    for _ in 0..20 {
        login_with_code(&client, "alice", &code).await.refused(401, "unauthorized");
    }
    until_throttled(async || login_with_code(&client, "alice", &code).await).await;
}

#[tokio::test]
async fn a_sign_in_without_the_code_counts_as_a_wrong_guess() {
    let server = TestServer::start().await;
    let client = server.client();
    with_two_factor(&client, "alice").await;
    let without = async || client.login("alice", &password_of("alice")).await;
    for _ in 0..20 {
        without().await.refused(401, "totp_required");
    }
    until_throttled(without).await;
}

#[tokio::test]
async fn wrong_passwords_of_strangers_take_nothing_from_the_owners_allowance_for_codes() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    for _ in 0..15 {
        client.login("alice", "a stranger's guess").await.refused(401, "unauthorized");
    }
    // As many as without them.
    let wrong = app.wrong_code();
    for _ in 0..20 {
        login_with_code(&client, "alice", &wrong).await.refused(401, "unauthorized");
    }
    until_throttled(async || login_with_code(&client, "alice", &wrong).await).await;
    // Nor do wrong codes take a guess at the password.
    client.login("alice", "a stranger's guess").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn of_a_thousand_wrong_codes_at_once_few_are_looked_at_and_the_right_one_is_not_among_them() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let wrong = app.wrong_code();
    let answers = join_all((0..1000).map(|_| login_with_code(&client, "alice", &wrong))).await;
    let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
    // One or another may have been won back meanwhile.
    assert!((20..=25).contains(&looked_at), "{looked_at}");
    assert!(answers.iter().all(|answer| [401, 429, 503].contains(&answer.status)));
}

#[tokio::test]
async fn a_right_password_without_the_code_is_remembered_nowhere() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let basic = by_password(&client, "alice", &password_of("alice"));
    client.login("alice", &password_of("alice")).await.refused(401, "totp_required");
    assert_eq!(basic.doors().await, [401; 3]);
    login_with_code(&client, "alice", &app.code(step())).await.ok();
    assert_eq!(basic.doors().await, [401; 3]);
    client.login("alice", &password_of("alice")).await.refused(401, "totp_required");
}
