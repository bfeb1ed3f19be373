use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use totp_rs::Builder;

use crate::clock::Clock;
use crate::config::{Deletions, Passwords, SignIns, SignUps, Signup};
use crate::domain::{ClientAddress, Erase, Password, Secret, Timestamp, User, Username};
use crate::identity::password::Share;
use crate::identity::{Device, Identity, PasswordPool, RootKey, Settings};
use crate::store::Store;
use crate::writer::Writer;

const PASSWORD: &str = "a password of zoe";

fn settings() -> Settings {
    let lasts = Duration::from_secs(60);
    Settings {
        admin_token: Secret::new("admin"),
        jwt_secret: Secret::new("jwt"),
        sign_ups: SignUps { signup: Signup::Closed, tenant: None },
        sign_ins: SignIns { jwt_expiry: lasts, access_expiry: lasts, refresh_expiry: lasts, jwt_audience: None },
        passwords: Passwords { password_min: 8, password_checker: false, totp_duration: lasts },
        deletions: Deletions { name_quarantine: Duration::ZERO, erase: Erase::Anonymise },
        default_scopes: None,
        notiflux: None,
        channels: None,
    }
}

fn read<T: DeserializeOwned>(body: Value) -> T {
    serde_json::from_str(&body.to_string()).unwrap()
}

fn written(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

/// A second commit could be refused after the first one was made: then the client is told that nothing was done, and has lost its code, or
/// the only showing of the recovery codes.
#[tokio::test]
async fn a_session_begins_in_the_commit_that_lets_its_user_in() {
    let (zoe, from) = (Username::parse("zoe").unwrap(), ClientAddress::of([127, 0, 0, 1].into()));
    let share = Share::of_account(from, &zoe);
    let password_hash =
        PasswordPool::start().unwrap().hash_again(share, Password::parse(PASSWORD).unwrap()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = Store::open(directory.path(), 64 << 20).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let two_factor = None;
    transaction.put_user(&User { username: zoe.clone(), password_hash, two_factor, ..User::example() });
    drop(transaction.commit().unwrap().reveal());
    let (clock, commits) = (Clock::from_local(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&commits);
    let publish = move |committed: crate::writer::Committed| {
        counted.fetch_add(1, Ordering::SeqCst);
        drop(committed.durable.reveal());
    };
    let (writer, _failure) = Writer::start(committer, clock.clone(), publish).unwrap();
    let root = RootKey::load(&store, &writer).await.unwrap();
    let identity = Identity::new(store.clone(), writer, clock.clone(), root, settings()).unwrap();
    let device = || Device { address: from, client: None };
    let since = |before: usize| commits.load(Ordering::SeqCst) - before;
    let now = || commits.load(Ordering::SeqCst);
    let principal = |answer: &Value| identity.bearer(answer["jwt"].as_str().unwrap()).unwrap();

    let before = now();
    let login = json!({ "username": "zoe", "password": PASSWORD, "refresh": true });
    let first = written(&identity.login(read(login), device()).await.unwrap());
    assert_eq!(since(before), 1);

    identity.begin_two_factor(&principal(&first), read(json!({ "password": PASSWORD })), from).await.unwrap();
    let pending = store.user(&zoe).unwrap().unwrap().pending_totp.unwrap();
    let app = Builder::new().with_secret(pending.secret.expose().to_vec()).build_noncompliant();
    let code = app.generate(clock.now().as_secs()).to_string();
    let before = now();
    let confirm = read(json!({ "totp": code, "refresh": true }));
    let confirmed = written(&identity.confirm_two_factor(&principal(&first), confirm, device()).await.unwrap());
    assert_eq!(since(before), 1);
    assert!(confirmed["refresh_token"].is_string());

    let codes = &confirmed["recovery_codes"];
    let before = now();
    let login = json!({ "username": "zoe", "password": PASSWORD, "recovery_code": codes[0], "refresh": true });
    let second = written(&identity.login(read(login), device()).await.unwrap());
    assert_eq!(since(before), 1);

    let before = now();
    let change =
        json!({ "password": PASSWORD, "new_password": "another of zoe", "recovery_code": codes[1], "refresh": true });
    let changed = written(&identity.change_password(&principal(&second), read(change), device()).await.unwrap());
    assert_eq!(since(before), 1);
    assert!(changed["refresh_token"].is_string());
    assert!(identity.bearer(second["jwt"].as_str().unwrap()).is_err());
    assert!(identity.bearer(changed["jwt"].as_str().unwrap()).is_ok());
}
