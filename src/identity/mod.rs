//! Identity: accounts, sign-in, tokens, tickets, two-factor authentication, password resets.
//!
//! [`Identity`] is the entry point. A signed-in user is a [`Principal`]. Changes go through the writer.

mod account;
mod audit;
mod authorization;
mod biscuit;
mod changes;
mod channels;
mod deletion;
mod device;
mod invites;
mod kept_key;
mod login;
mod mqtt;
mod mqtt_guests;
mod names;
mod owner;
mod password;
mod policy;
mod proven_owner;
mod refresh_token;
mod reset;
mod second_factor;
mod sessions;
mod sign_up;
mod ticket;
mod tickets;
mod token;
mod topic_guests;
mod topics;
mod totp;
mod two_factor;
mod user_exchange;
mod user_fields;
mod user_list;
mod users;

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::central::{Central, GuessAt};
use crate::clock::Clock;
use crate::config::{Notiflux, Passwords, SignIns, SignUps};
use crate::domain::{
    Account, AuthContext, ClientAddress, Guest, Scope, Secret, SessionId, SignIn, Timestamp, Username,
};
use crate::error::Error;
use crate::store::Store;
use crate::writer::Writer;

pub use account::{NewOwnPassword, Removal, kept_of};
pub use authorization::Authorization;
pub use biscuit::{RootKey, Verified};
pub(crate) use changes::FORMS;
pub use channels::{ChannelOwner, Channels};
pub use device::Device;
pub use invites::{InviteToDelete, IssuedInvite, NewInvite};
pub use login::Credentials;
pub use mqtt::MqttCredentials;
pub use mqtt_guests::MqttTokens;
pub use names::{index_names, index_names_when_possible};
pub use password::PasswordPool;
pub use policy::PasswordPolicy;
pub use reset::NewPassword;
pub use sessions::{IssuedTokens, SessionToEnd, SessionView};
pub use tickets::{Pass, TICKET_LASTS};
pub use token::{TokenForm, Tokens};
pub use topic_guests::{MAX_TOPICS, TopicSubscriptions};
pub use topics::{TopicPermit, TopicUse};
pub use two_factor::{BeginTwoFactor, BegunTwoFactor, ConfirmTwoFactor, ConfirmedTwoFactor, EndTwoFactor};
pub use user_exchange::{Hashes, ImportedSecrets, ImportedUser, exported};
pub use user_fields::{NewAccount, OwnInput, UserInput};
pub use user_list::{UserList, UserQuery};

use audit::{Act, Door, Visit};
use refresh_token::RefreshTokens;
use tickets::Tickets;
use topics::TopicTokens;

/// How long correct Basic credentials need not be hashed again.
const BASIC_REMEMBERED: Duration = Duration::from_secs(60);
/// How many of them are remembered.
const BASIC_REMEMBERED_COUNT: u64 = 10_000;

/// A user or a guest that has just been authenticated. Functions that only they may call take it as an argument, so that the
/// check cannot be forgotten.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Their name.
    pub username: Username,
    /// The account as it is now.
    pub account: Arc<Account>,
    /// When the sign-in expires; `None` if it was the password itself.
    pub expires_at: Option<Timestamp>,
    /// What all of this rests on. The writer checks it again.
    pub auth_context: AuthContext,
}

impl Principal {
    fn new(
        username: Username,
        account: Arc<Account>,
        expires_at: Option<Timestamp>,
        sign_in: SignIn,
    ) -> Result<Self, Error> {
        if !account.upholds(&sign_in) {
            return Err(Error::Unauthorized);
        }
        Ok(Self { username, account, expires_at, auth_context: AuthContext::User(sign_in) })
    }

    /// The session that they have signed in by, if it was one.
    pub fn session(&self) -> Option<SessionId> {
        match &self.auth_context {
            AuthContext::User(sign_in) => sign_in.session,
            AuthContext::Guest(_) => None,
        }
    }

    /// Whether it is a guest, and no user.
    pub fn is_guest(&self) -> bool {
        matches!(self.auth_context, AuthContext::Guest(_))
    }
}

impl From<Guest> for Principal {
    /// A guest whose token has just been checked. Whether their rights have ended is looked at before anything is done by them.
    fn from(guest: Guest) -> Self {
        let (username, account) = (guest.username().clone(), Arc::clone(guest.account()));
        Self { username, account, expires_at: guest.expires_at(), auth_context: AuthContext::Guest(guest) }
    }
}

/// The configuration of identity.
pub struct Settings {
    /// The token for the admin endpoints.
    pub admin_token: Secret,
    /// The secret that signs JWTs.
    pub jwt_secret: Secret,
    /// Settings of sign-ins.
    pub sign_ins: SignIns,
    /// Settings of sign-up.
    pub sign_ups: SignUps,
    /// Settings of passwords.
    pub passwords: Passwords,
    /// The scopes of a user that is created without any; `None` means no scopes at all.
    pub default_scopes: Option<Vec<Scope>>,
    /// Settings of the tokens of notiflux; `None` takes none.
    pub notiflux: Option<Notiflux>,
    /// The channels of ChannelAPI; `None` without any.
    pub channels: Option<Channels>,
    /// What knows clients of MQTT without an account here; `None` knows none.
    pub mqtt_tokens: Option<MqttTokens>,
    /// The user as whom clients of MQTT are served that show nothing.
    pub mqtt_anonymous: Option<Username>,
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
    refresh_tokens: RefreshTokens,
    tickets: Tickets,
    topics: Option<TopicTokens>,
    mqtt: Option<MqttTokens>,
    root: RootKey,
    central: Central,
    settings: Settings,
    /// Fingerprints of Basic credentials that were correct recently.
    basic: Cache<[u8; 32], ()>,
    /// Without this key, a fingerprint in a memory dump could be used to guess the password.
    basic_key: aws_lc_rs::hmac::Key,
}

impl Identity {
    /// Creates the services.
    ///
    /// # Errors
    /// If the operating system gives no threads for hashing, or the database cannot be read.
    pub fn new(
        store: Store,
        writer: Writer,
        clock: Clock,
        root: RootKey,
        central: Central,
        mut settings: Settings,
    ) -> std::io::Result<Self> {
        let passwords = PasswordPool::start(store.metrics().clone())?;
        Self::load_work(&store, &passwords).map_err(std::io::Error::other)?;
        Ok(Self(Arc::new(Inner {
            store,
            writer,
            clock,
            passwords,
            tokens: Tokens::new(&settings.jwt_secret, TokenForm::new(settings.sign_ins.jwt_audience.clone())),
            refresh_tokens: RefreshTokens::new(&settings.jwt_secret),
            tickets: Tickets::new(central.clone()),
            mqtt: settings.mqtt_tokens.take(),
            topics: settings.notiflux.clone().map(TopicTokens::new),
            root,
            central,
            settings,
            basic: Cache::builder().max_capacity(BASIC_REMEMBERED_COUNT).time_to_live(BASIC_REMEMBERED).build(),
            basic_key: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &crate::random::bytes::<32>()),
        })))
    }

    /// How many passwords wait to be hashed.
    pub fn passwords_waiting(&self) -> usize {
        self.0.passwords.waiting()
    }

    /// How often each kind of limit refused a guess since the start.
    pub fn throttled(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.central.refused()
    }

    /// Authenticates an admin.
    ///
    /// # Errors
    /// [`Error::AdminTokenIncorrect`], or [`Error::TooManyAttempts`] after too many of those from one address.
    pub async fn admin(&self, token: &Secret, from: ClientAddress) -> Result<Admin, Error> {
        let visit = Visit::at(self.0.store.metrics(), Door::Admin, None, from);
        let guess = async {
            let attempt = self.0.central.attempt(GuessAt::Admin, from).await?;
            let right = self.0.settings.admin_token.matches(token.expose());
            let admin = if right { Ok(Admin { from }) } else { Err(Error::AdminTokenIncorrect) };
            attempt.settle(admin).map(|(admin, _)| admin)
        };
        visit.ends(guess.await)
    }
}

/// Proof that the admin token was correct, and the address that it came from. Functions that only an admin may call
/// take it as an argument, so that the check cannot be forgotten.
#[derive(Debug)]
pub struct Admin {
    /// The address, for the log.
    from: ClientAddress,
}

impl Admin {
    /// Begins the admin's action on a user, whose result is to be logged: `what` is to be `done`.
    fn act(&self, what: &'static str, done: &'static str, user: &str) -> Act {
        Act::on(user, what, done, self.from)
    }

    /// Logs that an admin has begun something that concerns many users, such as an export, or why not. Returns the result.
    ///
    /// # Errors
    /// Those of `begun`.
    pub fn logged<T>(&self, what: &'static str, begun: Result<T, Error>) -> Result<T, Error> {
        self.act(what, "begun", "").ends(begun)
    }
}

#[cfg(test)]
mod tests;
