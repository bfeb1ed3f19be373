//! Sessions: sign-ins with a short access token, which refresh tokens renew. The writer decides whatever becomes of one, so of many
//! refreshes with the same token one gives a successor, and a refresh that races the end of its session revives nothing.

mod changes;

use serde::{Deserialize, Serialize};

pub(super) use self::changes::{BeginSession, EndSession, EndSignIns, Renew, SignedIn};
use self::changes::{EndedBy, Renewal, Renewed};
use super::audit::{Act, Door, Visit};
use super::device::Device;
use super::owner::Owner;
use super::refresh_token::{self, Family, Rotation, Shown, is_same};
use super::users::new_generation;
use super::{Identity, Principal};
use crate::central::GuessAt;
use crate::domain::{ClientAddress, Secret, Session, SessionId, Timestamp, Username};
use crate::error::Error;
use crate::store::Lane;

/// The answer to a sign-in: a token, and what belongs to its session if it has one.
#[derive(Serialize)]
pub struct IssuedTokens {
    jwt: String,
    #[serde(flatten)]
    session: Option<IssuedSession>,
}

#[derive(Serialize)]
struct IssuedSession {
    /// In seconds.
    expires_in: u64,
    /// In milliseconds since 1970.
    expires_at: u64,
    /// Absent if another request has got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    session: String,
}

/// What the first refresh token of a session is made of, until it is known which session that is.
pub(super) struct NewToken {
    family: Family,
    rotation: Rotation,
}

/// The session that is to be ended, or all sign-ins.
#[derive(Deserialize)]
pub struct SessionToEnd {
    session: Option<String>,
    all: Option<bool>,
}

/// A session as its user sees it.
#[derive(Serialize)]
pub struct SessionView {
    session: String,
    created: u64,
    used: u64,
    address: String,
    client: Option<String>,
    current: bool,
}

impl SessionView {
    /// A session, as whoever asks from the current one sees it.
    pub(super) fn of(id: SessionId, session: Session, current: Option<SessionId>) -> Self {
        Self {
            session: id.to_string(),
            created: session.created_at.as_millis(),
            used: session.used_at.as_millis(),
            address: session.address,
            client: session.client,
            current: current == Some(id),
        }
    }
}

impl Identity {
    /// The session that is to begin in the change that lets a user in, if it is to be refreshed, and what its refresh token will be made
    /// of.
    pub(super) fn new_session(&self, refresh: bool, device: Device) -> (Option<BeginSession>, Option<NewToken>) {
        if !refresh {
            return (None, None);
        }
        let (hashes, family, rotation) = (&self.0.refresh_tokens, Family::random(), Rotation::random());
        let begin = BeginSession {
            hash_key: hashes.hash_key(),
            family: hashes.hash_family(&family),
            current: hashes.hash_rotation(&rotation),
            device,
        };
        (Some(begin), Some(NewToken { family, rotation }))
    }

    /// The tokens for a user who was let in: a JWT, or those of the session that has begun.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub(super) fn issue(&self, signed_in: SignedIn, token: Option<NewToken>) -> Result<IssuedTokens, Error> {
        match signed_in {
            SignedIn::Plain(user) => {
                let now = self.0.clock.now();
                let jwt = self.0.tokens.issue(&*user, now, now + self.0.settings.sign_ins.jwt_expiry, None)?;
                Ok(IssuedTokens { jwt, session: None })
            }
            SignedIn::Session(begun) => {
                let token = token.map(|token| refresh_token::write(begun.id, &token.family, &token.rotation));
                self.tokens_of(&begun, token)
            }
        }
    }

    /// Gives an access token for a refresh token, and the refresh token that takes its place. One that was replaced a moment ago gives
    /// an access token alone. One that was replaced before has been copied: its session ends.
    ///
    /// # Errors
    /// [`Error::SessionEnded`]; [`Error::TooManyAttempts`]; [`Error::Overloaded`]; those of [`crate::writer::Writer::submit`].
    pub async fn refresh(&self, token: &Secret, device: Device) -> Result<IssuedTokens, Error> {
        let mut visit = Visit::at(self.0.store.metrics(), Door::Refresh, None, device.address);
        let refreshed = self.try_refresh(token, device, &mut visit).await;
        visit.ends(refreshed)
    }

    async fn try_refresh(&self, token: &Secret, device: Device, visit: &mut Visit) -> Result<IssuedTokens, Error> {
        let (Shown { session: id, family, rotation }, session) = self.session_shown(token, device.address).await?;
        visit.is_of(session.username);
        let next = Rotation::random();
        let renewed = self.0.writer.submit(Renew {
            id,
            family: session.family,
            rotation: self.0.refresh_tokens.hash_rotation(&rotation),
            next: self.0.refresh_tokens.hash_rotation(&next),
            device,
        });
        match renewed.await? {
            Renewed::Rotated(renewal) => self.tokens_of(&renewal, Some(refresh_token::write(id, &family, &next))),
            Renewed::Repeated(renewal) => self.tokens_of(&renewal, None),
            Renewed::Reused => Err(visit.was_reused()),
        }
    }

    /// The session of a refresh token that has the secret of its family. Whether it is still good, the writer decides.
    ///
    /// Only a token of no session that is alive takes from the allowance of its address: whoever guesses there must keep nobody else from going on,
    /// since a page that is refused loses its streams. Looked at without an allowance, a guess costs a hash and a row and costs the
    /// writer nothing; that it is told from a right one is of no use to it, for the secret has 128 bits.
    async fn session_shown(&self, token: &Secret, from: ClientAddress) -> Result<(Shown, Session), Error> {
        let found = self.find_shown(token);
        if let Ok(Some(shown)) = found {
            return Ok(shown);
        }
        let attempt = self.0.central.attempt(GuessAt::Nobody, from).await?;
        let (shown, _) = attempt.settle(found.and_then(|found| found.ok_or(Error::SessionEnded)))?;
        Ok(shown)
    }

    fn find_shown(&self, token: &Secret) -> Result<Option<(Shown, Session)>, Error> {
        let Some(shown) = refresh_token::read(token) else { return Ok(None) };
        let family = self.0.refresh_tokens.hash_family(&shown.family);
        let session = self.0.store.session(shown.session)?.filter(|session| is_same(&session.family, &family));
        let Some(session) = session.filter(|session| session.expires_at > self.0.clock.now()) else { return Ok(None) };
        // The row of a session stays for a while after a new password and the like have ended it. Whoever was shut out by that with a
        // copy of its token is not to reach the writer for free.
        let account = self.0.store.account(&session.username)?;
        let is_alive = account.is_some_and(|account| !account.revoked && account.upholds_session(Some(shown.session)));
        Ok(is_alive.then_some((shown, session)))
    }

    fn tokens_of(&self, renewal: &Renewal, refresh_token: Option<String>) -> Result<IssuedTokens, Error> {
        let Renewal { id, user, now, expires_at } = renewal;
        // No access token outlives its session, so a session that has expired has none, and nothing asks for its time.
        let expires_at = (*now + self.0.settings.sign_ins.access_expiry).min(*expires_at);
        let jwt = self.0.tokens.issue(user, *now, expires_at, Some(*id))?;
        let session = IssuedSession {
            expires_in: expires_at.as_secs().saturating_sub(now.as_secs()),
            // As the token says it.
            expires_at: Timestamp::from_secs(expires_at.as_secs()).as_millis(),
            refresh_token,
            session: id.to_string(),
        };
        Ok(IssuedTokens { jwt, session: Some(session) })
    }

    /// Ends the session of a refresh token. One that is of no session, or of one that has ended, is as good.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`]; [`Error::Overloaded`]; those of [`crate::writer::Writer::submit`].
    pub async fn logout_by_refresh_token(&self, token: &Secret, from: ClientAddress) -> Result<(), Error> {
        match self.session_shown(token, from).await {
            Ok((shown, session)) => self.log_out(shown.session, session.username, from).await,
            Err(Error::SessionEnded) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the session of an access token, if it has not ended yet.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a token that is no good; [`Error::SessionMissing`] for one that is of no session; those of
    /// [`crate::writer::Writer::submit`].
    pub async fn logout(&self, token: &str, from: ClientAddress) -> Result<(), Error> {
        let claimed = self.0.tokens.read(token, self.0.clock.now())?;
        match claimed.session {
            Some(session) => self.log_out(session, claimed.username.clone(), from).await,
            None => self.bearer(token).and(Err(Error::SessionMissing)),
        }
    }

    async fn log_out(&self, id: SessionId, username: Username, from: ClientAddress) -> Result<(), Error> {
        let act = Act::by_owner(&username, "session", "ended by logout", from);
        let by = EndedBy::Token(username);
        match self.0.writer.submit(EndSession { id, by }).await {
            Err(Error::SessionUnknown) => act.ends(Ok(())),
            ended => act.ends(ended),
        }
    }

    /// The sessions of a user, the newest first.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::Overloaded`]; [`Error::Storage`].
    pub async fn sessions(&self, principal: &Principal) -> Result<Vec<SessionView>, Error> {
        let account = self.recheck(principal)?;
        let lane = Lane::of_request(&account.tenant, &principal.username);
        let (username, now, hash_key) =
            (principal.username.clone(), self.0.clock.now(), self.0.refresh_tokens.hash_key());
        let sessions = self.0.store.read(&lane, move |store| store.sessions_of(&username, now)).await?;
        let alive = sessions.into_iter().filter(|(_, session)| session.hash_key == hash_key);
        Ok(alive.map(|(id, session)| SessionView::of(id, session, principal.session())).collect())
    }

    /// Ends a session of the principal's, or all their sign-ins.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] if it is not either of them; [`Error::SessionUnknown`]; [`Error::Unauthorized`] if the principal's rights
    /// ended meanwhile; those of [`crate::writer::Writer::submit`].
    pub async fn end_session(
        &self,
        principal: &Principal,
        which: SessionToEnd,
        from: ClientAddress,
    ) -> Result<(), Error> {
        let (username, owner) = (&principal.username, Owner::of(principal));
        match (which.session, which.all.unwrap_or_default()) {
            (Some(session), false) => {
                let act = Act::by_owner(username, "session", "ended", from);
                let ended = async {
                    let id = SessionId::parse(&session).ok_or(Error::SessionUnknown)?;
                    self.0.writer.submit(EndSession { id, by: EndedBy::User(owner) }).await
                };
                act.ends(ended.await)
            }
            (None, true) => {
                let act = Act::by_owner(username, "all sign-ins", "ended", from);
                let generation = new_generation();
                act.ends(self.0.writer.submit(EndSignIns { owner, generation }).await)
            }
            _ => Err(Error::BodyInvalid("it takes either session, or all as true".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
