use serde::Serialize;
use serde_json::{Value, json};
use totp_rs::Builder;

use crate::domain::{Password, User};
use crate::identity::password::Share;
use crate::identity::tests::{House, local, read};
use crate::identity::{Device, PasswordPool};

const PASSWORD: &str = "a password of zoe";

fn written(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

/// A second commit could be refused after the first one was made: then the client is told that nothing was done, and has lost its code, or
/// the only showing of the recovery codes.
#[tokio::test]
async fn a_session_begins_in_the_commit_that_lets_its_user_in() {
    let (user, from) = (User { two_factor: None, ..User::example() }, local());
    let share = Share::of_account(from, &user.username);
    let password_hash =
        PasswordPool::start().unwrap().hash_again(share, Password::parse(PASSWORD).unwrap()).await.unwrap();
    let house = House::of(User { password_hash, ..user }).await;
    let House { identity, store, clock, username: zoe, .. } = &house;
    let device = || Device { address: from, client: None };
    let since = |before: usize| house.commits() - before;
    let now = || house.commits();
    let principal = |answer: &Value| identity.bearer(answer["jwt"].as_str().unwrap()).unwrap();

    let before = now();
    let login = json!({ "username": "zoe", "password": PASSWORD, "refresh": true });
    let first = written(&identity.login(read(&login), device()).await.unwrap());
    assert_eq!(since(before), 1);

    identity.begin_two_factor(&principal(&first), read(&json!({ "password": PASSWORD })), from).await.unwrap();
    let pending = store.user(zoe).unwrap().unwrap().pending_totp.unwrap();
    let app = Builder::new().with_secret(pending.secret.expose().to_vec()).build_noncompliant();
    let code = app.generate(clock.now().as_secs()).to_string();
    let before = now();
    let confirm = read(&json!({ "totp": code, "refresh": true }));
    let confirmed = written(&identity.confirm_two_factor(&principal(&first), confirm, device()).await.unwrap());
    assert_eq!(since(before), 1);
    assert!(confirmed["refresh_token"].is_string());

    let codes = &confirmed["recovery_codes"];
    let before = now();
    let login = json!({ "username": "zoe", "password": PASSWORD, "recovery_code": codes[0], "refresh": true });
    let second = written(&identity.login(read(&login), device()).await.unwrap());
    assert_eq!(since(before), 1);

    let before = now();
    let change =
        json!({ "password": PASSWORD, "new_password": "another of zoe", "recovery_code": codes[1], "refresh": true });
    let changed = written(&identity.change_password(&principal(&second), read(&change), device()).await.unwrap());
    assert_eq!(since(before), 1);
    assert!(changed["refresh_token"].is_string());
    assert!(identity.bearer(second["jwt"].as_str().unwrap()).is_err());
    assert!(identity.bearer(changed["jwt"].as_str().unwrap()).is_ok());
}
