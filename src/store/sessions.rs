//! Sessions: a row for each, found by its name; a row for each user who has some, with their names; and a row for each by the moment at
//! which maintenance looks whether it has expired.
//!
//! Sessions of another generation than that of their user have ended. They are no longer found, and their rows go when the user begins
//! another session, or when they would have expired.

use super::codec::{self, SessionRow};
use super::damage::damaged;
use super::database::Store;
use super::keys;
use super::rows::Rows;
use super::transaction::Transaction;
use crate::domain::{Generation, MAX_SESSIONS, Session, SessionId, Timestamp, User, Username};
use crate::error::Error;

/// A source of rows, from which sessions are read.
trait SessionRows: Rows {
    fn session_row(&self, id: SessionId) -> Result<Option<SessionRow>, Error> {
        self.decoded(&keys::session(id), codec::decode_session)
    }

    /// The names in the row of a user, and their generation.
    fn sessions_row(&self, username: &Username) -> Result<(Generation, Vec<SessionId>), Error> {
        let row = self.decoded(&keys::sessions_of(username), codec::decode_sessions_of)?;
        Ok(row.unwrap_or((Generation(0), Vec::new())))
    }

    fn in_generation(&self, username: &Username, generation: Generation) -> Result<Vec<SessionId>, Error> {
        let (of, sessions) = self.sessions_row(username)?;
        Ok(if of == generation { sessions } else { Vec::new() })
    }

    /// The session with a name, if it has not ended.
    fn live_session(&self, id: SessionId, user: &User, now: Timestamp) -> Result<Option<Session>, Error> {
        let row = self.session_row(id)?.filter(|row| {
            let session = &row.session;
            session.username == user.username && session.generation == user.generation && session.expires_at > now
        });
        Ok(row.map(|row| row.session))
    }
}

impl<T: Rows> SessionRows for T {}

impl Store {
    /// The session with a name. It may have ended.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn session(&self, id: SessionId) -> Result<Option<Session>, Error> {
        Ok(self.session_row(id)?.map(|row| row.session))
    }

    /// The sessions of a user that have not ended, the newest first. Of one that cannot be read, the log names the key.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn sessions_of(&self, username: &Username, now: Timestamp) -> Result<Vec<(SessionId, Session)>, Error> {
        let Some(user) = self.user(username)? else { return Ok(Vec::new()) };
        let mut sessions = Vec::new();
        for id in self.in_generation(username, user.generation)? {
            let session = self.unless_damaged(self.live_session(id, &user, now))?.flatten();
            sessions.extend(session.map(|session| (id, session)));
        }
        sessions.sort_by_key(|(_, session)| std::cmp::Reverse(session.created_at));
        Ok(sessions)
    }

    /// The names of the sessions of a user in a generation. If they cannot be read, there are none: none of them lets anybody in.
    pub(super) fn session_names(&self, username: &Username, generation: Generation) -> Result<Box<[SessionId]>, Error> {
        let names = self.unless_damaged(self.in_generation(username, generation))?;
        Ok(names.unwrap_or_default().into())
    }
}

impl Transaction<'_> {
    /// The names of the sessions of a user, with every change that was decided before. It never refuses: if they cannot be read, none of
    /// them is good for anything else in this commit.
    pub(super) fn session_names(&self, user: &User) -> Box<[SessionId]> {
        let names = self.in_generation(&user.username, user.generation);
        let names = self.committer.store.unless_damaged(names).ok().flatten();
        names.unwrap_or_default().into()
    }

    /// The names of the sessions of a user, and their generation. If they cannot be read there are none: that must neither keep anybody
    /// from signing in, nor a sign-in from being ended.
    fn known_sessions(&self, username: &Username) -> Result<(Generation, Vec<SessionId>), Error> {
        let names = self.committer.store.unless_damaged(self.sessions_row(username))?;
        Ok(names.unwrap_or((Generation(0), Vec::new())))
    }

    /// The session with a name and its user, if it has not ended, with every change that was decided before.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn session(&self, id: SessionId) -> Result<Option<(Session, User)>, Error> {
        let Some(row) = self.session_row(id)? else { return Ok(None) };
        let Some(user) = self.user(&row.session.username)?.filter(|user| !user.revoked) else { return Ok(None) };
        let session = self.live_session(id, &user, self.now())?;
        Ok(session.map(|session| (session, user)))
    }

    /// Begins a session of a user, who loses the one that was used longest ago if there are too many, or one that has ended since its
    /// hashes have another key. Returns its name, and whether one was lost.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn begin_session(&mut self, user: &User, session: Session) -> Result<(SessionId, bool), Error> {
        let id = self.unused_session_name()?;
        let (generation, mut names) = self.known_sessions(&user.username)?;
        if generation != user.generation {
            for ended in std::mem::take(&mut names) {
                self.forget_session(ended)?;
            }
        }
        let is_too_many = names.len() >= MAX_SESSIONS;
        while names.len() >= MAX_SESSIONS {
            let mut used = Vec::with_capacity(names.len());
            for (place, name) in names.iter().enumerate() {
                let row = self.committer.store.unless_damaged(self.session_row(*name))?.flatten();
                let alive = row.filter(|row| row.session.hash_key == session.hash_key);
                used.push((alive.map(|row| row.session.used_at), place));
            }
            let Some((_, place)) = used.into_iter().min() else { break };
            self.forget_session(names.remove(place))?;
        }
        names.push(id);
        let due_at = session.expires_at;
        self.put(keys::session_due(due_at, id), Vec::new());
        self.put(keys::session(id), codec::encode_session(SessionRow { session, due_at }));
        self.change_session_names(user, names);
        Ok((id, is_too_many))
    }

    /// Writes a session that was renewed.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn renew_session(&mut self, id: SessionId, session: Session) -> Result<(), Error> {
        // Maintenance finds it at the moment that was written first, and looks then until when it lasts.
        let before = self.session_row(id)?.ok_or_else(|| Error::Internal("an ended session is renewed".to_owned()))?;
        self.put(keys::session(id), codec::encode_session(SessionRow { session, ..before }));
        Ok(())
    }

    /// Ends a session of a user.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn end_session(&mut self, user: &User, id: SessionId) -> Result<(), Error> {
        self.forget_session(id)?;
        let (generation, mut names) = self.known_sessions(&user.username)?;
        names.retain(|name| *name != id && generation == user.generation);
        self.change_session_names(user, names);
        Ok(())
    }

    /// Removes all sessions of a user who goes.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn forget_sessions_of(&mut self, username: &Username) -> Result<(), Error> {
        for id in self.known_sessions(username)?.1 {
            self.forget_session(id)?;
        }
        self.remove(keys::sessions_of(username));
        Ok(())
    }

    /// Removes sessions that have expired, by the keys that [`Store::find`] found.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn forget_expired_sessions(&mut self, due: Vec<Vec<u8>>) -> Result<(), Error> {
        for key in due {
            let (at, id) = keys::of_session_due(&key).ok_or_else(|| damaged(&key, "a session's moment is none"))?;
            if let Some(SessionRow { session, .. }) = self.session_row(id)?.filter(|row| row.due_at == at) {
                if session.expires_at > self.now() {
                    // It was renewed since.
                    let due_at = session.expires_at;
                    self.put(keys::session_due(due_at, id), Vec::new());
                    self.put(keys::session(id), codec::encode_session(SessionRow { session, due_at }));
                } else {
                    let (generation, mut names) = self.known_sessions(&session.username)?;
                    names.retain(|name| *name != id);
                    // The user is not read, and an account in memory may go on naming the session: no token outlives it.
                    self.put_session_names(&session.username, generation, &names);
                    self.remove(keys::session(id));
                }
            }
            self.remove(key);
        }
        Ok(())
    }

    /// Removes the rows of a session, but not its name from the row of its user.
    fn forget_session(&mut self, id: SessionId) -> Result<(), Error> {
        // One that cannot be read goes all the same. Maintenance finds the row of its moment, and no session there.
        if let Some(row) = self.committer.store.unless_damaged(self.session_row(id))?.flatten() {
            self.remove(keys::session_due(row.due_at, id));
        }
        self.remove(keys::session(id));
        Ok(())
    }

    fn unused_session_name(&self) -> Result<SessionId, Error> {
        loop {
            let Some(id) = SessionId::new(u64::from_be_bytes(crate::random::bytes())) else { continue };
            if self.get(&keys::session(id))?.is_none() {
                return Ok(id);
            }
        }
    }

    fn change_session_names(&mut self, user: &User, names: Vec<SessionId>) {
        self.put_session_names(&user.username, user.generation, &names);
        self.note_user(user, names.into());
    }

    fn put_session_names(&mut self, username: &Username, generation: Generation, names: &[SessionId]) {
        let key = keys::sessions_of(username);
        if names.is_empty() {
            self.remove(key);
        } else {
            self.put(key, codec::encode_sessions_of(generation, names));
        }
    }
}

#[cfg(test)]
mod tests;
