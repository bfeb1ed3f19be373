use std::collections::HashSet;
use std::sync::LazyLock;

use crate::domain::Password;
use crate::error::Error;

/// zxcvbn's scores go from 0 to 4; below this a password can be guessed online or from a leaked hash.
const MIN_SCORE: zxcvbn::Score = zxcvbn::Score::Three;
/// zxcvbn takes longer than linear time; what stands after this many characters cannot make a password weaker.
const MAX_JUDGED_CHARS: usize = 100;

/// The 10,000 most common passwords, the most common first, in lower case: the first lines of `common-passwords.txt.gz` in
/// Django 5.2.19, but for those whose text is damaged. Its licence, BSD-3-Clause, is in `common_passwords.license`. zxcvbn has a
/// list too, an older one, and lets pass what is long and looks random, however many people use it.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Which new passwords are refused.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// Those of fewer characters (Unicode scalar values, in the form NFC).
    pub min_chars: usize,
    /// Those that are common, or that zxcvbn finds easy to guess.
    pub is_strict: bool,
}

/// A new password that the policy has let pass: the only kind that is hashed for a user.
#[derive(Debug)]
pub struct Accepted(Password);

impl Accepted {
    /// The password.
    pub fn into_password(self) -> Password {
        self.0
    }
}

impl PasswordPolicy {
    /// Judges a password of somebody of whom this is known. It may take tens of milliseconds: not on a worker.
    ///
    /// # Errors
    /// [`Error::PasswordTooShort`]; [`Error::PasswordWeak`], with the reason where there is one.
    pub fn check(self, password: Password, known: &[String]) -> Result<Accepted, Error> {
        let text = String::from_utf8_lossy(password.expose());
        if text.chars().count() < self.min_chars {
            return Err(Error::PasswordTooShort(self.min_chars));
        }
        if self.is_strict {
            judge(&text, known)?;
        }
        Ok(Accepted(password))
    }
}

fn judge(text: &str, known: &[String]) -> Result<(), Error> {
    let start: String = text.chars().take(MAX_JUDGED_CHARS).collect();
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let judged = zxcvbn::zxcvbn(&start, &known);
    if judged.score() < MIN_SCORE {
        let warning = judged.feedback().and_then(|feedback| feedback.warning());
        return Err(Error::PasswordWeak(warning.map(|warning| warning.to_string())));
    }
    if COMMON.contains(text.to_lowercase().as_str()) {
        return Err(Error::PasswordWeak(Some("This is a very common password.".to_owned())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: PasswordPolicy, text: &str) -> Result<(), Error> {
        policy.check(Password::parse(text.to_owned()).unwrap(), &[]).map(drop)
    }

    #[test]
    fn a_password_is_as_long_as_it_has_characters_however_they_are_written() {
        let policy = PasswordPolicy { min_chars: 8, is_strict: false };
        for (text, is_enough) in [
            ("1234567", false),
            ("12345678", true),
            ("password1", true),
            ("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", false),
            ("e\u{301}e\u{301}e\u{301}e\u{301}", false),
            ("\u{1f510}\u{1f510}\u{1f510}\u{1f510}\u{1f510}\u{1f510}\u{1f510}\u{1f510}", true),
        ] {
            let expected = if is_enough { Ok(()) } else { Err(Error::PasswordTooShort(8)) };
            assert_eq!(check(policy, text), expected, "{text}");
        }
    }

    #[test]
    fn common_passwords_are_refused_also_those_that_zxcvbn_lets_pass() {
        let policy = PasswordPolicy { min_chars: 1, is_strict: true };
        assert_eq!(COMMON.len(), 10_000);
        for text in ["1q2w3e4r5t6y7u8i9o", "1Q2w3e4r5t6Y7U8i9o", "l6ho3tg7wb"] {
            assert!(zxcvbn::zxcvbn(text, &[]).score() >= MIN_SCORE, "{text}");
            assert!(matches!(check(policy, text), Err(Error::PasswordWeak(Some(_)))), "{text}");
        }
        assert_eq!(check(policy, "1q2w3e4r5t6y7u8i9o Kestrel"), Ok(()));
        assert_eq!(check(PasswordPolicy { is_strict: false, ..policy }, "123456"), Ok(()));
    }

    /// They are copied.
    #[test]
    fn the_passwords_of_the_readme_are_good_ones() {
        let policy = PasswordPolicy { min_chars: 8, is_strict: true };
        let examples = include_str!("../../README.md").split("\"password\": \"").skip(1);
        let examples: HashSet<_> = examples.filter_map(|rest| rest.split('"').next()).collect();
        assert!(examples.len() > 2, "{examples:?}");
        for example in examples {
            assert_eq!(check(policy, example), Ok(()), "{example}");
        }
    }
}
