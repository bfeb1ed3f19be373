//! Every refusal there is, with its status, its code and its sentence, in one table.

use std::borrow::Cow;

use crate::domain::{Event, MAX_DEPTH, MAX_EXPIRES_IN, MAX_NAME_BYTES, MAX_PASSWORD_BYTES, MAX_USER_BYTES};

/// Why a request is refused or could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The body is not JSON, lacks a field, or has one of the wrong type.
    BodyInvalid(String),
    /// The query string has a parameter that cannot be read.
    QueryInvalid,
    /// A parameter that is not there, which is easily taken for one that is.
    ParameterMeant {
        /// What was sent.
        given: &'static str,
        /// What there is.
        meant: &'static str,
    },
    /// `events=` is not a list of names and prefixes.
    FilterInvalid,
    /// Not a name that an event may have.
    EventNameInvalid,
    /// A name under which only the server says something.
    EventNameReserved,
    /// There is no event of that name.
    EventUnknown,
    /// Not a time after which an event may expire.
    ExpiryInvalid,
    /// Not an id of this database.
    IdUnknown,
    /// `if-match` or `if-none-match` cannot be read, or not here.
    PreconditionInvalid,
    /// The condition does not hold: this is the latest event of the name.
    PreconditionFailed(Option<Box<Event>>),
    /// Not an idempotency key.
    IdempotencyKeyInvalid,
    /// The idempotency key was used for something else.
    IdempotencyKeyReused,
    /// The different filters of the user take more than so many bytes.
    TooManyFilters(usize),
    /// The tenant has as many names as it may have.
    TooManyNames(u64),
    /// The user has as many events that last while their streams are connected as they may have.
    TooManyBound(u64),
    /// The idempotency key was used in another tenant, where its user was then.
    TenantChanged,
    /// More was inserted than may be; wait so many seconds.
    InsertRateExceeded(u64),
    /// `data` is nested too deep.
    DataTooDeep,
    /// Not a name that a user may have.
    UsernameInvalid,
    /// Not a name that a tenant may have.
    TenantNameInvalid,
    /// Empty or too long.
    PasswordInvalid,
    /// It has fewer characters than so many.
    PasswordTooShort(usize),
    /// Malformed.
    EmailInvalid,
    /// Of a throw-away provider.
    EmailDisposable,
    /// Somebody has it.
    UsernameTaken,
    /// Somebody has one that it may be taken for.
    UsernameLookalike,
    /// There is a tenant whose name it may be taken for.
    TenantNameLookalike,
    /// The inbox is nobody's of the tenant.
    InboxUnknown,
    /// Nobody has it (admin endpoints only: elsewhere this would tell who has an account).
    UserUnknown,
    /// The password policy refuses, where it can with a reason.
    PasswordWeak(Option<String>),
    /// Not `resource:operation`.
    ScopesInvalid,
    /// They would make a token of the user longer than so many bytes.
    ScopesTooLarge(usize),
    /// Not an issuer that authenticator apps can show.
    IssuerInvalid,
    /// Issuer and username do not fit into a QR code.
    QrTooLarge,
    /// `create_user` answers a wrong admin token with 400, as Broker 15 did.
    AdminTokenRefused,
    /// Everywhere else it is 401.
    AdminTokenIncorrect,
    /// Credentials are missing, malformed, expired, revoked or wrong. All of these look alike on purpose.
    Unauthorized,
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The head of the request is larger than so many bytes.
    HeadTooLarge {
        /// How many bytes it may have.
        bytes: usize,
        /// How many headers.
        headers: usize,
    },
    /// The request did not arrive in time.
    RequestTimeout,
    /// The body is larger than so many bytes.
    BodyTooLarge(usize),
    /// The host that the request names is not of this machine, which alone is served with a weak secret.
    HostNotAllowed,
    /// The page that the request comes from may not make it.
    OriginNotAllowed,
    /// That takes a right which the user does not have: this scope.
    MissingScope(String),
    /// No stream of this user's.
    StreamUnknown,
    /// The event is larger than so many bytes.
    EventTooLarge(usize),
    /// The user's record is too large.
    UserTooLarge,
    /// It would write more than one commit has room for.
    ChangeTooLarge,
    /// Wait so many seconds.
    TooManyAttempts(u64),
    /// A queue is full.
    Overloaded,
    /// There is no room on the disk.
    StorageFull,
    /// The database failed; the words are for the log only.
    Storage(String),
    /// A value in the database is not what was written; the words, which name its key, are for the log only. The database goes on.
    Damaged(String),
    /// The server is going down.
    ShuttingDown,
    /// A fault of ours; the words are for the log only.
    Internal(String),
}

impl Error {
    /// Status, code and sentence of each.
    fn row(&self) -> (u16, &'static str, Cow<'static, str>) {
        let text = |sentence: &'static str| Cow::Borrowed(sentence);
        match self {
            Self::BodyInvalid(why) => (400, "body_invalid", format!("the body is not as expected: {why}").into()),
            Self::QueryInvalid => (400, "query_invalid", text("the query string is not as expected")),
            Self::ParameterMeant { given, meant } => (
                400,
                "parameter_unknown",
                format!("there is no {given}: {meant} takes names, or prefixes ended by *, with commas between").into(),
            ),
            Self::FilterInvalid => (
                400,
                "filter_invalid",
                text("events is not a list of names, or prefixes ended by *, with commas between"),
            ),
            Self::EventNameInvalid => (
                400,
                "event_name_invalid",
                format!(
                    "event must be 1 to {MAX_NAME_BYTES} bytes without blanks at its ends, control characters, line breaks, \
                     \"data:\", \"event:\", \"id:\" or \"retry:\""
                )
                .into(),
            ),
            Self::EventNameReserved => {
                (400, "event_name_reserved", text("names that begin with $ are the server's own"))
            }
            Self::EventUnknown => (404, "event_unknown", text("there is no event of this name")),
            Self::ExpiryInvalid => {
                (400, "expires_in_invalid", format!("expires_in must be 1 to {MAX_EXPIRES_IN} seconds").into())
            }
            Self::IdUnknown => (400, "id_unknown", text("this is no id of this database")),
            Self::PreconditionInvalid => (
                400,
                "precondition_invalid",
                text("if-match takes one id, if-none-match takes *; not both, and not with several events"),
            ),
            Self::PreconditionFailed(_) => {
                (412, "precondition_failed", text("the latest event of this name is another"))
            }
            Self::IdempotencyKeyInvalid => {
                (400, "idempotency_key_invalid", text("idempotency-key must be 1 to 255 visible characters of ASCII"))
            }
            Self::IdempotencyKeyReused => {
                (422, "idempotency_key_reused", text("this idempotency-key was used for something else"))
            }
            Self::TooManyNames(names) => {
                (409, "too_many_names", format!("a tenant may have {names} event names").into())
            }
            Self::TooManyBound(events) => (
                409,
                "too_many_while_connected",
                format!("a user may have {events} events that last while they are connected").into(),
            ),
            Self::TenantChanged => {
                (409, "tenant_changed", text("this idempotency-key was used in another tenant, where you were then"))
            }
            Self::InsertRateExceeded(_) => {
                (429, "insert_rate_exceeded", text("too many inserts, wait before the next"))
            }
            Self::DataTooDeep => {
                (400, "data_too_deep", format!("data is nested deeper than {MAX_DEPTH} levels").into())
            }
            Self::UsernameInvalid => (
                400,
                "username_invalid",
                format!(
                    "username must be 1 to {MAX_NAME_BYTES} bytes in Unicode's form NFC, without a colon, a slash, control \
                     and invisible characters, and blanks at its ends"
                )
                .into(),
            ),
            Self::TenantNameInvalid => (
                400,
                "tenant_name_invalid",
                format!(
                    "tenant_name must be 1 to {MAX_NAME_BYTES} bytes in Unicode's form NFC, without control and invisible \
                     characters, and blanks at its ends"
                )
                .into(),
            ),
            Self::PasswordInvalid => {
                (400, "password_invalid", format!("password must be 1 to {MAX_PASSWORD_BYTES} bytes").into())
            }
            Self::PasswordTooShort(chars) => {
                (400, "password_too_short", format!("password must be at least {chars} characters").into())
            }
            Self::EmailInvalid => (400, "email_invalid", text("email is invalid")),
            // The sentence is the one that clients of Broker 15 may know.
            Self::EmailDisposable => (400, "email_disposable", text("email is invalid")),
            Self::UsernameTaken => (400, "username_taken", text("username already taken")),
            Self::UsernameLookalike => {
                (400, "username_lookalike", text("username looks like one that is taken already"))
            }
            Self::TenantNameLookalike => {
                (400, "tenant_name_lookalike", text("tenant_name looks like that of another tenant"))
            }
            Self::UserUnknown => (400, "user_unknown", text("there is no user of this name")),
            Self::PasswordWeak(None) => (400, "password_weak", text("password is too weak")),
            Self::PasswordWeak(Some(why)) => {
                (400, "password_weak", format!("password is too weak because {why}").into())
            }
            Self::ScopesInvalid => (400, "scopes_invalid", text("scopes are invalid")),
            Self::ScopesTooLarge(bytes) => (
                400,
                "scopes_too_large",
                format!("with these scopes a token would be longer than {bytes} bytes").into(),
            ),
            Self::IssuerInvalid => {
                (400, "issuer_invalid", text("issuer must not be empty, nor have a colon or control characters"))
            }
            Self::QrTooLarge => (400, "qr_too_large", text("issuer and username are too long for a QR code")),
            Self::AdminTokenRefused => (400, "admin_token_incorrect", text("admin_token is incorrect")),
            Self::AdminTokenIncorrect => (401, "admin_token_incorrect", text("admin_token is incorrect")),
            Self::Unauthorized => (401, "unauthorized", text("the credentials are missing or not valid")),
            Self::HostNotAllowed => (
                403,
                "host_not_allowed",
                text("with a default or short secret only localhost and loopback addresses are served"),
            ),
            Self::OriginNotAllowed => (
                403,
                "origin_not_allowed",
                text("pages of this origin may not call: see the flag origin, and that no secret is weak"),
            ),
            Self::MissingScope(scope) => (403, "missing_scope", format!("this takes the scope {scope}").into()),
            Self::InboxUnknown => {
                (404, "inbox_unknown", text("there is no user in your tenant to whom this inbox could belong"))
            }
            Self::StreamUnknown => (404, "stream_unknown", text("you have no open stream with this id")),
            Self::NotFound => (404, "not_found", text("there is nothing at this path")),
            Self::MethodNotAllowed => (405, "method_not_allowed", text("this path does not take that method")),
            Self::RequestTimeout => (408, "request_timeout", text("the request did not arrive in time")),
            Self::HeadTooLarge { bytes, headers } => {
                let kib = bytes / 1024;
                let why = format!("the head of the request is larger than {kib} KiB, or has more than {headers} headers");
                (431, "head_too_large", why.into())
            }
            Self::BodyTooLarge(bytes) => {
                (413, "body_too_large", format!("the body is larger than {} KiB", bytes / 1024).into())
            }
            Self::EventTooLarge(bytes) => {
                (413, "event_too_large", format!("the event is larger than {bytes} bytes").into())
            }
            Self::UserTooLarge => {
                (413, "user_too_large", format!("the user is larger than {} KiB", MAX_USER_BYTES / 1024).into())
            }
            Self::TooManyFilters(bytes) => (
                429,
                "too_many_filters",
                format!("your different filters take more than {} KiB: close streams, or use the same filter", bytes / 1024).into(),
            ),
            Self::TooManyAttempts(_) => (429, "too_many_attempts", text("too many attempts, wait before the next")),
            Self::ChangeTooLarge => (
                413,
                "change_too_large",
                text("this would write more at once than Broker can commit, nothing was changed"),
            ),
            Self::Overloaded => (503, "overloaded", text("the server has more to do than it can, try again")),
            Self::StorageFull => (503, "storage_full", text("the server's disk is full, nothing was changed")),
            Self::ShuttingDown => (503, "shutting_down", text("the server is going down, try again")),
            Self::Storage(_) => (500, "storage_failed", text("the server's database failed")),
            Self::Damaged(_) => {
                (500, "value_damaged", text("a value in the server's database is damaged, nothing was changed"))
            }
            Self::Internal(_) => (500, "internal", text("the server made a mistake")),
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.row().0
    }

    /// The stable name of the refusal, in `snake_case`.
    pub fn code(&self) -> &'static str {
        self.row().1
    }

    /// What a person reads.
    pub fn sentence(&self) -> Cow<'static, str> {
        self.row().2
    }

    /// After how many seconds another try is worth making, where one is.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyAttempts(seconds) | Self::InsertRateExceeded(seconds) => Some(*seconds),
            Self::Overloaded | Self::ShuttingDown => Some(1),
            Self::StorageFull | Self::TooManyFilters(_) => Some(10),
            _ => None,
        }
    }
}

impl std::fmt::Display for Error {
    /// The sentence, and for a fault of the server what is known of it: this form is for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence())?;
        match self {
            Self::Storage(why) | Self::Damaged(why) | Self::Internal(why) => write!(f, ": {why}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
