use serde::{Deserialize, Serialize};

use super::audit::{Door, Visit};
use super::password::Share;
use super::users::{new_generation, unknown_is_unauthorized};
use super::{Admin, Identity, totp};
use crate::central::{Attempt, GuessAt};
use crate::domain::{ClientAddress, Generation, Password, PasswordHash, ResetChallenge, Secret, Username, wire};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};

/// How many wrong guesses a reset code allows: five of a million codes.
const TRIES: u8 = 5;
/// The key that is written for a guess at the code of an unknown user.
const DECOY: &str = "decoy";
/// The size of an ordinary user's record.
const DECOY_BYTES: usize = 480;

/// A new password, and the code that permits it.
#[derive(Deserialize)]
pub struct NewPassword {
    username: String,
    password: Secret,
    totp: String,
}

impl Identity {
    /// Creates a reset code: six digits, which the application sends to the user. A code of a revoked user never works,
    /// not even after the user is restored.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for an unknown user, as the contract requires; those of
    /// [`crate::writer::Writer::submit`].
    pub async fn create_totp(&self, admin: &Admin, username: &str) -> Result<String, Error> {
        let act = admin.act("reset code", "made", username);
        let made = async {
            let username = Username::parse(username).map_err(|_| Error::Unauthorized)?;
            let code = totp::reset_code();
            let shown = String::from_utf8_lossy(code.expose()).into_owned();
            self.0.writer.submit(BeginReset { username, code }).await.map_err(unknown_is_unauthorized)?;
            Ok(shown)
        };
        act.ends(made.await)
    }

    /// Sets a new password, and ends all earlier sign-ins. Two-factor authentication stays on.
    ///
    /// The code is checked first, in the writer, at the same cost for every client. So a client without the code cannot
    /// make Broker judge or hash a password. The code is spent only after the policy has accepted the password.
    ///
    /// # Errors
    /// [`Error::PasswordInvalid`]; [`Error::TooManyAttempts`]. [`Error::Unauthorized`], the same and after the same
    /// time for an unknown user, a revoked user, and a code that is wrong, spent or expired. If the code is correct:
    /// those of [`super::PasswordPolicy::check`], which do not spend it. Those of [`crate::writer::Writer::submit`].
    pub async fn reset_password(&self, new: NewPassword, from: ClientAddress) -> Result<(), Error> {
        let NewPassword { username, password, totp: code } = new;
        let attempt = async |username| self.set_new_password(username, password, code, from).await;
        Visit::of_claimed(self.0.store.metrics(), Door::Reset, &username, from, attempt).await
    }

    async fn set_new_password(
        &self,
        username: Username,
        password: Secret,
        code: String,
        from: ClientAddress,
    ) -> Result<(), Error> {
        let password = Password::parse(password)?;
        let code = Secret::new(totp::without_blanks(code));
        let share = || Share::of_account(from, &username);
        let attempt = self.0.central.attempt(GuessAt::Account(&username), from).await?;
        let attempt = self.try_code(&username, &code, attempt, None).await?;
        // The user's e-mail address is left out: a policy that knew it would reveal it to a client that has the code.
        let password = self.new_password(share(), password, &username, None).await?;
        let then = (self.0.passwords.hash(share(), password).await?, new_generation());
        // The code is checked once more, because it may have been spent or have expired meanwhile.
        self.try_code(&username, &code, attempt, Some(then)).await.map(drop)
    }

    async fn try_code(
        &self,
        username: &Username,
        code: &Secret,
        attempt: Attempt,
        then: Option<(PasswordHash, Generation)>,
    ) -> Result<Attempt, Error> {
        let guess = TryCode { username: username.clone(), code: code.clone(), then };
        // Settled when the writer has checked it, whether the client still waits or not.
        let settle = move |is_right| match attempt.settle(is_right)? {
            (true, attempt) => Ok(attempt),
            (false, attempt) => {
                attempt.was_wrong();
                Err(Error::Unauthorized)
            }
        };
        self.0.writer.post_then(guess, settle)?.await
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct BeginReset {
    username: Username,
    #[serde(with = "wire::secret")]
    code: Secret,
}

impl Change for BeginReset {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let mut user = batch.user(&self.username)?.ok_or(Error::UserUnknown)?;
        let expires_at = batch.now() + batch.rules().passwords.totp_duration;
        user.reset = Some(ResetChallenge { code: self.code, expires_at, tries_left: TRIES });
        batch.put_user(&user);
        Ok(())
    }
}

/// A guess at a reset code.
#[derive(Serialize, Deserialize)]
pub(super) struct TryCode {
    username: Username,
    #[serde(with = "wire::secret")]
    code: Secret,
    /// The new password and generation for which a correct code is spent. Without them, the code is only checked.
    then: Option<(PasswordHash, Generation)>,
}

impl Change for TryCode {
    /// Whether the code was correct.
    type Outcome = bool;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<bool, Error> {
        let Self { username, code, then } = self;
        let now = batch.now();
        // The same amount is written with or without a code, and with or without a user. Otherwise the time of the disk
        // would reveal the difference.
        if let Some(mut user) = batch.user(&username)? {
            if let Some(challenge) = user.reset.take().filter(|challenge| challenge.expires_at > now) {
                // A code of a revoked user never works, but guesses use it up as any other code.
                if challenge.code.matches(code.expose()) && !user.revoked {
                    if let Some((hash, generation)) = then {
                        user.set_password(hash, generation);
                        batch.put_user(&user);
                        batch.end_streams_of(&user.username);
                    }
                    return Ok(true);
                }
                let tries_left = challenge.tries_left.saturating_sub(1);
                user.reset = (tries_left > 0).then_some(ResetChallenge { tries_left, ..challenge });
            }
            batch.put_user(&user);
        } else {
            batch.put_setting(DECOY, vec![0; DECOY_BYTES]);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::domain::{Payload, Timestamp, User};
    use crate::store::Store;
    use crate::writer::{Here, Rules, Writer};

    /// Measures how many bytes a guess writes.
    struct Weigh(TryCode);

    impl Change for Weigh {
        type Outcome = usize;
        type Reach = Here;

        fn decide(self, batch: &mut Batch<'_>) -> Result<usize, Error> {
            assert!(!self.0.decide(batch)?, "the code was right");
            Ok(batch.written())
        }
    }

    #[tokio::test]
    async fn a_wrong_guess_writes_as_much_whether_its_user_has_a_code_or_not_however_large_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = Store::open(directory.path(), 64 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        let code = |expires_at| ResetChallenge { code: Secret::new("123456"), expires_at, tries_left: TRIES };
        let (past, future) = (Timestamp::from_millis(1), Timestamp::from_secs(1 << 40));
        for (size, bytes) in [("small", 10), ("large", 90_000)] {
            for (name, reset) in [("with", Some(code(future))), ("late", Some(code(past))), ("none", None)] {
                let username = Username::parse(&format!("{name}_{size}")).unwrap();
                let data = Some(Payload::from_stored(&"1".repeat(bytes)));
                transaction.put_user(&User { username, data, reset, ..User::example() });
            }
        }
        let username = Username::parse("revoked").unwrap();
        transaction.put_user(&User { username, revoked: true, reset: Some(code(future)), ..User::example() });
        drop(transaction.commit().unwrap().reveal());
        let (writer, _failure) = Writer::start(committer, Clock::from_local(), Rules::example(), |committed| {
            committed.reveal();
        })
        .unwrap();
        let weigh = async |name: &str| {
            let username = Username::parse(name).unwrap();
            let guess = TryCode { username, code: Secret::new("000000"), then: None };
            writer.submit(Weigh(guess)).await.unwrap()
        };
        for size in ["small", "large"] {
            let with = weigh(&format!("with_{size}")).await;
            for name in ["late", "none"] {
                let without = weigh(&format!("{name}_{size}")).await;
                assert!(with.abs_diff(without) < 128, "{size}: {with} bytes with a code, {without} for {name}");
            }
        }
        assert!(weigh("nobody").await.abs_diff(weigh("none_small").await) < 200);
        let kept = store.user(&Username::parse("with_small").unwrap()).unwrap().unwrap();
        assert_eq!(kept.reset.map(|challenge| challenge.tries_left), Some(TRIES - 1));
        for _ in 0..TRIES {
            weigh("revoked").await;
        }
        let kept = store.user(&Username::parse("revoked").unwrap()).unwrap().unwrap();
        assert!(kept.reset.is_none(), "wrong guesses use the code of a revoked user up");
    }
}
