//! Guards the door itself: an answer is ready at once, and a ticket is known to the server that issued it.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);

fn alice() -> Username {
    Username::parse("alice").unwrap()
}

#[test]
fn each_rate_is_one_of_its_own_whether_it_is_awaited_or_taken_where_it_is_decided() {
    let (central, alice, acme) = (Central::alone(), alice(), TenantName::parse("acme").unwrap());
    let take = |rate| central.take(rate, (&alice, &acme), 10_000).now_or_never().expect("the place is here");
    central.set_rate(Rate::Inserts, 1, 0);
    assert_eq!(take(Rate::Inserts), Ok(()));
    assert!(central.take_here(Rate::Inserts, (&alice, &acme), 1).is_err());
    assert_eq!([take(Rate::MqttConnects), take(Rate::MqttConnects)], [Ok(()), Ok(())]);
}

#[test]
fn a_ticket_is_spent_once_at_the_server_that_issued_it() {
    let [one, other] = [Central::of_server(1), Central::of_server(2)];
    let ends_at = NOW + Duration::from_secs(30);
    let ticket = one.issue_ticket(&alice(), ends_at, NOW).now_or_never().unwrap().unwrap();
    let shown = |to: &Central, of, ticket| to.show_ticket(ticket, ends_at, of).now_or_never().unwrap();
    assert_eq!((ticket.server(), TicketNumber::parse(&ticket.to_string())), (1, Some(ticket)));
    assert!(shown(&one, TicketUse::Look, ticket) && !shown(&other, TicketUse::Look, ticket));
    // Not even if it has a ticket of its own with the same bits.
    other.unspent().add((ends_at, ticket), &alice(), NOW).unwrap();
    assert!(!shown(&other, TicketUse::Open, ticket));
    assert!(!one.show_ticket(ticket, ends_at + Duration::from_secs(1), TicketUse::Open).now_or_never().unwrap());
    assert!(shown(&one, TicketUse::Open, ticket) && !shown(&one, TicketUse::Open, ticket));
}
