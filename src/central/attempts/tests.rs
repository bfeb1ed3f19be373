//! Guards how many guesses each account and each address has, and which of them count.

use std::net::IpAddr;

use futures_util::FutureExt;

use super::*;

/// Not an address that is counted.
const LOCAL: [u8; 4] = [127, 0, 0, 1];

fn at(ip: impl Into<IpAddr>) -> ClientAddress {
    ClientAddress::of(ip.into())
}

fn user(name: &str) -> Username {
    Username::parse(name).unwrap()
}

/// Makes wrong guesses one after another. Returns how many were refused.
async fn refused(central: &Central, guesses: u16, who: impl Fn(u16) -> (Username, ClientAddress)) -> u16 {
    let mut refused = 0;
    for guess in 0..guesses {
        let (username, from) = who(guess);
        match central.attempt(GuessAt::Account(&username), from).await {
            Ok(attempt) => attempt.was_wrong(),
            Err(_) => refused += 1,
        }
    }
    refused
}

#[tokio::test]
async fn failures_are_counted_and_successes_are_not() {
    let central = Central::alone();
    for _ in 0..1000 {
        let attempt = central.attempt(GuessAt::Account(&user("good")), at(LOCAL)).await.unwrap();
        assert!(attempt.settle(Ok(())).is_ok());
        let attempt = central.attempt(GuessAt::Account(&user("good")), at(LOCAL)).await.unwrap();
        assert!(attempt.settle::<()>(Err(Error::Overloaded)).is_err());
    }
    assert_eq!(refused(&central, 100, |_| (user("bad"), at(LOCAL))).await, 80);
    assert!(central.attempt(GuessAt::Account(&user("good")), at(LOCAL)).await.is_ok());
}

#[tokio::test]
async fn a_guess_counts_before_it_is_known_to_be_wrong() {
    let central = Central::alone();
    let mut under_way = Vec::new();
    for _ in 0..20 {
        under_way.push(central.attempt(GuessAt::Account(&user("x")), at(LOCAL)).await.unwrap());
    }
    let next = tokio::spawn({
        let central = central.clone();
        async move { central.attempt(GuessAt::Account(&user("x")), at(LOCAL)).await.map(Attempt::was_wrong) }
    });
    // All but one were wrong. The waiting guess takes the room of the correct one, and no other has room.
    drop(under_way.pop().unwrap().settle(Ok(())));
    under_way.into_iter().for_each(Attempt::was_wrong);
    assert_eq!(next.await.unwrap(), Ok(()));
    assert!(central.attempt(GuessAt::Account(&user("x")), at(LOCAL)).await.is_err());
}

#[tokio::test]
async fn a_guess_that_is_given_up_before_it_is_checked_does_not_count() {
    let central = Central::alone();
    let from = at([192, 0, 2, 1]);
    for _ in 0..1000 {
        drop(central.attempt(GuessAt::Account(&user("x")), from).await.unwrap());
    }
    assert_eq!(refused(&central, 100, |_| (user("x"), from)).await, 80);
}

#[tokio::test]
async fn a_guess_that_is_given_up_while_it_waits_for_others_at_the_account_does_not_count_for_the_address() {
    let (central, from, zoe) = (Central::alone(), at([192, 0, 2, 1]), user("zoe"));
    let mut under_way = Vec::new();
    for _ in 0..20 {
        under_way.push(central.attempt(GuessAt::Account(&zoe), at(LOCAL)).await.unwrap());
    }
    for _ in 0..1000 {
        assert!(central.attempt(GuessAt::Account(&zoe), from).now_or_never().is_none(), "it waits");
    }
    let other = central.attempt(GuessAt::Account(&user("max")), from).now_or_never();
    assert!(matches!(other, Some(Ok(_))), "the address has all of its guesses");
}

#[tokio::test]
async fn a_guess_that_its_address_may_not_make_does_not_count_for_the_account() {
    let central = Central::alone();
    let from = at([192, 0, 2, 1]);
    assert!(refused(&central, 400, |n| (user(&format!("user{n}")), from)).await > 80);
    for _ in 0..30 {
        assert!(central.attempt(GuessAt::Account(&user("x")), from).await.is_err());
    }
    assert!(central.attempt(GuessAt::Account(&user("x")), at(LOCAL)).await.is_ok());
}

#[tokio::test]
async fn strangers_use_up_no_guess_at_the_code_nor_does_a_wrong_code_one_at_the_password() {
    let central = Central::alone();
    assert_eq!(refused(&central, 100, |_| (user("zoe"), at(LOCAL))).await, 80);
    let code = async || {
        let attempt = central.attempt(GuessAt::Nobody, at(LOCAL)).await?;
        central.attempt_at_code(&user("zoe"), attempt).await
    };
    for _ in 0..20 {
        code().await.unwrap().was_wrong();
    }
    assert!(matches!(code().await.err(), Some(Error::TooManyAttempts(1..=30))));

    let central = Central::alone();
    for _ in 0..20 {
        let attempt = central.attempt(GuessAt::Account(&user("max")), at(LOCAL)).await.unwrap();
        central.attempt_at_code(&user("max"), attempt).await.unwrap().was_wrong();
    }
    assert_eq!(refused(&central, 20, |_| (user("max"), at(LOCAL))).await, 0);
}

#[tokio::test]
async fn strangers_do_not_keep_the_owner_from_acts_that_take_the_password() {
    let central = Central::alone();
    assert_eq!(refused(&central, 100, |_| (user("zoe"), at(LOCAL))).await, 80);
    for _ in 0..20 {
        central.attempt(GuessAt::Owner(&user("zoe")), at(LOCAL)).await.unwrap().was_wrong();
    }
    assert!(matches!(
        central.attempt(GuessAt::Owner(&user("zoe")), at(LOCAL)).await.err(),
        Some(Error::TooManyAttempts(1..=30))
    ));
}

#[tokio::test]
async fn one_address_cannot_try_every_account_and_one_ipv6_network_is_one_address() {
    let central = Central::alone();
    let refused = refused(&central, 400, |n| (user(&format!("user{n}")), at([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])));
    let refused = refused.await;
    assert!(refused > 80, "{refused}");
}

#[tokio::test]
async fn behind_a_proxy_on_this_machine_one_guessing_client_does_not_lock_out_others() {
    let central = Central::alone();
    let from = at(LOCAL);
    assert_eq!(refused(&central, 2000, |n| (user(&format!("user{n}")), from)).await, 0);
    for _ in 0..2000 {
        central.attempt(GuessAt::Admin, from).await.unwrap().was_wrong();
    }
}

#[tokio::test]
async fn guesses_at_the_admin_token_are_counted_by_address() {
    let central = Central::alone();
    let mut refused = 0;
    for _ in 0..200 {
        match central.attempt(GuessAt::Admin, at([192, 0, 2, 1])).await {
            Ok(attempt) => assert!(attempt.settle::<()>(Err(Error::AdminTokenIncorrect)).is_err()),
            Err(_) => refused += 1,
        }
    }
    assert!((95..=100).contains(&refused), "{refused}");
    assert!(central.attempt(GuessAt::Admin, at([192, 0, 2, 2])).await.is_ok());
}

#[tokio::test]
async fn the_refusal_tells_how_long_to_wait() {
    let central = Central::alone();
    refused(&central, 20, |_| (user("x"), at(LOCAL))).await;
    let refused = central.attempt(GuessAt::Account(&user("x")), at(LOCAL)).await.err();
    assert!(matches!(refused, Some(Error::TooManyAttempts(1..=30))), "{refused:?}");
}

#[tokio::test]
async fn made_up_names_give_nobody_fresh_guesses_at_an_account() {
    let central = Central::alone();
    refused(&central, 20, |_| (user("zoe"), at(LOCAL))).await;
    for name in 0..110_000 {
        central.attempt(GuessAt::Account(&user(&format!("user{name}"))), at(LOCAL)).await.unwrap().was_wrong();
    }
    assert_eq!(refused(&central, 20, |_| (user("zoe"), at(LOCAL))).await, 20);
    // Users that are not attacked sign in as always.
    for name in 0..1000 {
        assert!(central.attempt(GuessAt::Account(&user(&format!("honest{name}"))), at(LOCAL)).await.is_ok());
    }
}

#[tokio::test]
async fn an_address_that_has_had_too_many_takes_no_room_of_accounts_nor_of_the_admin_token() {
    let central = Central::alone();
    let from = at([192, 0, 2, 1]);
    assert!(refused(&central, 1000, |n| (user(&format!("user{n}")), from)).await > 600);
    assert!(central.attempt(GuessAt::Admin, from).await.is_ok());
    assert!(central.attempt(GuessAt::Account(&user("zoe")), at([192, 0, 2, 2])).await.is_ok());
}
