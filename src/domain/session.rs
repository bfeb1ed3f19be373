use std::fmt;
use std::num::NonZeroU64;

use super::{Generation, Timestamp, Username};

/// How many sessions a user may have. One more ends the one that was used longest ago.
pub const MAX_SESSIONS: usize = 100;

/// The name of a session: a random number. It is in tokens and lists, and is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(NonZeroU64);

impl SessionId {
    /// The name with this number; zero is none.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_written_so = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_written_so { Self::new(u64::from_str_radix(text, 16).ok()?) } else { None }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A keyed hash of a secret in a refresh token. The secrets themselves are not stored.
pub type SecretHash = [u8; 32];

/// A sign-in that is renewed by refresh tokens, until it is ended or was not renewed for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub username: Username,
    /// The generation of the user at the sign-in. With another one of the user the session has ended.
    pub generation: Generation,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_session_is_written_in_one_way() {
        let id = SessionId::new(0xab).unwrap();
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(SessionId::parse("00000000000000ab"), Some(id));
        for text in ["", "ab", "00000000000000AB", "0000000000000000", "+0000000000000ab", "000000000000000ab"] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }
}
