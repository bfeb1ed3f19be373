//! Every refusal, in one list: its status, its code and its sentence.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Event, MAX_DEPTH, MAX_EXPIRES_IN, MAX_NAME_BYTES, MAX_PASSWORD_BYTES, MAX_PATTERNS, MAX_USER_BYTES,
};

/// Words of the program. No other process sends them: an error that has them is of reading a request, and not of deciding a change.
type Words = &'static str;

/// Makes the enum, [`Error::TABLE`] and [`Error::row`] of one list, so that none of them can lack an error.
macro_rules! errors {
    ($(
        $(#[$doc:meta])*
        $name:ident
            $(($value:ident: $type:ty))?
            $({ $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)* })?
            => $status:literal, $code:literal, $sentence:expr;
    )*) => {
        /// Why a request is refused or could not be done.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Error {
            $($(#[$doc])* $name $(($type))? $({ $($(#[$field_doc])* $field: $field_type,)* })?,)*
        }

        impl Error {
            /// The HTTP status and the code of each error, in the order of the list.
            pub const TABLE: &[(u16, &str)] = &[$(($status, $code)),*];

            /// Status, code and sentence of this error.
            fn row(&self) -> (u16, &'static str, Cow<'static, str>) {
                match self {
                    $(Self::$name $(($value))? $({ $($field,)* })? => ($status, $code, $sentence.into()),)*
                }
            }
        }
    };
}

errors! {
    /// The body is not JSON, lacks a field, or has one of the wrong type. The text says which.
    BodyInvalid(why: String) => 400, "body_invalid", format!("the body is not as expected: {why}");
    /// A name in the path is not UTF-8.
    PathInvalid => 400, "path_invalid", "the name in the path is not UTF-8, once its percent signs are decoded";
    /// A parameter in the query string cannot be read.
    QueryInvalid => 400, "query_invalid", "the query string is not as expected";
    /// A parameter that does not exist, and that is easily mistaken for one that does.
    #[serde(skip)]
    ParameterMeant {
        /// The parameter that was sent.
        given: Words,
        /// The parameter that exists.
        meant: Words,
    } => 400, "parameter_unknown",
        format!("there is no {given}: {meant} takes names, or prefixes ended by *, with commas between");
    /// `events` or `except` is not a list of names and prefixes, or would have too many.
    FilterInvalid => 400, "filter_invalid",
        format!("events is not a list of 1 to {MAX_PATTERNS} names, or prefixes ended by *, with commas between");
    /// Not a name that an event may have.
    EventNameInvalid => 400, "event_name_invalid", format!(
        "event must be 1 to {MAX_NAME_BYTES} bytes without blanks at its ends, control characters, line breaks, \
         \"data:\", \"event:\", \"id:\" or \"retry:\""
    );
    /// Only the server inserts events of this name.
    EventNameReserved => 400, "event_name_reserved", "names that begin with $ are the server's own";
    /// There is no event of this name.
    EventUnknown => 404, "event_unknown", "there is no event of this name";
    /// Not a time after which an event may expire.
    ExpiryInvalid => 400, "expires_in_invalid", format!("expires_in must be 1 to {MAX_EXPIRES_IN} seconds");
    /// `transient` stands where it has no meaning.
    TransientInvalid => 400, "transient_invalid",
        "a transient event cannot have while_connected, and a removal cannot be transient";
    /// Not an id of this database.
    IdUnknown => 400, "id_unknown", "this is no id of this database";
    /// `if-match` or `if-none-match` cannot be read, or has no place in this request.
    PreconditionInvalid => 400, "precondition_invalid",
        "if-match takes one id, if-none-match takes *; not both, and not with several events";
    /// A backup is being made, and there is one at a time.
    BackupRunning => 409, "backup_running", "another backup is being made";
    /// The precondition does not hold: this is the latest event of the name.
    PreconditionFailed(_current: Option<Box<Event>>) => 412, "precondition_failed",
        "the latest event of this name is another";
    /// Not an idempotency key.
    IdempotencyKeyInvalid => 400, "idempotency_key_invalid",
        "idempotency-key must be 1 to 255 visible characters of ASCII";
    /// The idempotency key was used with a different request.
    IdempotencyKeyReused => 422, "idempotency_key_reused", "this idempotency-key was used for something else";
    /// Another import is under way.
    ImportRunning => 409, "import_running", "another import is under way, try again when it has ended";
    /// A line of an import has more than this many bytes.
    LineTooLong(bytes: usize) => 413, "line_too_long", format!("the line is longer than {} KiB", bytes / 1024);
    /// Not the hash of a password, or not one that Broker can check at bounded costs. The text says why.
    #[serde(skip)]
    PasswordHashInvalid(why: Words) => 400, "password_hash_invalid", format!("password_hash is not taken: {why}");
    /// Not a secret of an authenticator app.
    TotpSecretInvalid => 400, "totp_secret_invalid", "totp_secret must be 16 to 64 bytes in base32";
    /// The tenant has as many names as it may have.
    TooManyNames(names: u64) => 409, "too_many_names", format!("a tenant may have {names} event names");
    /// The user has as many events with `while_connected` as they may have.
    TooManyBound(events: u64) => 409, "too_many_while_connected",
        format!("a user may have {events} events that last while they are connected");
    /// The idempotency key was used while its user was in another tenant.
    TenantChanged => 409, "tenant_changed", "this idempotency-key was used in another tenant, where you were then";
    /// The rate limit of inserts is exceeded for as many seconds.
    InsertRateExceeded(_seconds: u64) => 429, "insert_rate_exceeded", "too many inserts, wait before the next";
    /// `data` is nested too deep.
    DataTooDeep => 400, "data_too_deep", format!("data is nested deeper than {MAX_DEPTH} levels");
    /// Not a name that a user may have.
    UsernameInvalid => 400, "username_invalid", format!(
        "username must be 1 to {MAX_NAME_BYTES} bytes in Unicode's form NFC, without a colon, a slash, control \
         and invisible characters, and blanks at its ends"
    );
    /// Not a name that a tenant may have.
    TenantNameInvalid => 400, "tenant_name_invalid", format!(
        "tenant_name must be 1 to {MAX_NAME_BYTES} bytes in Unicode's form NFC, without control and invisible \
         characters, and blanks at its ends"
    );
    /// The password is empty or too long.
    PasswordInvalid => 400, "password_invalid", format!("password must be 1 to {MAX_PASSWORD_BYTES} bytes");
    /// The password has fewer characters than this.
    PasswordTooShort(chars: usize) => 400, "password_too_short",
        format!("password must be at least {chars} characters");
    /// The email address is malformed.
    EmailInvalid => 400, "email_invalid", "email is invalid";
    /// The email address is one of a throw-away provider. The sentence is the one that clients of Broker 15 may know.
    EmailDisposable => 400, "email_disposable", "email is invalid";
    /// Another user has this name.
    UsernameTaken => 400, "username_taken", "username already taken";
    /// Another user has a name that this one may be mistaken for.
    UsernameLookalike => 400, "username_lookalike", "username looks like one that is taken already";
    /// There is a tenant with a name that this one may be mistaken for.
    TenantNameLookalike => 400, "tenant_name_lookalike", "tenant_name looks like that of another tenant";
    /// There is no such user. Only admin endpoints say so: elsewhere it would tell which accounts exist.
    UserUnknown => 400, "user_unknown", "there is no user of this name";
    /// The password is right, and the user has two-factor authentication.
    TotpRequired => 401, "totp_required", "the password is right, and a code of the authenticator app is needed too";
    /// There is no secret to confirm.
    TwoFactorNotBegun => 409, "two_factor_not_begun", "two-factor authentication was not begun, or too long ago";
    /// Another secret would take the place of the one that is confirmed.
    TwoFactorOn => 409, "two_factor_on", "two-factor authentication is on: switch it off first";
    /// There is nothing to switch off.
    TwoFactorOff => 409, "two_factor_off", "two-factor authentication is off";
    /// Nobody, or nobody without an invite, may sign up.
    SignupClosed => 403, "signup_closed", "nobody can sign up here";
    /// There is no such invite, it has been used, it has ended, or whoever made it may not invite any more.
    InviteInvalid => 400, "invite_invalid", "the invite is missing, or does not work any more";
    /// The user has as many open invites as they may have.
    TooManyInvites(invites: u64) => 409, "too_many_invites", format!("a user may have {invites} open invites");
    /// The password policy refuses the password, and gives a reason if it can.
    PasswordWeak(why: Option<String>) => 400, "password_weak", match why {
        None => Cow::Borrowed("password is too weak"),
        Some(why) => format!("password is too weak because {why}").into(),
    };
    /// Not a list of `resource:operation`.
    ScopesInvalid => 400, "scopes_invalid", "scopes are invalid";
    /// With these scopes a token of the user would be longer than this many bytes.
    ScopesTooLarge(bytes: usize) => 400, "scopes_too_large",
        format!("with these scopes a token would be longer than {bytes} bytes");
    /// Not an issuer that authenticator apps can show.
    IssuerInvalid => 400, "issuer_invalid", "issuer must not be empty, nor have a colon or control characters";
    /// Issuer and username do not fit into a QR code.
    QrTooLarge => 400, "qr_too_large", "issuer and username are too long for a QR code";
    /// The admin token is wrong. `/create_user` answers 400, as Broker 15 did.
    AdminTokenRefused => 400, "admin_token_incorrect", "admin_token is incorrect";
    /// The admin token is wrong.
    AdminTokenIncorrect => 401, "admin_token_incorrect", "admin_token is incorrect";
    /// Credentials are missing, malformed, expired, revoked or wrong. All of these look alike on purpose.
    Unauthorized => 401, "unauthorized", "the credentials are missing or not valid";
    /// The refresh token is unknown, has expired, or was used before; or its session has ended.
    SessionEnded => 401, "session_ended", "the session has ended: sign in again";
    /// The request is for a host that is not this machine, and with a weak secret only this machine is served.
    HostNotAllowed => 403, "host_not_allowed",
        "with a default or short secret only localhost and loopback addresses are served";
    /// The page that the request comes from may not make it.
    OriginNotAllowed => 403, "origin_not_allowed",
        "pages of this origin may not call: see the flag origin, and that no secret is weak";
    /// The key of the channels is missing or wrong.
    AuthKeyIncorrect => 403, "auth_key_incorrect", "the key in the header authorization is missing or wrong";
    /// The user lacks this scope.
    MissingScope(scope: String) => 403, "missing_scope", format!("this takes the scope {scope}");
    /// The token of a guest is for other topics, or for another use of them; or a topic or channel would be an inbox.
    TopicNotAllowed => 403, "topic_not_allowed", "this is not allowed for this topic: it is an inbox, or the token is for other topics or another use";
    /// The inbox belongs to no user of the tenant.
    InboxUnknown => 404, "inbox_unknown", "there is no user in your tenant to whom this inbox could belong";
    /// The user has no such stream.
    StreamUnknown => 404, "stream_unknown", "you have no open stream with this id";
    /// The user has no such session.
    SessionUnknown => 404, "session_unknown", "you have no session with this id";
    /// The caller has signed in without a session. Nothing but the session itself could be meant.
    SessionMissing => 400, "session_unknown", "this sign-in is of no session: there is no refresh token for it";
    /// No such path.
    NotFound => 404, "not_found", "there is nothing at this path";
    /// The path takes a WebSocket handshake, and this is none that can be accepted. The text says why.
    #[serde(skip)]
    HandshakeInvalid(why: Words) => 400, "handshake_invalid", format!("this is no WebSocket handshake: {why}");
    /// The path takes a WebSocket handshake, and the request asks for none, or for another version.
    UpgradeRequired => 426, "upgrade_required",
        "this takes a WebSocket of version 13: a proxy must pass on the headers Upgrade and Connection";
    /// The connection's first frame has signed in already.
    SignedInAlready => 409, "signed_in_already", "this connection has signed in: renew takes a later token of the same user";
    /// A ticket was shown, and this takes a token.
    TicketReadsOnly => 403, "ticket_reads_only", "a ticket opens a stream and no more: renew with a token first";
    /// A command that does not exist.
    CommandUnknown => 400, "command_unknown",
        "the command must be sign_in, subscribe, unsubscribe, insert, remove, renew or ping";
    /// None of the subprotocols that a client of WebSocket offers is spoken on this path, on which this one is.
    #[serde(skip)]
    SubprotocolUnknown(ours: Words) => 400, "subprotocol_unknown",
        format!("sec-websocket-protocol must offer {ours}");
    /// The path exists, but takes another method.
    MethodNotAllowed => 405, "method_not_allowed", "this path does not take that method";
    /// The request did not arrive in time.
    RequestTimeout => 408, "request_timeout", "the request did not arrive in time";
    /// The head of the request is too large.
    HeadTooLarge {
        /// How many bytes it may have.
        bytes: usize,
        /// How many headers it may have.
        headers: usize,
    } => 431, "head_too_large",
        format!("the head of the request is larger than {} KiB, or has more than {headers} headers", bytes / 1024);
    /// The body has more than this many bytes.
    BodyTooLarge(bytes: usize) => 413, "body_too_large", format!("the body is larger than {} KiB", bytes / 1024);
    /// The event has more than this many bytes.
    EventTooLarge(bytes: usize) => 413, "event_too_large", format!("the event is larger than {bytes} bytes");
    /// The user's record is too large.
    UserTooLarge => 413, "user_too_large", format!("the user is larger than {} KiB", MAX_USER_BYTES / 1024);
    /// The different filters of the user take more than this many bytes.
    TooManyFilters(bytes: usize) => 429, "too_many_filters", format!(
        "your different filters take more than {} KiB: close streams, or use the same filter", bytes / 1024
    );
    /// The connection is subscribed to as many topics as one may be.
    TooManyTopics(topics: usize) => 409, "too_many_topics",
        format!("a connection may be subscribed to {topics} topics");
    /// There were too many attempts; another is allowed after this many seconds.
    TooManyAttempts(_seconds: u64) => 429, "too_many_attempts", "too many attempts, wait before the next";
    /// The request would write more than one commit has room for.
    ChangeTooLarge => 413, "change_too_large",
        "this would write more at once than Broker can commit, nothing was changed";
    /// A queue is full.
    Overloaded => 503, "overloaded", "the server has more to do than it can, try again";
    /// The disk is full.
    StorageFull => 503, "storage_full", "the server's disk is full, nothing was changed";
    /// The server is going down.
    ShuttingDown => 503, "shutting_down", "the server is going down, try again";
    /// The writer does not come round.
    Stalled => 503, "stalled", "the server's database makes no progress";
    /// The database failed. The text is for the log only.
    #[serde(skip)]
    Storage(_why: String) => 500, "storage_failed", "the server's database failed";
    /// A value in the database is not what was written. The text is for the log only, and names its key. The database goes on.
    Damaged(_why: String) => 500, "value_damaged", "a value in the server's database is damaged, nothing was changed";
    /// A fault of the server. The text is for the log only.
    #[serde(skip)]
    Internal(_why: String) => 500, "internal", "the server made a mistake";
}

impl Error {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.row().0
    }

    /// The stable name of the error, in `snake_case`.
    pub fn code(&self) -> &'static str {
        self.row().1
    }

    /// The text for people.
    pub fn sentence(&self) -> Cow<'static, str> {
        self.row().2
    }

    /// Whether the server refused for a lack that passes, of room or of another resource. Nothing has changed, and a
    /// later call may succeed.
    pub fn passes(&self) -> bool {
        matches!(self, Self::StorageFull | Self::Overloaded)
    }

    /// The number of seconds after which another try is worth making, if one is.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyAttempts(seconds) | Self::InsertRateExceeded(seconds) => Some(*seconds),
            Self::Overloaded | Self::ShuttingDown => Some(1),
            Self::StorageFull | Self::Stalled | Self::TooManyFilters(_) => Some(10),
            _ => None,
        }
    }
}

impl std::fmt::Display for Error {
    /// The sentence and, for a fault of the server, the text for the log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence())?;
        match self {
            Self::Storage(why) | Self::Damaged(why) | Self::Internal(why) => write!(f, ": {why}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A failure of the server or of its database, for the log. What was decided with it cannot be relied on, so whoever decides gives up,
/// and a copy of the database halts. It is no answer of the rules, as a [`Refusal`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The database failed.
    Storage(String),
    /// The server made a mistake.
    Internal(String),
}

/// An [`Error`] that is no [`Fault`]: the rules' answer, which is the same wherever and however often it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Error);

impl Refusal {
    /// Tells a refusal from a fault.
    ///
    /// # Errors
    /// The fault.
    pub fn of(error: Error) -> Result<Self, Fault> {
        match error {
            Error::Storage(why) => Err(Fault::Storage(why)),
            Error::Internal(why) => Err(Fault::Internal(why)),
            refusal => Ok(Self(refusal)),
        }
    }

    /// Whether it is for a lack that passes: [`Error::passes`].
    pub fn passes(&self) -> bool {
        self.0.passes()
    }
}

impl From<Refusal> for Error {
    fn from(Refusal(refusal): Refusal) -> Self {
        refusal
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Storage(why) => Self::Storage(why),
            Fault::Internal(why) => Self::Internal(why),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Error::from(self.clone()).fmt(f)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_on_errors_lists_every_status_and_code_and_no_other() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
        let page = std::fs::read_to_string(page).unwrap();
        let documented: Vec<_> = page.lines().filter_map(status_and_code).collect();
        let once: BTreeSet<_> = documented.iter().copied().collect();
        assert_eq!(once, Error::TABLE.iter().copied().collect());
        assert_eq!(once.len(), documented.len(), "an error is listed twice");
    }

    /// The status and code in a line of the table, such as "| 400 | `body_invalid` | …".
    fn status_and_code(line: &str) -> Option<(u16, &str)> {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let status = cells.next()?.parse().ok()?;
        Some((status, cells.next()?.strip_prefix('`')?.strip_suffix('`')?))
    }

    #[test]
    fn errors_that_are_answered_alike_are_the_only_ones_that_share_a_code() {
        let mut codes = BTreeSet::new();
        let shared: Vec<_> = Error::TABLE.iter().filter(|(_, code)| !codes.insert(*code)).collect();
        assert_eq!(shared, [&(401, "admin_token_incorrect"), &(400, "session_unknown")]);
    }
}
