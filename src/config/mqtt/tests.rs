//! Guards the flags of MQTT: those that contradict each other are refused with advice, and MQTT is off unless it is asked for.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: MqttFlags,
}

fn read_among(args: &[&str], secure: bool, variables: &[(&str, &str)]) -> Result<Option<Mqtt>, String> {
    let mut flags =
        Line::try_parse_from(std::iter::once(&"broker").chain(args)).map_err(|error| error.to_string())?.flags;
    flags.take_variables(|name| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned()));
    flags.read(secure, &Secret::new("the secret of our own tokens"))
}

fn read(args: &[&str]) -> Result<Option<Mqtt>, String> {
    read_among(args, true, &[])
}

#[test]
fn mqtt_is_off_unless_a_flag_asks_for_it() {
    assert!(read(&[]).unwrap().is_none());
    assert!(read(&["--mqtt=false", "--mqtt_filters=5"]).unwrap().is_none());
    for (args, expected) in [
        (&["--mqtt"][..], (None, None, false)),
        (&["--mqtt_any_path"], (None, None, true)),
        (&["--mqtt_port"], (Some(1883), None, false)),
        (&["--mqtt_port=1", "--mqtts_port"], (Some(1), Some(8883), false)),
    ] {
        let mqtt = read(args).unwrap().unwrap();
        assert_eq!((mqtt.port, mqtt.tls_port, mqtt.any_path), expected, "{args:?}");
        assert!(mqtt.guests.is_none() && mqtt.anonymous.is_none() && mqtt.filters == 1000);
    }
}

#[test]
fn flags_that_do_not_go_together_are_refused_with_advice() {
    let key = "--mqtt_handler_key=0123456789abcdef";
    for (args, advice) in [
        (&["--mqtt_anonymous=alice"][..], "MQTT is not served: set mqtt_port"),
        (&["--mqtt_tenant=acme", key], "MQTT is not served: set mqtt_port"),
        (&["--mqtt", "--mqtt_tenant=acme"], "mqtt_jwt_secret_file, mqtt_jwt_key_file or mqtt_handler_key_file"),
        (&["--mqtt", key], "mqtt_tenant is not: set it"),
        (&["--mqtt", "--mqtt_jwt_secret=0123456789abcdef"], "mqtt_tenant is not: set it"),
        (&["--mqtt", "--mqtt_tenant=a\u{7}", key], "mqtt_tenant"),
        (&["--mqtt", "--mqtt_anonymous=a:b"], "mqtt_anonymous"),
        (&["--mqtt", "--mqtt_tenant=acme", "--mqtt_handler_key="], "mqtt_handler_key is empty"),
        (&["--mqtt", "--mqtt_tenant=acme", "--mqtt_jwt_key_file=/nowhere/key"], "mqtt_jwt_key_file /nowhere/key"),
        (
            &["--mqtt", "--mqtt_tenant=acme", "--mqtt_handler_key_file=/nowhere/key"],
            "mqtt_handler_key_file /nowhere/key",
        ),
        (&["--mqtt", "--mqtt_filters=0"], "mqtt_filters"),
        (&["--mqtt", "--mqtt_filters=1001"], "mqtt_filters"),
    ] {
        let why = read(args).unwrap_err();
        assert!(why.contains(advice), "{args:?}: {why}");
    }
    assert!(read_among(&["--mqtts_port"], false, &[]).unwrap_err().contains("set secure"));
    let both = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&both, "0123456789abcdef\n").unwrap();
    let file = format!("--mqtt_jwt_secret_file={}", both.path().display());
    let guests = read(&["--mqtt", "--mqtt_tenant=acme", &file]).unwrap().unwrap().guests.unwrap();
    assert!(guests.secret.unwrap().matches(b"0123456789abcdef"), "the line break is no part of it");
    assert!(read(&["--mqtt", "--mqtt_tenant=acme", &file, "--mqtt_jwt_secret=x"]).unwrap_err().contains("not both"));
}

#[test]
fn the_secret_of_our_own_tokens_is_not_that_of_another_service() {
    let same = read(&["--mqtt", "--mqtt_tenant=acme", "--mqtt_jwt_secret=the secret of our own tokens"]);
    assert!(same.unwrap_err().contains("a secret of its own"));
}

#[test]
fn the_mobile_brokers_variables_count_with_a_tenant_and_without_a_secret_of_a_flag() {
    let secret_of = |args: &[&str], variables: &[(&str, &str)]| {
        let mqtt = read_among(&[&["--mqtt"], args].concat(), true, variables).unwrap().unwrap();
        mqtt.guests.and_then(|guests| guests.secret).map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap())
    };
    let tenant = "--mqtt_tenant=acme";
    for (args, variables, expected) in [
        (&[tenant][..], &[("SECRET", "old")][..], Some("old")),
        (&[tenant], &[("JWT_SECRET", "new")], Some("new")),
        (&[tenant], &[("SECRET", "old"), ("JWT_SECRET", "new")], Some("new")),
        (&[tenant, "--mqtt_jwt_secret=own"], &[("SECRET", "old"), ("JWT_SECRET", "new")], Some("own")),
        (&[], &[("SECRET", "old"), ("JWT_SECRET", "new")], None),
    ] {
        assert_eq!(secret_of(args, variables).as_deref(), expected, "{args:?} {variables:?}");
    }
}

#[test]
fn the_secrets_of_mqtt_are_among_those_that_must_be_long() {
    let args = ["--mqtt", "--mqtt_tenant=acme", "--mqtt_jwt_secret=a", "--mqtt_handler_key=b"];
    let mqtt = read(&args).unwrap().unwrap();
    let secrets: Vec<_> = mqtt.secrets().map(|(name, secret)| (name, secret.expose())).collect();
    assert_eq!(secrets, [("mqtt_jwt_secret", &b"a"[..]), ("mqtt_handler_key", b"b")]);
}
