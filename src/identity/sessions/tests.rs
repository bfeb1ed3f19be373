use serde_json::{Value, json};
use totp_rs::Builder;

use crate::identity::tests::{House, device, local, read, written};

const PASSWORD: &str = "a password of zoe";

/// A second commit could be refused after the first one was made: then the client is told that nothing was done, and has lost its code, or
/// the only showing of the recovery codes.
#[tokio::test]
async fn a_session_begins_in_the_commit_that_lets_its_user_in() {
    let (house, from) = (House::with_password(PASSWORD).await, local());
    let House { identity, store, clock, username: zoe, .. } = &house;
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
