//! What is expected at each door, whatever has come about.

use super::condition::Condition::{self, *};
use super::door::Door::{self, *};
use super::session::Transport;
use Cell::*;

/// What is expected in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It is done, and the events of the room come.
    Yes,
    /// It is done in the other tenant: its events come, and none of the room of before.
    Elsewhere,
    /// It is open, or refused, and nothing comes.
    Silent,
    /// It is refused, or has ended, as the server says by this, or by one of these.
    No(&'static str),
}

/// What is expected of a door.
pub enum Row {
    /// What is expected
    /// 1. of the stream that was open,
    /// 2. of an insert by the connection that was open, or by whoever has opened it,
    /// 3. of subscribing anew with what was shown before, or with what is shown now,
    /// 4. of receiving then,
    /// 5. of an insert from the beginning.
    Is([Cell; 5]),
    /// Nothing, for this reason.
    DoesNotApply(&'static str),
}

use Row::*;

const POLLING: Door = Channel(Transport::Polling);
const WEBSOCKET: Door = Channel(Transport::WebSocket);
const UPGRADED: Door = Channel(Transport::Upgraded);

/// What refuses a request of HTTP.
const NO_401: Cell = No("401 unauthorized");
const NO_SCOPE: Cell = No("403 missing_scope");
const NO_KEY: Cell = No("403 auth_key_incorrect");
const NO_TOPIC: Cell = No("403 topic_not_allowed");
/// What refuses to sign in over WebSocket.
const NO_4401: Cell = No("unauthorized 4401");
const READS_ONLY: Cell = No("ticket_reads_only");
/// An insert on a connection that is being closed.
const NO_MORE: Cell = No("unauthorized");
const READS_ONLY_OR_NO_MORE: Cell = No("ticket_reads_only or unauthorized");
/// How streams end.
const ENDED: Cell = No("ended");
const CLOSED: Cell = No("closed 4401");
const DISCONNECTED: Cell = No("disconnected");

/// All conditions that end the sign-in of a user.
const SHUT_OUT: &[Condition] = &[Revoked, PasswordChanged, PasswordReset, TwoFactor];
const OF_USERS: &[Condition] =
    &[Revoked, Unrevoked, PasswordChanged, PasswordReset, TwoFactor, Expired, ScopeTaken, MovedToAnotherTenant];

pub const TABLE: &[(&[Condition], &[Door], Row)] = &[
    // A control: everything works, and nothing that should not.
    (&[Nothing], &[Bearer, Basic, SocketByToken, SocketRenewed], Is([Yes, Yes, Yes, Yes, Yes])),
    (&[Nothing], &[Ticket, Pass], Is([Yes, NO_401, Yes, Yes, NO_401])),
    (&[Nothing], &[SocketByTicket], Is([Yes, READS_ONLY, Yes, Yes, READS_ONLY])),
    (&[Nothing], &[Notiflux, POLLING, WEBSOCKET, UPGRADED], Is([Yes, Yes, Yes, Yes, Yes])),
    // Users whose sign-in is over.
    (SHUT_OUT, &[Bearer, Basic, Ticket, Pass], Is([ENDED, NO_401, NO_401, Silent, NO_401])),
    (SHUT_OUT, &[SocketByToken, SocketRenewed], Is([CLOSED, NO_MORE, NO_4401, Silent, NO_4401])),
    (SHUT_OUT, &[SocketByTicket], Is([CLOSED, READS_ONLY_OR_NO_MORE, NO_4401, Silent, NO_4401])),
    (&[Unrevoked, Expired], &[Bearer, Ticket, Pass], Is([ENDED, NO_401, NO_401, Silent, NO_401])),
    (&[Unrevoked, Expired], &[SocketByToken, SocketRenewed], Is([CLOSED, NO_MORE, NO_4401, Silent, NO_4401])),
    (&[Unrevoked, Expired], &[SocketByTicket], Is([CLOSED, READS_ONLY_OR_NO_MORE, NO_4401, Silent, NO_4401])),
    (&[Unrevoked], &[Basic], Is([ENDED, Yes, Yes, Yes, Yes])),
    (&[Expired], &[Basic], DoesNotApply("a password does not expire")),
    // Users who have other rights than before.
    (&[ScopeTaken], &[Bearer, Basic], Is([Silent, NO_SCOPE, Yes, Silent, NO_SCOPE])),
    (&[ScopeTaken], &[Ticket, Pass], Is([Silent, NO_401, Yes, Silent, NO_401])),
    (
        &[ScopeTaken],
        &[SocketByToken, SocketRenewed],
        Is([Silent, No("missing_scope"), Yes, Silent, No("missing_scope")]),
    ),
    (&[ScopeTaken], &[SocketByTicket], Is([Silent, READS_ONLY, Yes, Silent, READS_ONLY])),
    (
        &[MovedToAnotherTenant],
        &[Bearer, Basic, SocketByToken, SocketRenewed],
        Is([Elsewhere, Elsewhere, Yes, Elsewhere, Elsewhere]),
    ),
    (&[MovedToAnotherTenant], &[Ticket, Pass], Is([Elsewhere, NO_401, Yes, Elsewhere, NO_401])),
    (&[MovedToAnotherTenant], &[SocketByTicket], Is([Elsewhere, READS_ONLY, Yes, Elsewhere, READS_ONLY])),
    // Whoever shows something wrong. What is open stays as it is.
    (&[Forged, OfAnotherDoor, NothingShown], &[Bearer, Basic, Ticket, Pass], Is([Yes, NO_401, NO_401, Silent, NO_401])),
    (&[Forged, OfAnotherDoor], &[SocketByToken], Is([Yes, Yes, NO_4401, Silent, NO_4401])),
    (&[Forged, OfAnotherDoor], &[SocketByTicket], Is([Yes, READS_ONLY, NO_4401, Silent, NO_4401])),
    (&[NothingShown], &[SocketByToken], Is([Yes, Yes, No("body_invalid 4400"), Silent, NO_4401])),
    (&[NothingShown], &[SocketByTicket], Is([Yes, READS_ONLY, No("body_invalid 4400"), Silent, NO_4401])),
    // It has come by a good ticket, and stays what it was.
    (&[Forged, OfAnotherDoor], &[SocketRenewed], Is([Yes, Yes, No("unauthorized"), Yes, READS_ONLY])),
    (&[NothingShown], &[SocketRenewed], Is([Yes, Yes, No("body_invalid"), Yes, READS_ONLY])),
    // Guests.
    (OF_USERS, &[Notiflux, POLLING, WEBSOCKET, UPGRADED], DoesNotApply("a guest has no account")),
    (&[GuestExpired], &[Notiflux], Is([Silent, NO_401, No("unauthorized"), Silent, NO_401])),
    (&[Forged, OfAnotherDoor], &[Notiflux], Is([Yes, NO_401, No("unauthorized"), Silent, NO_401])),
    (
        &[NothingShown],
        &[Notiflux],
        Is([Yes, No("400 body_invalid"), No("invalid command"), Silent, No("400 body_invalid")]),
    ),
    (&[WrongTopic, WrongScope], &[Notiflux], Is([Yes, NO_TOPIC, No("topic_not_allowed"), Silent, NO_TOPIC])),
    (&[GuestExpired], &[POLLING, WEBSOCKET, UPGRADED], DoesNotApply("a channel's token lasts for seven days")),
    (
        &[Forged, OfAnotherDoor, NothingShown, WrongScope],
        &[POLLING, WEBSOCKET, UPGRADED],
        Is([Yes, NO_KEY, DISCONNECTED, Silent, NO_KEY]),
    ),
    // The key opens every channel.
    (&[WrongTopic], &[POLLING, WEBSOCKET, UPGRADED], Is([Yes, Yes, Yes, Silent, Yes])),
    (
        &[GuestExpired, WrongTopic, WrongScope],
        &[Bearer, Basic, Ticket, Pass, SocketByToken, SocketByTicket, SocketRenewed],
        DoesNotApply("a user is no guest"),
    ),
];

/// What is expected of a door.
pub fn row(condition: Condition, door: Door) -> &'static Row {
    let rows: Vec<_> = TABLE
        .iter()
        .filter(|(conditions, doors, _)| conditions.contains(&condition) && doors.contains(&door))
        .map(|(_, _, row)| row)
        .collect();
    let [row] = rows[..] else { panic!("{condition:?} at {door:?} has {} rows", rows.len()) };
    row
}
