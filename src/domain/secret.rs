use std::borrow::Cow;
use std::fmt;

use icu_normalizer::ComposingNormalizerBorrowed;
use zeroize::Zeroizing;

use crate::error::Error;

/// The longest password, in bytes: long enough for any passphrase, short enough not to be a way of making us work.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Bytes that must not be seen: wiped when dropped, absent from `Debug`, compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `other` is the same, in a time that does not tell how much of it is.
    pub fn matches(&self, other: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, other).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A password: 1 to 1024 bytes as a person typed it.
///
/// Keyboards differ in how they write an `é`, as one character or as two, and the same person must get in with both: what is
/// hashed is the form NFC (RFC 8265, section 4.2.2). Passwords from before that were hashed as typed.
#[derive(Clone, Debug)]
pub struct Password {
    nfc: Secret,
    /// Where that is something else.
    typed: Option<Secret>,
}

impl Password {
    /// # Errors
    /// [`Error::PasswordInvalid`] for an empty or too long one.
    pub fn parse(text: String) -> Result<Self, Error> {
        if !(1..=MAX_PASSWORD_BYTES).contains(&text.len()) {
            return Err(Error::PasswordInvalid);
        }
        let nfc = match ComposingNormalizerBorrowed::new_nfc().normalize(&text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(nfc) => Some(Secret::new(nfc)),
        };
        let typed = Secret::new(text);
        Ok(match nfc {
            None => Self { nfc: typed, typed: None },
            Some(nfc) => Self { nfc, typed: Some(typed) },
        })
    }

    /// The bytes, for the hash.
    pub fn expose(&self) -> &[u8] {
        self.nfc.expose()
    }

    /// The bytes as they were typed, where those are others: for a hash from before there was the form NFC.
    pub fn expose_typed(&self) -> Option<&[u8]> {
        self.typed.as_ref().map(Secret::expose)
    }
}

/// A password's hash as a PHC string (`$argon2id$v=19$m=…`).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a string that the hash function made or the store kept.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_printed() {
        let password = Password::parse("hunter2".into()).unwrap();
        let hash = PasswordHash::new("$argon2id$x".into());
        let printed = format!("{password:?} {hash:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("argon2id"), "{printed}");
    }

    #[test]
    fn a_password_is_the_same_however_a_keyboard_writes_its_accents() {
        let (composed, decomposed) = ("jos\u{e9} 1", "jose\u{301} 1");
        let [one, other] = [composed, decomposed].map(|text| Password::parse(text.to_owned()).unwrap());
        assert_eq!((one.expose(), one.expose_typed()), (composed.as_bytes(), None));
        assert_eq!((other.expose(), other.expose_typed()), (composed.as_bytes(), Some(decomposed.as_bytes())));
    }
}
