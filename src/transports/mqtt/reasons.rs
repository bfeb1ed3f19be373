//! What errors are called in MQTT.

use super::packet::Reason;
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
        Error::EventNameInvalid | Error::EventNameReserved => Reason::TopicNameInvalid,
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

/// Whether it may go better the next time. A client of MQTT 3, which cannot be told of a refusal, must not take such a message for
/// delivered.
pub fn passes(error: &Error) -> bool {
    error.status() >= 500 || error.retry_after().is_some() || *error == Error::Unauthorized
}

/// Why a connection ends with its stream (MQTT 5.0, 3.14.2.1).
pub fn of_end(end: End) -> Reason {
    match end {
        End::Expired => Reason::MaximumConnectTime,
        End::Revoked => Reason::NotAuthorized,
        End::Replaced => Reason::SessionTakenOver,
        End::TooManyStreams | End::Behind => Reason::QuotaExceeded,
        End::Stopping => Reason::ServerShuttingDown,
        End::Unreadable => Reason::Unspecified,
        End::Gone => Reason::Success,
    }
}

#[cfg(test)]
mod tests;
