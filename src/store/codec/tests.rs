//! Guards the form of values in the database: what earlier versions wrote is read, and what is written is as large as reckoned.

use super::*;
use crate::domain::{
    Account, Email, Event, EventKind, EventName, Generation, MAX_EVENT_BYTES, PasswordHash, Payload, PendingTotp,
    Position, RECOVERY_CODES, RecoveryHash, ResetChallenge, Scope, Secret, TenantName, Timestamp, User, Username,
};
use crate::store::chunks;

#[test]
fn index_entries_and_answers_of_earlier_versions_are_read() {
    let moment = Timestamp::from_millis(7);
    let plain = LatestRow::at(Position::new(3));
    let latest = [
        plain,
        LatestRow { is_removal: true, ..plain },
        LatestRow { expires_at: Some(moment), ..plain },
        LatestRow { stream: Some(u64::MAX), ..plain },
        LatestRow { expires_at: Some(moment), stream: Some(9), ..plain },
        LatestRow { chunks: 2, ..plain },
        LatestRow { chunks: 16, expires_at: Some(moment), ..plain },
        LatestRow { chunks: 16, expires_at: Some(moment), stream: Some(9), ..plain },
    ];
    for latest in latest {
        // Also with transient events after it, whatever the last byte of a position is.
        for tip in [3, 4, 255, 256, u64::MAX].map(Position::new) {
            let row = NameRow { tip, latest: Some(latest) };
            assert_eq!(decode_name(&encode_name(row)), Ok(row));
        }
    }
    let transient_alone = NameRow { tip: Position::new(256), latest: None };
    assert_eq!(decode_name(&encode_name(transient_alone)), Ok(transient_alone));
    let before = [3_u64.to_be_bytes(), 7_u64.to_be_bytes()];
    let expiring = NameRow::of(LatestRow { expires_at: Some(moment), ..plain });
    assert_eq!(decode_name(before.as_flattened()), Ok(expiring));
    assert_eq!(encode_name(expiring), before.as_flattened(), "a row of an earlier format says the same");
    let before = 256_u64.to_be_bytes();
    assert_eq!(decode_name(&before), Ok(NameRow::of(LatestRow::at(Position::new(256)))));
    assert!(decode_name(&[0; 15]).is_err() && decode_name(&[0; 32]).is_err() && decode_name(&[0; 5]).is_err());
    // No event has exactly one chunk, and none is newer than the newest.
    assert!(decode_name(&[1; 9][..8]).is_ok() && decode_name(&[1; 17]).is_err() && decode_name(&[0; 17]).is_err());

    let numbers = [1_u64, 2, 3, 4].map(u64::to_be_bytes);
    let before = [&[5; 32][..], numbers.as_flattened()].concat();
    let answered = decode_answered(&before).unwrap();
    assert_eq!((answered.fingerprint, answered.first, &answered.place), ([5; 32], Position::new(2), &None));
    assert_eq!(encode_answered(&answered), before);
    // Also if its first byte is that of a version, or if its tenant's name has a single byte.
    let tenant = TenantName::parse("t").unwrap();
    for fingerprint in [[5; 32], [1; 32]] {
        let answered = Answered { fingerprint, place: Some((6, tenant.clone())), ..answered.clone() };
        assert_eq!(decode_answered(&encode_answered(&answered)), Ok(answered));
    }
    assert!(decode_answered(&before[1..]).is_err());
}

#[test]
fn a_transient_event_is_read_as_it_was_written_and_leaves_its_place_and_name_when_it_expires() {
    let event = Event {
        position: Position::new(9),
        tenant: TenantName::parse("t").unwrap(),
        name: EventName::parse(&"n".repeat(256)).unwrap(),
        username: Username::parse("zoë").unwrap(),
        timestamp: Timestamp::from_millis(7),
        data: Payload::from_valid_json(&format!("\"{}\"", "x".repeat(chunks::MAX_INLINE_BYTES))).unwrap(),
        kind: EventKind::Transient,
        expires_at: Some(Timestamp::from_millis(8)),
        by_expiry: false,
        published: None,
    };
    for (previous, expires_at) in [(None, None), (Some(Position::new(3)), event.expires_at)] {
        for data in [Payload::null(), event.data.clone()] {
            let event = Event { data, expires_at, ..event.clone() };
            let row = encode_event(&event, previous);
            let parts = event_parts(&row).unwrap();
            assert_eq!((parts.kind, parts.previous, parts.expires_at), (EventKind::Transient, previous, expires_at));
            assert_eq!((parts.name, parts.username), (event.name.as_str(), "zoë".as_bytes()));
            let expiry = encode_transient_expiry(&event, previous);
            let Ok(Expiry::OfTransient { chunks, left }) = decode_expiry(&expiry) else { panic!("{expiry:?}") };
            assert_eq!(chunks, parts.chunks());
            let left = event_parts(left).unwrap();
            assert_eq!((left.timestamp, left.name, left.previous), (event.timestamp, event.name.as_str(), previous));
            assert_eq!((left.kind, left.data, left.expires_at), (EventKind::Transient, StoredData::Expired, None));
            assert!(decode_expiry(&expiry[..20]).is_err());
            // A row that is no such rest would take the place of an event.
            assert!(decode_expiry(&[&expiry[..2], &row].concat()).is_err());
        }
    }
    let (username, name) = (event.username, event.name);
    assert_eq!(decode_expiry(&encode_expiry(&username, &name)), Ok(Expiry::OfValue(username, name)));
}

#[test]
fn an_account_that_is_read_equals_the_one_made_from_the_whole_user() {
    let scopes = ["news:get", "chat/*:post"].map(|scope| Scope::parse(scope).unwrap());
    let user = User {
        username: Username::parse("zoë \"z\"").unwrap(),
        tenant: TenantName::parse("a/\"b\"").unwrap(),
        tenant_since: Position::new(9),
        scopes_since: Position::new(11),
        generation: Generation(u64::MAX),
        email: Some(Email::from_stored("zoe@example.org".to_owned())),
        scopes: Some(scopes.to_vec()),
        data: Some(Payload::from_stored("{\"scopes\":[1],\"revoked\":false}")),
        two_factor: Some(true),
        revoked: true,
        totp_spent_step: Some(3),
        ..User::example()
    };
    let account = |user: &User| decode_account(&encode_user(user)).unwrap();
    assert_eq!(account(&user), Account::of(&user, Box::default()));
    let plain = User { scopes: None, two_factor: None, revoked: false, data: None, ..user };
    assert_eq!(account(&plain), Account::of(&plain, Box::default()));
}

#[test]
fn nothing_that_the_server_writes_of_a_user_makes_them_larger_than_was_reckoned() {
    let user = User { revoked: true, ..User::example() };
    let at_most = user_bytes_at_most(&user);
    let code = ResetChallenge { code: Secret::new("123456"), expires_at: Timestamp::from_secs(1 << 40), tries_left: 5 };
    let written = User {
        tenant_since: Position::new(1 << 60),
        scopes_since: Position::new(1 << 60),
        password_hash: PasswordHash::new(format!("$argon2id$v=19$m=19456,t=2,p=1${}", "x".repeat(66))),
        generation: Generation(u64::MAX),
        revoked: false,
        totp_spent_step: Some(1 << 60),
        pending_totp: Some(PendingTotp { secret: Secret::new([7; 20]), expires_at: Timestamp::from_secs(1 << 40) }),
        recovery_codes: vec![RecoveryHash([7; 16]); RECOVERY_CODES],
        reset: Some(code),
        ..user
    };
    let bytes = encode_user(&written).len();
    assert!(bytes <= at_most && at_most < bytes + 100, "{bytes} of {at_most}");
    assert_eq!(user_bytes_at_most(&written), at_most, "what is the admin's has not changed");
    let read = decode_user(&encode_user(&written)).unwrap();
    assert_eq!(read.recovery_codes, written.recovery_codes);
    let [read, pending] = [read, written].map(|user| user.pending_totp.unwrap());
    assert!(read.secret.matches(pending.secret.expose()) && read.expires_at == pending.expires_at);
    // A user without any of this is written as by earlier versions.
    let plain = String::from_utf8(encode_user(&User::example())).unwrap();
    assert!(!plain.contains("pending") && !plain.contains("recovery"), "{plain}");
}

#[test]
fn an_event_that_is_not_large_is_written_as_it_always_was_and_a_large_one_leaves_its_data_out() {
    let event = |data: String| Event {
        position: Position::new(9),
        tenant: TenantName::parse("t").unwrap(),
        name: EventName::parse("news").unwrap(),
        username: Username::parse("zoë").unwrap(),
        timestamp: Timestamp::from_millis(7),
        data: Payload::from_valid_json(&data).unwrap(),
        kind: EventKind::Value,
        expires_at: None,
        by_expiry: false,
        published: None,
    };
    let head = [&7_u64.to_be_bytes()[..], &[0x80, 4, 0, 4], &3_u64.to_be_bytes(), "zoënews".as_bytes()].concat();
    let of = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    for data in ["1".to_owned(), of(chunks::MAX_INLINE_BYTES)] {
        let row = encode_event(&event(data.clone()), Some(Position::new(3)));
        assert_eq!(row, [&head, data.as_bytes()].concat());
        let parts = event_parts(&row).unwrap();
        assert_eq!((parts.data, parts.chunks(), parts.bytes), (StoredData::Inline(&data), 0, row.len()));
    }
    for (bytes, chunks) in [(chunks::MAX_INLINE_BYTES + 1, 2), (MAX_EVENT_BYTES, 16)] {
        let row = encode_event(&event(of(bytes)), Some(Position::new(3)));
        assert_eq!(row.len(), head.len() + 4);
        let parts = event_parts(&row).unwrap();
        assert_eq!((parts.data, parts.chunks()), (StoredData::InChunks(bytes), chunks));
        assert_eq!((parts.name, parts.previous, parts.bytes), ("news", Some(Position::new(3)), row.len() + bytes));
        // Data with more bytes, or with none, was never written in chunks.
        for length in [0, chunks::MAX_INLINE_BYTES as u32, MAX_EVENT_BYTES as u32 + 1, u32::MAX] {
            let row = [&row[..head.len()], &length.to_be_bytes()].concat();
            assert!(event_parts(&row).is_err());
        }
        assert!(event_parts(&row[..row.len() - 1]).is_err());
    }
}
