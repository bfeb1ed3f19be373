//! Guards tokens of another service that clients of MQTT show: which are taken, and what they permit.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::domain::{Authorize, EventFilter, EventName, TenantName, View};

const SECRET: &str = "0123456789abcdef-mobile";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn tokens() -> MqttTokens {
    let settings = MqttGuests {
        tenant: TenantName::parse("acme").unwrap(),
        secret: Some(Secret::new(SECRET)),
        key: None,
        handler_key: Some(Secret::new("0123456789abcdef-handler")),
    };
    MqttTokens::new(settings).unwrap()
}

fn sign(header: &Header, secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn read(claims: &Value) -> Result<Principal, Error> {
    tokens().read(&sign(&Header::default(), SECRET, claims), NOW)
}

/// What a principal sees of these names, and which it may insert.
fn rights<'a>(principal: &Principal, names: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (rights, own) = principal.account.scopes.to_see(Authorize::Open, &principal.username);
    let insert = principal.account.scopes.to_insert(Authorize::Open, &principal.username);
    let view = View { filter: EventFilter::ALL, rights, own };
    let sees = names.iter().copied().filter(|name| view.matches(name)).collect();
    (sees, names.iter().copied().filter(|name| insert.allows(&EventName::parse(name).unwrap())).collect())
}

#[test]
fn a_token_says_who_a_device_is_by_user_id_or_sub_and_until_when() {
    let later = NOW.as_secs() + 10;
    for (claims, expected) in [
        (json!({"user_id": 68946}), Some(("mqtt:68946", None))),
        (json!({"user_id": "68946", "sub": "other"}), Some(("mqtt:68946", None))),
        (json!({"user_id": null, "sub": "auth0|x y"}), Some(("mqtt:auth0|x y", None))),
        (json!({"sub": -5, "exp": later}), Some(("mqtt:-5", Some(later)))),
        (json!({"user_id": 1, "exp": later as f64 + 0.5, "nbf": NOW.as_secs()}), Some(("mqtt:1", Some(later)))),
        (json!({"user_id": 1, "exp": NOW.as_secs()}), None),
        (json!({"user_id": 1, "exp": -1}), None),
        (json!({"user_id": 1, "nbf": NOW.as_secs() + 1}), None),
        (json!({"user_id": 1, "exp": "tomorrow"}), None),
        (json!({"user_id": ""}), None),
        (json!({}), None),
        (json!({"user_id": 1.5}), None),
        (json!({"user_id": ["1"]}), None),
        (json!({"user_id": 1, "subscribe": "news"}), None),
        // These would show the events of others.
        (json!({"user_id": "+"}), None),
        (json!({"user_id": "#"}), None),
        (json!({"sub": "a/+/b"}), None),
    ] {
        let read = read(&claims).ok();
        let read = read.as_ref().map(|read| (read.username.as_str(), read.expires_at.map(Timestamp::as_secs)));
        assert_eq!(read, expected, "{claims}");
    }
}

#[test]
fn a_token_of_another_secret_or_algorithm_is_nobodys() {
    let claims = json!({"user_id": 1});
    let tokens = tokens();
    for header in [Header::new(Algorithm::HS384), Header::new(Algorithm::HS512)] {
        assert!(tokens.read(&sign(&header, SECRET, &claims), NOW).is_err(), "{header:?}");
    }
    assert!(tokens.read(&sign(&Header::default(), "another secret", &claims), NOW).is_err());
    let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    for algorithm in ["none", "None", "NONE", ""] {
        let unsigned = format!("{}.{}.", part(json!({"alg": algorithm, "typ": "JWT"})), part(claims.clone()));
        assert!(tokens.read(&unsigned, NOW).is_err(), "{algorithm}");
    }
    let good = sign(&Header::default(), SECRET, &claims);
    assert!(tokens.read(&good, NOW).is_ok());
    for bad in ["", "a", "a.b.c", &good[..good.len() - 1], &format!("{good}."), &format!(" {good}")] {
        assert!(tokens.read(bad, NOW).is_err(), "{bad}");
    }
    // An extension that must be understood, and is not.
    let critical = Header { crit: Some(vec!["b64".to_owned()]), ..Header::default() };
    assert!(tokens.read(&sign(&critical, SECRET, &claims), NOW).is_err());
}

#[test]
fn a_key_that_is_none_of_rsa_is_refused_at_the_start() {
    let settings = |key: &str| MqttGuests {
        tenant: TenantName::parse("acme").unwrap(),
        secret: None,
        key: Some(key.to_owned()),
        handler_key: None,
    };
    for key in ["", "garbage", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert!(MqttTokens::new(settings(key)).err().unwrap().contains("mqtt_jwt_key_file"), "{key}");
    }
}

#[test]
fn a_device_sees_what_is_under_its_id_and_what_is_listed_and_inserts_what_is_under_no_other_id() {
    let names = [
        "68946_x",
        "68946/x",
        "68946/x/y",
        "68946",
        "689461_x",
        "6894_x",
        "23412_x",
        "23412/x",
        "news",
        "news/1",
        "room/1/y",
        "request_contact",
        "@68946/x",
        "@alice/x",
    ];
    let device = read(&json!({"user_id": 68946, "subscribe": ["news", "room/+/y", "@alice/x", "#/bad"]})).unwrap();
    assert_eq!(
        rights(&device, &names),
        (
            vec!["68946_x", "68946/x", "68946/x/y", "68946", "news", "room/1/y"],
            vec!["68946_x", "68946/x", "68946/x/y", "68946", "news", "news/1", "room/1/y", "request_contact"],
        )
    );
    // An id may have a separator in it.
    let names = ["user_2a_x", "user_2a/x", "user_2a", "user_2b_x", "user_2ab_x"];
    let device = read(&json!({"sub": "user_2a"})).unwrap();
    assert_eq!(rights(&device, &names).0, ["user_2a_x", "user_2a/x", "user_2a"]);
    // No id makes an inbox visible, nor what is another's.
    for id in ["@alice", "@", "@alice/x", "/", "_"] {
        let device = read(&json!({"sub": id})).unwrap();
        assert_eq!(rights(&device, &["@alice/x", "@alice/x/y", "23412_x"]), (vec![], vec![]), "{id}");
    }
}

#[test]
fn a_handler_sees_and_inserts_everything_but_inboxes() {
    let names = ["68946_x", "news", "@home", "@alice/x"];
    let by_token = read(&json!({"handler": true, "sub": "h1", "exp": NOW.as_secs() + 5})).unwrap();
    let nameless = read(&json!({"handler": true})).unwrap();
    let by_key = tokens().handler();
    let called: Vec<_> = [&by_token, &nameless, &by_key].map(|handler| handler.username.as_str().to_owned()).into();
    assert_eq!(called, ["mqtt_handler:h1", "mqtt_handler:key", "mqtt_handler:key"]);
    for handler in [&by_token, &nameless, &by_key] {
        assert_eq!(rights(handler, &names), (names[..3].to_vec(), names[..3].to_vec()));
    }
    assert!(by_token.expires_at.is_some() && by_key.expires_at.is_none());
    // A device that says it is none is none, and one that says nonsense is nobody.
    assert_eq!(read(&json!({"handler": false, "sub": "x"})).unwrap().username.as_str(), "mqtt:x");
    assert!(read(&json!({"handler": "yes", "sub": "x"})).is_err());
}

#[test]
fn the_key_of_handlers_is_compared_whole() {
    let tokens = tokens();
    for (key, expected) in [("0123456789abcdef-handler", true), ("0123456789abcdef-handle", false), ("", false)] {
        assert_eq!(tokens.is_handler_key(&Secret::new(key)), Some(expected), "{key}");
    }
}
