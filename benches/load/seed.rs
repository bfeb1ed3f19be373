//! Databases made without the server: hashing ten thousand passwords would take minutes, and no user signs in with
//! them.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::domain::{
    EventName, Generation, PasswordHash, Payload, Position, Scope, Secret, TenantName, Timestamp, User, Username,
};
use broker::error::Error;
use broker::identity::{TokenForm, Tokens};
use broker::store::{Committer, Draft, Store, Transaction};
use uuid::Uuid;

use crate::Result;

/// The default journal size.
const JOURNAL_BYTES: u64 = 64 << 20;

/// The signing secret of the servers under test.
pub const JWT_SECRET: &str = "the secret of a measured server";
/// The admin token of the servers under test.
pub const ADMIN_TOKEN: &str = "the admin of a measured server";

/// The lifetime of a token: longer than any run.
const TOKEN_LIFE: Duration = Duration::from_secs(86_400);
/// The largest number of changes in a commit, if its size does not end it sooner.
const MAX_BATCH: usize = 4096;

/// A database under construction.
pub struct Seed {
    store: Store,
    committer: Committer,
    tokens: Tokens,
    waiting: Vec<Change>,
}

enum Change {
    User(Box<User>),
    Event { tenant: TenantName, username: Username, name: EventName, data: Payload },
}

impl Seed {
    /// Opens or creates the database in a directory.
    pub fn open(directory: &Path) -> Result<Self> {
        let (store, committer) = Store::open(directory, JOURNAL_BYTES).map_err(|error| error.to_string())?;
        Ok(Self {
            store,
            committer,
            tokens: Tokens::new(&Secret::new(JWT_SECRET), TokenForm::new(None)),
            waiting: Vec::new(),
        })
    }

    /// Adds a user that cannot sign in by password. Returns the user's token.
    pub fn user(&mut self, name: &str, tenant: &str) -> Result<String> {
        self.user_with(name, tenant, &[])
    }

    /// Adds a user with scopes.
    pub fn user_with(&mut self, name: &str, tenant: &str, scopes: &[String]) -> Result<String> {
        let scopes = (!scopes.is_empty()).then(|| Scope::parse_all(scopes)).transpose().map_err(told)?;
        let user = User { scopes, ..user(name, tenant)? };
        let token = self.token_of(&user)?;
        self.add(Change::User(Box::new(user)))?;
        Ok(token)
    }

    fn token_of(&self, user: &User) -> Result<String> {
        self.tokens.issue(user, now(), now() + TOKEN_LIFE, None).map_err(told)
    }

    /// Adds an event with data that is valid JSON.
    pub fn event(&mut self, tenant: &str, username: &str, name: &str, data: &str) -> Result<()> {
        let event = Change::Event {
            tenant: TenantName::parse(tenant).map_err(told)?,
            username: Username::parse(username).map_err(told)?,
            name: EventName::parse(name).map_err(told)?,
            data: Payload::from_valid_json(data).map_err(|why| format!("{why:?}"))?,
        };
        self.add(event)
    }

    /// The id of the nth event.
    pub fn id(&self, nth: u64) -> String {
        self.store.event_id(Position::new(nth)).to_string()
    }

    /// Writes the pending changes and closes the database.
    pub fn close(mut self) -> Result<()> {
        self.commit()
    }

    fn add(&mut self, change: Change) -> Result<()> {
        self.waiting.push(change);
        if self.waiting.len() >= MAX_BATCH { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        let mut waiting = self.waiting.drain(..).peekable();
        while waiting.peek().is_some() {
            let mut transaction = self.committer.begin(now()).map_err(told)?;
            while !transaction.is_full()
                && let Some(change) = waiting.next()
            {
                change.write(&mut transaction).map_err(told)?;
            }
            transaction.commit().map_err(told)?.reveal();
        }
        Ok(())
    }
}

impl Change {
    fn write(self, transaction: &mut Transaction<'_>) -> std::result::Result<(), Error> {
        match self {
            Self::User(user) => {
                transaction.put_user(&user);
                Ok(())
            }
            Self::Event { tenant, username, name, data } => {
                transaction.insert_event(Draft::value(tenant, username, name, data)).map(|_| ())
            }
        }
    }
}

/// The token of a user of an earlier seed: it follows from the name.
pub fn token(name: &str, tenant: &str) -> Result<String> {
    let tokens = Tokens::new(&Secret::new(JWT_SECRET), TokenForm::new(None));
    tokens.issue(&user(name, tenant)?, now(), now() + TOKEN_LIFE, None).map_err(told)
}

fn user(name: &str, tenant: &str) -> Result<User> {
    let (username, tenant) = (Username::parse(name).map_err(told)?, TenantName::parse(tenant).map_err(told)?);
    Ok(User {
        // A text as long as a real hash that is the hash of no password.
        password_hash: PasswordHash::new(format!("$argon2id$v=19$m=19456,t=2,p=1${:A<22}${:A<43}", "", "")),
        generation: Generation(1),
        ..User::new(Uuid::new_v4(), username, tenant, Secret::new([7; 20]))
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs())
}

fn told(error: Error) -> String {
    error.to_string()
}
