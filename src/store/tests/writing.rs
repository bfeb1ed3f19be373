//! Guards transactions: what one writes, and what is remembered between them.

use super::*;
use crate::domain::EventKind;

#[test]
fn the_largest_insert_writes_no_more_than_is_reckoned_and_may_be_written_at_once() {
    const EVENTS: usize = 1000;
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let tenant = "t".repeat(256);
    let user = Username::parse(&"u".repeat(256)).unwrap();
    let data = format!("\"{}\"", "x".repeat(1840));
    // The second event takes the place of the first, up to the floor. The last one is transient.
    for kind in [EventKind::Value, EventKind::Value, EventKind::Transient] {
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        for number in 0..EVENTS {
            let name = EventName::parse(&format!("{number:0256}")).unwrap();
            let data = Payload::from_valid_json(&data).unwrap();
            let (of, user, at) = (self::tenant(&tenant), user.clone(), Timestamp::from_millis(9));
            let draft = Draft { kind, expires_at: Some(at), ..Draft::value(of, user, name, data) };
            let event = transaction.insert_event(draft).unwrap();
            if kind == EventKind::Value {
                transaction.bind(&event, 7).unwrap();
            }
        }
        let (idempotency_key, first, count) = ("k".repeat(255), Position::new(1), EVENTS as u64);
        let (of, fingerprint) = (self::tenant(&tenant), [7; 32]);
        let new =
            NewAnswer { username: &user, tenant: &of, idempotency_key: &idempotency_key, fingerprint, first, count };
        transaction.remember_answer(new, 1).unwrap();
        let (written, reckoned) = (transaction.written(), bytes_of_insert(EVENTS, EVENTS * data.len()));
        assert!(written <= reckoned && reckoned <= MAX_CHANGE_BYTES, "{written} of {reckoned}");
        drop(transaction.commit().unwrap().reveal());
        shorten(&store, &mut committer, &tenant, 0);
    }
}

#[test]
fn the_binding_to_a_stream_is_forgotten_with_its_event() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let bind = |transaction: &mut Transaction<'_>, event: &Event| transaction.bind(event, 7).unwrap();
    for _ in 0..3 {
        for name in ["superseded", "removed", "kept", "elsewhere"] {
            insert_at(&mut committer, 1, name, bind);
        }
    }
    insert_at(&mut committer, 1, "superseded", |_, _| {});
    insert_at(&mut committer, 1, "elsewhere", |transaction, event| transaction.bind(event, 8).unwrap());
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (name, user) = (EventName::parse("removed").unwrap(), Username::parse("u").unwrap());
    transaction.insert_event(Draft::removal(tenant("a"), user, name)).unwrap();
    drop(transaction.commit().unwrap().reveal());
    assert_eq!([7, 8].map(|stream| count(&store, &keys::bound_to(stream, None))), [1, 1]);
    let user = Username::parse("u").unwrap();
    assert_eq!(committer.begin(Timestamp::from_millis(1)).unwrap().bound_of(&user), Ok(2));
}

#[test]
fn the_names_of_a_tenant_without_a_count_are_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["x", "y", "z"]);
    // As an older format left it.
    store.overlay.apply([(keys::names(&tenant("a")), overlay::Write::Remove)], progress::Progress::default());
    committer.counted.clear();
    let mut names = |is_refused: bool| {
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        let names = transaction.names(&tenant("a")).unwrap();
        if !is_refused {
            let (name, user) = (EventName::parse("new").unwrap(), Username::parse("u").unwrap());
            let data = Payload::from_valid_json("1").unwrap();
            transaction.insert_event(Draft::value(tenant("a"), user, name, data)).unwrap();
        }
        drop(transaction.commit().unwrap().reveal());
        names
    };
    assert_eq!(names(true), 3);
    // A second count would find this.
    store.smuggle(keys::name(&tenant("a"), "smuggled"), &[0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!([names(true), names(false), names(true)], [3, 3, 4]);
}

#[test]
fn only_the_newest_idempotency_keys_of_a_user_are_remembered() {
    const ROWS: [&[u8]; 3] = [b"i", b"j", b"k"];
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let mut remember = |user: &str, number: u64, at_most: u64| {
        let mut transaction = committer.begin(Timestamp::from_millis(number)).unwrap();
        let (username, tenant) = (Username::parse(user).unwrap(), tenant("a"));
        let (idempotency_key, first) = (format!("k{number}"), Position::new(number));
        let new = NewAnswer {
            username: &username,
            tenant: &tenant,
            idempotency_key: &idempotency_key,
            fingerprint: [7; 32],
            first,
            count: 1,
        };
        transaction.remember_answer(new, at_most).unwrap();
        let known = |number| transaction.answered(&username, &format!("k{number}")).unwrap().is_some();
        let known: Vec<_> = (1..=number).filter(|number| known(*number)).collect();
        drop(transaction.commit().unwrap().reveal());
        known
    };
    let rows = |store: &Store| ROWS.map(|prefix| count(store, prefix));
    for number in 1..=50 {
        let known = remember("u", number, 10);
        assert_eq!(known, (number.saturating_sub(9).max(1)..=number).collect::<Vec<_>>());
    }
    assert_eq!(remember("other", 1, 10), [1], "each user has their own");
    assert_eq!(rows(&store), [11; 3]);
    // The key is used again, so it is the newest.
    remember("u", 45, 10);
    for number in 51..=59 {
        remember("u", number, 10);
    }
    assert_eq!(remember("u", 59, 10).first(), Some(&51));
    // If the limit is lower than before, the surplus is removed, too.
    for number in 60..70 {
        remember("u", number, 3);
    }
    assert_eq!(remember("u", 70, 3), [68, 69, 70]);
    assert_eq!(rows(&store), [4; 3]);

    // After a day nothing is left.
    let late = 2 * 24 * 60 * 60 * 1000;
    let Found { keys, .. } = found(&store, &Search::for_old_answers(), late);
    let mut transaction = committer.begin(Timestamp::from_millis(late)).unwrap();
    transaction.forget_answers(keys).unwrap();
    drop(transaction.commit().unwrap().reveal());
    assert_eq!(rows(&store), [0; 3]);
}

#[test]
fn caches_do_not_grow_with_the_number_of_tenants() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    for first in (0..20_000).step_by(1000) {
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        for number in first..first + 1000 {
            let (name, user) = (EventName::parse("x").unwrap(), Username::parse("u").unwrap());
            let data = Payload::from_valid_json("1").unwrap();
            transaction.insert_event(Draft::value(tenant(&format!("t{number}")), user, name, data)).unwrap();
        }
        drop(transaction.commit().unwrap().reveal());
    }
    assert!(committer.floors.len() <= 16_384 && committer.counted.len() <= 16_384);
}
