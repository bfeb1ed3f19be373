//! What errors are called in MQTT.

use super::packet::{Reason, Version};
use crate::error::Error;
use crate::events::End;

/// Why a client is not let in (MQTT 5.0, 3.2.2.2).
pub fn of_connect(error: &Error) -> Reason {
    match error {
        Error::Unauthorized => Reason::BadUserNameOrPassword,
        Error::TooManyAttempts { .. } => Reason::ConnectionRateExceeded,
        Error::ShuttingDown => Reason::ServerUnavailable,
        error if error.status() >= 500 || error.retry_after().is_some() => Reason::ServerBusy,
        _ => Reason::NotAuthorized,
    }
}

/// Why a message is not taken (MQTT 5.0, 3.4.2.1).
pub fn of_publish(error: &Error) -> Reason {
    match error {
        Error::EventNameInvalid | Error::EventNameReserved | Error::InboxUnknown => Reason::TopicNameInvalid,
        Error::EventTooLarge(_) => Reason::QuotaExceeded,
        Error::Internal(_) | Error::Storage(_) | Error::Damaged(_) => Reason::Unspecified,
        error if error.status() == 403 || error.status() == 401 => Reason::NotAuthorized,
        _ => Reason::QuotaExceeded,
    }
}

/// Why a client is not let in whose will is not taken (MQTT 5.0, 3.2.2.2).
pub fn of_will(error: &Error) -> Reason {
    match error {
        // It is too large however often it is sent, unlike what exceeds a quota now.
        Error::EventTooLarge(_) => Reason::PacketTooLarge,
        error => of_publish(error),
    }
}

/// Why the connection ends of a client whose message is not taken, if it does: it may go better the next time. Without an answer, the
/// client sends the message again over its next connection; with one, of whatever kind, no client does (MQTT 5.0, 4.4). One of MQTT 5 is
/// told of a rate that is exceeded and of a failure, since it can be.
pub fn ends(error: &Error, version: Version) -> Option<Reason> {
    match error {
        Error::ShuttingDown => Some(Reason::ServerShuttingDown),
        error if error.passes() => Some(Reason::ServerBusy),
        _ if version == Version::V5 => None,
        error if error.status() >= 500 || error.retry_after().is_some() => Some(of_publish(error)),
        Error::Unauthorized => Some(of_publish(error)),
        _ => None,
    }
}

/// Why a connection ends for which something could not be read (MQTT 5.0, 3.14.2.1).
pub fn of_failure(error: &Error) -> Reason {
    match error {
        Error::Unauthorized => Reason::NotAuthorized,
        Error::ShuttingDown => Reason::ServerShuttingDown,
        error if error.retry_after().is_some() => Reason::ServerBusy,
        _ => Reason::Unspecified,
    }
}

/// Why a connection ends with its stream (MQTT 5.0, 3.14.2.1).
pub fn of_end(end: End) -> Reason {
    match end {
        End::Expired => Reason::MaximumConnectTime,
        End::Revoked => Reason::NotAuthorized,
        End::Replaced => Reason::SessionTakenOver,
        End::TooManyStreams | End::Behind => Reason::QuotaExceeded,
        End::Stopping { .. } => Reason::ServerShuttingDown,
        End::Unreadable => Reason::Unspecified,
        End::Gone => Reason::Success,
    }
}

#[cfg(test)]
mod tests;
