//! Guards what errors are called that no client can bring about at will: those of a server that stops, or fails.

use super::*;

#[test]
fn who_connects_to_a_server_that_stops_or_is_busy_is_told_to_come_again() {
    for (error, code) in [(Error::ShuttingDown, 0x88), (Error::StorageFull, 0x89), (Error::TooManyAttempts(1), 0x9F)] {
        let reason = of_connect(&error);
        assert_eq!((reason.code(), reason.connack_code_v3()), (code, 3), "{error:?}");
    }
}

#[test]
fn a_message_that_could_be_taken_the_next_time_is_not_answered_but_for_failures_that_mqtt_5_can_tell_of() {
    for version in [Version::V311, Version::V5] {
        for (error, code) in [
            (Error::ShuttingDown, Some(0x8B)),
            (Error::Overloaded, Some(0x89)),
            (Error::StorageFull, Some(0x89)),
            (Error::Unauthorized, (version != Version::V5).then_some(0x87)),
            (Error::Storage(String::new()), (version != Version::V5).then_some(0x80)),
            (Error::InsertRateExceeded(1), (version != Version::V5).then_some(0x97)),
            (Error::EventNameInvalid, None),
            (Error::EventTooLarge(1), None),
        ] {
            assert_eq!(ends(&error, version).map(|reason| reason.code()), code, "{error:?} {version:?}");
        }
    }
}
