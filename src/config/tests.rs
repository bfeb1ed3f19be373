//! Guards how flags, variables and the configuration file become a configuration.

use super::*;

fn config(args: &[&str]) -> Result<Config, String> {
    config_among(args, &[])
}

/// The same, with variables that are not Broker's own.
fn config_among(args: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
    let args = std::iter::once("broker").chain(args.iter().copied()).map(Into::into);
    let variable = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
    Flags::read(args, variable).and_then(Config::try_from)
}

const STRONG: [&str; 2] = ["--admin_token=0123456789abcdef", "--jwt_secret=0123456789abcdef"];

#[test]
fn with_default_secrets_only_this_machine_is_served() {
    let config = config(&[]).unwrap();
    assert_eq!((config.host.to_string().as_str(), config.listen), ("127.0.0.1", Listen::Http(8080)));
}

#[test]
fn default_or_short_secrets_are_refused_beyond_this_machine_with_advice() {
    for args in [&["--host=0.0.0.0"][..], &["--secure=true"], &["--host", "0.0.0.0", "--jwt_secret=0123456789abcdef"]] {
        assert!(config(args).unwrap_err().contains("--admin_token_file"), "{args:?}");
    }
    assert_eq!(config(&STRONG).unwrap().host.to_string(), "0.0.0.0");
}

#[test]
fn metrics_are_served_on_this_machine_unless_told_otherwise_and_with_a_weak_secret_nowhere_else() {
    assert_eq!(config(&[]).unwrap().metrics, None);
    assert_eq!(config(&["--metrics_port=9"]).unwrap().metrics, "127.0.0.1:9".parse().ok());
    let open = ["--metrics_port=9", "--metrics_host=192.0.2.1"];
    assert!(config(&open).unwrap_err().contains("listen on 192.0.2.1"));
    assert_eq!(config(&[&STRONG[..], &open].concat()).unwrap().metrics, "192.0.2.1:9".parse().ok());
}

#[test]
fn a_flag_takes_its_value_with_a_space_or_an_equals_sign() {
    for args in [&["--password_checker", "true"][..], &["--password_checker=true"], &["--password_checker"]] {
        assert!(config(args).unwrap().passwords.password_checker, "{args:?}");
    }
    assert!(!config(&["--password_checker=false"]).unwrap().passwords.password_checker);
}

#[test]
fn a_secret_comes_from_its_file_without_the_line_break_but_not_from_two_places() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let flag = format!("--jwt_secret_file={}", file.path().display());
    assert_eq!(config(&[&flag]).unwrap().jwt_secret.expose(), b"0123456789abcdef");
    assert!(config(&[&flag, "--jwt_secret=x"]).unwrap_err().contains("not both"));
}

#[test]
fn channels_need_a_key_and_a_tenant_and_a_weak_key_keeps_the_server_on_this_machine() {
    let (tenant, key) = ("--channel_tenant=acme", "--auth_key=0123456789abcdef");
    assert!(config(&STRONG).unwrap().channels.is_none());
    let with = |args: &[&str]| config(&[args, &STRONG].concat());
    let served = with(&[tenant, key]).unwrap();
    assert_eq!((served.channels.unwrap().tenant.as_str(), served.host.to_string().as_str()), ("acme", "0.0.0.0"));
    assert!(with(&[tenant]).unwrap_err().contains("auth_key_file"));
    assert!(with(&[key]).unwrap_err().contains("channel_tenant is not"));
    assert!(with(&[tenant, "--auth_key="]).unwrap_err().contains("auth_key is empty"));
    for weak in ["--auth_key=s3cur3_t0k3n", "--auth_key=short"] {
        assert!(with(&[tenant, weak]).unwrap().callers.only_this_machine, "{weak}");
        assert!(with(&[tenant, weak, "--host=0.0.0.0"]).unwrap_err().contains("set auth_key to"), "{weak}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let by_file = format!("--auth_key_file={}", file.path().display());
    assert_eq!(with(&[tenant, &by_file]).unwrap().channels.unwrap().key.expose(), b"0123456789abcdef");
    assert!(with(&[tenant, key, &by_file]).unwrap_err().contains("not both"));
}

/// Base64 of a public key in PEM.
const KEY: &str = "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFaGhJT1kyWmdVWXRSUzdBQy9BNHZIWU9VcXV3SQprSFhPWnVob1lYNlJ4em1uakdMUzliNndPVk05ZXNtZ1lFRm9jb0trZDd1VXhPQmtyN2NuOW55b2lBPT0KLS0tLS1FTkQgUFVCTElDIEtFWS0tLS0tCg==";

#[test]
fn clients_of_notiflux_are_served_with_a_tenant_and_a_key_and_with_one_alone_the_start_says_what_is_missing() {
    assert!(config(&[]).unwrap().notiflux.is_none());
    let (tenant, key) = ("--notiflux_tenant=acme", format!("--jwt_public_key_b64={KEY}"));
    assert!(config(&[tenant]).unwrap_err().contains("jwt_public_key_file"));
    assert!(config(&[&key]).unwrap_err().contains("notiflux_tenant is not"));
    let notiflux = config(&[tenant, &key]).unwrap().notiflux.unwrap();
    assert_eq!((notiflux.tenant.as_str(), notiflux.strict_compat, notiflux.end_with_token), ("acme", false, false));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, KEY).unwrap();
    let by_file = format!("--jwt_public_key_file={}", file.path().display());
    assert_eq!(config(&[tenant, &by_file]).unwrap().notiflux.unwrap().key, notiflux.key);
    assert!(config(&[tenant, &key, &by_file]).unwrap_err().contains("not both"));
    assert!(config(&[tenant, "--jwt_public_key_b64=eA=="]).unwrap_err().starts_with("jwt_public_key_b64: "));
    assert!(config(&["--notiflux_tenant=", &key]).unwrap_err().contains("notiflux_tenant \"\""));
}

#[test]
fn the_variables_of_notiflux_count_only_where_its_clients_are_served_and_after_those_of_broker() {
    let on = ["--notiflux_tenant=acme", &format!("--jwt_public_key_b64={KEY}")];
    let variables = [("HOST", "127.0.0.2"), ("PORT", "3000")];
    let listens = |args: &[&str], variables: &[(&str, &str)]| {
        let Config { host, listen, .. } = config_among(&[args, &STRONG].concat(), variables).unwrap();
        (host.to_string(), listen)
    };
    let usual = ("0.0.0.0".to_owned(), Listen::Http(8080));
    assert_eq!(listens(&[], &variables), usual, "another program's");
    assert_eq!(listens(&[], &[("HOST", "my-machine"), ("PORT", "x")]), usual);
    assert_eq!(listens(&on, &variables), ("127.0.0.2".to_owned(), Listen::Http(3000)));
    let own = ["--host=127.0.0.3", "--port=8080"];
    assert_eq!(listens(&[&on[..], &own].concat(), &variables), ("127.0.0.3".to_owned(), Listen::Http(8080)));
    for wrong in [("HOST", "my-machine"), ("PORT", "x")] {
        assert!(config_among(&on, &[wrong]).unwrap_err().contains(wrong.0));
    }
}

#[test]
fn a_bad_value_is_told() {
    for args in
        [&["--port=x"][..], &["--nonsense=1"], &["--jwt_expiry=0"], &["--origin=example.com"], &["--secure=maybe"]]
    {
        assert!(config(args).is_err(), "{args:?}");
    }
}
