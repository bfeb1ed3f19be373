use std::borrow::Cow;
use std::fmt;

use icu_normalizer::ComposingNormalizerBorrowed;
use zeroize::Zeroizing;

use crate::error::Error;

/// The maximum length of a password, in bytes: long enough for any passphrase, and too short to overload the server.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Secret bytes: wiped when dropped, absent from `Debug`, compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `other` is the same. The time of the comparison does not depend on how much of it matches.
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
/// Keyboards differ in how they write an `é`, as one character or as two, and the same person must be able to sign in
/// with both. So the form NFC is hashed (RFC 8265, section 4.2.2). Earlier versions hashed passwords as they were
/// typed.
#[derive(Clone, Debug)]
pub struct Password {
    nfc: Secret,
    /// The typed form, if it differs.
    typed: Option<Secret>,
}

impl Password {
    /// Parses a password.
    ///
    /// # Errors
    /// [`Error::PasswordInvalid`] if it is empty or too long.
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

    /// The bytes as they were typed, if they differ: for a hash from an earlier version.
    pub fn expose_typed(&self) -> Option<&[u8]> {
        self.typed.as_ref().map(Secret::expose)
    }
}

/// The hash of a password, as a PHC string (`$argon2id$v=19$m=…`).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a string from the hash function or the store.
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
