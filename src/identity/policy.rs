use crate::domain::Password;
use crate::error::Error;

/// zxcvbn's scores go from 0 to 4; below this a password can be guessed online or from a leaked hash.
const MIN_SCORE: zxcvbn::Score = zxcvbn::Score::Three;
/// zxcvbn takes longer than linear time; what stands after this many characters cannot make a password weaker.
const MAX_JUDGED_CHARS: usize = 100;

/// Which passwords are refused.
#[derive(Clone, Copy, Debug)]
pub enum PasswordPolicy {
    /// None.
    Any,
    /// Those that zxcvbn finds easy to guess.
    Strong,
}

impl PasswordPolicy {
    /// # Errors
    /// [`Error::PasswordWeak`], with zxcvbn's reason where it has one.
    pub fn check(self, password: &Password, user_inputs: &[&str]) -> Result<(), Error> {
        if matches!(self, Self::Any) {
            return Ok(());
        }
        let text: String = String::from_utf8_lossy(password.expose()).chars().take(MAX_JUDGED_CHARS).collect();
        let judged = zxcvbn::zxcvbn(&text, user_inputs);
        if judged.score() >= MIN_SCORE {
            return Ok(());
        }
        let warning = judged.feedback().and_then(|feedback| feedback.warning());
        Err(Error::PasswordWeak(warning.map(|warning| warning.to_string())))
    }
}
