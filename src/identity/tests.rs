//! An identity over a store of its own, for the tests of the modules of this folder.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::password::Share;
use super::{Device, Identity, PasswordPool, Principal, RootKey, Settings};
use crate::central::Central;
use crate::clock::Clock;
use crate::config::{Passwords, SignIns, SignUps, Signup};
use crate::domain::{ClientAddress, Password, Secret, SignIn, Timestamp, User, Username};
use crate::metrics::Metrics;
use crate::store::{Durable, Store};
use crate::writer::{Rules, Writer};

/// An identity with one user.
pub struct House {
    pub identity: Identity,
    pub store: Store,
    pub clock: Clock,
    /// The name of the user.
    pub username: Username,
    /// How many commits there were.
    commits: Arc<AtomicUsize>,
    /// The writer answers nothing while this is held.
    pub answers: Arc<Mutex<()>>,
    _directory: tempfile::TempDir,
}

fn settings() -> Settings {
    let lasts = Duration::from_secs(3600);
    Settings {
        admin_token: Secret::new("admin"),
        jwt_secret: Secret::new("jwt"),
        sign_ups: SignUps { signup: Signup::Closed, tenant: None },
        sign_ins: SignIns { jwt_expiry: lasts, access_expiry: lasts, refresh_expiry: lasts, jwt_audience: None },
        passwords: Passwords { password_min: 8, password_checker: false, totp_duration: lasts },
        default_scopes: None,
        notiflux: None,
        channels: None,
        mqtt_tokens: None,
        mqtt_anonymous: None,
    }
}

/// The address of whoever asks.
pub fn local() -> ClientAddress {
    ClientAddress::of([127, 0, 0, 1].into())
}

/// The device of whoever signs in.
pub fn device() -> Device {
    Device { address: local(), client: None }
}

/// What is answered.
pub fn written(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

/// The body of a request.
pub fn read<T: DeserializeOwned>(body: &Value) -> T {
    serde_json::from_str(&body.to_string()).unwrap()
}

impl House {
    /// One whose user has this password, and no two-factor.
    pub async fn with_password(password: &str) -> Self {
        let user = User { two_factor: None, ..User::example() };
        let share = Share::of_account(local(), &user.username);
        let password = Password::parse(password).unwrap();
        let password_hash = PasswordPool::start(Metrics::default()).unwrap().hash_again(share, password).await.unwrap();
        Self::of(User { password_hash, ..user }).await
    }

    pub async fn of(user: User) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = Store::open(directory.path(), 64 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        transaction.put_user(&user);
        drop(transaction.commit().unwrap().reveal());
        let (clock, commits, answers) = (Clock::from_local(), Arc::default(), Arc::default());
        let (counted, held): (Arc<AtomicUsize>, Arc<Mutex<()>>) = (Arc::clone(&commits), Arc::clone(&answers));
        let publish = move |committed: Durable| {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(committed.reveal());
            drop(held.lock().unwrap_or_else(PoisonError::into_inner));
        };
        let (writer, _failure) = Writer::start(committer, clock.clone(), Rules::example(), publish).unwrap();
        let root = RootKey::load(&store, &writer).await.unwrap();
        let identity = Identity::new(store.clone(), writer, clock.clone(), root, Central::alone(), settings()).unwrap();
        Self { identity, store, clock, username: user.username, commits, answers, _directory: directory }
    }

    /// How many commits there were up to now.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    /// The user, signed in without a session.
    pub fn principal(&self) -> Principal {
        let generation = self.store.user(&self.username).unwrap().unwrap().generation;
        let sign_in = SignIn { generation, by_password_alone: false, session: None };
        self.identity.of_sign_in(self.username.clone(), sign_in, None).unwrap()
    }
}
