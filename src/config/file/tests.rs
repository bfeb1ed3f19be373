//! Guards the configuration file: which values it may have, and that a mistake is told with its line and without a secret.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use clap::CommandFactory;

use super::*;
use crate::config::{Config, Flags, Source};

/// A file of this text that its owner alone may read.
fn file_of(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, text).unwrap();
    file
}

fn flags_of(path: &Path, more: &[&str]) -> Result<Flags, String> {
    let config = format!("--config={}", path.display());
    let args = ["broker", &config].into_iter().chain(more.iter().copied()).map(Into::into);
    Flags::read(args, |_| None)
}

fn config_of(text: &str, more: &[&str]) -> Result<Config, String> {
    flags_of(file_of(text).path(), more).and_then(Config::try_from)
}

#[test]
fn a_file_has_values_of_the_type_that_fits_the_flag_and_a_list_is_an_array_or_a_text() {
    let text = r#"
        # A comment.
        port = 9000
        host = "127.0.0.2"
        journal_bytes = 0x10_0000
        password_checker = true
        auto_cert = false
        jwt_expiry = 77
        admin_token = '0123456789abcdef'
        erase = "remove"
        trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
        origin = "https://a.example, https://b.example"
        ntp_servers = []
        mqtt_port = 0
    "#;
    let config = config_of(text, &[]).unwrap();
    assert_eq!((config.host.to_string().as_str(), config.listen), ("127.0.0.2", crate::config::Listen::Http(9000)));
    assert_eq!((config.journal_bytes, config.sign_ins.jwt_expiry), (1 << 20, Duration::from_secs(77)));
    assert!(config.passwords.password_checker && config.ntp_servers.is_empty());
    assert_eq!(config.admin_token.expose(), b"0123456789abcdef");
    assert!(matches!(config.callers.origins, crate::config::Origins::Only(list) if list.len() == 2));
    assert_eq!(config.mqtt.unwrap().port, Some(0));
}

#[test]
fn a_flag_takes_precedence_and_the_source_of_each_value_is_known() {
    let file = file_of("port = 9000\njwt_expiry = 55\njwt_secret = '0123456789abcdef'\n");
    let flags = flags_of(file.path(), &["--jwt_expiry=77"]).unwrap();
    let config = Config::try_from(flags).unwrap();
    assert_eq!(config.sign_ins.jwt_expiry, Duration::from_secs(77));
    let of = |name: &str| config.settings.iter().find(|setting| setting.name == name).unwrap();
    assert_eq!((of("port").source, of("port").value.as_deref()), (Source::File, Some("9000")));
    assert_eq!((of("jwt_expiry").source, of("jwt_expiry").value.as_deref()), (Source::Flag, Some("77")));
    assert_eq!((of("max_names").source, of("max_names").value.as_deref()), (Source::Default, Some("100000")));
    let secret = of("jwt_secret");
    assert!(secret.source == Source::File && secret.value.is_none() && secret.is_secret);
    assert!(!format!("{:?}", config.settings).contains("0123456789abcdef"));
}

#[test]
fn a_mistake_is_told_with_the_file_its_line_and_the_key() {
    for (line, said) in [
        ("prot = 9000", "prot: there is no flag of this name"),
        ("[limits]", "limits: there is no flag of this name"),
        ("port = \"9000\"", "port: it must be an integer"),
        ("port = 1.5", "port: it must be an integer"),
        ("port = 70000", "port: invalid value '70000'"),
        ("jwt_expiry = 0", "jwt_expiry: invalid value '0'"),
        ("secure = \"yes\"", "secure: it must be true or false"),
        ("db = 5", "db: it must be a string"),
        ("db = \"\"", "db: "),
        ("db = [\"a\", \"b\"]", "db: it must be a string"),
        ("origin = [\"https://a.example,https://b.example\"]", "origin: it must be an array of strings"),
        ("origin = \"example.com\"", "origin \"example.com\""),
        ("trusted_proxies = [\"proxy\"]", "trusted_proxies: "),
        ("signup = \"open\"", "signup is open, and signup_tenant is not set"),
        ("jwt_secret_file = \"/nowhere\"", "jwt_secret_file /nowhere: "),
        ("config = \"other.toml\"", "config: a configuration file names no other"),
        ("port == 1", "it is no TOML: "),
        ("max_names = 6", "it is no TOML: duplicate key"),
    ] {
        let file = file_of(&format!("# First.\nmax_names = 5\n{line}\n"));
        let why = flags_of(file.path(), &[]).and_then(Config::try_from).map(drop).unwrap_err();
        let place = format!("{}, line 3: ", file.path().display());
        assert!(why.starts_with(&place) && why[place.len()..].starts_with(said), "{line}: {why}");
    }
}

#[test]
fn what_is_said_of_a_file_has_no_secret_in_it() {
    for line in
        ["jwt_secret = 'pw-secret-1", "jwt_secret = ['pw-secret-1']", "jwt_secret = 'pw-secret-1\\n' x", "pw-secret-1"]
    {
        let why = config_of(line, &[]).map(drop).unwrap_err();
        assert!(!why.contains("pw-secret-1"), "{why}");
    }
}

#[test]
fn a_file_that_others_may_write_is_refused_and_so_is_a_secret_that_others_may_read() {
    let with_mode = |text: &str, mode: u32| {
        let file = file_of(text);
        set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        flags_of(file.path(), &[]).map(drop)
    };
    assert!(with_mode("port = 1", 0o646).unwrap_err().contains("chmod o-w"));
    assert_eq!(with_mode("port = 1\njwt_secret_file = 'x'", 0o644), Ok(()));
    assert_eq!(with_mode("jwt_secret = 'pw-secret-1'", 0o640), Ok(()));
    for name in ["jwt_secret", "admin_token", "auth_key", "mqtt_jwt_secret", "mqtt_handler_key"] {
        let why = with_mode(&format!("{name} = 'pw-secret-1'"), 0o644).unwrap_err();
        assert!(why.contains(&format!("line 1: {name}: ")) && why.contains(&format!("{name}_file")), "{why}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_readable_as_text_is_told() {
    let directory = tempfile::tempdir().unwrap();
    assert!(
        flags_of(&directory.path().join("none.toml"), &[]).is_err_and(|why| why.contains("none.toml: No such file"))
    );
    assert!(flags_of(directory.path(), &[]).is_err());
    let binary = directory.path().join("binary");
    std::fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
    assert!(flags_of(&binary, &[]).is_err_and(|why| why.contains("UTF-16")));
}

#[test]
fn the_file_that_we_ship_names_every_flag_with_its_default_and_sets_none_but_drain_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/broker.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let command = Flags::command();
    let set = File::entries(&path, &text, &command).unwrap();
    assert_eq!(set.keys().map(|name| &name[..]).collect::<Vec<_>>(), ["drain_for"]);
    // A line that sets something begins with `#name`, one of text with a blank after the `#`.
    let set: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    let entries = File::entries(&path, &set.join("\n"), &command).unwrap();
    for flag in command.get_arguments().filter(|flag| flag.get_long() != Some("config")) {
        let name = flag.get_long().unwrap();
        let entry = entries.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        let default = flag.get_default_values().first().map(|value| value.to_str().unwrap());
        assert!(default.is_none_or(|default| default == entry.text), "{name}: {default:?}, not {:?}", entry.text);
    }
}
