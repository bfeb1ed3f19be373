//! Two-factor authentication, as its owner switches it on and off.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audit::{Door, Visit};
use super::device::Device;
use super::owner::Owner;
use super::proven_owner::ProvenOwner;
use super::second_factor::{Code, Guessed};
use super::sessions::{BeginSession, IssuedTokens, SignedIn};
use super::totp::{self, Issuer};
use super::users::new_generation;
use super::{Identity, Principal};
use crate::central::GuessAt;
use crate::domain::{ClientAddress, Generation, PendingTotp, RECOVERY_CODES, RecoveryCode, Secret, Timestamp, wire};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};

/// How long a secret can be confirmed.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(3600);
/// What an authenticator app shows if nothing else is said.
const ISSUER: &str = "Broker";

/// What begins two-factor authentication.
#[derive(Deserialize)]
pub struct BeginTwoFactor {
    password: Secret,
    issuer: Option<String>,
}

/// The secret that an authenticator app takes. It counts once a code of it was shown.
#[derive(Serialize)]
pub struct BegunTwoFactor {
    secret: String,
    uri: String,
    /// A PNG in base64.
    qr: String,
}

/// What switches two-factor authentication on.
#[derive(Deserialize)]
pub struct ConfirmTwoFactor {
    totp: String,
    refresh: Option<bool>,
}

/// The new sign-in of a user who has switched two-factor authentication on.
#[derive(Serialize)]
pub struct ConfirmedTwoFactor {
    #[serde(flatten)]
    tokens: IssuedTokens,
    recovery_codes: Vec<String>,
}

/// What switches two-factor authentication off.
#[derive(Deserialize)]
pub struct EndTwoFactor {
    password: Secret,
    totp: Option<String>,
    recovery_code: Option<String>,
}

impl Identity {
    /// Makes a secret for the authenticator app of a user. Another one that was not confirmed is forgotten.
    ///
    /// # Errors
    /// [`Error::IssuerInvalid`]; [`Error::QrTooLarge`]; [`Error::Unauthorized`] for a wrong password; [`Error::TwoFactorOn`];
    /// [`Error::TooManyAttempts`]; [`Error::Overloaded`]; those of [`crate::writer::Writer::submit`].
    pub async fn begin_two_factor(
        &self,
        principal: &Principal,
        begin: BeginTwoFactor,
        from: ClientAddress,
    ) -> Result<BegunTwoFactor, Error> {
        let visit = Visit::at(self.0.store.metrics(), Door::TwoFactorBegin, Some(principal.username.clone()), from);
        let begun = async {
            let BeginTwoFactor { password, issuer } = begin;
            let secret = totp::new_secret();
            let issuer = Issuer::parse(issuer.as_deref().unwrap_or(ISSUER))?;
            let user = self.prove_password(principal, password, from).await?;
            let begun = BegunTwoFactor {
                secret: totp::base_32(&secret),
                uri: totp::otpauth_url(&issuer, &user.username, &secret),
                qr: totp::qr(&issuer, &user.username, &secret)?,
            };
            self.0.writer.submit(Begin { owner: Owner::of(principal), secret }).await?;
            Ok(begun)
        };
        visit.ends(begun.await)
    }

    /// Switches two-factor authentication on, and ends every sign-in of the user. Returns a new sign-in and the recovery
    /// codes.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a wrong code; [`Error::TwoFactorNotBegun`]; [`Error::TwoFactorOn`]; [`Error::TooManyAttempts`];
    /// [`Error::Overloaded`]; those of [`crate::writer::Writer::submit`].
    pub async fn confirm_two_factor(
        &self,
        principal: &Principal,
        ConfirmTwoFactor { totp, refresh }: ConfirmTwoFactor,
        device: Device,
    ) -> Result<ConfirmedTwoFactor, Error> {
        let from = device.address;
        let visit = Visit::at(self.0.store.metrics(), Door::TwoFactorOn, Some(principal.username.clone()), from);
        let confirmed = async {
            let attempt = self.0.central.attempt(GuessAt::Nobody, from).await?;
            let attempt = self.0.central.attempt_at_code(&principal.username, attempt).await?;
            let recovery_codes: Vec<_> = (0..RECOVERY_CODES).map(|_| RecoveryCode::random()).collect();
            let shown = recovery_codes.iter().map(RecoveryCode::shown).collect();
            let (code, generation) = (totp::without_blanks(totp), new_generation());
            let owner = Owner::of(principal);
            let (session, token) = self.new_session(refresh.unwrap_or_default(), device);
            let confirm = Confirm { owner, code, recovery_codes, generation, session };
            let tokens = self.issue(self.submit_guess(confirm, attempt.into()).await?, token)?;
            Ok(ConfirmedTwoFactor { tokens, recovery_codes: shown })
        };
        visit.ends(confirmed.await)
    }

    /// Switches two-factor authentication off. Sign-ins stay.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] with two codes; [`Error::TotpRequired`] without one; [`Error::Unauthorized`] for a wrong password or a wrong
    /// code; [`Error::TwoFactorOff`]; [`Error::TooManyAttempts`]; [`Error::Overloaded`]; those of [`crate::writer::Writer::submit`].
    pub async fn end_two_factor(
        &self,
        principal: &Principal,
        end: EndTwoFactor,
        from: ClientAddress,
    ) -> Result<(), Error> {
        let visit = Visit::at(self.0.store.metrics(), Door::TwoFactorOff, Some(principal.username.clone()), from);
        let ended = async {
            let EndTwoFactor { password, totp, recovery_code } = end;
            let code = Code::of(totp, recovery_code)?;
            let (_, owner, guess) = self.prove_owner(principal, password, code, from).await?;
            if !owner.needs_code() {
                return Err(Error::TwoFactorOff);
            }
            self.submit_guess(End { owner }, guess).await
        };
        visit.ends(ended.await)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Begin {
    owner: Owner,
    #[serde(with = "wire::secret")]
    secret: Secret,
}

impl Change for Begin {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let mut user = self.owner.user(batch)?;
        // Whoever has the password and a sign-in, and not the app, must not put another app in its place.
        if user.needs_code() {
            return Err(Error::TwoFactorOn);
        }
        user.pending_totp = Some(PendingTotp { secret: self.secret, expires_at: batch.now() + CONFIRMED_WITHIN });
        batch.put_user(&user);
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Confirm {
    owner: Owner,
    code: String,
    recovery_codes: Vec<RecoveryCode>,
    generation: Generation,
    session: Option<BeginSession>,
}

impl Change for Confirm {
    type Outcome = Guessed<SignedIn>;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Guessed<SignedIn>, Error> {
        let Self { owner, code, recovery_codes, generation, session } = self;
        let mut user = owner.user(batch)?;
        if user.needs_code() {
            return Err(Error::TwoFactorOn);
        }
        let now: Timestamp = batch.now();
        let pending = user.pending_totp.take().filter(|pending| now < pending.expires_at);
        let PendingTotp { secret, .. } = pending.ok_or(Error::TwoFactorNotBegun)?;
        let Some(step) = totp::matching_step(&secret, &code, now) else { return Ok(Guessed::Wrong) };
        let recovery_codes = recovery_codes.iter().map(|code| code.hash(user.id)).collect();
        user.switch_two_factor_on(secret, step, recovery_codes, generation);
        batch.put_user(&user);
        batch.end_streams_of(&user.username);
        SignedIn::new(batch, user, session).map(Guessed::Right)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct End {
    owner: ProvenOwner,
}

impl Change for End {
    type Outcome = Guessed<()>;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Guessed<()>, Error> {
        let Some(mut user) = self.owner.user(batch)? else { return Ok(Guessed::Wrong) };
        if !user.needs_code() {
            return Err(Error::TwoFactorOff);
        }
        user.switch_two_factor_off();
        batch.put_user(&user);
        Ok(Guessed::Right(()))
    }
}
