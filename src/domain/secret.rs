use std::borrow::Cow;
use std::fmt;
use std::str::Chars;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
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

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// Reads a JSON string.
///
/// serde would read a string with an escape into a buffer that it does not wipe. So the text is taken as it stands in the body,
/// and its escapes are read into a secret.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        unescape(raw.get()).ok_or_else(|| D::Error::invalid_type(Unexpected::Other("another value"), &"a string"))
    }
}

/// The text that a JSON value stands for; `None` if the value is not a string, or has half a surrogate pair in it.
fn unescape(json: &str) -> Option<Secret> {
    let quoted = json.strip_prefix('"')?.strip_suffix('"')?;
    // An escape is never shorter than its character. So the text is not moved as it grows, which would leave a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(quoted.len()));
    let mut chars = quoted.chars();
    while let Some(next) = chars.next() {
        let next = if next == '\\' { escaped(&mut chars)? } else { next };
        text.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(Secret(text))
}

/// The character that an escape stands for, of which the backslash has been read (RFC 8259, section 7).
fn escaped(chars: &mut Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let first = code_unit(chars)?;
            match char::from_u32(first.into()) {
                Some(char) => char,
                // A surrogate, which makes a character only together with the next escape.
                None => {
                    let is_escape = chars.next()? == '\\' && chars.next()? == 'u';
                    let pair = [first, code_unit(chars).filter(|_| is_escape)?];
                    char::decode_utf16(pair).next()?.ok()?
                }
            }
        }
        other => other,
    })
}

fn code_unit(chars: &mut Chars<'_>) -> Option<u16> {
    (0..4).try_fold(0, |unit, _| Some(unit << 4 | chars.next()?.to_digit(16)? as u16))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A password: 1 to 1024 bytes, as a person typed it.
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
    /// [`Error::PasswordInvalid`] if it is empty, too long or no text.
    pub fn parse(text: impl Into<Secret>) -> Result<Self, Error> {
        let typed = text.into();
        let text = std::str::from_utf8(typed.expose()).map_err(|_| Error::PasswordInvalid)?;
        if !(1..=MAX_PASSWORD_BYTES).contains(&text.len()) {
            return Err(Error::PasswordInvalid);
        }
        let nfc = match ComposingNormalizerBorrowed::new_nfc().normalize(text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(nfc) => Some(Secret::new(nfc)),
        };
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
        let password = Password::parse("hunter2").unwrap();
        let hash = PasswordHash::new("$argon2id$x".into());
        let printed = format!("{password:?} {hash:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("argon2id"), "{printed}");
    }

    #[test]
    fn a_secret_is_read_as_any_json_string_is() {
        let strings = [
            r#""""#,
            r#""plain""#,
            r#"" \" \\ \/ \b\f\n\r\t ""#,
            r#""\u00e9\u0000\uFFFF""#,
            r#""\ud83d\udd11 \u20ac""#,
            "\"é🔑\"",
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\n""#,
            r#""\ud83d\u0041""#,
            r#""\ud83d\ud83d""#,
            r#""\udd11""#,
            r#""\u00g0""#,
            r#""\u00""#,
            r#""\x""#,
            "\"\n\"",
            r#""open"#,
            "1",
            "null",
            r#"["a"]"#,
        ];
        for json in strings {
            let (expected, read) = (serde_json::from_str::<String>(json), serde_json::from_str::<Secret>(json));
            let read = read.ok().map(|secret| secret.expose().to_vec());
            assert_eq!(read, expected.ok().map(String::into_bytes), "{json}");
        }
    }

    #[test]
    fn a_password_is_the_same_however_a_keyboard_writes_its_accents() {
        let (composed, decomposed) = ("jos\u{e9} 1", "jose\u{301} 1");
        let [one, other] = [composed, decomposed].map(|text| Password::parse(text.to_owned()).unwrap());
        assert_eq!((one.expose(), one.expose_typed()), (composed.as_bytes(), None));
        assert_eq!((other.expose(), other.expose_typed()), (composed.as_bytes(), Some(decomposed.as_bytes())));
    }
}
