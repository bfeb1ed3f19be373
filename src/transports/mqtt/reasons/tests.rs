//! Guards what errors are called that no client can bring about at will: those of a server that stops, or fails.

use super::*;

#[test]
fn who_connects_to_a_server_that_stops_or_is_busy_is_told_to_come_again() {
    for (error, code) in [(Error::ShuttingDown, 0x88), (Error::StorageFull, 0x89), (Error::TooManyAttempts(1), 0x9F)] {
        let reason = of_connect(&error);
        assert_eq!((reason.code(), reason.connack_code_v3()), (code, 3), "{error:?}");
    }
}
