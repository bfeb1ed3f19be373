use std::collections::HashSet;
use std::sync::LazyLock;

use crate::config::Passwords;
use crate::domain::Password;
use crate::error::Error;

/// The scores of zxcvbn go from 0 to 4. A password below this score can be guessed online or from a leaked hash.
const MIN_SCORE: zxcvbn::Score = zxcvbn::Score::Three;
/// The time of zxcvbn grows faster than the length. Characters after this many cannot make a password weaker.
const MAX_JUDGED_CHARS: usize = 64;
/// How much work may be judged at once, as estimated by [`work`]: about as long as a hash takes.
const MAX_WORK: f64 = 400_000.0;

/// The 10,000 most common passwords, the most common first, in lower case: the first lines of `common-passwords.txt.gz`
/// in Django 5.2.19, without those whose text is damaged. Its license, BSD-3-Clause, is in `common_passwords.license`.
/// zxcvbn has an older list, and accepts a password that is long and looks random, however many people use it.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// The rules for new passwords.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// The minimum number of characters (Unicode scalar values, in the form NFC).
    pub min_chars: usize,
    /// Whether common passwords are refused, and those that zxcvbn finds easy to guess.
    pub is_strict: bool,
}

/// A new password that the policy has accepted. No other kind is hashed for a user.
#[derive(Debug)]
pub struct Accepted(Password);

impl Accepted {
    /// The password.
    pub fn into_password(self) -> Password {
        self.0
    }
}

impl From<&Passwords> for PasswordPolicy {
    fn from(settings: &Passwords) -> Self {
        Self { min_chars: settings.password_min, is_strict: settings.password_checker }
    }
}

impl PasswordPolicy {
    /// Checks a password. `known` holds words that an attacker would try for this user. It may take tens of
    /// milliseconds, so it must not run on a worker.
    ///
    /// # Errors
    /// [`Error::PasswordTooShort`]; [`Error::PasswordWeak`], with the reason if there is one.
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

/// An estimate of the time of zxcvbn, in units of about 50 ns. It looks up every substring, once for every combination
/// of letters that its digits and symbols may stand for. Each different one makes about half as many more.
fn work(chars: usize, different: u32) -> f64 {
    let chars = chars as f64;
    chars * chars * 1.5_f64.powf(f64::from(different))
}

/// Splits a text into parts that can each be judged in a moment. It is one part if it has at most 11 different digits
/// and symbols. No part but the last has fewer than 17 characters.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (mut end, mut digits_and_symbols) = (rest.len(), 0_u128);
        for (before, (at, char)) in rest.char_indices().enumerate() {
            if char.is_ascii_digit() || char.is_ascii_punctuation() {
                digits_and_symbols |= 1 << u32::from(char);
            }
            if work(before + 1, digits_and_symbols.count_ones()) > MAX_WORK {
                end = at;
                break;
            }
        }
        let part;
        (part, rest) = rest.split_at(end);
        (!part.is_empty()).then_some(part)
    })
}

fn judge(text: &str, known: &[String]) -> Result<(), Error> {
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let start = text.char_indices().nth(MAX_JUDGED_CHARS).map_or(text, |(end, _)| &text[..end]);
    let (mut is_good, mut warning) = (false, None);
    // The whole is at least as hard to guess as any part of it.
    for part in parts(start) {
        let judged = zxcvbn::zxcvbn(part, &known);
        if judged.score() >= MIN_SCORE {
            is_good = true;
            break;
        }
        warning = warning.or_else(|| judged.feedback().and_then(|feedback| feedback.warning()));
    }
    if !is_good {
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

    const LEET: &str = "4@8({[<3691!|70$5+%2";

    #[test]
    fn an_ordinary_password_is_judged_as_a_whole_and_every_other_in_parts_that_are_long_enough() {
        let ordinary = "Tr0ub4dor&3 correct-horse_battery staple 2026! Kestrel on a rock";
        assert_eq!(parts(ordinary).collect::<Vec<_>>(), [ordinary]);
        assert_eq!(parts("").count(), 0);
        let symbols = "\u{1f510}".repeat(64);
        assert_eq!(parts(&symbols).collect::<Vec<_>>(), [symbols.as_str()]);
        let all: String = ('!'..='~').collect();
        for text in [LEET.repeat(3) + "4@8(", all.clone(), all.chars().rev().collect()] {
            let parts: Vec<_> = parts(&text).collect();
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().rev().skip(1).all(|part| part.len() >= 17), "{parts:?}");
        }
    }

    #[test]
    fn of_a_long_password_one_good_part_is_enough_but_only_among_the_first_characters() {
        let policy = PasswordPolicy { min_chars: 8, is_strict: true };
        assert_eq!(check(policy, "1234567890!@#$%^&*()kestrel over the cold river"), Ok(()));
        assert!(check(policy, &("1234567890!@#$%^&*()".to_owned() + &"a".repeat(44) + LEET)).is_err());
        assert!(check(policy, &("a".repeat(64) + LEET)).is_err());
        assert_eq!(check(policy, LEET), Ok(()));
    }

    /// The processor time of this thread, which other load on the machine does not change.
    fn cpu_time() -> std::time::Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    #[test]
    fn no_password_takes_long_to_judge() {
        let policy = PasswordPolicy { min_chars: 8, is_strict: true };
        let words = "theassistoneallhereatetoseatheat".repeat(3);
        let interleaved: String = LEET.chars().zip("aeiostrlnh".chars().cycle()).flat_map(|(a, b)| [a, b]).collect();
        let known = [LEET.repeat(12), "4".repeat(250)];
        // The first check initializes the tables.
        policy.check(Password::parse("12345678".to_owned()).unwrap(), &[]).unwrap_err();
        for text in [
            LEET.repeat(5),
            ('!'..='~').collect(),
            "1234567890!@#$%^&*()".repeat(4),
            LEET.to_owned() + &"4".repeat(80),
            LEET.to_owned() + &"$0".repeat(40),
            LEET.to_owned() + &words,
            words[..40].to_owned() + LEET + &words,
            interleaved.repeat(3),
            "a".repeat(1024),
            "ab".repeat(512),
            "1/1/91".repeat(100),
        ] {
            let before = cpu_time();
            let _ = policy.check(Password::parse(text.clone()).unwrap(), &known);
            let taken = cpu_time() - before;
            assert!(taken.as_millis() < 200, "{taken:?} for {text}");
        }
    }

    /// Readers copy them.
    #[test]
    fn the_passwords_of_the_documents_are_good_ones() {
        let policy = PasswordPolicy { min_chars: 8, is_strict: true };
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let pages = ["README.md", "docs/accounts.md", "docs/guide.md", "docs/http-api.md"];
        for page in pages {
            let text = std::fs::read_to_string(format!("{root}{page}")).unwrap();
            let examples: HashSet<_> =
                text.split("\"password\": \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            assert!(!examples.is_empty(), "{page} has none");
            // Placeholders are excluded, and the wrong guess of an example.
            for example in examples.into_iter().filter(|example| !example.contains(['$', '*']) && *example != "wrong") {
                assert_eq!(check(policy, example), Ok(()), "{example} in {page}");
            }
        }
    }
}
