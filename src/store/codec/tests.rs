use super::*;

#[test]
fn the_latest_of_a_name_and_an_answer_are_read_as_they_were_written_before_too() {
    let moment = Timestamp::from_millis(7);
    let plain = Latest::at(Position::new(3));
    for latest in [
        plain,
        Latest { is_removal: true, ..plain },
        Latest { expires_at: Some(moment), ..plain },
        Latest { stream: Some(u64::MAX), ..plain },
        Latest { expires_at: Some(moment), stream: Some(9), ..plain },
    ] {
        assert_eq!(decode_latest(&encode_latest(latest)), Ok(latest));
    }
    let before = [3_u64.to_be_bytes(), 7_u64.to_be_bytes()];
    assert_eq!(decode_latest(before.as_flattened()), Ok(Latest { expires_at: Some(moment), ..plain }));
    assert!(decode_latest(&[0; 15]).is_err() && decode_latest(&[0; 32]).is_err());

    let numbers = [1_u64, 2, 3, 4].map(u64::to_be_bytes);
    let before = [&[5; 32][..], numbers.as_flattened()].concat();
    let answered = decode_answered(&before).unwrap();
    assert_eq!((answered.fingerprint, answered.first, &answered.place), ([5; 32], Position::new(2), &None));
    assert_eq!(encode_answered(&answered), before);
    // Also where its first byte is that of a version, or its tenant's name has a single byte.
    let tenant = TenantName::parse("t").unwrap();
    for fingerprint in [[5; 32], [1; 32]] {
        let answered = Answered { fingerprint, place: Some((6, tenant.clone())), ..answered.clone() };
        assert_eq!(decode_answered(&encode_answered(&answered)), Ok(answered));
    }
    assert!(decode_answered(&before[1..]).is_err());
}

#[test]
fn an_account_is_read_as_it_would_be_made_of_the_whole_user() {
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
    assert_eq!(account(&user), Account::from(&user));
    let plain = User { scopes: None, two_factor: None, revoked: false, data: None, ..user };
    assert_eq!(account(&plain), Account::from(&plain));
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
        reset: Some(code),
        ..user
    };
    let bytes = encode_user(&written).len();
    assert!(bytes <= at_most && at_most < bytes + 100, "{bytes} of {at_most}");
    assert_eq!(user_bytes_at_most(&written), at_most, "what is the admin's has not changed");
}
