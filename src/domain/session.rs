use super::{Generation, Timestamp, Username};

/// How many sessions a user may have. One more ends the one that was used longest ago.
pub const MAX_SESSIONS: usize = 100;

/// A keyed hash of a secret in a refresh token. The secrets themselves are not stored.
pub type SecretHash = [u8; 32];

/// Tells one key of such hashes from another, and nothing else about it.
pub type HashKeyId = u64;

/// A sign-in that is renewed by refresh tokens, until it is ended or was not renewed for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub username: Username,
    /// The generation of the user at the sign-in. With another one of the user the session has ended.
    pub generation: Generation,
    /// The key of its hashes. Once the server has another one, nobody can show that they have a secret of the session: it has ended.
    pub hash_key: HashKeyId,
    /// Of the secret that all refresh tokens of the session share.
    pub family: SecretHash,
    /// Of the secret that only the newest refresh token has.
    pub current: SecretHash,
    /// Those of the tokens before it that still give an access token, the newest last.
    pub former: Vec<FormerSecret>,
    /// When the user signed in.
    pub created_at: Timestamp,
    /// When it was renewed last.
    pub used_at: Timestamp,
    /// When it ends if it is not renewed. No access token lasts longer.
    pub expires_at: Timestamp,
    /// From where it was renewed last.
    pub address: String,
    /// By which program it was renewed last, as that calls itself.
    pub client: Option<String>,
}

/// The secret of a refresh token that has been replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerSecret {
    /// Of the secret.
    pub hash: SecretHash,
    /// When the token was replaced.
    pub replaced_at: Timestamp,
}
