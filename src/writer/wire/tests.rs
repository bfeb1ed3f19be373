//! Guards the form of bytes between versions, and that nothing gets in by it that a client could not send.

use super::*;
use crate::domain::{EventName, Payload, Scope, TenantName, User, Username};

fn form(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, value).unwrap();
    bytes
}

fn read_back<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    read(&mut Deserializer::from_read_ref(bytes))
}

#[test]
fn a_field_that_is_added_with_a_default_is_read_by_both_versions() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        a: u8,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        #[serde(default)]
        b: Option<String>,
        a: u8,
    }
    assert_eq!(read_back(&form(&Before { a: 7 })), Ok(After { b: None, a: 7 }));
    assert_eq!(read_back(&form(&After { b: Some("x".to_owned()), a: 7 })), Ok(Before { a: 7 }));
}

#[test]
fn no_value_gets_in_that_no_client_could_have_sent() {
    let refused = |is_read: bool, what: &str| assert!(!is_read, "{what:?} was read");
    for text in ["", "a\nb", "data: x"] {
        refused(read_back::<EventName>(&form(&text)).is_ok(), text);
    }
    for text in ["", "a\u{0}"] {
        refused(read_back::<Username>(&form(&text)).is_ok() || read_back::<TenantName>(&form(&text)).is_ok(), text);
    }
    for text in ["", "x", ":get", "a,b:get"] {
        refused(read_back::<Scope>(&form(&text)).is_ok(), text);
    }
    let deep = "[".repeat(200) + &"]".repeat(200);
    for text in ["", "{", "1 2", &deep] {
        refused(read_back::<Payload>(&form(&text)).is_ok(), text);
    }
    assert_eq!(read_back(&form(&"{\"a\":1}")), Ok(Payload::from_stored("{\"a\":1}")));
}

#[test]
fn every_refusal_comes_back_as_it_was_and_a_fault_has_no_form() {
    let refusals = [
        Error::BodyInvalid("why".to_owned()),
        Error::EventUnknown,
        Error::MissingScope("a:post".to_owned()),
        Error::PreconditionFailed(None),
        Error::TooManyNames(7),
        Error::TooManyAttempts(3),
        Error::PasswordWeak(Some("it is".to_owned())),
        Error::Damaged("a value".to_owned()),
        Error::Overloaded,
    ];
    for refusal in refusals {
        let bytes = encode_answer::<u64>(&Err(refusal.clone())).unwrap();
        assert_eq!(decode_answer::<u64>(&bytes), Ok(Err(refusal)));
    }
    for fault in [Error::Storage("why".to_owned()), Error::Internal("why".to_owned())] {
        assert!(encode_answer::<u64>(&Err(fault)).is_err());
    }
}

#[test]
fn a_user_comes_back_with_the_secrets_and_shows_none() {
    let user = User::example();
    let back: User = read_back(&form(&user)).unwrap();
    assert_eq!(back.totp_secret.expose(), user.totp_secret.expose());
    assert_eq!(back.password_hash.expose(), user.password_hash.expose());
    let shown = format!("{back:?}");
    assert!(!shown.contains("$hash") && !shown.contains(&format!("{:?}", user.totp_secret.expose())), "{shown}");
}
