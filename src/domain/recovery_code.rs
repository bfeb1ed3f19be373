use serde::{Deserialize, Serialize};
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

use super::{Secret, is_blank};

/// How many recovery codes a user gets.
pub const RECOVERY_CODES: usize = 10;

/// How many random bytes a code has. Nobody guesses 80 bits, so a fast hash keeps them.
const BYTES: usize = 10;
/// How many bytes of its hash are stored.
const HASH_BYTES: usize = 16;
/// The digits of a code: base 32 by Crockford, in which no two can be mistaken for each other.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// How many digits stand together when a code is shown.
const GROUP: usize = 4;

/// A code that is good for one sign-in without the authenticator app.
pub struct RecoveryCode(Secret);

/// What is stored of a recovery code. The same code of another user has another hash.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryHash(pub [u8; HASH_BYTES]);

impl RecoveryCode {
    /// A new code.
    pub fn random() -> Self {
        let bytes: [u8; BYTES] = crate::random::bytes();
        let bits = bytes.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let digit = |number: usize| DIGITS[(bits >> (5 * number)) as usize % DIGITS.len()];
        Self(Secret::new((0..BYTES * 8 / 5).map(digit).collect::<Vec<_>>()))
    }

    /// Reads a code as a person types it: blanks and hyphens do not count, nor does the case, nor how a digit is read. What is no code is
    /// nobody's.
    pub fn read(text: &str) -> Self {
        let digits = text.chars().filter(|c| !is_blank(*c) && *c != '-').map(|c| match c.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            digit => digit,
        });
        Self(Secret::from(digits.collect::<String>()))
    }

    /// The code as it is shown.
    pub fn shown(&self) -> String {
        let groups = self.0.expose().chunks(GROUP).map(String::from_utf8_lossy);
        groups.collect::<Vec<_>>().join("-")
    }

    /// What is stored of it as a code of a user with this id.
    pub fn hash(&self, user: Uuid) -> RecoveryHash {
        let hash = digest(&SHA256, &[b"recovery code".as_slice(), user.as_bytes(), self.0.expose()].concat());
        let mut kept = [0; HASH_BYTES];
        kept.copy_from_slice(&hash.as_ref()[..HASH_BYTES]);
        RecoveryHash(kept)
    }
}

impl fmt::Debug for RecoveryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryHash(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed_and_is_that_of_one_user() {
        let (zoe, max) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for _ in 0..100 {
            let code = RecoveryCode::random();
            let shown = code.shown();
            assert!(shown.len() == 19 && shown.split('-').all(|group| group.len() == 4), "{shown}");
            let typed = shown.to_uppercase().replace('-', " ").replace('0', "O").replace('1', "l");
            for text in [shown.clone(), typed, shown.replace('-', ""), format!(" {shown}\n")] {
                assert_eq!(RecoveryCode::read(&text).hash(zoe), code.hash(zoe), "{text:?}");
            }
            assert_ne!(code.hash(zoe), code.hash(max));
            assert_ne!(RecoveryCode::random().hash(zoe), code.hash(zoe));
        }
        for text in ["", " ", "0", "é", "0000-0000-0000-0000"] {
            assert_ne!(RecoveryCode::read(text).hash(zoe), RecoveryCode::random().hash(zoe));
        }
    }
}
