use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Email, Granted, PasswordHash, Payload, Position, RecoveryHash, Scope, Secret, SessionId, TenantName, Timestamp,
    Username,
};

/// The largest user that an admin can create, in bytes: all of its stored fields, and room for everything that the
/// server may add later. Users of earlier versions, which reserved no such room, can be larger by that room, about 600
/// bytes.
pub const MAX_USER_BYTES: usize = 100 * 1024;

/// A random number that changes whenever all earlier tokens of a user must become invalid. A token carries the
/// generation in which it was issued. It is random and not counted, so that a user that is created again in an emptied
/// database accepts none of the old tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// Everything that is stored of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// The id, which never changes.
    pub id: Uuid,
    /// The username, which never changes; the key.
    pub username: Username,
    /// The tenant, whose events the user sees.
    pub tenant: TenantName,
    /// The last position before the user came to the tenant. Events up to there were those of another tenant.
    pub tenant_since: Position,
    /// The head when the scopes last changed. What the user saw before says nothing about what it may see now.
    pub scopes_since: Position,
    /// Argon2id, as a PHC string.
    pub password_hash: PasswordHash,
    /// Tokens of another generation are invalid.
    pub generation: Generation,
    /// For the application. Broker sends no mail.
    pub email: Option<Email>,
    /// `None` if they were never set.
    pub scopes: Option<Vec<Scope>>,
    /// Any data that the application stores with a user.
    pub data: Option<Payload>,
    /// Whether a sign-in needs a code; `None` if it was never set.
    pub two_factor: Option<bool>,
    /// Whether every sign-in is refused.
    pub revoked: bool,
    /// The secret of the sign-in codes, shared with the authenticator app: by `create_qr`, or by its owner, who confirmed it.
    #[serde(with = "super::wire::secret")]
    pub totp_secret: Secret,
    /// A secret that its owner has not confirmed yet. It counts for nothing.
    pub pending_totp: Option<PendingTotp>,
    /// Those of the recovery codes that are not spent.
    pub recovery_codes: Vec<RecoveryHash>,
    /// The last time step (RFC 6238) that was used to sign in. It and all earlier ones are spent.
    pub totp_spent_step: Option<u64>,
    /// A pending password reset.
    pub reset: Option<ResetChallenge>,
}

impl User {
    /// A user of whom nothing else is known yet: without a password, so that nobody can sign in.
    pub fn new(id: Uuid, username: Username, tenant: TenantName, totp_secret: Secret) -> Self {
        Self {
            id,
            username,
            tenant,
            tenant_since: Position::START,
            scopes_since: Position::START,
            password_hash: PasswordHash::new(String::new()),
            generation: Generation(0),
            email: None,
            scopes: None,
            data: None,
            two_factor: None,
            revoked: false,
            totp_secret,
            pending_totp: None,
            recovery_codes: Vec::new(),
            totp_spent_step: None,
            reset: None,
        }
    }

    /// The scopes; empty if they were never set.
    pub fn scopes(&self) -> &[Scope] {
        self.scopes.as_deref().unwrap_or_default()
    }

    /// Whether a sign-in needs a code.
    pub fn needs_code(&self) -> bool {
        self.two_factor == Some(true)
    }

    /// Replaces the password. Earlier tokens, a pending reset and a pending secret become invalid.
    pub fn set_password(&mut self, hash: PasswordHash, generation: Generation) {
        self.password_hash = hash;
        self.generation = generation;
        self.reset = None;
        self.pending_totp = None;
    }

    /// Has sign-ins need a code of this secret, of which a step was used to confirm it. Earlier tokens become invalid: they needed none.
    pub fn switch_two_factor_on(
        &mut self,
        secret: Secret,
        step: u64,
        recovery_codes: Vec<RecoveryHash>,
        generation: Generation,
    ) {
        self.two_factor = Some(true);
        self.totp_secret = secret;
        self.totp_spent_step = Some(step);
        self.pending_totp = None;
        self.recovery_codes = recovery_codes;
        self.generation = generation;
    }

    /// Has sign-ins need no code any more.
    pub fn switch_two_factor_off(&mut self) {
        self.two_factor = Some(false);
        self.recovery_codes = Vec::new();
    }
}

/// The fields of a user that every request needs. They are small, and none is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// As in [`User`].
    pub id: Uuid,
    /// The tenant, whose events the user sees.
    pub tenant: TenantName,
    /// As in [`User`].
    pub tenant_since: Position,
    /// As in [`User`].
    pub scopes_since: Position,
    /// Tokens of another generation are invalid.
    pub generation: Generation,
    /// Empty if they were never set.
    pub scopes: Granted,
    /// Whether a sign-in needs a code.
    pub needs_code: bool,
    /// Whether every sign-in is refused.
    pub revoked: bool,
    /// The sessions that have not been ended.
    pub sessions: Box<[SessionId]>,
}

impl Account {
    /// The account of a user who has these sessions.
    pub fn of(user: &User, sessions: Box<[SessionId]>) -> Self {
        Self {
            id: user.id,
            tenant: user.tenant.clone(),
            tenant_since: user.tenant_since,
            scopes_since: user.scopes_since,
            generation: user.generation,
            scopes: user.scopes().into(),
            needs_code: user.needs_code(),
            revoked: user.revoked,
            sessions,
        }
    }

    /// Whether a sign-in is still valid for this user. Every kind of authentication uses this one rule.
    pub fn upholds(&self, sign_in: &SignIn) -> bool {
        let SignIn { generation, by_password_alone, session } = *sign_in;
        let is_enough = !(by_password_alone && self.needs_code);
        !self.revoked && self.generation == generation && is_enough && self.upholds_session(session)
    }

    /// Whether the session of a sign-in has not been ended, if it has one.
    pub fn upholds_session(&self, session: Option<SessionId>) -> bool {
        session.is_none_or(|session| self.sessions.contains(&session))
    }
}

/// The sign-in of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// The user's generation at the sign-in.
    pub generation: Generation,
    /// Whether a password alone was enough, without a second factor.
    pub by_password_alone: bool,
    /// The session that it belongs to, if there is one. It ends with that.
    pub session: Option<SessionId>,
}

/// A secret for an authenticator app, until a code of it shows that the app has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingTotp {
    /// The secret.
    #[serde(with = "super::wire::secret")]
    pub secret: Secret,
    /// Until when it can be confirmed.
    pub expires_at: Timestamp,
}

/// A permission to set a new password once. It has its own secret, so a person with the authenticator app cannot reset
/// the password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResetChallenge {
    /// Six digits.
    #[serde(with = "super::wire::secret")]
    pub code: Secret,
    /// When it expires.
    pub expires_at: Timestamp,
    /// How many wrong guesses are left before it becomes invalid.
    pub tries_left: u8,
}

#[cfg(test)]
impl User {
    /// A user for tests, which change the fields that matter to them.
    pub fn example() -> Self {
        let (username, tenant) = (Username::parse("zoe").unwrap(), TenantName::parse("acme").unwrap());
        Self {
            password_hash: PasswordHash::new("$hash".to_owned()),
            generation: Generation(1),
            ..Self::new(Uuid::from_u128(7), username, tenant, Secret::new("12345678901234567890"))
        }
    }
}
