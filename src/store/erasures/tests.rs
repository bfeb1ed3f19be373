mod steps;

use proptest::prelude::*;

use steps::{steps, take};

use super::*;
use crate::domain::{Invite, Inviter, NewUsername, Payload, Session};
use crate::store::{Committer, Excess, NewAnswer, Search};

/// A name that is nowhere else.
const NAME: &str = "zoe-of-the-test";

fn username(name: &str) -> Username {
    Username::parse(name).unwrap()
}

fn tenant(name: &str) -> TenantName {
    TenantName::parse(name).unwrap()
}

fn open() -> (tempfile::TempDir, Store, Committer) {
    let directory = tempfile::tempdir().unwrap();
    let (store, committer) = Store::open(directory.path(), 1 << 20).unwrap();
    (directory, store, committer)
}

fn change<T>(committer: &mut Committer, change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>) -> T {
    change_at(committer, 1000, change)
}

fn change_at<T>(
    committer: &mut Committer,
    at: u64,
    change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> T {
    let mut transaction = committer.begin(Timestamp::from_millis(at)).unwrap();
    let outcome = change(&mut transaction).unwrap();
    drop(transaction.commit().unwrap().reveal());
    outcome
}

/// The keys of all rows that have a text in them, in the key or in the value.
fn rows_with(store: &Store, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let mut look = |key: &[u8], value: &[u8]| {
        if has(key) || has(value) {
            found.push(String::from_utf8_lossy(key).into_owned());
        }
        Ok(true)
    };
    store.scan(&[], &[u8::MAX], &mut look).unwrap();
    found
}

/// Erases everything that is left, as maintenance does, with some steps done twice.
fn erase_all(store: &Store, committer: &mut Committer) {
    let mut scanned = HashSet::new();
    loop {
        let erasures = store.erasures(&scanned).unwrap();
        if erasures.is_empty() {
            break;
        }
        let mut scan = Some(ErasureScan::new(erasures));
        while let Some(of) = scan {
            scanned.extend(of.users().cloned());
            let found = store.find_to_erase(of.clone()).unwrap();
            for keys in [&found.keys[..], &found.keys[..found.keys.len().min(1)]] {
                change(committer, |transaction| transaction.erase_events(keys.to_vec(), &of));
            }
            scan = found.rest;
        }
    }
    for username in scanned {
        while change(committer, |transaction| transaction.finish_erasure(&username)) != Finished::Wholly {}
    }
}

fn due_names(store: &Store, at: u64) -> Vec<Vec<u8>> {
    store.find(&Search::for_free_names(), Timestamp::from_millis(at), 10).unwrap().keys
}

/// Creates a user as an admin does.
fn create(committer: &mut Committer, name: &str, at: &str) -> User {
    let user = User { username: username(name), tenant: tenant(at), ..User::example() };
    change(committer, |transaction| {
        while !transaction.index_names()?.is_complete() {}
        let claim = transaction.free_username(&NewUsername::parse(name)?)?;
        transaction.claim(claim);
        transaction.put_user(&user);
        Ok(())
    });
    user
}

fn delete(committer: &mut Committer, user: &User, erase: Erase, free_at: u64) {
    change(committer, |transaction| {
        transaction.delete_user(user, erase, Timestamp::from_millis(free_at), [7; 8])?;
        assert_eq!(transaction.user(&user.username)?.map(|user| user.id), None);
        Ok(())
    });
}

/// The names that a tenant has now, by their latest events, with who inserted them.
fn latest(store: &Store, at: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut each = |key: &[u8], value: &[u8]| {
        let Some(row) = codec::decode_name(value).unwrap().value() else { return Ok(true) };
        let event = store.get(&keys::event(&tenant(at), row.position)).unwrap().unwrap();
        let by = codec::event_parts(&event).unwrap().username().unwrap().to_owned();
        found.push((keys::name_of(&tenant(at), key).unwrap().to_owned(), by));
        Ok(true)
    };
    store.scan_prefix(&keys::name(&tenant(at), ""), &mut each).unwrap();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_of_a_deleted_user_is_left_by_name_and_everything_of_others_is_as_it_was(
        steps in steps(),
        removes in any::<bool>(),
        has_moved in any::<bool>(),
        restarts in any::<bool>(),
        small_journal in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let journal = if small_journal { 1000 } else { 64 << 20 };
        let open = || loop {
            match Store::open(directory.path(), journal) {
                Err(crate::store::OpenError::InUse(_)) => std::thread::yield_now(),
                other => break other.unwrap(),
            }
        };
        let (mut store, mut committer) = open();
        let mut zoe = create(&mut committer, NAME, "acme");
        create(&mut committer, "max", "acme");
        if has_moved {
            zoe.tenant_since = Position::new(1);
            change(&mut committer, |transaction| { transaction.put_user(&zoe); Ok(()) });
        }
        for step in &steps {
            take(&store, &mut committer, step);
        }
        let before = latest(&store, "acme");
        let names_before = change(&mut committer, |transaction| transaction.names(&tenant("acme")));
        prop_assert_eq!(names_before, before.len() as u64);
        let erase = if removes { Erase::Remove } else { Erase::Anonymise };
        delete(&mut committer, &zoe, erase, 5000);
        if restarts {
            drop((store, committer));
            (store, committer) = open();
        }
        // What is bound ends with its stream, as it does without an erasure.
        let bound = store.find(&Search::for_bound(77, None), Timestamp::from_millis(1), 1000).unwrap().keys;
        change(&mut committer, |transaction| transaction.remove_bound(77, None, bound.clone(), true));
        erase_all(&store, &mut committer);
        let is_bound = |name: &str| bound.iter().any(|key| keys::of_bound(key).unwrap().2.as_str() == name);
        let expected: Vec<_> = before
            .into_iter()
            .filter(|(name, by)| !(is_bound(name) || name.starts_with('@') || removes && by == NAME))
            .map(|(name, by)| (name, if by == NAME { "deleted:0707070707070707".to_owned() } else { by }))
            .collect();
        prop_assert_eq!(&latest(&store, "acme"), &expected);
        let names = change(&mut committer, |transaction| transaction.names(&tenant("acme")));
        prop_assert_eq!(names, expected.len() as u64);
        // The events that expire do so under the other name.
        let expired = store.find(&Search::for_expired(), Timestamp::from_millis(200_000), 1000).unwrap().keys;
        change(&mut committer, |transaction| transaction.remove_expired(expired));
        change_at(&mut committer, 6000, |transaction| transaction.free_names(due_names(&store, 5000)));
        // The names of events of the inbox stay, as those of all removed events do, until retention forgets them.
        let left: Vec<_> = rows_with(&store, NAME);
        let inbox = format!("@{NAME}/note");
        prop_assert!(left.iter().all(|key| key.contains(&inbox) || key.starts_with('e')), "{:?}", left);
        let in_name = rows_with(&store, &inbox);
        prop_assert_eq!(left, in_name);
    }
}

#[test]
fn a_name_is_taken_until_its_moment_and_its_erasure_have_come() {
    let (_directory, store, mut committer) = open();
    let zoe = create(&mut committer, NAME, "acme");
    delete(&mut committer, &zoe, Erase::Anonymise, 5000);
    let is_free = |name: &str| store.check_username(&NewUsername::parse(name).unwrap());
    let upper = NAME.to_uppercase();
    assert_eq!(due_names(&store, 4999).len(), 0);
    for (erased, free) in [(false, false), (true, true)] {
        assert_eq!(is_free(NAME), Err(Error::UsernameTaken));
        assert_eq!(is_free(&upper), Err(Error::UsernameLookalike));
        if erased {
            erase_all(&store, &mut committer);
        }
        let due = due_names(&store, 100_000);
        assert_eq!(due.len(), 1, "it is looked at again when all is erased");
        change_at(&mut committer, 50_000, |transaction| transaction.free_names(due));
        assert_eq!(is_free(NAME).is_ok(), free);
        assert_eq!(is_free(&upper).is_ok(), free);
        assert_eq!(due_names(&store, u64::MAX - 1), Vec::<Vec<u8>>::new(), "it is not looked at meanwhile");
    }
    assert_eq!(rows_with(&store, NAME), Vec::<String>::new());
    create(&mut committer, &upper, "acme");
}

#[test]
fn a_name_of_an_earlier_version_that_looks_like_a_deleted_one_stays_protected() {
    let (_directory, store, mut committer) = open();
    // Before names were indexed, both could be had.
    let [zoe, lookalike] = ["zoe", "Zoe"].map(|name| User { username: username(name), ..User::example() });
    change(&mut committer, |transaction| {
        [&zoe, &lookalike].into_iter().for_each(|user| transaction.put_user(user));
        Ok(())
    });
    change(&mut committer, |transaction| transaction.index_names());
    for (user, third) in [(&zoe, Err(Error::UsernameLookalike)), (&lookalike, Ok(()))] {
        delete(&mut committer, user, Erase::Anonymise, 0);
        erase_all(&store, &mut committer);
        change(&mut committer, |transaction| transaction.free_names(due_names(&store, 1)));
        assert_eq!(store.check_username(&NewUsername::parse("ZOE").unwrap()), third);
    }
}

#[test]
fn answers_invites_and_sessions_go_and_those_of_others_stay() {
    let (_directory, store, mut committer) = open();
    let zoe = create(&mut committer, NAME, "acme");
    let acme = tenant("acme");
    for (number, name) in [NAME, "max"].into_iter().enumerate() {
        let by = username(name);
        change(&mut committer, |transaction| {
            for answer in 0..3 * ANSWERS_A_STEP {
                let key = format!("key-{name}-{answer}");
                let (first, count) = (Position::new(1), 1);
                let (username, tenant, idempotency_key) = (&by, &acme, key.as_str());
                let fingerprint = [0; 32];
                let new = NewAnswer { username, tenant, idempotency_key, fingerprint, first, count };
                transaction.remember_answer(new, 10_000)?;
            }
            let made_by = Some(Inviter { username: by.clone(), id: zoe.id });
            let (made_at, expires_at) = (Timestamp::from_millis(1), Timestamp::from_millis(90_000));
            let invite = Invite { tenant: acme.clone(), scopes: None, made_at, expires_at, uses_left: 5, made_by };
            transaction.add_invite(&[number as u8; 32], &invite)?;
            let user = User { username: by.clone(), ..zoe.clone() };
            transaction.put_user(&user);
            let session = Session {
                username: by.clone(),
                generation: user.generation,
                hash_key: 3,
                family: [1; 32],
                current: [2; 32],
                former: Vec::new(),
                created_at: made_at,
                used_at: made_at,
                expires_at,
                address: format!("session of {name}"),
                client: None,
            };
            transaction.begin_session(&user, session).map(drop)
        });
    }
    delete(&mut committer, &zoe, Erase::Remove, 5000);
    erase_all(&store, &mut committer);
    change_at(&mut committer, 6000, |transaction| transaction.free_names(due_names(&store, 5000)));
    assert_eq!(rows_with(&store, NAME), Vec::<String>::new());
    assert!(store.invite(&[0; 32]).unwrap().is_none() && store.invite(&[1; 32]).unwrap().is_some());
    assert_eq!(rows_with(&store, &format!("session of {NAME}")), Vec::<String>::new());
    assert_eq!(rows_with(&store, "session of max").len(), 1);
    assert!(rows_with(&store, "key-max-").len() >= 3 * 3 * ANSWERS_A_STEP);
}

#[test]
fn other_tenants_and_later_events_are_not_touched() {
    let (_directory, store, mut committer) = open();
    let zoe = create(&mut committer, NAME, "acme");
    // One was never there, so these are of somebody with the same name in an earlier version.
    let inbox = EventName::parse(&format!("@{NAME}/x")).unwrap();
    for (at, by) in [("globex", "ann"), ("acme", "ann")] {
        let insert = |transaction: &mut Transaction<'_>| {
            transaction.insert_event(Draft::value(tenant(at), username(by), inbox.clone(), Payload::null())).map(drop)
        };
        change(&mut committer, insert);
    }
    // Another one has been in several tenants, so the scan for both looks everywhere.
    let moved = User { tenant_since: Position::new(1), ..create(&mut committer, "max", "acme") };
    delete(&mut committer, &zoe, Erase::Remove, 5000);
    delete(&mut committer, &moved, Erase::Remove, 5000);
    erase_all(&store, &mut committer);
    assert_eq!(latest(&store, "acme"), []);
    assert_eq!(latest(&store, "globex"), [(inbox.to_string(), "ann".to_owned())]);
}

#[test]
fn a_name_that_is_free_at_once_is_found_although_the_search_has_passed_its_moment() {
    let (_directory, store, mut committer) = open();
    let zoe = create(&mut committer, NAME, "acme");
    let passed = store.find(&Search::for_free_names(), Timestamp::from_millis(100_000), 10).unwrap();
    assert!(passed.keys.is_empty());
    // The commit was decided before, and can be read only now.
    delete(&mut committer, &zoe, Erase::Remove, 99_000);
    assert_eq!(store.find(&passed.rest, Timestamp::from_millis(100_000), 10).unwrap().keys.len(), 1);
}

#[test]
fn what_was_due_of_an_earlier_user_frees_no_name_of_a_later_one() {
    let (_directory, store, mut committer) = open();
    let zoe = create(&mut committer, NAME, "acme");
    delete(&mut committer, &zoe, Erase::Anonymise, 500);
    // The name is due at 500, and again when all is erased, at 1000.
    erase_all(&store, &mut committer);
    change(&mut committer, |transaction| transaction.free_names(due_names(&store, 500)));
    let zoe = create(&mut committer, NAME, "acme");
    let due = due_names(&store, 1000);
    assert_eq!(due.len(), 1);
    let again = due.clone();
    change(&mut committer, |transaction| transaction.free_names(due));
    let lookalike = NewUsername::parse(&NAME.to_uppercase()).unwrap();
    assert_eq!(store.check_username(&lookalike), Err(Error::UsernameLookalike));
    delete(&mut committer, &zoe, Erase::Anonymise, 5000);
    erase_all(&store, &mut committer);
    change(&mut committer, |transaction| transaction.free_names(again));
    assert_eq!(store.check_username(&NewUsername::parse(NAME).unwrap()), Err(Error::UsernameTaken));
}

/// The numbers of answers begin anew, and the rows of before may be in the store until the next checkpoint.
#[test]
fn what_is_forgotten_of_the_next_user_of_a_name_brings_back_nothing_of_a_deleted_one() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = Store::open(directory.path(), 64 << 20).unwrap();
    let (zoe, acme) = (username(NAME), tenant("acme"));
    let remember = |committer: &mut Committer, idempotency_key| {
        let (first, count, fingerprint) = (Position::new(1), 1, [0; 32]);
        let new = NewAnswer { username: &zoe, tenant: &acme, idempotency_key, fingerprint, first, count };
        change(committer, |transaction| transaction.remember_answer(new, 10));
    };
    let forget = |committer: &mut Committer| {
        assert!(change(committer, |transaction| transaction.forget_answers_of(&zoe, ANSWERS_A_STEP)));
    };
    remember(&mut committer, "key-of-before");
    // As in a checkpoint, which has moved that row.
    store.overlay.freeze();
    forget(&mut committer);
    remember(&mut committer, "key-of-now");
    forget(&mut committer);
    assert_eq!(rows_with(&store, NAME), Vec::<String>::new());
    assert_eq!(rows_with(&store, "key-of-"), Vec::<String>::new());
}
