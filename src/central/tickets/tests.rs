//! Guards how many tickets there may be.

use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const HOUR: Duration = Duration::from_secs(3600);
const LASTS: Duration = Duration::from_secs(30);

/// A number as the only server gives it.
fn number(number: usize) -> TicketNumber {
    TicketNumber(number as u128)
}

fn user(name: &str) -> Username {
    Username::parse(name).unwrap()
}

#[test]
fn one_user_cannot_use_up_all_tickets_and_used_or_expired_ones_make_room() {
    let mut waiting = Unspent::default();
    let (alice, bob, ends_at) = (user("alice"), user("bob"), NOW + LASTS);
    for nth in 0..WAITING_OF_ONE {
        waiting.add((ends_at, number(nth)), &alice, NOW).unwrap();
    }
    assert_eq!(waiting.add((ends_at, number(usize::MAX)), &alice, NOW), Err(Error::Overloaded));
    assert_eq!(waiting.add((ends_at, number(usize::MAX)), &bob, NOW), Ok(()));
    assert!(waiting.remove((ends_at, number(5))) && !waiting.remove((ends_at, number(5))));
    assert_eq!(waiting.add((ends_at, number(5)), &alice, NOW), Ok(()));
    assert_eq!(waiting.add((ends_at, number(6)), &alice, NOW), Err(Error::Overloaded));
    // Not all expired tickets are removed at once, but none of them blocks a new one.
    for nth in 0..200 {
        assert_eq!(waiting.add((ends_at + HOUR, number(nth)), &alice, ends_at), Ok(()));
        assert!(waiting.tickets.len() + EXPIRED_AT_ONCE * (nth + 2) >= WAITING_OF_ONE);
    }
    assert_eq!((waiting.tickets.len(), waiting.of_one.len(), waiting.ranks.len()), (200, 1, 1));
}

#[test]
fn waiting_tickets_are_bounded_and_users_with_many_lose_their_oldest_to_users_with_few() {
    let mut waiting = Unspent::default();
    let ends_at = |nth: usize| NOW + LASTS + Duration::from_millis(nth as u64);
    for nth in 0..WAITING {
        let username = user(&format!("user{}", nth / WAITING_OF_ONE));
        waiting.add((ends_at(nth), number(nth)), &username, NOW).unwrap();
    }
    let (alice, bob) = (user("alice"), user("bob"));
    for nth in 0..100 {
        assert_eq!(waiting.add((NOW + LASTS, number(nth + usize::MAX / 2)), &alice, NOW), Ok(()), "{nth}");
    }
    assert_eq!(waiting.tickets.len(), WAITING);
    assert_eq!(waiting.of_one[&alice].len(), 100);
    // The tickets of each of the others were removed in turn, the oldest first.
    for nth in 0..16 {
        let left = &waiting.of_one[&user(&format!("user{nth}"))];
        assert!((WAITING_OF_ONE - 7..=WAITING_OF_ONE - 6).contains(&left.len()), "{}", left.len());
        let first = nth * WAITING_OF_ONE + (WAITING_OF_ONE - left.len());
        assert_eq!(left.first(), Some(&(ends_at(first), number(first))));
    }
    assert!(waiting.remove((NOW + LASTS, number(usize::MAX / 2))));
    assert_eq!(waiting.add((NOW + LASTS, number(17)), &bob, NOW), Ok(()));
    assert_eq!(waiting.of_one[&alice].len(), 99, "there was room");
}

#[test]
fn no_user_loses_a_ticket_to_one_with_as_many() {
    let mut waiting = Unspent::default();
    for nth in 0..WAITING {
        waiting.add((NOW + LASTS, number(nth)), &user(&format!("user{nth}")), NOW).unwrap();
    }
    assert_eq!(waiting.add((NOW + LASTS, number(usize::MAX)), &user("alice"), NOW), Err(Error::Overloaded));
    assert_eq!(waiting.add((NOW + LASTS, number(usize::MAX)), &user("user1"), NOW), Err(Error::Overloaded));
    assert_eq!(waiting.tickets.len(), WAITING);
}
