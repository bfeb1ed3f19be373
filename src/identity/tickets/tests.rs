//! Guards tickets and passes: how long and how often each is good, and how many there may be.

use super::*;
use crate::domain::{Generation, Secret, SessionId};
use crate::identity::TokenForm;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const HOUR: Duration = Duration::from_secs(3600);

fn user(name: &str) -> Username {
    Username::parse(name).unwrap()
}

fn tokens() -> Tokens {
    Tokens::new(&Secret::new("a secret of these tests"), TokenForm::new(None))
}

fn right() -> Right {
    Right {
        username: user("alice"),
        sign_in: SignIn { generation: Generation(7), by_password_alone: true, session: SessionId::new(8) },
        expires_at: Timestamp::from_secs((NOW + HOUR).as_secs()),
    }
}

fn spent() -> Result<Ticket, Error> {
    Ok(Ticket::Spent(user("alice")))
}

#[test]
fn a_ticket_is_fresh_once() {
    let (tickets, tokens) = (Tickets::new(), tokens());
    let ticket = tickets.issue(&tokens, &right(), NOW).unwrap();
    assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open), Ok(Ticket::Fresh(right())));
    assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open), spent());
}

#[test]
fn a_ticket_is_fresh_for_half_a_minute() {
    let (tickets, tokens) = (Tickets::new(), tokens());
    for (seconds, is_fresh) in [(0, true), (29, true), (30, false), (31, false), (3600, false)] {
        let ticket = tickets.issue(&tokens, &right(), NOW).unwrap();
        let found = tickets.read(&tokens, &ticket, NOW + Duration::from_secs(seconds), TicketUse::Open).unwrap();
        assert_eq!(found == Ticket::Fresh(right()), is_fresh, "{seconds}");
    }
}

#[test]
fn a_ticket_that_is_tried_too_late_stays_spent_when_the_clock_is_set_back() {
    let (tickets, tokens) = (Tickets::new(), tokens());
    let ticket = tickets.issue(&tokens, &right(), NOW).unwrap();
    assert_eq!(tickets.read(&tokens, &ticket, NOW + HOUR, TicketUse::Open), spent());
    assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open), spent());
}

#[test]
fn a_ticket_is_never_fresh_after_a_restart() {
    let tokens = tokens();
    let ticket = Tickets::new().issue(&tokens, &right(), NOW).unwrap();
    assert_eq!(Tickets::new().read(&tokens, &ticket, NOW, TicketUse::Open), spent());
}

#[test]
fn a_ticket_is_not_fresh_once_the_proof_that_it_was_got_by_is_over() {
    let (tickets, tokens) = (Tickets::new(), tokens());
    let right = Right { expires_at: NOW + Duration::from_millis(1500), ..right() };
    let ticket = tickets.issue(&tokens, &right, NOW).unwrap();
    assert_eq!(tickets.read(&tokens, &ticket, NOW + Duration::from_secs(2), TicketUse::Open), spent());
}

#[test]
fn a_pass_is_good_until_the_proof_is_over() {
    let (tickets, tokens) = (Tickets::new(), tokens());
    let pass = tickets.issue_pass(&tokens, &right(), NOW).unwrap();
    assert_eq!(pass.lasts, HOUR - Duration::from_millis(500));
    let end = right().expires_at;
    assert_eq!(tickets.read_pass(&tokens, &pass.token, NOW), Ok(right()));
    assert_eq!(tickets.read_pass(&tokens, &pass.token, Timestamp::from_millis(end.as_millis() - 1)), Ok(right()));
    assert_eq!(tickets.read_pass(&tokens, &pass.token, end), Err(Error::Unauthorized));
}

#[test]
fn a_ticket_a_pass_and_a_token_are_not_taken_for_each_other() {
    let (tickets, tokens) = (Tickets::new(), tokens());
    let ticket = tickets.issue(&tokens, &right(), NOW).unwrap();
    let pass = tickets.issue_pass(&tokens, &right(), NOW).unwrap().token;
    // As similar to each of the others as possible.
    let mut claims = right().claims("Broker", NOW, right().expires_at, Some(1));
    let token = tokens.sign(&claims).unwrap();
    claims.iss = "Broker".to_lowercase();
    let of_nobody = tokens.sign(&claims).unwrap();
    assert!(tokens.read(&token, NOW).is_ok());
    for other in [&ticket, &pass, &of_nobody] {
        assert_eq!(tokens.read(other, NOW).err(), Some(Error::Unauthorized));
    }
    for other in [&pass, &token, &of_nobody] {
        assert_eq!(tickets.read(&tokens, other, NOW, TicketUse::Open), Err(Error::Unauthorized));
    }
    for other in [&ticket, &token, &of_nobody] {
        assert_eq!(tickets.read_pass(&tokens, other, NOW), Err(Error::Unauthorized));
    }
}

#[test]
fn one_user_cannot_use_up_all_tickets_and_used_or_expired_ones_make_room() {
    let mut waiting = Waiting::default();
    let (alice, bob, ends_at) = (user("alice"), user("bob"), NOW + TICKET_LASTS);
    for number in 0..WAITING_OF_ONE as u128 {
        waiting.add((ends_at, number), &alice, NOW).unwrap();
    }
    assert_eq!(waiting.add((ends_at, u128::MAX), &alice, NOW), Err(Error::Overloaded));
    assert_eq!(waiting.add((ends_at, u128::MAX), &bob, NOW), Ok(()));
    assert!(waiting.remove((ends_at, 5)) && !waiting.remove((ends_at, 5)));
    assert_eq!(waiting.add((ends_at, 5), &alice, NOW), Ok(()));
    assert_eq!(waiting.add((ends_at, 6), &alice, NOW), Err(Error::Overloaded));
    // Not all expired tickets are removed at once, but none of them blocks a new one.
    for number in 0..200 {
        assert_eq!(waiting.add((ends_at + HOUR, number), &alice, ends_at), Ok(()));
        assert!(waiting.tickets.len() + EXPIRED_AT_ONCE * (number as usize + 2) >= WAITING_OF_ONE);
    }
    assert_eq!((waiting.tickets.len(), waiting.of_one.len(), waiting.ranks.len()), (200, 1, 1));
}

#[test]
fn waiting_tickets_are_bounded_and_users_with_many_lose_their_oldest_to_users_with_few() {
    let mut waiting = Waiting::default();
    let ends_at = |number: usize| NOW + TICKET_LASTS + Duration::from_millis(number as u64);
    for number in 0..WAITING {
        let username = user(&format!("user{}", number / WAITING_OF_ONE));
        waiting.add((ends_at(number), number as u128), &username, NOW).unwrap();
    }
    let (alice, bob) = (user("alice"), user("bob"));
    for number in 0..100 {
        assert_eq!(waiting.add((NOW + TICKET_LASTS, number + u128::MAX / 2), &alice, NOW), Ok(()), "{number}");
    }
    assert_eq!(waiting.tickets.len(), WAITING);
    assert_eq!(waiting.of_one[&alice].len(), 100);
    // The tickets of each of the others were removed in turn, the oldest first.
    for number in 0..16 {
        let left = &waiting.of_one[&user(&format!("user{number}"))];
        assert!((WAITING_OF_ONE - 7..=WAITING_OF_ONE - 6).contains(&left.len()), "{}", left.len());
        let first = number * WAITING_OF_ONE + (WAITING_OF_ONE - left.len());
        assert_eq!(left.first(), Some(&(ends_at(first), first as u128)));
    }
    assert!(waiting.remove((NOW + TICKET_LASTS, u128::MAX / 2)));
    assert_eq!(waiting.add((NOW + TICKET_LASTS, 17), &bob, NOW), Ok(()));
    assert_eq!(waiting.of_one[&alice].len(), 99, "there was room");
}

#[test]
fn no_user_loses_a_ticket_to_one_with_as_many() {
    let mut waiting = Waiting::default();
    for number in 0..WAITING {
        waiting.add((NOW + TICKET_LASTS, number as u128), &user(&format!("user{number}")), NOW).unwrap();
    }
    assert_eq!(waiting.add((NOW + TICKET_LASTS, u128::MAX), &user("alice"), NOW), Err(Error::Overloaded));
    assert_eq!(waiting.add((NOW + TICKET_LASTS, u128::MAX), &user("user1"), NOW), Err(Error::Overloaded));
    assert_eq!(waiting.tickets.len(), WAITING);
}
