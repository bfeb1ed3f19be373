//! Changes of sessions, each decided in the writer.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::domain::{FormerSecret, Generation, HashKeyId, SecretHash, Session, SessionId, Timestamp, User, Username};
use crate::error::Error;
use crate::identity::device::Device;
use crate::identity::owner::Owner;
use crate::identity::refresh_token::is_same;
use crate::identity::token::Bearer;
use crate::writer::{Anywhere, Batch, Change};

/// For how long a refresh token that was replaced still gives an access token: two tabs may have refreshed at once.
const GRACE: Duration = Duration::from_secs(10);
/// How many tokens are known that were replaced within the grace. Older ones count as used too late.
const MAX_FORMER: usize = 16;

/// A session that was begun or renewed, or would have been if another request had not done so.
#[derive(Serialize, Deserialize)]
pub struct Renewal {
    pub id: SessionId,
    pub user: Bearer,
    pub now: Timestamp,
    pub expires_at: Timestamp,
}

/// A session that is to begin within the change that lets its user in: the client is told of both or of neither.
#[derive(Serialize, Deserialize)]
pub struct BeginSession {
    pub hash_key: HashKeyId,
    pub family: SecretHash,
    pub current: SecretHash,
    pub device: Device,
}

/// A user who was let in.
#[derive(Serialize, Deserialize)]
pub enum SignedIn {
    /// Without a session.
    Plain(Box<Bearer>),
    /// By a new session.
    Session(Box<Renewal>),
}

impl SignedIn {
    /// Begins the session of a user whom this change lets in, if there is to be one. The user is stored as they are now.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::Damaged`].
    pub fn new(batch: &mut Batch<'_>, user: User, session: Option<BeginSession>) -> Result<Self, Error> {
        let Some(BeginSession { hash_key, family, current, device }) = session else {
            return Ok(Self::Plain(Box::new(user.into())));
        };
        let now = batch.now();
        let expires_at = now + batch.rules().sign_ins.refresh_expiry;
        let session = Session {
            username: user.username.clone(),
            generation: user.generation,
            hash_key,
            family,
            current,
            former: Vec::new(),
            created_at: now,
            used_at: now,
            expires_at,
            address: device.address.to_string(),
            client: device.client,
        };
        let (id, has_lost_one) = batch.begin_session(&user, session)?;
        if has_lost_one {
            batch.change_rights_of(&user.username);
        }
        Ok(Self::Session(Box::new(Renewal { id, user: user.into(), now, expires_at })))
    }
}

/// Renews a session by a refresh token.
#[derive(Serialize, Deserialize)]
pub struct Renew {
    pub id: SessionId,
    pub family: SecretHash,
    pub rotation: SecretHash,
    /// Of the token that takes its place.
    pub next: SecretHash,
    pub device: Device,
}

/// What a refresh token came to.
#[derive(Serialize, Deserialize)]
pub enum Renewed {
    /// Another one takes its place.
    Rotated(Renewal),
    /// Another one took its place a moment ago.
    Repeated(Renewal),
    /// Another one took its place before that, so the session has been ended.
    Reused,
}

impl Change for Renew {
    type Outcome = Renewed;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Renewed, Error> {
        let Self { id, family, rotation, next, device } = self;
        let found = batch.session(id)?.filter(|(session, _)| is_same(&session.family, &family));
        let (mut session, user) = found.ok_or(Error::SessionEnded)?;
        let now = batch.now();
        if is_same(&session.current, &rotation) {
            let expires_at = now + batch.rules().sign_ins.refresh_expiry;
            session.former.retain(|former| now.since(former.replaced_at) < GRACE);
            if session.former.len() >= MAX_FORMER {
                session.former.remove(0);
            }
            session.former.push(FormerSecret { hash: session.current, replaced_at: now });
            (session.current, session.used_at, session.expires_at) = (next, now, expires_at);
            (session.address, session.client) = (device.address.to_string(), device.client);
            batch.renew_session(id, session)?;
            return Ok(Renewed::Rotated(Renewal { id, user: user.into(), now, expires_at }));
        }
        let is_recent = |former: &FormerSecret| now.since(former.replaced_at) < GRACE;
        if session.former.iter().any(|former| is_same(&former.hash, &rotation) && is_recent(former)) {
            return Ok(Renewed::Repeated(Renewal { id, user: user.into(), now, expires_at: session.expires_at }));
        }
        // Somebody has a copy: whoever comes second shows a token that the other one has replaced.
        end(batch, &user, id)?;
        Ok(Renewed::Reused)
    }
}

/// Ends a session.
#[derive(Serialize, Deserialize)]
pub struct EndSession {
    pub id: SessionId,
    pub by: EndedBy,
}

/// By what right a session is ended.
#[derive(Serialize, Deserialize)]
pub enum EndedBy {
    /// A token of the session itself, which says whose it is.
    Token(Username),
    /// A sign-in of its user.
    User(Owner),
}

impl Change for EndSession {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let Self { id, by } = self;
        let username = match by {
            EndedBy::Token(username) => username,
            EndedBy::User(owner) => owner.user(batch)?.username,
        };
        let found = batch.session(id)?.filter(|(session, _)| session.username == username);
        let (_, user) = found.ok_or(Error::SessionUnknown)?;
        end(batch, &user, id)
    }
}

/// Ends a session and its streams.
fn end(batch: &mut Batch<'_>, user: &User, id: SessionId) -> Result<(), Error> {
    batch.end_session(user, id)?;
    // Its streams find that it has ended as they look at their rights.
    batch.change_rights_of(&user.username);
    Ok(())
}

/// Ends all sign-ins of a user.
#[derive(Serialize, Deserialize)]
pub struct EndSignIns {
    pub owner: Owner,
    pub generation: Generation,
}

impl Change for EndSignIns {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let Self { owner, generation } = self;
        let user = User { generation, ..owner.user(batch)? };
        batch.put_user(&user);
        batch.forget_sessions_of(&user.username)?;
        batch.end_streams_of(&user.username);
        Ok(())
    }
}
