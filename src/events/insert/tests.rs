//! Guards by what one insert is told from another, as it is on disk.

use super::*;
use crate::domain::{Generation, SignIn};
use crate::events::new_event::Lifetime;

fn fingerprint(events: Vec<NewEvent>, is_array: bool, condition: Condition, position: Option<u64>) -> String {
    let sign_in = SignIn { generation: Generation(1), by_password_alone: false, session: None };
    let insert = Insert {
        username: Username::parse("u").unwrap(),
        auth_context: AuthContext::User(sign_in),
        events,
        is_array,
        condition,
        key: None,
        stream: None,
        packet: None,
    };
    insert.fingerprint(position.map(Position::new)).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn fingerprints_are_those_that_are_on_disk() {
    let event = |lifetime| {
        let (name, data) = (EventName::parse("news").unwrap(), Payload::from_valid_json("[1]").unwrap());
        NewEvent::new(name, data, lifetime, 1000).unwrap()
    };
    let plain = || event(Lifetime::default());
    let removal = NewEvent::removal(EventName::parse("news").unwrap()).unwrap();
    let lasting = event(Lifetime { expires_in: Some(7), while_connected: true, transient: false });
    let is_at = Condition::IsAt(EventId::parse("0000000000000007000042").unwrap());
    let of = [
        fingerprint(vec![plain()], false, Condition::None, None),
        fingerprint(vec![plain()], false, Condition::IsNew, None),
        fingerprint(vec![removal], false, is_at, Some(7)),
        fingerprint(vec![plain()], false, is_at, None),
        fingerprint(vec![plain(), lasting], true, Condition::None, None),
    ];
    // Made by the release that began to keep them.
    let expected = [
        "20ae4c3cf8166b4427e35092e1e8ff9f62fa13205b9c74ee5fee3d8b848f2a40",
        "27e7631edc09309839d84c6262a9875289041272007d3d48fd083c92633e04b7",
        "cfc19fcaa0fd45a8b7274822d7b2df1e6d27e5de0efb1559746045776acf41c4",
        "dde0a4096fe52cd40a21ebff2c4738316c0367506401d8d1fcca129e81a784a4",
        "2628ddf15f8db8a05bf10aa114da33381ff3e864f92e039a839fd0b801770c10",
    ];
    assert_eq!(of, expected);
    // What came later tells requests from each other in the same way.
    let transient = |expires_in| event(Lifetime { expires_in, transient: true, ..Lifetime::default() });
    let later =
        [transient(None), transient(Some(7))].map(|event| fingerprint(vec![event], false, Condition::None, None));
    let expected = [
        "b0580cafd2bd2f49bede60ecb5e3a550d0b85c296c03961b1aac9f4ec905f32c",
        "b6b87659d17d2a019cc9e0003c6066c96ff572ea322e664e4fbba7077539d77a",
    ];
    assert_eq!(later, expected);
}
