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

#[tokio::test]
async fn a_ticket_is_fresh_once() {
    let (tickets, tokens) = (Tickets::new(Central::alone()), tokens());
    let ticket = tickets.issue(&tokens, &right(), NOW).await.unwrap();
    assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open).await, Ok(Ticket::Fresh(right())));
    assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open).await, spent());
}

#[tokio::test]
async fn a_ticket_is_fresh_for_half_a_minute() {
    let (tickets, tokens) = (Tickets::new(Central::alone()), tokens());
    for (seconds, is_fresh) in [(0, true), (29, true), (30, false), (31, false), (3600, false)] {
        let ticket = tickets.issue(&tokens, &right(), NOW).await.unwrap();
        let found = tickets.read(&tokens, &ticket, NOW + Duration::from_secs(seconds), TicketUse::Open).await.unwrap();
        assert_eq!(found == Ticket::Fresh(right()), is_fresh, "{seconds}");
    }
}

#[tokio::test]
async fn a_ticket_that_is_tried_too_late_stays_spent_when_the_clock_is_set_back() {
    let (tickets, tokens) = (Tickets::new(Central::alone()), tokens());
    let ticket = tickets.issue(&tokens, &right(), NOW).await.unwrap();
    assert_eq!(tickets.read(&tokens, &ticket, NOW + HOUR, TicketUse::Open).await, spent());
    assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open).await, spent());
}

#[tokio::test]
async fn a_ticket_is_never_fresh_after_a_restart() {
    let tokens = tokens();
    let ticket = Tickets::new(Central::alone()).issue(&tokens, &right(), NOW).await.unwrap();
    assert_eq!(Tickets::new(Central::alone()).read(&tokens, &ticket, NOW, TicketUse::Open).await, spent());
}

#[tokio::test]
async fn a_ticket_is_not_fresh_once_the_proof_that_it_was_got_by_is_over() {
    let (tickets, tokens) = (Tickets::new(Central::alone()), tokens());
    let right = Right { expires_at: NOW + Duration::from_millis(1500), ..right() };
    let ticket = tickets.issue(&tokens, &right, NOW).await.unwrap();
    assert_eq!(tickets.read(&tokens, &ticket, NOW + Duration::from_secs(2), TicketUse::Open).await, spent());
}

#[test]
fn a_pass_is_good_until_the_proof_is_over() {
    let (tickets, tokens) = (Tickets::new(Central::alone()), tokens());
    let pass = tickets.issue_pass(&tokens, &right(), NOW).unwrap();
    assert_eq!(pass.lasts, HOUR - Duration::from_millis(500));
    let end = right().expires_at;
    assert_eq!(tickets.read_pass(&tokens, &pass.token, NOW), Ok(right()));
    assert_eq!(tickets.read_pass(&tokens, &pass.token, Timestamp::from_millis(end.as_millis() - 1)), Ok(right()));
    assert_eq!(tickets.read_pass(&tokens, &pass.token, end), Err(Error::Unauthorized));
}

#[tokio::test]
async fn a_ticket_a_pass_and_a_token_are_not_taken_for_each_other() {
    let (tickets, tokens) = (Tickets::new(Central::alone()), tokens());
    let ticket = tickets.issue(&tokens, &right(), NOW).await.unwrap();
    let pass = tickets.issue_pass(&tokens, &right(), NOW).unwrap().token;
    // As similar to each of the others as possible.
    let mut claims = right().claims("Broker", NOW, right().expires_at, TicketNumber::parse("1"));
    let token = tokens.sign(&claims).unwrap();
    claims.iss = "Broker".to_lowercase();
    let of_nobody = tokens.sign(&claims).unwrap();
    assert!(tokens.read(&token, NOW).is_ok());
    for other in [&ticket, &pass, &of_nobody] {
        assert_eq!(tokens.read(other, NOW).err(), Some(Error::Unauthorized));
    }
    for other in [&pass, &token, &of_nobody] {
        assert_eq!(tickets.read(&tokens, other, NOW, TicketUse::Open).await, Err(Error::Unauthorized));
    }
    for other in [&ticket, &token, &of_nobody] {
        assert_eq!(tickets.read_pass(&tokens, other, NOW), Err(Error::Unauthorized));
    }
}
