use uuid::Uuid;

use super::{Email, PasswordHash, Payload, Position, Scope, Secret, TenantName, Timestamp, Username};

/// The largest user that an admin can make, in bytes: all that is kept of it together, and room for all that the server may
/// write of it later. Users from before that room was asked for can be larger by as much, some 200 bytes.
pub const MAX_USER_BYTES: usize = 100 * 1024;

/// Drawn anew whenever every earlier token of a user must die: a token carries the generation that it was issued in.
///
/// Random rather than counted, so that a user who is created anew in an emptied database has none of the old tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(pub u64);

/// Everything that is known of a user.
#[derive(Clone, Debug)]
pub struct User {
    /// Never changes.
    pub id: Uuid,
    /// Never changes; the key.
    pub username: Username,
    /// Whose events this user sees.
    pub tenant: TenantName,
    /// The last position before this user came to the tenant. What they saw up to there was another tenant's.
    pub tenant_since: Position,
    /// The head when the scopes last changed: what was seen before tells nothing of what may be seen now.
    pub scopes_since: Position,
    /// Argon2id, as a PHC string.
    pub password_hash: PasswordHash,
    /// Tokens of another generation are dead.
    pub generation: Generation,
    /// For the application; Broker sends no mail.
    pub email: Option<Email>,
    /// `None` where they were never set.
    pub scopes: Option<Vec<Scope>>,
    /// Anything the application keeps of a user.
    pub data: Option<Payload>,
    /// Whether signing in needs a code; `None` where it was never set.
    pub two_factor: Option<bool>,
    /// Whether every door is closed to this user.
    pub revoked: bool,
    /// The secret of the sign-in codes, shared with the authenticator app by `create_qr`.
    pub totp_secret: Secret,
    /// The last RFC 6238 time step that was used to sign in; it and all before it are spent.
    pub totp_spent_step: Option<u64>,
    /// An outstanding permission to set a new password.
    pub reset: Option<ResetChallenge>,
}

impl User {
    /// The scopes, none where they were never set.
    pub fn scopes(&self) -> &[Scope] {
        self.scopes.as_deref().unwrap_or_default()
    }

    /// Whether signing in needs a code.
    pub fn needs_code(&self) -> bool {
        self.two_factor == Some(true)
    }

    /// Replaces the password. What stood on the old one dies: tokens, and an outstanding reset.
    pub fn set_password(&mut self, hash: PasswordHash, generation: Generation) {
        self.password_hash = hash;
        self.generation = generation;
        self.reset = None;
    }
}

/// What is asked of a user at every door: the part that is small and no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// As in [`User`].
    pub id: Uuid,
    /// Whose events this user sees.
    pub tenant: TenantName,
    /// As in [`User`].
    pub tenant_since: Position,
    /// As in [`User`].
    pub scopes_since: Position,
    /// Tokens of another generation are dead.
    pub generation: Generation,
    /// None where they were never set.
    pub scopes: Box<[Scope]>,
    /// Whether signing in needs a code.
    pub needs_code: bool,
    /// Whether every door is closed to this user.
    pub revoked: bool,
}

impl Account {
    /// The one rule of every door: whether somebody who was let in as this user still may be here.
    pub fn upholds(&self, auth_context: &AuthContext) -> bool {
        !self.revoked
            && self.generation == auth_context.generation
            && !(auth_context.by_password_alone && self.needs_code)
    }
}

impl From<&User> for Account {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            tenant: user.tenant.clone(),
            tenant_since: user.tenant_since,
            scopes_since: user.scopes_since,
            generation: user.generation,
            scopes: user.scopes().into(),
            needs_code: user.needs_code(),
            revoked: user.revoked,
        }
    }
}

/// What the rights of somebody who was let in rest on. They end when the user no longer upholds it.
#[derive(Clone, Debug)]
pub struct AuthContext {
    /// The user's generation when they were let in.
    pub generation: Generation,
    /// Whether a password alone let them in, without a place for a second factor.
    pub by_password_alone: bool,
}

/// A permission to set a new password once. It has a secret of its own: who holds the authenticator cannot reset.
#[derive(Clone, Debug)]
pub struct ResetChallenge {
    /// Six digits.
    pub code: Secret,
    /// After this it is worth nothing.
    pub expires_at: Timestamp,
    /// How many wrong guesses are left before it is worth nothing.
    pub tries_left: u8,
}

#[cfg(test)]
impl User {
    /// Some user, for tests that change what matters to them.
    pub fn example() -> Self {
        Self {
            id: Uuid::from_u128(7),
            username: Username::parse("zoe").unwrap(),
            tenant: TenantName::parse("acme").unwrap(),
            tenant_since: Position::START,
            scopes_since: Position::START,
            password_hash: PasswordHash::new("$hash".to_owned()),
            generation: Generation(1),
            email: None,
            scopes: None,
            data: None,
            two_factor: None,
            revoked: false,
            totp_secret: Secret::new("12345678901234567890"),
            totp_spent_step: None,
            reset: None,
        }
    }
}
