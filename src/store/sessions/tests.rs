//! Guards the rows of sessions: what is found of them, and what is left when they have ended.

use std::time::Duration;

use super::*;
use crate::domain::Position;
use crate::store::{Committer, Search};

const LASTS: Duration = Duration::from_secs(100);

struct House {
    store: Store,
    committer: Committer,
    directory: tempfile::TempDir,
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn user(generation: u64) -> User {
    User { generation: Generation(generation), ..User::example() }
}

fn session(user: &User, now: Timestamp) -> Session {
    Session {
        username: user.username.clone(),
        generation: user.generation,
        hash_key: 3,
        family: [1; 32],
        current: [2; 32],
        former: Vec::new(),
        created_at: now,
        used_at: now,
        expires_at: now + LASTS,
        address: "192.0.2.1".to_owned(),
        client: None,
    }
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let mut house = Self { store, committer, directory };
        house.change(1, |transaction| transaction.put_user(&user(1)));
        house
    }

    fn change<T>(&mut self, now: u64, change: impl FnOnce(&mut Transaction<'_>) -> T) -> T {
        let mut transaction = self.committer.begin(at(now)).unwrap();
        let changed = change(&mut transaction);
        drop(transaction.commit().unwrap().reveal());
        changed
    }

    fn begin(&mut self, now: u64) -> SessionId {
        self.change(now, |transaction| transaction.begin_session(&user(1), session(&user(1), at(now))).unwrap().0)
    }

    /// The sessions that requests and lists find.
    fn found(&self, now: u64) -> Vec<SessionId> {
        let zoe = user(1).username;
        let listed: Vec<_> = self.store.sessions_of(&zoe, at(now)).unwrap().into_iter().map(|(id, _)| id).collect();
        let mut of_account = self.store.account(&zoe).unwrap().unwrap().sessions.to_vec();
        of_account.reverse();
        assert_eq!(of_account, listed);
        listed
    }

    /// How many rows there are of sessions.
    fn rows(&self) -> [usize; 3] {
        ["y", "m", "z"].map(|kind| {
            let mut rows = 0;
            self.store
                .scan_prefix(kind.as_bytes(), &mut |_, _| {
                    rows += 1;
                    Ok(true)
                })
                .unwrap();
            rows
        })
    }

    /// Does what maintenance does. Returns how many keys it found.
    fn maintain(&mut self, now: u64) -> usize {
        let keys = self.store.find(&Search::for_old_sessions(), at(now), 1000).unwrap().keys;
        let count = keys.len();
        self.change(now, |transaction| transaction.forget_expired_sessions(keys).unwrap());
        // The account in memory may name those that have expired.
        self.store.accounts.forget(&user(1).username);
        count
    }
}

#[test]
fn a_session_is_found_from_its_beginning_to_its_end_over_a_restart() {
    let mut house = House::new();
    assert_eq!(house.found(1), []);
    let (first, second) = (house.begin(10), house.begin(20));
    assert_eq!(house.found(20), [second, first]);
    let House { store, committer, directory } = house;
    drop((store, committer));
    let (store, committer) = Store::open(directory.path(), 1 << 20).unwrap();
    let mut house = House { store, committer, directory };
    assert_eq!(house.found(20), [second, first]);
    assert_eq!(house.store.session(first), Ok(Some(session(&user(1), at(10)))));
    house.change(30, |transaction| {
        transaction.end_session(&user(1), second).unwrap();
        // Later changes of the same commit know.
        assert_eq!(transaction.session(second).unwrap().map(|(session, _)| session), None);
        let sign_in =
            crate::domain::SignIn { generation: Generation(1), by_password_alone: false, session: Some(second) };
        let auth_context = crate::domain::AuthContext::User(sign_in);
        assert_eq!(transaction.account(&user(1).username, &auth_context).err(), Some(Error::Unauthorized));
    });
    assert_eq!((house.found(30), house.rows()), (vec![first], [1, 1, 1]));
    house.change(40, |transaction| transaction.end_session(&user(1), first).unwrap());
    assert_eq!((house.found(40), house.rows()), (vec![], [0, 0, 0]));
}

#[test]
fn a_change_that_is_undone_ends_no_session() {
    let mut house = House::new();
    let id = house.begin(10);
    house.change(20, |transaction| {
        transaction.keep().unwrap();
        transaction.end_session(&user(1), id).unwrap();
        transaction.undo();
        assert!(transaction.session(id).unwrap().is_some());
    });
    assert_eq!(house.found(20), [id]);
}

#[test]
fn with_another_generation_no_session_is_found_and_none_of_before_comes_back() {
    let mut house = House::new();
    house.begin(10);
    house.change(20, |transaction| transaction.put_user(&user(2)));
    assert_eq!(house.found(20), []);
    let id = house.change(30, |transaction| transaction.begin_session(&user(2), session(&user(2), at(30))).unwrap().0);
    assert_eq!((house.found(30), house.rows()), (vec![id], [1, 1, 1]));
    house.change(40, |transaction| transaction.put_user(&User { revoked: true, ..user(3) }));
    house.change(50, |transaction| assert!(transaction.session(id).unwrap().is_none()));
    house.change(60, |transaction| transaction.forget_sessions_of(&user(3).username).unwrap());
    assert_eq!(house.rows(), [0, 0, 0]);
}

#[test]
fn maintenance_removes_what_has_expired_and_nothing_that_was_renewed() {
    let mut house = House::new();
    let (forgotten, renewed) = (house.begin(10), house.begin(20));
    let lasts = LASTS.as_millis() as u64;
    house.change(lasts, |transaction| {
        let (session, _) = transaction.session(renewed).unwrap().unwrap();
        transaction.renew_session(renewed, Session { expires_at: at(3 * lasts), ..session }).unwrap();
    });
    assert_eq!(house.maintain(lasts + 9), 0);
    assert_eq!(house.maintain(lasts + 20), 2);
    assert_eq!((house.found(lasts + 20), house.rows()), (vec![renewed], [1, 1, 1]));
    assert_eq!(house.store.session(forgotten), Ok(None));
    assert_eq!((house.maintain(3 * lasts - 1), house.maintain(3 * lasts)), (0, 1));
    assert_eq!((house.found(3 * lasts), house.rows()), (vec![], [0, 0, 0]));

    // Also of a user who has another generation by now, and of one who cannot be read.
    house.begin(4 * lasts);
    house.change(4 * lasts, |transaction| transaction.put_user(&user(2)));
    assert_eq!(house.maintain(9 * lasts), 1);
    assert_eq!(house.rows(), [0, 0, 0]);
    house.change(9 * lasts, |transaction| {
        transaction.begin_session(&user(2), session(&user(2), at(9 * lasts))).unwrap()
    });
    house.store.smuggle(keys::user(&user(2).username), b"{");
    assert_eq!((house.maintain(20 * lasts), house.rows()), (1, [0, 0, 0]));
}

#[test]
fn beyond_the_limit_the_one_that_was_used_longest_ago_is_lost() {
    let mut house = House::new();
    let all: Vec<_> = (0..MAX_SESSIONS as u64).map(|number| house.begin(10 + number)).collect();
    house.change(1000, |transaction| {
        let (session, _) = transaction.session(all[0]).unwrap().unwrap();
        transaction.renew_session(all[0], Session { used_at: at(1000), ..session }).unwrap();
    });
    let newest = house.begin(1001);
    let found = house.found(1001);
    assert_eq!((found.len(), house.rows()), (MAX_SESSIONS, [MAX_SESSIONS, 1, MAX_SESSIONS]));
    assert!(found.contains(&newest) && found.contains(&all[0]) && !found.contains(&all[1]));
}

#[test]
fn one_with_hashes_of_another_key_is_lost_before_any_that_is_alive() {
    let mut house = House::new();
    let oldest = house.begin(10);
    let of_another_key = house.change(20, |transaction| {
        let session = Session { hash_key: 4, ..session(&user(1), at(20)) };
        transaction.begin_session(&user(1), session).unwrap().0
    });
    for number in 0..MAX_SESSIONS as u64 - 1 {
        house.begin(30 + number);
    }
    let found = house.found(1000);
    assert!(found.len() == MAX_SESSIONS && found.contains(&oldest) && !found.contains(&of_another_key));
}

#[test]
fn rows_that_cannot_be_read_let_nobody_in_and_shut_nobody_out_for_good() {
    let mut house = House::new();
    let id = house.begin(10);
    house.store.smuggle(keys::session(id), b"{");
    assert_eq!(house.store.sessions_of(&user(1).username, at(10)).unwrap(), []);
    assert!(matches!(house.store.session(id), Err(Error::Damaged(_))));
    house.store.smuggle(keys::sessions_of(&user(1).username), b"123456789");
    house.change(20, |transaction| {
        transaction.put_user(&User { tenant_since: Position::START, ..user(2) });
    });
    assert!(house.store.account(&user(1).username).unwrap().unwrap().sessions.is_empty());
    assert!(house.store.damage_told().len() >= 2);
    house.change(30, |transaction| transaction.end_session(&user(2), id).unwrap());
    house.store.smuggle(keys::sessions_of(&user(1).username), b"123456789");
    let signed_in = house.change(40, |transaction| transaction.begin_session(&user(2), session(&user(2), at(40))));
    let found = house.store.sessions_of(&user(1).username, at(40)).unwrap();
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [signed_in.unwrap().0]);
    house.store.smuggle(keys::sessions_of(&user(1).username), b"123456789");
    house.change(50, |transaction| transaction.forget_sessions_of(&user(1).username).unwrap());
}
