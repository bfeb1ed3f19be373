//! Who somebody is: accounts, sign-in, tokens, tickets, second factors, password resets.
//!
//! [`Identity`] is the one door. Whoever comes through it is a [`Principal`]; what it changes goes through the writer.

mod audit;
mod biscuit;
mod login;
mod names;
mod password;
mod policy;
mod reset;
mod throttle;
mod ticket;
mod tickets;
mod token;
mod totp;
mod user_list;
mod users;

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::clock::Clock;
use crate::domain::{Account, AuthContext, ClientAddress, Scope, Secret, Timestamp, Username};
use crate::error::Error;
use crate::store::Store;
use crate::writer::Writer;

pub use biscuit::{RootKey, Verified};
pub use login::{Authorization, Credentials};
pub use names::{note_names, note_names_when_there_is_room};
pub use password::PasswordPool;
pub use policy::PasswordPolicy;
pub use reset::NewPassword;
pub use tickets::{Pass, TICKET_LASTS, TicketUse};
pub use token::{TokenForm, Tokens};
pub use user_list::{UserList, UserQuery};
pub use users::{NewUser, UserPatch};

use audit::{Door, Visit, admin_did};
use throttle::Throttle;
use tickets::Tickets;

/// How long Basic credentials that were right need not be hashed again.
const BASIC_REMEMBERED: Duration = Duration::from_secs(60);
/// How many of them are remembered.
const BASIC_REMEMBERED_COUNT: u64 = 10_000;

/// Somebody who has proved who they are, just now: to be asked for as an argument by what only they may do.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Who.
    pub username: Username,
    /// Their account, as it is now.
    pub account: Arc<Account>,
    /// When the proof expires; `None` where it was the password itself.
    pub expires_at: Option<Timestamp>,
    /// What all of this rests on: the writer looks at it again.
    pub auth_context: AuthContext,
}

impl Principal {
    fn new(
        username: Username,
        account: Arc<Account>,
        expires_at: Option<Timestamp>,
        by_password_alone: bool,
    ) -> Result<Self, Error> {
        let auth_context = AuthContext { generation: account.generation, by_password_alone };
        if !account.upholds(&auth_context) {
            return Err(Error::Unauthorized);
        }
        Ok(Self { username, account, expires_at, auth_context })
    }
}

/// What identity needs to know from the configuration.
pub struct Settings {
    /// Opens the admin endpoints.
    pub admin_token: Secret,
    /// Signs JWTs.
    pub jwt_secret: Secret,
    /// Whom they are for; `None` has the scopes in that place.
    pub jwt_audience: Option<String>,
    /// How long a sign-in lasts.
    pub jwt_expiry: Duration,
    /// How long a reset code lasts.
    pub reset_expiry: Duration,
    /// Which passwords are refused.
    pub policy: PasswordPolicy,
    /// The scopes of a user who is made without any; `None` is none at all.
    pub default_scopes: Option<Vec<Scope>>,
}

/// The services of identity: a cheap clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    store: Store,
    writer: Writer,
    clock: Clock,
    passwords: PasswordPool,
    tokens: Tokens,
    tickets: Tickets,
    root: RootKey,
    throttle: Throttle,
    admin_token: Secret,
    reset_expiry: Duration,
    jwt_expiry: Duration,
    policy: PasswordPolicy,
    default_scopes: Option<Vec<Scope>>,
    /// Fingerprints of Basic credentials that were right a moment ago.
    basic: Cache<[u8; 32], ()>,
    /// Without it a fingerprint in a memory dump could be guessed at.
    basic_key: aws_lc_rs::hmac::Key,
}

impl Identity {
    /// Puts the services together.
    ///
    /// # Errors
    /// Where the operating system gives no threads for hashing.
    pub fn new(store: Store, writer: Writer, clock: Clock, root: RootKey, settings: Settings) -> std::io::Result<Self> {
        let Settings { admin_token, jwt_secret, jwt_audience, jwt_expiry, reset_expiry, policy, default_scopes } =
            settings;
        Ok(Self(Arc::new(Inner {
            store,
            writer,
            clock,
            passwords: PasswordPool::start()?,
            tokens: Tokens::new(&jwt_secret, TokenForm::new(jwt_audience)),
            tickets: Tickets::new(),
            root,
            throttle: Throttle::new(),
            admin_token,
            reset_expiry,
            jwt_expiry,
            policy,
            default_scopes,
            basic: Cache::builder().max_capacity(BASIC_REMEMBERED_COUNT).time_to_live(BASIC_REMEMBERED).build(),
            basic_key: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &crate::random::bytes::<32>()),
        })))
    }

    /// Lets an admin in.
    ///
    /// # Errors
    /// [`Error::AdminTokenIncorrect`], or [`Error::TooManyAttempts`] after too many of those from one address.
    pub async fn admin(&self, token: &Secret, from: ClientAddress) -> Result<Admin, Error> {
        let visit = Visit::at(Door::Admin, None, from);
        let guess = async {
            let attempt = self.0.throttle.admin(from).await?;
            let right = self.0.admin_token.matches(token.expose());
            let admin = if right { Ok(Admin { from }) } else { Err(Error::AdminTokenIncorrect) };
            attempt.settle(admin).map(|(admin, _)| admin)
        };
        visit.ends(guess.await)
    }
}

/// Proof that the admin token was right, and where it came from: to be asked for as an argument by what only admins may do.
#[derive(Debug)]
pub struct Admin {
    /// From where it came, for the log.
    from: ClientAddress,
}

impl Admin {
    /// What they did to a user is a line in the log.
    fn did(&self, act: &'static str, user: &Username) {
        admin_did(act, user, self.from);
    }
}
