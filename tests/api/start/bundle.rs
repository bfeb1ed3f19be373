//! Guards `broker support`: the bundle has what helps, and no secret, whatever bytes of it are looked at.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::config::{start_by, write};
use super::run;
use crate::support::{ADMIN_TOKEN, JWT_SECRET, bare_command};

const AUTH_KEY: &str = "auth-key-of-this-test-81";
const HANDLER_KEY: &str = "handler-key-of-this-test-82";

/// Has `journalctl` be a program that says lines with secrets, as no log should.
fn with_journal(directory: &Path, command: &mut Command) {
    let programs = directory.join("bin");
    fs::create_dir_all(&programs).unwrap();
    let program = programs.join("journalctl");
    fs::write(&program, format!("#!/bin/sh\necho \"listening by $*\"\necho 'token {ADMIN_TOKEN} {JWT_SECRET}'\n"))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    command.env("PATH", format!("{}:{}", programs.display(), std::env!("PATH")));
}

/// All files of the bundle, one after the other.
fn unpacked(bundle: &Path) -> String {
    let output = Command::new("tar").args(["-xzOf"]).arg(bundle).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_bundle_has_versions_flags_sizes_status_and_log_and_none_of_the_secrets() {
    let text = format!(
        "auth_key_file = 'auth_key'\nchannel_tenant = 'acme'\nmqtt = true\nmqtt_tenant = 'acme'\nmqtt_handler_key = '{HANDLER_KEY}'\n\
         max_names = 77\n"
    );
    let server = start_by(&text, |command| {
        fs::write(command.get_current_dir().unwrap().join("auth_key"), AUTH_KEY).unwrap();
        command.arg("--config=broker.toml");
    });
    let server = server.await;
    server.user("alice", "acme").await;
    let directory = server.directory();
    let mut command = bare_command(directory);
    with_journal(directory, &mut command);
    command.args(["support", "--config=broker.toml", "--output=bundle.tar.gz", "--url", &server.url]);
    let outcome = run(command).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), "bundle.tar.gz\n"), "{outcome:?}");
    let bundle = directory.join("bundle.tar.gz");
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    let all = unpacked(&bundle);
    let version = format!("broker {}", env!("CARGO_PKG_VERSION"));
    for said in [
        version.as_str(),
        "max_names = 77 (file)",
        "max_event_bytes = 102400 (default)",
        "admin_token = (a secret) (file)",
        "mqtt_handler_key = (a secret) (file)",
        "auth_key_file = auth_key (file)",
        "\"uptime_seconds\":",
        " db/journal.",
        "VmRSS:",
        "Max open files",
        "listening by --unit broker",
        "token *** ***",
    ] {
        assert!(all.contains(said), "{said:?} is missing: {all}");
    }
    let raw = fs::read(&bundle).unwrap();
    for secret in [ADMIN_TOKEN, JWT_SECRET, AUTH_KEY, HANDLER_KEY] {
        assert!(
            !all.contains(secret) && !raw.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()),
            "{secret}"
        );
    }
}

#[tokio::test]
async fn what_only_the_unit_of_the_server_says_is_in_the_bundle_as_well_but_for_secrets() {
    let server = start_by("channel_tenant = 'acme'\n", |command| {
        let data = command.get_current_dir().unwrap().join("data");
        command.arg("--config=broker.toml").arg("--db").arg(data).arg("--auth_key").arg(AUTH_KEY);
        command.env("BROKER_MAX_NAMES", "78");
    });
    let server = server.await;
    let directory = server.directory();
    let mut command = bare_command(directory);
    with_journal(directory, &mut command);
    command.args(["support", "--config=broker.toml", "--output=bundle.tar.gz", "--url", &server.url]);
    let outcome = run(command).await;
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let all = unpacked(&directory.join("bundle.tar.gz"));
    let journal = format!(" {}/journal.", directory.join("data").display());
    for said in
        [r#""max_names":{"value":"78","source":"variable"}"#, r#""auth_key":{"value":null,"source":"flag"}"#, &journal]
    {
        assert!(all.contains(said), "{said:?} is missing: {all}");
    }
    assert!(!all.contains(AUTH_KEY), "{all}");
}

#[tokio::test]
async fn without_a_server_and_with_a_wrong_file_there_is_a_bundle_that_says_so_and_a_file_is_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "max_name = 5\n");
    let bundled = async || {
        let mut command = bare_command(directory.path());
        with_journal(directory.path(), &mut command);
        command.args(["support", "--config=broker.toml", "--output=bundle.tar.gz"]);
        run(command).await
    };
    assert_eq!(bundled().await.status, Some(0));
    let all = unpacked(&directory.path().join("bundle.tar.gz"));
    assert!(all.contains("broker.toml, line 8: max_name: there is no flag of this name"), "{all}");
    bundled().await.assert_refused(1, &["bundle.tar.gz: File exists"]);
}
