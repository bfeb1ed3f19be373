use std::sync::Arc;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::audit::{Door, Visit};
use super::device::Device;
use super::password::{Share, Verdict};
use super::second_factor::{Code, LetIn};
use super::sessions::{BeginSession, IssuedTokens, SignedIn};
use super::token::Claimed;
use super::{Identity, Principal, Verified};
use crate::central::{Attempt, GuessAt};
use crate::domain::{
    Account, AuthContext, ClientAddress, Password, PasswordHash, Secret, SignIn, Timestamp, User, Username,
};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};

/// The credentials of a sign-in.
#[derive(Deserialize)]
pub struct Credentials {
    username: String,
    password: Secret,
    totp: Option<String>,
    recovery_code: Option<String>,
    /// Whether a session is to begin, which refresh tokens renew.
    refresh: Option<bool>,
}

impl Identity {
    /// Signs a user in.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] with two codes. [`Error::Unauthorized`], the same for an unknown user, a wrong password, a wrong or spent
    /// code and a revoked user; without a code after the same time. [`Error::TotpRequired`] if the password is right and only the code is
    /// missing; [`Error::TooManyAttempts`]; [`Error::Overloaded`]; and, if a code was given or a session begins, those of
    /// [`crate::writer::Writer::submit`].
    pub async fn login(&self, credentials: Credentials, device: Device) -> Result<IssuedTokens, Error> {
        let Credentials { username, password, totp, recovery_code, refresh } = credentials;
        let (code, from) = (Code::of(totp, recovery_code)?, device.address);
        let attempt = async |username| {
            let (session, token) = self.new_session(refresh.unwrap_or_default(), device);
            let signed_in = self.sign_in(username, password, code, session, from).await?;
            self.issue(signed_in, token)
        };
        Visit::of_claimed(self.0.store.metrics(), Door::SignIn, &username, from, attempt).await
    }

    async fn sign_in(
        &self,
        username: Username,
        password: Secret,
        code: Option<Code>,
        session: Option<BeginSession>,
        from: ClientAddress,
    ) -> Result<SignedIn, Error> {
        let password = Password::parse(password).map_err(|_| Error::Unauthorized)?;
        let attempt = self.0.central.attempt(GuessAt::Account(&username), from).await?;
        let Proven { user, outdated, attempt } = self.prove(&username, password, from, attempt, |_| Ok(())).await?;
        let (factor, guess) = self.second_factor(&user, code, attempt).await?;
        let signed_in = if factor.is_needed() || session.is_some() {
            let (username, generation) = (username.clone(), user.generation);
            self.submit_guess(LetIn { username, generation, factor, session }, guess).await?
        } else {
            SignedIn::Plain(Box::new(user.into()))
        };
        self.renew(&username, outdated, from).await;
        Ok(signed_in)
    }

    /// Authenticates a user by a JWT.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if it is expired, revoked or wrong.
    pub fn bearer(&self, token: &str) -> Result<Principal, Error> {
        let claimed = self.0.tokens.read(token, self.0.clock.now())?;
        let Claimed { username, generation, session, expires_at, .. } = &*claimed;
        let sign_in = SignIn { generation: *generation, by_password_alone: false, session: *session };
        self.of_sign_in(username.clone(), sign_in, Some(*expires_at))
    }

    /// Authenticates a user by an earlier sign-in, if their account still upholds it.
    pub(super) fn of_sign_in(
        &self,
        username: Username,
        sign_in: SignIn,
        expires_at: Option<Timestamp>,
    ) -> Result<Principal, Error> {
        let account = self.0.store.account(&username)?.ok_or(Error::Unauthorized)?;
        Principal::new(username, account, expires_at, sign_in)
    }

    /// Authenticates a user by name and password.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if they are wrong or the user is revoked, or if the user has two-factor authentication
    /// on, since the header cannot carry the code; [`Error::TooManyAttempts`]; [`Error::Overloaded`].
    pub async fn basic(&self, username: Username, password: Password, from: ClientAddress) -> Result<Principal, Error> {
        let user = self.user_of_basic(&username, password, from).await?;
        let sign_in = SignIn { generation: user.generation, by_password_alone: true, session: None };
        // A password is of no session.
        Principal::new(username, Arc::new(Account::of(&user, Box::default())), None, sign_in)
    }

    /// The account of a principal, if they would still be authenticated. For requests that wait, and for open streams.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub fn recheck(&self, principal: &Principal) -> Result<Arc<Account>, Error> {
        if principal.expires_at.is_some_and(|expires_at| expires_at <= self.0.clock.now()) {
            return Err(Error::Unauthorized);
        }
        let account = match &principal.auth_context {
            AuthContext::User(sign_in) => {
                self.0.store.account(&principal.username)?.filter(|account| account.upholds(sign_in))
            }
            AuthContext::Guest(guest) => guest.account_at(&principal.username, self.0.clock.now()).cloned(),
        };
        account.ok_or(Error::Unauthorized)
    }

    /// The facts about a user for a service, in a form that the service can check without asking Broker again.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn verify(&self, principal: &Principal) -> Result<Verified, Error> {
        let expiry = principal.expires_at.unwrap_or_else(|| self.0.clock.now() + self.0.settings.sign_ins.jwt_expiry);
        self.0.root.mint(&principal.username, &principal.account, expiry)
    }

    /// Checks a guess at a user's password, together with the further check `also`. A wrong guess counts for every
    /// username: for an unknown or revoked user, every password is wrong.
    pub(super) async fn prove(
        &self,
        username: &Username,
        password: Password,
        from: ClientAddress,
        attempt: Attempt,
        also: impl FnOnce(&User) -> Result<(), Error> + Send + 'static,
    ) -> Result<Proven, Error> {
        let (user, attempt) = attempt.settle(self.0.store.user(username))?;
        let kept = user.as_ref().map(|user| user.password_hash.clone());
        // After the user, so that it is no less than the work which came with them.
        Self::load_work(&self.0.store, &self.0.passwords)?;
        let judge = move |verdict: Verdict| {
            let user = user.filter(|user| verdict.matches && !user.revoked).ok_or(Error::Unauthorized)?;
            also(&user)?;
            Ok((user, verdict.is_outdated))
        };
        let share = Share::of_account(from, username);
        let ((before, is_outdated), attempt) =
            self.0.passwords.check(share, password.clone(), kept, attempt, judge).await?;
        // The user is read again after the hash, which took time, so that a revocation meanwhile counts.
        let user = self.0.store.user(username)?.ok_or(Error::Unauthorized)?;
        if user.revoked || user.generation != before.generation {
            return Err(Error::Unauthorized);
        }
        let outdated = is_outdated.then_some((before.password_hash, password));
        Ok(Proven { user, outdated, attempt })
    }

    /// Replaces an outdated hash after the user was authenticated. If this happened earlier, its time would tell a
    /// correct password from a wrong one.
    async fn renew(&self, username: &Username, outdated: Option<(PasswordHash, Password)>, from: ClientAddress) {
        let Some((kept, password)) = outdated else { return };
        let renewed = async {
            let to = self.0.passwords.hash_again(Share::of_account(from, username), password).await?;
            self.0.writer.submit(Rehash { username: username.clone(), from: kept, to }).await
        };
        if let Err(error) = renewed.await {
            tracing::warn!(%error, "an outdated password hash stays until the next sign-in");
        }
    }

    /// The user of a Basic header. The same credentials are not hashed again for a while, and concurrent ones are
    /// hashed once.
    async fn user_of_basic(&self, username: &Username, password: Password, from: ClientAddress) -> Result<User, Error> {
        // An unknown user takes the same path. Another path would count guesses differently, and reveal which users
        // exist.
        let known = self.0.store.user(username)?;
        let fingerprint = self.fingerprint(username, &password, known.as_ref());
        let right = async {
            let visit = Visit::at(self.0.store.metrics(), Door::Basic, Some(username.clone()), from);
            visit.ends(self.guess(username, password, from).await)
        };
        self.0.basic.try_get_with(fingerprint, right).await.map_err(|error: Arc<Error>| (*error).clone())?;
        // The user is read again after the hash, which took time. A new password does not count.
        let user = self.0.store.user(username)?;
        user.filter(|user| known.is_some_and(|known| known.generation == user.generation)).ok_or(Error::Unauthorized)
    }

    async fn guess(&self, username: &Username, password: Password, from: ClientAddress) -> Result<(), Error> {
        let attempt = self.0.central.attempt(GuessAt::Account(username), from).await?;
        // Basic cannot carry the code. A client that tries anyway must not learn whether the password was correct:
        // neither from the answer, nor from its time, nor from whether the guess counts or is remembered.
        let needs_no_code = |user: &User| if user.needs_code() { Err(Error::Unauthorized) } else { Ok(()) };
        let Proven { outdated, .. } = self.prove(username, password, from, attempt, needs_no_code).await?;
        self.renew(username, outdated, from).await;
        Ok(())
    }

    /// The key by which credentials are remembered. It changes with a new password, with a revocation, and when
    /// two-factor authentication is turned on, so that earlier credentials are unknown.
    fn fingerprint(&self, username: &Username, password: &Password, known: Option<&User>) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0.basic_key);
        let hash = known.map_or("", |user| user.password_hash.expose()).as_bytes();
        let generation = known.map_or(0, |user| user.generation.0).to_be_bytes();
        let typed = password.expose_typed().unwrap_or(password.expose());
        for part in [username.as_str().as_bytes(), typed, hash, &generation] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut fingerprint = [0; 32];
        // An HMAC-SHA-256 has 32 bytes.
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }
}

/// The result of a correct guess.
pub(super) struct Proven {
    /// The user as it is now.
    pub(super) user: User,
    /// The hash and its password, if it should be hashed again.
    outdated: Option<(PasswordHash, Password)>,
    /// The attempt, for further checks.
    pub(super) attempt: Attempt,
}

/// Replaces a hash by one of the same password with today's parameters.
#[derive(Serialize, Deserialize)]
pub(super) struct Rehash {
    username: Username,
    from: PasswordHash,
    to: PasswordHash,
}

impl Change for Rehash {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        // If the hash was changed meanwhile, the new one is up to date.
        if let Some(mut user) = batch.user(&self.username)?.filter(|user| user.password_hash == self.from) {
            user.password_hash = self.to;
            batch.put_user(&user);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use argon2::password_hash::phc;
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};

    use super::super::{RootKey, Settings};
    use super::*;
    use crate::central::Central;
    use crate::clock::Clock;
    use crate::config::{Passwords, SignIns, SignUps, Signup};
    use crate::store::Store;
    use crate::writer::{Rules, Writer};

    fn local() -> ClientAddress {
        ClientAddress::of([127, 0, 0, 1].into())
    }

    /// An earlier Broker hashed passwords as they were typed, and more weakly.
    #[tokio::test]
    async fn an_outdated_hash_is_replaced_once_its_user_is_let_in_and_not_before() {
        let typed = "jose\u{301} 12345";
        let weak = Argon2::new(Algorithm::Argon2i, Version::V0x13, Params::new(4096, 3, 1, None).unwrap());
        let kept: phc::PasswordHash = weak.hash_password(typed.as_bytes()).unwrap();
        let kept = PasswordHash::new(kept.to_string());
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = Store::open(directory.path(), 64 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        for (name, two_factor) in [("zoe", false), ("max", true)] {
            let username = Username::parse(name).unwrap();
            let (password_hash, two_factor) = (kept.clone(), Some(two_factor));
            transaction.put_user(&User { username, password_hash, two_factor, ..User::example() });
        }
        drop(transaction.commit().unwrap().reveal());
        let clock = Clock::from_local();
        let (writer, _failure) = Writer::start(committer, clock.clone(), Rules::example(), |committed| {
            committed.reveal();
        })
        .unwrap();
        let root = RootKey::load(&store, &writer).await.unwrap();
        let settings = Settings {
            admin_token: Secret::new("admin"),
            jwt_secret: Secret::new("jwt"),
            sign_ups: SignUps { signup: Signup::Closed, tenant: None },
            sign_ins: SignIns {
                jwt_expiry: Duration::from_secs(60),
                access_expiry: Duration::from_secs(60),
                refresh_expiry: Duration::from_secs(60),
                jwt_audience: None,
            },
            passwords: Passwords { password_min: 64, password_checker: true, totp_duration: Duration::from_secs(60) },
            default_scopes: None,
            notiflux: None,
            channels: None,
            mqtt_tokens: None,
            mqtt_anonymous: None,
        };
        let identity = Identity::new(store.clone(), writer, clock, root, Central::alone(), settings).unwrap();
        let sign_in = async |name: &str, password: &str| {
            let (username, password) = (name.to_owned(), password.to_owned());
            let credentials =
                Credentials { username, password: password.into(), totp: None, recovery_code: None, refresh: None };
            let device = Device { address: local(), client: None };
            identity.login(credentials, device).await.map(drop)
        };
        let hash_of = |name| store.user(&Username::parse(name).unwrap()).unwrap().unwrap().password_hash;
        let refused = Err(Error::Unauthorized);
        assert_eq!(sign_in("zoe", "jos\u{e9} 12345").await, refused, "another than was hashed");
        assert_eq!(sign_in("zoe", "wrong").await, refused);
        assert_eq!(sign_in("max", typed).await, Err(Error::TotpRequired), "without the code");
        let by_basic = identity.basic(Username::parse("max").unwrap(), Password::parse(typed).unwrap(), local());
        assert_eq!(by_basic.await.map(drop), refused);
        assert!(hash_of("zoe") == kept && hash_of("max") == kept);
        assert_eq!(sign_in("zoe", typed).await, Ok(()), "whatever is asked of new ones");
        assert!(hash_of("zoe").expose().starts_with("$argon2id$"));
        assert_eq!(sign_in("zoe", "jos\u{e9} 12345").await, Ok(()));
    }
}
