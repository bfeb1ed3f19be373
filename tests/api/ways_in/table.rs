//! What is expected at each door, whatever has come about.

use super::condition::Condition::{self, *};
use super::door::Door::{self, *};
use super::mqtt_client::{Line, Shown};
use super::session::Transport::{Polling, Upgraded, WebSocket};
use super::visitor::Proof::{Renewed, Ticket as ByTicket, Token};
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

const BY_HEADER: &[Door] = &[Bearer, Basic, Lists];
const BY_URL: &[Door] = &[Ticket, Pass];
/// `broker.v1`, by what is shown.
const SOCKET_BY_TOKEN: &[Door] = &[Socket(Token)];
const SOCKET_RENEWED: &[Door] = &[Socket(Renewed)];
const SOCKET_BY_TICKET: &[Door] = &[Socket(ByTicket)];
/// Socket.IO of users, by what is shown.
const USER_BY_TOKEN: &[Door] = &[User(Polling, Token), User(WebSocket, Token), User(Upgraded, Token)];
const USER_RENEWED: &[Door] = &[User(Polling, Renewed), User(WebSocket, Renewed), User(Upgraded, Renewed)];
const USER_BY_TICKET: &[Door] = &[User(Polling, ByTicket), User(WebSocket, ByTicket), User(Upgraded, ByTicket)];
pub const CHANNELS: &[Door] = &[Channel(Polling), Channel(WebSocket), Channel(Upgraded)];
/// MQTT, by what is shown.
const MQTT_BY_TOKEN: &[Door] = &[Mqtt(Line::Tcp, Shown::Token), Mqtt(Line::WebSocket, Shown::Token)];
const MQTT_BY_PASSWORD: &[Door] = &[Mqtt(Line::Tcp, Shown::Password), Mqtt(Line::WebSocket, Shown::Password)];

/// What refuses a request of HTTP.
const NO_401: Cell = No("401 unauthorized");
const NO_SCOPE_403: Cell = No("403 missing_scope");
const NO_KEY: Cell = No("403 auth_key_incorrect");
const NO_FIELD: Cell = No("400 body_invalid");
const NO_TOPIC: Cell = No("403 topic_not_allowed");
/// What refuses to sign in over WebSocket.
const NO_4401: Cell = No("unauthorized 4401");
/// What refuses a command on a connection.
const NO_SCOPE: Cell = No("missing_scope");
const READS_ONLY: Cell = No("ticket_reads_only");
/// An insert on a connection that is being closed.
const NO_MORE: Cell = No("unauthorized");
const READS_ONLY_OR_NO_MORE: Cell = No("ticket_reads_only or unauthorized");
/// The same over Socket.IO. If the insert crosses the end of the namespace, it is of none and ends the session, before it is said why.
const NO_MORE_OR_CUT: Cell = No("unauthorized or unanswered");
const READS_ONLY_OR_CUT: Cell = No("ticket_reads_only or unauthorized or unanswered");
/// What refuses a user over Socket.IO.
const NO: Cell = No("unauthorized");
/// The same, with something sent behind what was to sign in: that is of no namespace, and ends the session.
const NO_OR_DISCONNECTED: Cell = No("unauthorized or disconnected");
/// Somebody who shows nothing over Socket.IO is a client of channels.
const NO_USER: Cell = No("of channels");
/// How streams end.
const ENDED: Cell = No("ended");
const CLOSED: Cell = No("closed 4401");
const DISCONNECTED: Cell = No("disconnected");
/// Without the reason if an insert has crossed it.
const OVER: Cell = No("disconnected sign_in_over or disconnected");
/// What refuses a client of MQTT: at its CONNECT, if the credentials are wrong or none; for a message; and how its connection ends.
const NO_CONNECT: Cell = No("connack 0x86");
const NO_CREDENTIALS: Cell = No("connack 0x87");
const NO_PUBLISH: Cell = No("puback 0x87");
const DROPPED: Cell = No("disconnect 0x87");
const DROPPED_IN_TIME: Cell = No("disconnect 0xa0");
/// A message that crosses the end of its connection.
const NO_PUBLISH_OR_DROPPED: Cell = No("puback 0x87 or disconnect 0x87 or disconnect 0xa0 or cut");

/// All conditions that end the sign-in of a user.
const SHUT_OUT: &[Condition] = &[
    Revoked,
    Unrevoked,
    Deleted,
    DeletedAndReplaced,
    PasswordChanged,
    PasswordReset,
    TwoFactor,
    Expired,
    SessionRevoked,
    SessionDeleted,
    SessionEnded,
];
const SHOWS_ANOTHER: &[Condition] = &[Forged, OfAnotherDoor, RefreshTokenShown];
const SHOWS_WRONG: &[Condition] = &[Forged, OfAnotherDoor, RefreshTokenShown, NothingShown];
/// All others that are of users.
const OTHERS_OF_USERS: &[Condition] = &[OfASession, SessionRefreshed, ScopeTaken, MovedToAnotherTenant];
/// Users whom nothing shuts out.
const WELL: &[Condition] = &[Nothing, OfASession, SessionRefreshed];

/// Under these conditions, at these doors.
type Rows = &'static [(&'static [Condition], &'static [&'static [Door]], Row)];

pub const TABLE: Rows = &[
    // A control: everything works, and nothing that should not.
    (WELL, &[BY_HEADER, SOCKET_BY_TOKEN, USER_BY_TOKEN, SOCKET_RENEWED, USER_RENEWED], Is([Yes, Yes, Yes, Yes, Yes])),
    (WELL, &[BY_URL], Is([Yes, NO_401, Yes, Yes, NO_401])),
    (WELL, &[SOCKET_BY_TICKET, USER_BY_TICKET], Is([Yes, READS_ONLY, Yes, Yes, READS_ONLY])),
    (&[Nothing], &[&[Notiflux], CHANNELS], Is([Yes, Yes, Yes, Yes, Yes])),
    // Users whose sign-in is over.
    (SHUT_OUT, &[BY_URL, &[Bearer]], Is([ENDED, NO_401, NO_401, Silent, NO_401])),
    (SHUT_OUT, &[&[Lists]], Is([NO_401, NO_401, NO_401, Silent, NO_401])),
    (SHUT_OUT, &[SOCKET_BY_TOKEN, SOCKET_RENEWED], Is([CLOSED, NO_MORE, NO_4401, Silent, NO_4401])),
    (SHUT_OUT, &[SOCKET_BY_TICKET], Is([CLOSED, READS_ONLY_OR_NO_MORE, NO_4401, Silent, NO_4401])),
    (SHUT_OUT, &[USER_BY_TOKEN, USER_RENEWED], Is([OVER, NO_MORE_OR_CUT, NO, Silent, NO_OR_DISCONNECTED])),
    (SHUT_OUT, &[USER_BY_TICKET], Is([OVER, READS_ONLY_OR_CUT, NO, Silent, NO_OR_DISCONNECTED])),
    // A password is as good as before if its user is let in again.
    (
        &[Revoked, Deleted, PasswordChanged, PasswordReset, TwoFactor, SessionRevoked, SessionDeleted],
        &[&[Basic]],
        Is([ENDED, NO_401, NO_401, Silent, NO_401]),
    ),
    (&[Unrevoked, DeletedAndReplaced], &[&[Basic]], Is([ENDED, Yes, Yes, Yes, Yes])),
    // A password is of no session.
    (&[SessionEnded], &[&[Basic]], Is([Yes, Yes, Yes, Yes, Yes])),
    (&[Expired], &[&[Basic]], DoesNotApply("a password does not expire")),
    // Users who have other rights than before.
    (&[ScopeTaken], &[BY_HEADER], Is([Silent, NO_SCOPE_403, Yes, Silent, NO_SCOPE_403])),
    (&[ScopeTaken], &[BY_URL], Is([Silent, NO_401, Yes, Silent, NO_401])),
    (
        &[ScopeTaken],
        &[SOCKET_BY_TOKEN, USER_BY_TOKEN, SOCKET_RENEWED, USER_RENEWED],
        Is([Silent, NO_SCOPE, Yes, Silent, NO_SCOPE]),
    ),
    (&[ScopeTaken], &[SOCKET_BY_TICKET, USER_BY_TICKET], Is([Silent, READS_ONLY, Yes, Silent, READS_ONLY])),
    (
        &[MovedToAnotherTenant],
        &[BY_HEADER, SOCKET_BY_TOKEN, USER_BY_TOKEN, SOCKET_RENEWED, USER_RENEWED],
        Is([Elsewhere, Elsewhere, Yes, Elsewhere, Elsewhere]),
    ),
    (&[MovedToAnotherTenant], &[BY_URL], Is([Elsewhere, NO_401, Yes, Elsewhere, NO_401])),
    (
        &[MovedToAnotherTenant],
        &[SOCKET_BY_TICKET, USER_BY_TICKET],
        Is([Elsewhere, READS_ONLY, Yes, Elsewhere, READS_ONLY]),
    ),
    // Users who show something wrong. What is open stays as it is.
    (SHOWS_WRONG, &[BY_HEADER, BY_URL], Is([Yes, NO_401, NO_401, Silent, NO_401])),
    (SHOWS_ANOTHER, &[SOCKET_BY_TOKEN], Is([Yes, Yes, NO_4401, Silent, NO_4401])),
    (SHOWS_ANOTHER, &[SOCKET_BY_TICKET], Is([Yes, READS_ONLY, NO_4401, Silent, NO_4401])),
    (SHOWS_ANOTHER, &[USER_BY_TOKEN], Is([Yes, Yes, NO, Silent, NO_OR_DISCONNECTED])),
    (SHOWS_ANOTHER, &[USER_BY_TICKET], Is([Yes, READS_ONLY, NO, Silent, NO_OR_DISCONNECTED])),
    // They have come by a good ticket, and stay what they were.
    (SHOWS_ANOTHER, &[SOCKET_RENEWED, USER_RENEWED], Is([Yes, Yes, NO, Yes, READS_ONLY])),
    (&[NothingShown], &[SOCKET_RENEWED, USER_RENEWED], Is([Yes, Yes, No("body_invalid"), Yes, READS_ONLY])),
    (&[NothingShown], &[SOCKET_BY_TOKEN], Is([Yes, Yes, No("body_invalid 4400"), Silent, NO_4401])),
    (&[NothingShown], &[SOCKET_BY_TICKET], Is([Yes, READS_ONLY, No("body_invalid 4400"), Silent, NO_4401])),
    (&[NothingShown], &[USER_BY_TOKEN], Is([Yes, Yes, NO_USER, Silent, NO_USER])),
    (&[NothingShown], &[USER_BY_TICKET], Is([Yes, READS_ONLY, NO_USER, Silent, NO_USER])),
    (
        &[GuestExpired, WrongTopic, WrongScope],
        &[
            BY_HEADER,
            BY_URL,
            SOCKET_BY_TOKEN,
            USER_BY_TOKEN,
            SOCKET_RENEWED,
            USER_RENEWED,
            SOCKET_BY_TICKET,
            USER_BY_TICKET,
        ],
        DoesNotApply("a user is no guest"),
    ),
    // MQTT.
    (WELL, &[MQTT_BY_TOKEN, MQTT_BY_PASSWORD], Is([Yes, Yes, Yes, Yes, Yes])),
    (
        &[
            Revoked,
            Unrevoked,
            Deleted,
            DeletedAndReplaced,
            PasswordChanged,
            PasswordReset,
            TwoFactor,
            SessionRevoked,
            SessionDeleted,
            SessionEnded,
        ],
        &[MQTT_BY_TOKEN],
        Is([DROPPED, NO_PUBLISH_OR_DROPPED, NO_CONNECT, Silent, NO_CONNECT]),
    ),
    (&[Expired], &[MQTT_BY_TOKEN], Is([DROPPED_IN_TIME, NO_PUBLISH_OR_DROPPED, NO_CONNECT, Silent, NO_CONNECT])),
    (
        &[Revoked, Deleted, PasswordChanged, PasswordReset, TwoFactor, SessionRevoked, SessionDeleted],
        &[MQTT_BY_PASSWORD],
        Is([DROPPED, NO_PUBLISH_OR_DROPPED, NO_CONNECT, Silent, NO_CONNECT]),
    ),
    // A password is as good as before, but not what it has opened.
    (&[Unrevoked, DeletedAndReplaced], &[MQTT_BY_PASSWORD], Is([DROPPED, NO_PUBLISH_OR_DROPPED, Yes, Yes, Yes])),
    (&[SessionEnded], &[MQTT_BY_PASSWORD], Is([Yes, Yes, Yes, Yes, Yes])),
    (&[Expired], &[MQTT_BY_PASSWORD], DoesNotApply("a password does not expire")),
    (
        &[ScopeTaken],
        &[MQTT_BY_TOKEN, MQTT_BY_PASSWORD],
        Is([Silent, NO_PUBLISH, No("suback 0x87"), Silent, NO_PUBLISH]),
    ),
    (
        &[MovedToAnotherTenant],
        &[MQTT_BY_TOKEN, MQTT_BY_PASSWORD],
        Is([Elsewhere, Elsewhere, Yes, Elsewhere, Elsewhere]),
    ),
    (SHOWS_ANOTHER, &[MQTT_BY_TOKEN, MQTT_BY_PASSWORD], Is([Yes, Yes, NO_CONNECT, Silent, NO_CONNECT])),
    (&[NothingShown], &[MQTT_BY_TOKEN, MQTT_BY_PASSWORD], Is([Yes, Yes, NO_CREDENTIALS, Silent, NO_CREDENTIALS])),
    (&[GuestExpired, WrongTopic, WrongScope], &[MQTT_BY_TOKEN, MQTT_BY_PASSWORD], DoesNotApply("a user is no guest")),
    // Guests.
    (SHUT_OUT, &[&[Notiflux], CHANNELS], DoesNotApply("a guest has no account")),
    (OTHERS_OF_USERS, &[&[Notiflux], CHANNELS], DoesNotApply("a guest has no account")),
    (&[GuestExpired], &[&[Notiflux]], Is([Silent, NO_401, NO, Silent, NO_401])),
    (SHOWS_ANOTHER, &[&[Notiflux]], Is([Yes, NO_401, NO, Silent, NO_401])),
    (&[NothingShown], &[&[Notiflux]], Is([Yes, NO_FIELD, No("invalid command"), Silent, NO_FIELD])),
    (&[WrongTopic, WrongScope], &[&[Notiflux]], Is([Yes, NO_TOPIC, No("topic_not_allowed"), Silent, NO_TOPIC])),
    (&[GuestExpired], &[CHANNELS], DoesNotApply("a channel's token lasts for a week: see the test of its own")),
    (SHOWS_WRONG, &[CHANNELS], Is([Yes, NO_KEY, DISCONNECTED, Silent, NO_KEY])),
    (&[WrongScope], &[CHANNELS], Is([Yes, NO_KEY, DISCONNECTED, Silent, NO_KEY])),
    // The key opens every channel.
    (&[WrongTopic], &[CHANNELS], Is([Yes, Yes, Yes, Silent, Yes])),
];

/// What is expected of a door.
pub fn row(condition: Condition, door: Door) -> &'static Row {
    let rows: Vec<_> = TABLE
        .iter()
        .filter(|(conditions, doors, _)| {
            conditions.contains(&condition) && doors.iter().any(|doors| doors.contains(&door))
        })
        .map(|(_, _, row)| row)
        .collect();
    let [row] = rows[..] else { panic!("{condition:?} at {door:?} has {} rows", rows.len()) };
    row
}
